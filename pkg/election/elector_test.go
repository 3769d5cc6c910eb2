package election

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/vipd-io/vipd/internal/bubble"
	"github.com/vipd-io/vipd/internal/leasetest"
	"github.com/vipd-io/vipd/pkg/boottime"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const leaseName = "plndr-cp-lock"

// cluster is a set of electors on one Lease, in a synctest bubble.
type cluster struct {
	t      *testing.T
	start  time.Time
	server leasetest.Server
	timing Timing
	// most and alone are those of Options, for the nodes that join from now on.
	most  time.Duration
	alone func() (alone, known bool)
	log   *zap.Logger // nil for none

	changed chan struct{} // one slot: a status changed

	mu    sync.Mutex
	nodes []*node
	// deleted means that the Lease was deleted, and with it the term, for nodes that had not
	// observed it.
	deleted bool
	// held records which nodes might have answered, and when.
	held []interval
}

// interval is a time in which a node held the lease.
type interval struct {
	node     string
	term     int
	from, to boottime.Instant
}

// node is one elector; the node stays in the cluster's list after the elector has ended.
type node struct {
	c       *cluster
	name    string
	self    Self
	client  *leasetest.Client
	elector *Elector
	stop    context.CancelFunc
	done    chan struct{}
	err     error // of Run, once done is closed

	asked    []string // the requested moves
	reports  []string // of nodes that do not reach this one
	accepted []string // the candidates that accepted an offer
	writes   map[Outcome][]Write
	status   Status // the newest
	quiet    bool   // withdrawn: does not answer, whatever the status
	arms     int
	unarm    error
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	timing, err := NewTiming(3*time.Second, 0)
	if err != nil {
		t.Fatal(err)
	}
	return &cluster{t: t, start: time.Now(), timing: timing, changed: make(chan struct{}, 1)}
}

// now is CLOCK_BOOTTIME of every node: the clock of the bubble.
func (c *cluster) now() boottime.Instant { return boottime.Instant(time.Since(c.start) + time.Hour) }

// join starts an elector as this node, with the MAC of its name.
func (c *cluster) join(name string) *node {
	return c.joinWith(name, nil)
}

func (c *cluster) joinWith(name string, fault func(string) leasetest.Fault) *node {
	return c.joinAs(name, Self{Node: name, BootID: "boot-1", Version: "test"}, "mac-of-"+name, fault)
}

func (c *cluster) joinAs(name string, self Self, mac string, fault func(string) leasetest.Fault) *node {
	return c.joinBy(c.now, nil, name, self, mac, fault)
}

// joinSlewed starts a node with its own clocks.
func (c *cluster) joinSlewed(name string, clocks slewed) *node {
	return c.joinBy(clocks.now, clocks.raw, name, Self{Node: name, BootID: "boot-1", Version: "test"}, "mac-of-"+name, nil)
}

func (c *cluster) joinBy(now boottime.Clock, raw boottime.RawClock, name string, self Self, mac string, fault func(string) leasetest.Fault) *node {
	n := &node{c: c, name: name, self: self, client: &leasetest.Client{Server: &c.server, Hedge: c.timing.Attempt / 3},
		done: make(chan struct{}), writes: make(map[Outcome][]Write)}
	n.elector = New(Options{
		Self: self, Timing: c.timing, MaxLease: c.most, Alone: c.alone, Now: now, Raw: raw, Observe: n.observe, Arm: n.armed, Log: c.log,
		Store: &KubeStore{API: n.client, Namespace: "kube-system", Name: leaseName, Establish: time.Second},
	})
	n.client.SetFault(fault)
	ctx, cancel := context.WithCancel(c.t.Context())
	n.stop = cancel
	c.mu.Lock()
	c.nodes = append(c.nodes, n)
	c.mu.Unlock()
	go func() { defer close(n.done); n.err = n.elector.Run(ctx) }()
	n.elector.SetCandidate(ctx, Candidate{Eligible: true, MAC: mac})
	return n
}

func (n *node) observe(e Event) {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	switch e := e.(type) {
	case Status:
		n.notified(e)
	case MoveRequest:
		n.asked = append(n.asked, e.To)
	case Unreached:
		n.reports = append(n.reports, e.By)
	case Accepted:
		n.accepted = append(n.accepted, e.By)
	case Write:
		n.writes[e.Outcome] = append(n.writes[e.Outcome], e)
	}
}

func (n *node) armed(time.Duration) (uint64, error) {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	n.arms++
	return uint64(n.arms), n.unarm
}

// notified records a status, and the intervals in which the node could have answered: to the deadline of
// the newest status, or to the loss. The caller holds the lock.
func (n *node) notified(s Status) {
	c := n.c
	now := c.now()
	n.withdraw(now)
	if s.Held && !n.quiet {
		c.held = append(c.held, interval{node: n.name, term: s.Term, from: now, to: s.Until})
	}
	n.status = s
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// withdraw ends the intervals of this node, including those of an earlier process. The caller holds
// the lock.
func (n *node) withdraw(now boottime.Instant) {
	for i := range n.c.held {
		if n.c.held[i].node == n.name {
			n.c.held[i].to = min(n.c.held[i].to, now)
		}
	}
}

func (n *node) lastInterval() *interval {
	for i := len(n.c.held) - 1; i >= 0; i-- {
		if n.c.held[i].node == n.name {
			return &n.c.held[i]
		}
	}
	return &interval{}
}

// since is when the last interval began.
func (n *node) since() boottime.Instant {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	return n.lastInterval().from
}

// crash ends the process without a release.
func (n *node) crash() {
	n.c.t.Helper()
	n.stop()
	<-n.done
	if n.err != nil {
		n.c.t.Errorf("%s: Run = %v", n.name, n.err)
	}
}

// release withdraws first, as every caller of Release has to.
func (n *node) release() error { return n.releaseFor("") }

func (n *node) releaseFor(successor string) error { return n.releaseTo(Handover{Successor: successor}) }

func (n *node) releaseTo(to Handover) error {
	n.c.mu.Lock()
	n.quiet = true
	n.withdraw(n.c.now())
	n.c.mu.Unlock()
	ctx, cancel := context.WithTimeout(n.c.t.Context(), 900*time.Millisecond)
	defer cancel()
	return n.elector.Release(ctx, to)
}

// campaign makes a node a candidate again after its release.
func (n *node) campaign() {
	n.c.mu.Lock()
	n.quiet = false
	n.c.mu.Unlock()
	n.elector.SetCandidate(n.c.t.Context(), Candidate{Eligible: true, MAC: "mac-of-" + n.name})
}

func (n *node) armCount() int {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	return n.arms
}

func (n *node) latest() Status {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	return n.status
}

// holder returns the node that holds, "" for none.
func (c *cluster) holder() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.nodes {
		if n.status.Held && c.now() < n.status.Until {
			return n.name
		}
	}
	return ""
}

// awaitHolder waits until a node other than "not" holds, and returns that node and how long it
// took.
func (c *cluster) awaitHolder(not string, limit time.Duration) (*node, time.Duration) {
	c.t.Helper()
	start := time.Now()
	timeout := time.After(limit)
	for {
		if name := c.holder(); name != "" && name != not {
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, n := range c.nodes {
				if n.name == name && n.status.Held {
					return n, time.Since(start)
				}
			}
		}
		select {
		case <-c.changed:
		case <-timeout:
			c.t.Fatalf("nobody holds after %v; lease: %+v", limit, c.server.Lease())
		}
	}
}

// end stops all nodes, and checks that no two nodes held at the same time and that the term grew
// with every change of holder.
func (c *cluster) end() {
	c.t.Helper()
	for _, n := range c.nodes {
		n.stop()
	}
	for _, n := range c.nodes {
		select {
		case <-n.done:
		case <-time.After(10 * time.Second):
			c.t.Errorf("%s does not end", n.name)
		}
	}
	c.checkExclusion()
	time.Sleep(time.Minute) // requests that were given up end, too
	synctest.Wait()
}

func (c *cluster) checkExclusion() {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, a := range c.held {
		for _, b := range c.held[i+1:] {
			if a.node != b.node && a.from < b.to && b.from < a.to {
				c.t.Errorf("two held at once: %+v and %+v", a, b)
			}
		}
		if i > 0 && c.held[i-1].node != a.node && c.held[i-1].term >= a.term && !c.deleted {
			c.t.Errorf("term did not grow: %+v then %+v", c.held[i-1], a)
		}
	}
}

func inBubble(t *testing.T, f func(c *cluster)) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) {
		c := newCluster(t)
		f(c)
		c.end()
	})
}

func TestRenewals(t *testing.T) {
	inBubble(t, func(c *cluster) {
		c.join("n1")
		n, _ := c.awaitHolder("", 10*time.Second)
		time.Sleep(time.Minute)
		if s := n.latest(); !s.Held || s.Term != 1 {
			t.Errorf("after a minute: %+v", s)
		}
		// 60 renewals, not more: a renewal is a write to etcd.
		if got := len(c.server.History()); got < 55 || got > 65 {
			t.Errorf("%d writes in a minute at a renew interval of %v", got, c.timing.Renew)
		}
	})
}

func TestReleaseHandsOverAtOnce(t *testing.T) {
	inBubble(t, func(c *cluster) {
		c.join("n1")
		first, _ := c.awaitHolder("", 10*time.Second)
		c.join("n2")
		c.join("n3")
		time.Sleep(5 * time.Second)
		if err := first.release(); err != nil {
			t.Fatal(err)
		}
		second, took := c.awaitHolder("n1", time.Second)
		if took > 5*time.Millisecond {
			t.Errorf("hand-over to %s took %v on a store without latency", second.name, took)
		}
		if s := second.latest(); s.Why != "n1 released the lease" {
			t.Errorf("why = %q", s.Why)
		}
		time.Sleep(10 * time.Second)
		if got := c.holder(); got != second.name {
			t.Errorf("holder = %q: a node that released must not campaign before it is told to", got)
		}
	})
}

func TestCrashIsWaitedOutExactly(t *testing.T) {
	inBubble(t, func(c *cluster) {
		first := c.join("n1")
		c.awaitHolder("", 10*time.Second)
		c.join("n2")
		c.join("n3")
		time.Sleep(5*time.Second + 300*time.Millisecond)
		renewed := first.latest().Until.Add(-c.timing.Hold())
		first.crash()
		second, _ := c.awaitHolder("n1", 10*time.Second)
		from := second.since()
		after := from.Sub(renewed)
		if after < c.timing.Lease || after > c.timing.Lease+5*time.Millisecond {
			t.Errorf("taken %v after the last renewal, want %v", after, c.timing.Lease)
		}
		// The status says how the node came to hold, and that does not change.
		time.Sleep(10 * time.Second)
		claim := second.latest().Claim
		if claim.Seen < renewed || claim.Free != claim.Seen.Add(c.timing.Lease) || claim.Sent < claim.Free || claim.Written < claim.Sent || claim.Written > from {
			t.Errorf("claim %+v of a lease renewed at %d, held anew at %d", claim, renewed, from)
		}
	})
}

// TestWritesAreReported checks the reported outcome of each write, and what was left of the lease then.
func TestWritesAreReported(t *testing.T) {
	inBubble(t, func(c *cluster) {
		n := c.join("n1")
		c.awaitHolder("", 10*time.Second)
		time.Sleep(10 * time.Second)
		n.client.SetFault(func(verb string) leasetest.Fault {
			if verb == "update" {
				return leasetest.Fault{After: 700 * time.Millisecond}
			}
			return leasetest.Fault{}
		})
		time.Sleep(5 * time.Second)
		n.client.SetFault(func(verb string) leasetest.Fault {
			if verb == "update" {
				return leasetest.Fault{Lose: errors.New("connection reset")}
			}
			return leasetest.Fault{}
		})
		time.Sleep(2 * time.Second)
		c.mu.Lock()
		defer c.mu.Unlock()
		ok := n.writes[Renewed]
		if len(ok) < 10 || ok[0].Left > 0 || ok[5].Left < c.timing.Hold()-c.timing.Renew-50*time.Millisecond || ok[5].Left > c.timing.Hold()-c.timing.Renew {
			t.Errorf("%d renewals: %+v", len(ok), ok)
		}
		if last := ok[len(ok)-1]; last.Took < 600*time.Millisecond || last.Left > ok[5].Left-600*time.Millisecond {
			t.Errorf("a slow renewal: %+v", last)
		}
		if len(n.writes[Failed]) == 0 {
			t.Errorf("lost answers: %+v", n.writes)
		}
	})
}

func TestRestartAdoptsTheTerm(t *testing.T) {
	inBubble(t, func(c *cluster) {
		first := c.join("n1")
		c.awaitHolder("", 10*time.Second)
		c.join("n2")
		time.Sleep(5 * time.Second)
		first.crash()
		time.Sleep(500 * time.Millisecond)
		again := c.join("n1")
		time.Sleep(10 * time.Millisecond)
		if s := again.latest(); !s.Held || s.Term != first.latest().Term {
			t.Errorf("after a restart inside the lease: %+v, before it term %d", s, first.latest().Term)
		}
	})
}

// TestRestartBeforeTheMACIsKnown: the store answers before the kernel does.
func TestRestartBeforeTheMACIsKnown(t *testing.T) {
	inBubble(t, func(c *cluster) {
		first := c.join("n1")
		c.awaitHolder("", 10*time.Second)
		c.join("n2")
		time.Sleep(5 * time.Second)
		first.crash()
		again := c.joinAs("n1", first.self, "", nil)
		time.Sleep(200 * time.Millisecond)
		again.campaign()
		time.Sleep(10 * time.Millisecond)
		if s := again.latest(); !s.Held || s.Term != first.latest().Term {
			t.Errorf("after the MAC was known: %+v, before the restart term %d", s, first.latest().Term)
		}
	})
}

// TestMACChanges: a record of this process stays its own, whatever was in flight at the change.
func TestMACChanges(t *testing.T) {
	inBubble(t, func(c *cluster) {
		n := c.join("n1")
		c.awaitHolder("", 10*time.Second)
		// Each write is answered late, and the watch delivers the version before the answer.
		n.client.SetFault(func(string) leasetest.Fault { return leasetest.Fault{After: 50 * time.Millisecond} })
		for i := range 300 {
			time.Sleep(37 * time.Millisecond)
			n.elector.SetCandidate(c.t.Context(), Candidate{Eligible: true, MAC: fmt.Sprint("mac-", i)})
			if s := n.latest(); !s.Held || s.Term != 1 {
				t.Fatalf("after %d changes: %+v", i, s)
			}
		}
		if err := n.release(); err != nil {
			t.Error(err)
		}
		if h := *c.server.Lease().Spec.HolderIdentity; h != "" {
			t.Errorf("holder after the release = %q", h)
		}
	})
}

func TestRebootClaimsAtOnceWithANewTerm(t *testing.T) {
	inBubble(t, func(c *cluster) {
		first := c.join("n1")
		c.awaitHolder("", 10*time.Second)
		first.crash()
		self := first.self
		self.BootID = "boot-2"
		again := c.joinAs("n1", self, "mac-of-n1", nil)
		time.Sleep(10 * time.Millisecond)
		if s := again.latest(); !s.Held || s.Term != first.latest().Term+1 {
			t.Errorf("after a reboot: %+v", s)
		}
	})
}

func TestNamesakeIsAForeignHolder(t *testing.T) {
	inBubble(t, func(c *cluster) {
		c.join("n1")
		c.awaitHolder("", 10*time.Second)
		other := c.joinAs("other", Self{Node: "n1", BootID: "boot-9"}, "mac-of-other", nil)
		time.Sleep(20 * time.Second)
		if other.latest().Held {
			t.Error("a namesake on another machine took the lease")
		}
	})
}

func TestForeignHolderEndsTheHoldingAtOnce(t *testing.T) {
	inBubble(t, func(c *cluster) {
		n := c.join("n1")
		c.awaitHolder("", 10*time.Second)
		time.Sleep(1500 * time.Millisecond)
		c.server.Edit(func(l *coordinationv1.Lease) {
			thief, term := "thief", *l.Spec.LeaseTransitions+1
			l.Spec.HolderIdentity, l.Spec.LeaseTransitions = &thief, &term
		})
		time.Sleep(time.Millisecond)
		if s := n.latest(); s.Held || s.Holder != "thief" {
			t.Fatalf("a millisecond after the theft: %+v", s)
		}
		_, took := c.awaitHolder("", 10*time.Second)
		if took < c.timing.Lease-time.Millisecond*2 {
			t.Errorf("took it back after %v: the thief's lease was not waited out", took)
		}
	})
}

// TestDamagedLeaseIsRepaired: whatever an administrator writes into the Lease of a running holder,
// no other node takes the Lease, and the holder continues.
func TestDamagedLeaseIsRepaired(t *testing.T) {
	damages := map[string]func(*leasetest.Server){
		"deleted": (*leasetest.Server).Delete,
		"blanked": func(s *leasetest.Server) {
			s.Edit(func(l *coordinationv1.Lease) { l.Spec.HolderIdentity = nil })
		},
		"emptied": func(s *leasetest.Server) {
			s.Edit(func(l *coordinationv1.Lease) { l.Spec = coordinationv1.LeaseSpec{} })
		},
		"annotation deleted": func(s *leasetest.Server) {
			s.Edit(func(l *coordinationv1.Lease) { l.Annotations = nil })
		},
		"duration huge": func(s *leasetest.Server) {
			s.Edit(func(l *coordinationv1.Lease) { d := int32(1 << 30); l.Spec.LeaseDurationSeconds = &d })
		},
		"annotation nonsense": func(s *leasetest.Server) {
			s.Edit(func(l *coordinationv1.Lease) { l.Annotations[Annotation] = "{" })
		},
		"term huge": func(s *leasetest.Server) {
			s.Edit(func(l *coordinationv1.Lease) { d := int32(1<<31 - 1); l.Spec.LeaseTransitions = &d })
		},
		"times in the future": func(s *leasetest.Server) {
			s.Edit(func(l *coordinationv1.Lease) {
				at := metav1.NewMicroTime(time.Now().Add(10 * 365 * 24 * time.Hour))
				l.Spec.RenewTime, l.Spec.AcquireTime = &at, &at
			})
		},
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(c *cluster) {
				c.join("n1")
				c.awaitHolder("", 10*time.Second)
				c.join("n2")
				time.Sleep(1500 * time.Millisecond)
				acquired := *c.server.Lease().Spec.AcquireTime
				damage(&c.server)
				time.Sleep(250 * time.Millisecond) // n2 creates a deleted Lease anew, and n1 tries once more
				l := c.server.Lease()
				if l == nil || l.Spec.HolderIdentity == nil || *l.Spec.HolderIdentity != "n1" || *l.Spec.LeaseDurationSeconds != 3 ||
					l.Spec.AcquireTime == nil || !l.Spec.AcquireTime.Equal(&acquired) {
					t.Errorf("lease was not put right: %+v", l)
				}
				time.Sleep(10 * time.Second)
				if got := c.holder(); got != "n1" {
					t.Errorf("holder = %q, want n1 all along", got)
				}
				if len(c.held) > 0 && c.held[0].term != c.held[len(c.held)-1].term {
					t.Error("the term changed though the holder did not")
				}
			})
		})
	}
}

func TestForgedReleaseMarkEndsTheHolding(t *testing.T) {
	inBubble(t, func(c *cluster) {
		c.join("n1")
		n, _ := c.awaitHolder("", 10*time.Second)
		c.join("n2")
		time.Sleep(1500 * time.Millisecond)
		c.server.Edit(func(l *coordinationv1.Lease) {
			l.Spec.HolderIdentity = nil
			l.Annotations[Annotation] = strings.Replace(l.Annotations[Annotation], "}", `,"released":true}`, 1)
		})
		c.awaitHolder("", time.Second)
		time.Sleep(time.Second)
		if c.holder() == "" {
			t.Error("nobody holds")
		}
		_ = n
	})
}

func TestSnapshotRestoreIsANewVersion(t *testing.T) {
	inBubble(t, func(c *cluster) {
		c.join("n1")
		c.awaitHolder("", 10*time.Second)
		c.join("n2")
		time.Sleep(4 * time.Second)
		old := c.server.History()[0].DeepCopy()
		dead, term := "n9", int32(1)
		old.Spec.HolderIdentity, old.Spec.LeaseTransitions = &dead, &term
		c.server.Put(old, 1)
		// The holder learns of the change with its next renewal at the latest.
		time.Sleep(2 * time.Second)
		if got := c.holder(); got != "" {
			t.Errorf("%q holds while the restored record names n9", got)
		}
		c.awaitHolder("", 10*time.Second)
	})
}

func TestAnswerAfterTheDeadlineCountsForNothing(t *testing.T) {
	inBubble(t, func(c *cluster) {
		c.timing.Attempt = time.Minute // a process that is stopped cannot cancel a call
		n := c.join("n1")
		c.awaitHolder("", 10*time.Second)
		n.client.SetFault(func(verb string) leasetest.Fault {
			if verb == "update" {
				return leasetest.Fault{After: 2900 * time.Millisecond}
			}
			return leasetest.Fault{}
		})
		time.Sleep(20 * time.Second)
		for _, i := range c.held[1:] {
			if i.from >= i.to {
				t.Errorf("held from %v to %v", i.from, i.to)
			}
		}
	})
}

func TestLostAnswersDoNotLoseTheLease(t *testing.T) {
	inBubble(t, func(c *cluster) {
		c.join("n1")
		n, _ := c.awaitHolder("", 10*time.Second)
		c.join("n2")
		var mu sync.Mutex
		r := rand.New(rand.NewPCG(3, 4))
		n.client.SetFault(func(verb string) leasetest.Fault {
			mu.Lock()
			defer mu.Unlock()
			if verb == "update" && r.IntN(3) == 0 {
				return leasetest.Fault{Lose: errors.New("connection reset")}
			}
			return leasetest.Fault{}
		})
		time.Sleep(2 * time.Minute)
		if got := c.holder(); got != "n1" || len(c.server.Lease().Spec.String()) == 0 {
			t.Errorf("holder = %q", got)
		}
		for _, i := range c.held {
			if i.node != "n1" {
				t.Errorf("a needless move to %s", i.node)
			}
		}
	})
}

func TestNoWriteWithoutAFence(t *testing.T) {
	inBubble(t, func(c *cluster) {
		n := c.joinWith("n1", func(string) leasetest.Fault { return leasetest.Fault{Before: 10 * time.Millisecond} })
		n.c.mu.Lock()
		n.unarm = errors.New("no buffer space")
		n.c.mu.Unlock()
		time.Sleep(20 * time.Second)
		for _, l := range c.server.History() {
			if parse(l).holder != "" {
				t.Errorf("taken by a node that cannot fence itself: %+v", l.Spec)
			}
		}
		n.c.mu.Lock()
		n.unarm = nil
		n.c.mu.Unlock()
		c.awaitHolder("", 5*time.Second)
	})
}

func TestReleaseLeavesAForeignRecordAlone(t *testing.T) {
	inBubble(t, func(c *cluster) {
		n := c.join("n1")
		c.awaitHolder("", 10*time.Second)
		// The watch does not deliver in time: a pause, then a release at once.
		n.client.SetFault(func(verb string) leasetest.Fault {
			return leasetest.Fault{Before: 50 * time.Millisecond}
		})
		c.server.Edit(func(l *coordinationv1.Lease) {
			thief, term := "thief", *l.Spec.LeaseTransitions+1
			l.Spec.HolderIdentity, l.Spec.LeaseTransitions = &thief, &term
		})
		if err := n.release(); err != nil {
			t.Error(err)
		}
		if got := *c.server.Lease().Spec.HolderIdentity; got != "thief" {
			t.Errorf("the release wrote over %q's record", "thief")
		}
	})
}

func TestReleaseReportsWhatItCouldNotWrite(t *testing.T) {
	inBubble(t, func(c *cluster) {
		n := c.join("n1")
		c.awaitHolder("", 10*time.Second)
		n.client.SetFault(func(string) leasetest.Fault { return leasetest.Fault{Before: time.Hour} })
		start := time.Now()
		if err := n.release(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Release = %v", err)
		}
		if took := time.Since(start); took > 950*time.Millisecond {
			t.Errorf("Release took %v over its deadline of 900ms", took)
		}
		n.crash()
		if err := n.release(); err == nil {
			t.Error("Release after Run ended must not claim success")
		}
		n.client.SetFault(nil)
		time.Sleep(2 * time.Hour)
	})
}

// Unexplained conflicts, one after the other: the store answers the holder, and the holder goes on.
func TestHolderOutlastsConflicts(t *testing.T) {
	inBubble(t, func(c *cluster) {
		n := c.join("n1")
		c.awaitHolder("", 10*time.Second)
		c.join("n2")
		time.Sleep(1500 * time.Millisecond)
		refusals := 8
		n.client.SetFault(func(verb string) leasetest.Fault {
			if verb != "update" || refusals == 0 {
				return leasetest.Fault{}
			}
			refusals--
			return leasetest.Fault{Refuse: apierrors.NewConflict(schema.GroupResource{Resource: "leases"}, "", nil)}
		})
		time.Sleep(10 * time.Second)
		if got := c.holder(); got != "n1" || refusals > 0 || n.latest().Term != 1 {
			t.Errorf("holder = %q in term %d, %d refusals left", got, n.latest().Term, refusals)
		}
	})
}

// A release may follow another release whose caller did not wait.
func TestReleaseAfterAnExpiredOne(t *testing.T) {
	inBubble(t, func(c *cluster) {
		n := c.join("n1")
		c.awaitHolder("", 10*time.Second)
		n.client.SetFault(func(string) leasetest.Fault { return leasetest.Fault{Refuse: errors.New("etcdserver: no leader")} })
		if err := n.release(); err == nil {
			t.Fatal("released without a store")
		}
		n.client.SetFault(nil)
		if err := n.release(); err != nil {
			t.Errorf("the next one, at once: %v", err)
		}
	})
}

// A holder that could not release the Lease, because etcd had no leader for a moment, releases it
// as soon as possible: the holder had a reason to give the Lease up, and the others then need not
// wait for the end of the lease.
func TestReleaseGoesOnWithoutItsCaller(t *testing.T) {
	inBubble(t, func(c *cluster) {
		n := c.join("n1")
		c.awaitHolder("", 10*time.Second)
		c.join("n2")
		time.Sleep(2 * time.Second)
		n.client.SetFault(func(string) leasetest.Fault { return leasetest.Fault{Refuse: errors.New("etcdserver: no leader")} })
		if err := n.release(); err == nil {
			t.Fatal("released without a store")
		}
		n.elector.SetCandidate(c.t.Context(), Candidate{Eligible: true, MAC: "mac-of-n1"})
		n.client.SetFault(nil)
		if s, took := c.awaitHolder("n1", time.Second); s.name != "n2" {
			t.Errorf("%s has it after %v", s.name, took)
		}
		time.Sleep(10 * time.Second)
		if got := c.holder(); got != "n2" {
			t.Errorf("holder = %q", got)
		}
	})
}

// There is no other candidate: this node claims again, as after every release.
func TestReleaseWithoutCallerAndSuccessor(t *testing.T) {
	inBubble(t, func(c *cluster) {
		n := c.join("n1")
		c.awaitHolder("", 10*time.Second)
		n.client.SetFault(func(string) leasetest.Fault { return leasetest.Fault{Refuse: errors.New("etcdserver: no leader")} })
		if err := n.release(); err == nil {
			t.Fatal("released without a store")
		}
		n.elector.SetCandidate(c.t.Context(), Candidate{Eligible: true, MAC: "mac-of-n1"})
		time.Sleep(time.Minute)
		n.client.SetFault(nil)
		c.awaitHolder("", 2*time.Second)
		if err := n.release(); err != nil {
			t.Errorf("the next release: %v", err)
		}
	})
}

func TestIneligibleNodeDoesNotCampaign(t *testing.T) {
	inBubble(t, func(c *cluster) {
		n := c.joinWith("n1", func(string) leasetest.Fault { return leasetest.Fault{Before: 10 * time.Millisecond} }) // join campaigns
		n.elector.SetCandidate(c.t.Context(), Candidate{MAC: "mac-of-n1"})
		time.Sleep(time.Minute)
		for _, l := range c.server.History() {
			if parse(l).holder != "" { // an empty Lease may have been made before
				t.Errorf("taken by a node that may not campaign: %+v", l.Spec)
			}
		}
	})
}

func TestStalledWatchIsNotASilentHolder(t *testing.T) {
	inBubble(t, func(c *cluster) {
		c.join("n1")
		c.awaitHolder("", 10*time.Second)
		n2 := c.joinWith("n2", func(verb string) leasetest.Fault {
			if verb == "watch" {
				return leasetest.Fault{After: time.Hour}
			}
			return leasetest.Fault{}
		})
		time.Sleep(time.Minute)
		if got := c.holder(); got != "n1" || n2.latest().Held {
			t.Errorf("holder = %q", got)
		}
		if n := n2.armCount(); n > 0 {
			t.Errorf("n2 tried %d times to take a lease that is renewed", n)
		}
	})
}

// TestLateReportOfADeletion: an API server whose cache is seconds behind reports an old deletion to
// the holder, and the holder of that time.
func TestLateReportOfADeletion(t *testing.T) {
	inBubble(t, func(c *cluster) {
		n2 := c.join("n2")
		c.awaitHolder("", 10*time.Second)
		n1 := c.joinWith("n1", func(verb string) leasetest.Fault {
			if verb == "watch" {
				return leasetest.Fault{Lag: func() time.Duration { return 6 * time.Second }}
			}
			return leasetest.Fault{Before: 5 * time.Millisecond}
		})
		time.Sleep(time.Second)
		c.server.Delete() // n2 repairs the Lease
		time.Sleep(time.Second)
		if err := n2.release(); err != nil {
			t.Fatal(err)
		}
		c.awaitHolder("n2", 10*time.Second)
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			if s := n1.latest(); !s.Held {
				t.Fatalf("n1 let go: %s", s.Why)
			}
		}
	})
}

// TestAlongsideClientGo is a rolling migration from kube-vip: electors of client-go on the same
// Lease, named after their nodes.
func TestAlongsideClientGo(t *testing.T) {
	inBubble(t, func(c *cluster) {
		first := c.clientGo("k1")
		time.Sleep(time.Second)
		n := c.join("n1")
		// Between two of its renewals, with one of which its release would conflict.
		time.Sleep(20*time.Second + 500*time.Millisecond)
		if got := *c.server.Lease().Spec.HolderIdentity; got != "k1" {
			t.Fatalf("holder = %q, want k1: it never stopped renewing", got)
		}
		first.stop() // releases, without a mark
		released := time.Now()
		<-first.done
		c.awaitHolder("", 5*time.Second)
		if d := time.Since(released); d < minWait || d > minWait+100*time.Millisecond {
			t.Errorf("taken %v after kube-vip's release, want %v", d, minWait)
		}
		second := c.clientGo("k2")
		time.Sleep(20 * time.Second)
		if got := c.holder(); got != "n1" {
			t.Fatalf("holder = %q, want n1", got)
		}
		if err := n.release(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		l := c.server.Lease()
		if got := *l.Spec.HolderIdentity; got != "k2" {
			t.Errorf("holder = %q, want k2 after vipd's release", got)
		}
		second.stop()
		<-second.done
	})
}

type clientGoElector struct {
	stop context.CancelFunc
	done chan struct{}
}

// clientGo starts client-go's own LeaderElector with kube-vip's timing.
func (c *cluster) clientGo(name string) clientGoElector {
	client := &leasetest.Client{Server: &c.server}
	le, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{LeaseMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: leaseName},
			Client: client, LockConfig: resourcelock.ResourceLockConfig{Identity: name}},
		LeaseDuration: 5 * time.Second, RenewDeadline: 3 * time.Second, RetryPeriod: time.Second, ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: func(context.Context) {}, OnStoppedLeading: func() {}},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(c.t.Context())
	e := clientGoElector{stop: cancel, done: make(chan struct{})}
	go func() { defer close(e.done); le.Run(ctx) }()
	return e
}

// TestNeverTwoUnderRandomFaults runs many clusters, each from a seed, in which
// requests are delayed, lost before and after their commit, and refused, and
// nodes crash, restart, release and have their Lease edited.
func TestNeverTwoUnderRandomFaults(t *testing.T) {
	seeds := 150
	if testing.Short() {
		seeds = 20
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inBubble(t, func(c *cluster) { c.torment(rand.New(rand.NewPCG(uint64(seed), 7))) })
		})
	}
}

func (c *cluster) torment(r *rand.Rand) {
	var mu sync.Mutex // guards r: faults are drawn from several goroutines
	draw := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return r.IntN(n)
	}
	fault := func(string) leasetest.Fault {
		f := leasetest.Fault{Before: time.Duration(draw(30)) * time.Millisecond, After: time.Duration(draw(30)) * time.Millisecond}
		switch draw(12) {
		case 0:
			f.Before = time.Duration(draw(4000)) * time.Millisecond
		case 1:
			f.After = time.Duration(draw(4000)) * time.Millisecond
		case 2:
			f.Lose = errors.New("connection reset")
		case 3:
			f.Refuse = errors.New("connection refused")
		}
		return f
	}
	nodes := make([]*node, 3+draw(3))
	start := func(i int) {
		nodes[i] = c.joinWith(fmt.Sprintf("n%d", i), fault)
		nodes[i].client.WallClock = func() time.Duration { return time.Duration(draw(7200)-3600) * time.Second }
	}
	if draw(2) == 0 {
		// Each node may be wrong about the other candidates at any time.
		c.most, c.alone = 30*time.Second, func() (bool, bool) { return draw(3) == 0, draw(4) > 0 }
	}
	for i := range nodes {
		start(i)
	}
	for range 25 {
		time.Sleep(time.Duration(draw(3000)) * time.Millisecond)
		i := draw(len(nodes))
		switch draw(8) {
		case 0:
			nodes[i].crash()
			start(i)
		case 1:
			_ = nodes[i].releaseFor([]string{"", "n0", "n1", "gone"}[draw(4)]) // may fail: the store has faults
			nodes[i].campaign()
		case 4:
			nodes[i].elector.Confirm(c.t.Context())
		case 5:
			nodes[i].elector.SetCandidate(c.t.Context(), Candidate{Eligible: draw(2) == 0, MAC: "mac-of-" + nodes[i].name,
				HoldBack: time.Duration(draw(2000)) * time.Millisecond, NotBefore: c.now().Add(time.Duration(draw(2000)) * time.Millisecond)})
		case 2:
			if c.server.Lease() != nil {
				c.server.Edit(func(l *coordinationv1.Lease) { l.Spec.HolderIdentity = nil })
			}
		case 3:
			if c.server.Lease() != nil {
				c.server.Delete()
				c.deleted = true
			}
		}
	}
	for _, n := range nodes {
		n.client.SetFault(nil)
		n.campaign()
	}
	c.awaitHolder("", 30*time.Second+2*c.most)
}

// TestCoordinatedLease: the fields of coordinated leader election (KEP-4355), which an API server or a
// person may write into the Lease, change nothing.
func TestCoordinatedLease(t *testing.T) {
	inBubble(t, func(c *cluster) {
		n1, _, _ := three(c)
		c.server.Edit(func(l *coordinationv1.Lease) {
			l.Spec.Strategy = new(coordinationv1.OldestEmulationVersion)
			l.Spec.PreferredHolder = new("n3")
		})
		time.Sleep(10 * time.Second)
		if s := n1.latest(); !s.Held || s.Term != 1 {
			t.Errorf("the holder: %+v", s)
		}
		if err := n1.releaseFor("n2"); err != nil {
			t.Error(err)
		}
		if n, _ := c.awaitHolder("n1", time.Second); n.name != "n2" {
			t.Errorf("%s holds after the release for n2", n.name)
		}
	})
}
