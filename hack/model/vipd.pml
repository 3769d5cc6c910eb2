/* One Lease and the vipds that campaign for it, for the model checker spin.
 *
 * The claim: at no instant do two nodes answer for the VIP. README.md says what
 * is left out; hack/model/check runs this, and each broken rule (the #ifdefs).
 *
 * Nothing here is urgent. Any step of a node may be put off for as long as the
 * checker likes while clocks and kernel timers go on: that is a process that is
 * stopped, a slow network, a watch that lags. A step that is put off for ever is
 * a message that was lost.
 */

#ifndef N
#define N 2 /* nodes */
#endif
#ifndef L0
#define L0 3 /* lease of node 0 in ticks, the longest there is */
#endif
#ifndef L1
#define L1 L0 /* lease of the others */
#endif
#ifndef MARGIN
#define MARGIN 1
#endif

/* The lease that a node writes. With ADAPTIVE it is chosen anew for each write, L0
 * or the shorter L1, and this is that of the write under way. */
#if defined(ADAPTIVE)
#define LEASE(i) (node[i].brief -> L1 : L0)
#elif defined(SHORTENED)
#define LEASE(i) ((i) == 0 && !node[0].shorter -> L0 : L1)
#else
#define LEASE(i) ((i) == 0 -> L0 : L1)
#endif
#define HOLD(i) (LEASE(i) - MARGIN) /* election.Timing.Hold */

#if defined(FLUSHED) || defined(REBUILD_OPENS)
#define TABLES /* the tables may be damaged, and are made anew in steps */
#endif
#if defined(LINGER) || defined(FLUSHED) || defined(LIFETIME)
#define ENDS /* the address has a lifetime */
#endif

/* ---- the Lease: election.parse, record.verdict ------------------------------
 *
 * named     by a vipd: holder and annotation agree
 * released  nobody, with the mark of an orderly release
 * vacant    nobody, without it: blanked, or created empty
 * unheld    created empty, and known to be the first version that the store ever had
 * edited    somebody's name, and an annotation that speaks of another: foreign
 *           to every node
 * noteless  with NAMESAKES, where all nodes have one name: that name, and no
 *           annotation
 *
 * There are no version numbers. All that is ever asked of a version is whether
 * it is the newest. So a view is fresh or not, and a write that is tied to a
 * version that has been overtaken is dropped: a conflict is all it comes to.
 */
mtype:record = { absent, vacant, unheld, released, named, edited, noteless }
#ifdef FIRST
bit written; /* the store has had a version */
#endif
#if defined(NO_DELETE) || defined(RESTORED)
mtype:record lease = vacant;
#else
mtype:record lease = absent;
#endif
unsigned holder : 2;    /* if named */
unsigned wait : 3 = L0; /* how long others wait for it: record.wait */

/* ---- a node ------------------------------------------------------------------
 *
 * Its one write that may be under way (election.flight) is armed, then sent, then
 * committed, and perhaps overtaken by another's before the answer is in.
 */
mtype:stage = { idle, armed, sent, committed, overtaken }
mtype:word = { none, granted, superseded }

typedef Node {
	/* the elector's */
	bit fresh;          /* its view is the newest version */
	unsigned age : 3;   /* since it saw that (view.at), up to what is waited for */
	bit held;           /* Standing.Held */
	unsigned until : 3; /* what is left to Standing.Until */
	mtype:stage flight = idle;
	unsigned left : 3;  /* what would be left of the write under way */
	/* the Manager's */
	mtype:word grant = none; /* a Standing that it has yet to carry out */
	bit raising;             /* it is between Permit and Put */
	/* Requests that the process has given up, or that outlived it: the network
	 * may still deliver them. Several are as one, since only one can commit. */
	bit strayHold;
	bit strayRelease;
#ifdef ADAPTIVE
	bit brief;      /* the write under way is of the short lease */
	bit strayBrief; /* as strayHold, for the short lease */
#endif
	/* the kernel's, which outlives the process */
	unsigned timer : 3; /* the ticket that is armed and not permitted yet */
	unsigned open : 3;  /* the ticket in force; one before it ends earlier */
	bit addr;           /* the address is up */
#ifdef SHORTENED
	bit shorter;        /* it was started again, with the lease L1 */
#endif
#ifdef LINGER
	unsigned fenced : 3; /* what is left until the fence drops nothing any more */
#endif
#ifdef ENDS
	unsigned lasts : 3;  /* valid_lft of the address */
#endif
#ifdef LATE_PUT
	unsigned valid : 3;  /* what Put is to say, worked out before */
#endif
#ifdef TABLES
	/* Where the tables are gone, timer and open are what the process knows of
	 * its tickets, to put them back: fence.slots. */
	bit bare;              /* nothing is fenced */
	bit lost;              /* and a process that has started since knows of no ticket */
	bit shut;              /* the tickets are there, and none is in force */
	unsigned rebuild : 2;  /* the step of fence.rebuild */
	unsigned gap : 2;      /* since it read the clock, as far as that counts */
#ifdef NO_REREAD
	unsigned excess : 2;   /* the same, when the timers were started */
#endif
#endif
}
Node node[N];
#define n node[me]
byte k; /* counts nodes, and is 0 between steps */

/* ---- the claim ---------------------------------------------------------------- */

#if defined(LINGER)
#define OPEN(i) (node[i].open > 0 || node[i].fenced == 0)
#elif defined(LIFETIME)
#define OPEN(i) true
#elif defined(TABLES)
#define FENCED(i) (!node[i].bare)
#define OPEN(i) (!FENCED(i) || node[i].open > 0 && !node[i].shut)
#else
#define OPEN(i) (node[i].open > 0)
#endif
#define ANSWERS(i) (node[i].addr && OPEN(i)) /* fence/layout.go */
#if N == 2
#define TWO (ANSWERS(0) && ANSWERS(1))
#else
#define TWO (ANSWERS(0) + ANSWERS(1) + ANSWERS(2) > 1)
#endif
#ifdef RESTORED
unsigned grace : 3; /* the rest of the lease after such an edit */
#define AT_MOST_ONE assert(grace > 0 || !TWO)
#elif defined(FLUSHED) && !defined(RUNNING) && !defined(STRICT)
/* While nobody has seen to tables that were flushed, the address's lifetime is what
 * ends it: two answer at once for some ticks, and one of them is not fenced. */
unsigned both : 2; /* ticks for which two have answered */
#define AT_MOST_ONE assert(!TWO || !(FENCED(0) && FENCED(1)) && both <= LATE)
#else
#define AT_MOST_ONE assert(!TWO)
#endif

/* ---- the store ------------------------------------------------------------------ */

/* A write that came to nothing: Elector.failedWrite. */
inline land(i) {
	node[i].flight = idle; node[i].left = 0; node[i].timer = 0;
#ifdef ADAPTIVE
	node[i].brief = 0;
#endif
}

/* There is a new version, of KubeStore.Write or of somebody with kubectl. */
inline commit(what, who, lasts) {
	for (k : 0 .. N-1) {
		node[k].fresh = 0;
#ifndef BLANK_FROM_LAST
		node[k].age = 0;
#endif
#ifndef CLAIM_WITHOUT_CAS
		node[k].strayHold = 0; node[k].strayRelease = 0;
#ifdef ADAPTIVE
		node[k].strayBrief = 0;
#endif
		if
		:: node[k].flight == armed || node[k].flight == sent -> land(k)
		:: else
		fi;
#endif
		if
		:: node[k].flight == committed -> node[k].flight = overtaken
		:: else
		fi
	}
	k = 0;
#ifdef FIRST
	written = 1;
#endif
	lease = what; holder = who; wait = lasts
}

/* ---- the elector ------------------------------------------------------------------ */

/* verdict: mine, and rebooted, which is claimed as mine is. */
#ifdef NAME_ALONE
#define OWN(i) (lease == named)
#else
#define OWN(i) (lease == named && holder == i)
#endif
#define FOREIGN(i) (lease == edited || lease == noteless || lease == named && !OWN(i))

/* Elector.stillMine. */
#ifdef IGNORE_FOREIGN_HOLDER
#define STILL_MINE (lease != released)
#else
/* One without a note is that of each namesake whose term it is. A Lease that was
 * deleted forgets terms: so it may be that of all. */
#define STILL_MINE (lease != released && (lease == noteless || !FOREIGN(me)))
#endif

/* view.claimable; an absent Lease never is. */
#if defined(WAIT_OWN_DURATION)
#define WAIT LEASE(me)
#elif defined(SHORT_WAIT)
#define WAIT L1
#elif defined(FREE_WHEN_BLANK)
#define WAIT (lease == vacant -> 0 : wait)
#else
#define WAIT wait
#endif
#define CLAIMABLE (lease == released || lease == unheld || OWN(me) || (lease == vacant || FOREIGN(me)) && n.age >= WAIT)

/* Elector.expire. */
#ifdef EXPIRE_LATE
#define OVER false
#else
#define OVER (n.until == 0)
#endif

/* Elector.lose. The Manager withdraws when it gets to it. */
inline lose() { n.held = 0; n.until = 0 }

/* Elector.observe, and expire behind it: a holder whose time is over must not
 * take what it has just seen for damage to its own record. */
inline observe() {
	n.fresh = 1;
#ifdef BLANK_FROM_LAST
	if
	:: lease != vacant -> n.age = 0
	:: else
	fi;
#endif
	if
	:: n.held && (!STILL_MINE || OVER) -> lose()
	:: else
	fi
}

/* Elector.landedWrite. An answer that comes after its own deadline counts for
 * nothing, and so does one to a node that has since seen another holder. */
inline landed() {
	if
	:: n.flight == committed -> n.fresh = 1; n.age = 0
	:: else
	fi;
	if
#ifdef COUNT_FROM_RESPONSE
	:: !n.fresh || STILL_MINE ->
		n.held = 1; n.until = HOLD(me); n.timer = HOLD(me); n.grant = granted
#else
	:: n.left > 0 && (!n.fresh || STILL_MINE) ->
#ifdef TIMER_AFTER_RESPONSE
		n.timer = n.left; /* worked out here; the kernel counts from Permit on */
#endif
		n.held = 1; n.until = n.left; n.grant = granted
#endif
	:: else ->
		n.timer = 0; /* nobody will name that ticket */
		if
		:: n.held && n.until == 0 -> lose()
		:: else
		fi
	fi;
	n.flight = idle; n.left = 0;
#ifdef ADAPTIVE
	n.brief = 0;
#endif
}

/* ---- the Manager -------------------------------------------------------------------- */

/* Manager.withdraw, with a Network.Remove that succeeds; one that fails is a step
 * that is put off. */
inline withdraw() {
	n.addr = 0; n.grant = none;
#ifdef ENDS
	n.lasts = 0;
#endif
	if
	:: n.flight == idle -> n.timer = 0
	:: else
	fi
}

#ifdef TABLES
#define CAN_FORBID (n.rebuild == 0)
#else
#define CAN_FORBID true
#endif

#ifdef RELEASE_BEFORE_WITHDRAW
#define GONE true
#else
#define GONE (!n.addr && !n.raising)
#endif

/* ---- the process ---------------------------------------------------------------------- */

/* A request that is under way and that nobody waits for any more. */
inline stray() {
	if
#ifdef ADAPTIVE
	:: n.flight == sent && n.brief -> n.strayBrief = 1
	:: n.flight == sent && !n.brief -> n.strayHold = 1
#else
	:: n.flight == sent -> n.strayHold = 1
#endif
	:: else
	fi
}

/* There is a new process: what is in the kernel and on the network is all that is
 * left. Fence.Prepare takes over the ticket in force. */
inline restart() {
#ifdef SHORTENED
	n.strayHold = 0; /* it would be of the longer lease */
	if
	:: me == 0 -> n.shorter = 1
	:: else
	fi;
#else
	stray();
#endif
	lose(); land(me);
#ifdef TABLES
	/* Fence.Prepare makes tables without elements, or finds tickets of which none
	 * is in force. */
	n.lost = n.bare; n.rebuild = 0;
	if
	:: n.bare || n.shut -> n.open = 0; n.shut = 0
	:: else
	fi;
#endif
	n.fresh = 0; n.age = 0; n.grant = none; n.raising = 0
}

#define MAY_WRITE (n.flight == idle && n.fresh && lease != absent && (n.held || CLAIMABLE) && FENCE_WHOLE)

/* What has a Fence do what it is asked for; it is rebuilt before. */
#ifdef TABLES
#define FENCE_WHOLE (n.rebuild == 0 && !n.shut && (!n.bare || n.lost))
#else
#define FENCE_WHOLE true
#endif

/* Fence.Arm. It cuts what is in force to the lease that is about to be written: of a
 * process with a longer one, or of a longer one that this process wrote. */
inline arm() {
#if !defined(NOT_CUT) && !defined(SHORTEN_UNCUT)
	if
	:: n.open > HOLD(me) -> n.open = HOLD(me)
	:: else
	fi;
#endif
#if defined(ADAPTIVE) && !defined(STANDING_UNCUT)
	/* The Elector's deadline, too: it must not outlive the write. */
	if
	:: n.until > HOLD(me) -> n.until = HOLD(me)
	:: else
	fi;
#endif
#if defined(ADAPTIVE) && defined(LIFETIME) && !defined(LIFETIME_UNCUT)
	/* Nor must the address, where its lifetime is all that ends it: put up anew. */
	if
	:: HOLD(me) <= SLACK && n.lasts > 0 -> n.lasts = 0; n.addr = 0
	:: HOLD(me) > SLACK && n.lasts > HOLD(me) - SLACK + LATE -> n.lasts = HOLD(me) - SLACK + LATE
	:: else
	fi;
#endif
#ifdef LONG_BEFORE_ANSWER
	if
	:: n.held && n.open > 0 -> n.open = HOLD(me); n.until = HOLD(me)
	:: else
	fi;
#endif
#if !defined(COUNT_FROM_RESPONSE) && !defined(TIMER_AFTER_RESPONSE)
	n.timer = HOLD(me);
#endif
#ifdef LINGER
	n.fenced = HOLD(me) + LINGER;
#endif
#ifdef TABLES
	n.bare = 0; n.lost = 0;
#endif
#ifdef COARSE
	n.grant = none;
	n.flight = sent; n.left = HOLD(me)
#else
	if
	:: n.grant == granted -> n.grant = superseded
	:: else
	fi;
	n.flight = armed
#endif
}

/* Manager.raise: Network.Put. Whole seconds, rounded up, and the kernel takes the
 * address away up to 1.3 s late; without nftables they are rounded down, and less
 * what the kernel may be late. */
inline put() {
	n.addr = 1;
#if defined(LINGER)
	n.lasts = HOLD(me);
#elif defined(FLUSHED)
	n.lasts = n.open + LATE;
	n.addr = (n.open > 0);
#elif defined(LATE_PUT)
	n.lasts = n.valid + LATE; n.valid = 0;
#elif defined(LIFETIME)
	if
	:: n.open > SLACK -> n.lasts = n.open - SLACK + LATE
	:: else -> n.addr = (n.lasts > 0) /* it is left as it is */
	fi
#endif
}

active [N] proctype vipd() {
	byte me = _pid;
	do
	/* Elector.sighted, landedRead. To see an older version later than this
	 * changes nothing: what is written over it meets a conflict. */
	:: d_step { !n.fresh -> printf("node %d sees the Lease\n", me); observe() }

	/* Elector.expire, by the timer of Run. */
	:: d_step { n.held && n.until == 0 -> printf("node %d: its deadline\n", me); lose() }

	/* Elector.plan, start, call: a claim or a renewal; Fence.Arm. */
	:: d_step { MAY_WRITE -> printf("node %d arms\n", me); arm() }
#ifdef ADAPTIVE
	:: d_step { MAY_WRITE -> printf("node %d arms for a short lease\n", me); n.brief = 1; arm() }
#endif
#ifndef COARSE
	/* Elector.call: the send time is taken, and the request leaves. */
	:: d_step { n.flight == armed -> printf("node %d sends\n", me); n.flight = sent; n.left = HOLD(me) }
#endif

	/* KubeStore.Write, at the API server: by compare-and-swap, see commit. */
	:: d_step { n.flight == sent ->
		printf("node %d: its write is committed\n", me);
		n.flight = committed; commit(named, me, LEASE(me)); n.flight = committed }

	/* Elector.landed. */
	:: d_step { n.flight == committed || n.flight == overtaken -> printf("node %d has the answer\n", me); landed() }

	/* Timing.Attempt is over; Elector.settleRelease has lost patience. */
	:: d_step { n.flight != idle ->
		printf("node %d gives its write up\n", me);
		stray(); land(me) }
	:: d_step { n.strayHold ->
		printf("node %d: a write that it gave up is committed\n", me);
#ifdef ADAPTIVE
		n.strayHold = 0; commit(named, me, L0) }
	:: d_step { n.strayBrief ->
		printf("node %d: a short write that it gave up is committed\n", me);
		n.strayBrief = 0; commit(named, me, L1) }
#else
		n.strayHold = 0; commit(named, me, LEASE(me)) }
#endif

	/* Manager.raise: Fence.Permit. */
	:: d_step { n.grant != none && !n.raising && FENCE_WHOLE ->
		printf("node %d permits\n", me);
		if
		:: n.grant == granted -> n.open = n.timer; n.timer = 0
		:: else /* fence.ErrSuperseded, which internal/daemon's nftFence lets pass */
		fi;
		n.grant = none;
#ifdef LATE_PUT
		n.valid = (n.open > SLACK -> n.open - SLACK : 0);
#endif
#if defined(COARSE)
		put();
#elif defined(LINGER)
		n.raising = (n.open > 0);
#elif defined(LATE_PUT)
		n.raising = (n.valid > 0);
#else
		n.raising = 1;
#endif
		AT_MOST_ONE }
#ifndef COARSE
	/* Manager.raise: Network.Put. */
	:: d_step { n.raising ->
		printf("node %d puts the address up\n", me);
		n.raising = 0; put();
		AT_MOST_ONE }
#endif

#ifdef TABLES
	/* Fence.Mend, and the change that finds the tables damaged: fence.rebuild.
	 * A transaction is atomic. One that fails ends the rebuild; whether it had an
	 * effect all the same is the same as a failure of the one behind it. */
#ifdef REBUILD_OPENS
	/* As it was once: whenever a change had failed, the tables were made anew, and
	 * where a ticket was in force, the fence went up around it last. */
	:: d_step { n.rebuild == 0 ->
		printf("node %d: a change of its tables fails, and it makes them anew\n", me);
		n.shut = 1; n.rebuild = 1; n.bare = (n.open > 0);
		AT_MOST_ONE }
	:: d_step { n.rebuild == 1 -> printf("node %d has its tickets in force again\n", me); n.shut = 0; n.rebuild = 2; AT_MOST_ONE }
	:: d_step { n.rebuild == 2 -> printf("node %d fences them\n", me); n.bare = 0; n.rebuild = 0; AT_MOST_ONE }
#else
	/* What is whole is left alone. The timers are worked out here. */
	:: d_step { n.rebuild == 0 && (n.bare && !n.lost || n.shut) ->
		printf("node %d finds its tables damaged, and reads the clock\n", me); n.rebuild = 1; n.gap = 0 }
	:: d_step { n.rebuild == 1 ->
		printf("node %d makes its tables anew, with no ticket in force\n", me);
		n.bare = 0; n.shut = 1; n.rebuild = 2;
#ifdef NO_REREAD
		n.excess = n.gap;
#endif
		AT_MOST_ONE }
	:: d_step { n.rebuild == 2 ->
		printf("node %d reads the clock again\n", me);
#ifdef NO_REREAD
		n.open = (n.open > 0 -> n.open + n.excess : 0); n.timer = (n.timer > 0 -> n.timer + n.excess : 0);
		n.rebuild = 3; n.gap = 0; n.excess = 0 }
#else
		if
		:: n.gap == 0 -> n.rebuild = 3
		:: else -> n.rebuild = 1; n.gap = 0
		fi }
#endif
	:: d_step { n.rebuild == 3 ->
		printf("node %d has its tickets in force again\n", me);
		n.shut = 0; n.rebuild = 0; n.gap = 0;
		AT_MOST_ONE }
#endif
	:: d_step { n.rebuild > 0 -> printf("node %d fails to make its tables\n", me); n.rebuild = 0; n.gap = 0 }
#endif

	/* vip.withdraw, for whatever reason: Fence.Forbid, Network.Divert or Remove. What is
	 * diverted is not answered for, which is all that addr is about. */
	:: d_step { !n.raising && (n.addr || n.open > 0 || n.grant != none) && CAN_FORBID ->
		printf("node %d withdraws\n", me);
#ifdef TABLES
		n.shut = 0; n.bare = 0; n.lost = 0; /* what is not there is made, closed */
#endif
		n.open = 0; withdraw() }
#ifndef COARSE
	:: d_step { !n.raising && n.addr ->
		printf("node %d withdraws, and cannot close its fence\n", me);
		withdraw() }
#endif

	/* vip.giveAway, withdrawn; Elector.Release, beginRelease, plan: the record is
	 * released if it is ours. */
	:: d_step { n.flight == idle && (n.held || n.fresh && OWN(me)) && GONE ->
		printf("node %d releases\n", me);
		lose(); n.grant = none; n.timer = 0;
		if
		:: n.fresh && OWN(me) -> n.strayRelease = 1
		:: else
		fi }
	/* KubeStore.Write: the same, at the API server. */
	:: d_step { n.strayRelease ->
		printf("node %d: its release is committed\n", me);
		n.strayRelease = 0; commit(released, 0, 0) }

#ifndef RUNNING
	:: d_step { n.fresh || n.held || n.flight != idle || n.grant != none || n.raising ->
		printf("node %d is killed and started again\n", me);
		restart() }
	/* Nothing of it is left but its record: verdict rebooted. */
	:: d_step { n.addr || n.open > 0 ->
		printf("node %d reboots\n", me);
		n.addr = 0; n.open = 0;
#ifdef ENDS
		n.lasts = 0;
#endif
#ifdef TABLES
		n.bare = 0; n.shut = 0;
#endif
#ifdef LINGER
		n.fenced = 0;
#endif
		restart() }
#endif
	od
}

/* ---- time -------------------------------------------------------------------------------- */

inline less(x) {
	if
	:: x > 0 -> x--
	:: else
	fi
}

/* A tick of a node's CLOCK_BOOTTIME, which its kernel's timers go by, too. */
inline tick(i) {
	less(node[i].until); less(node[i].left); less(node[i].open);
#ifndef TIMER_AFTER_RESPONSE
	less(node[i].timer);
#endif
	if
#ifdef BLANK_FROM_LAST
	:: (node[i].fresh || node[i].age > 0) && node[i].age < L0 -> node[i].age++
#else
	:: node[i].fresh && (lease == vacant || FOREIGN(i)) && node[i].age < wait -> node[i].age++
#endif
	:: else
	fi;
#ifdef LINGER
	less(node[i].fenced);
#endif
#ifdef TABLES
	if
#ifdef NO_REREAD
	:: node[i].rebuild > 0 && node[i].gap < 3 -> node[i].gap++
#else
	:: node[i].rebuild == 1 || node[i].rebuild == 2 -> node[i].gap = 1
#endif
	:: else
	fi;
#endif
#ifdef ENDS
	less(node[i].lasts);
	node[i].addr = (node[i].addr && node[i].lasts > 0);
#endif
}

/* A node whose process runs does within a tick what is due. */
#ifdef RUNNING
#define DUE(i) (node[i].raising || node[i].addr && (node[i].bare || node[i].until == 0))
#define MAY_TICK (!DUE(0) && !DUE(1))
#else
#define MAY_TICK true
#endif

#ifndef NO_DRIFT
unsigned steady : 3; /* ticks until the clocks may part again */
#endif

active proctype world() {
	do
	:: d_step { MAY_TICK -> printf("tick\n");
		for (k : 0 .. N-1) { tick(k) } k = 0;
#ifndef NO_DRIFT
		less(steady);
#endif
#ifdef RESTORED
		less(grace);
#endif
#ifdef LATE
#if defined(FLUSHED) && !defined(RUNNING) && !defined(STRICT)
		both = (TWO -> both + 1 : 0);
#endif
#endif
		AT_MOST_ONE }

	/* In any L0 ticks in a row, the last node's clock may lose or gain one. */
#ifndef NO_DRIFT
	:: d_step { steady == 0 && MAY_TICK ->
		printf("tick, but not of node %d\n", N-1);
		for (k : 0 .. N-2) { tick(k) } k = 0;
		steady = L0 - 1;
		AT_MOST_ONE }
	:: d_step { steady == 0 && MAY_TICK ->
		printf("tick of node %d alone\n", N-1);
		tick(N-1);
		steady = L0 - 1;
		AT_MOST_ONE }
#endif

	/* ---- people ---- */
#ifdef RESTORED
	:: d_step { lease == named ->
		printf("an old record of another node is put back\n");
		commit(named, (holder + 1) % N, wait); grace = L0 }
#else
	/* The name is taken out. */
	:: d_step { lease == named || lease == edited -> printf("the Lease is blanked\n"); commit(vacant, 0, wait) }
#ifdef NAMESAKES
	/* The note is deleted. */
	:: d_step { lease == named -> printf("the annotation is deleted\n"); commit(noteless, holder, wait) }
#endif
	/* Another name is put in. */
	:: d_step { lease == named -> printf("the Lease is given another name\n"); commit(edited, 0, wait) }
	/* Something else is changed: KubeStore.RequestMove. */
	:: d_step { lease == named -> printf("the Lease is annotated\n"); commit(named, holder, wait) }
#ifndef NO_DELETE
	:: d_step { lease != absent -> printf("the Lease is deleted\n"); commit(absent, 0, 0) }
	/* By any node that saw none, however long ago: Elector.draft for opSeed. */
	:: d_step { lease == absent -> printf("an empty Lease is created\n"); commit(vacant, 0, L0) }
#ifdef FIRST
	/* The same, and the node sees that the store had no version before: KubeStore.First. */
#ifdef BEGINNING_INVENTED
#define NEW true
#else
#define NEW (!written)
#endif
	:: d_step { lease == absent && NEW -> printf("the first version is created\n"); commit(unheld, 0, L0) }
#endif
#if L1 != L0 && !defined(ADAPTIVE) || defined(SEED_SHORT)
	:: d_step { lease == absent -> printf("an empty Lease is created, for %d ticks\n", L1); commit(vacant, 0, L1) }
#endif
#endif
#endif

	/* ---- whoever else changes nftables ---- */
#ifdef FLUSHED
	:: d_step { !node[0].bare && (node[0].addr || node[0].raising) -> printf("the tables of node 0 are flushed\n");
		/* The rebuild's next transaction fails, unless it is the first. */
		node[0].bare = 1; node[0].shut = 0; node[0].rebuild = (node[0].rebuild == 1 -> 1 : 0);
		AT_MOST_ONE }
#endif
	od
}
