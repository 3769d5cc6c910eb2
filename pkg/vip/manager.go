package vip

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// Network is the addresses and links of this node.
type Network interface {
	// Look reads the present state.
	Look() (Observation, error)
	// Put makes sure that all addresses are in their places, with the lifetime valid.
	Put(p Places, valid time.Duration) error
	// Divert makes packets to the addresses wait for the next holder, where the kernel can do that.
	// After nil, the kernel takes no packet for the addresses and answers no ARP for them, until
	// Put.
	Divert() error
	// Remove removes the addresses, and confirms that they are gone.
	Remove() error
}

// Fence is the part of the kernel that ends a grant when this process cannot.
type Fence interface {
	// Permit lets the node answer for the addresses until the end of the ticket.
	Permit(ticket uint64) error
	// Forbid ends the permission at once.
	Forbid() error
	// Clear removes the fence after the addresses are gone.
	Clear() error
	// Intact tells whether the fence is as this process left it.
	Intact() (bool, error)
	// Repair restores the fence, for no longer than was permitted.
	Repair() error
}

// Announcer tells the network where the addresses are.
type Announcer interface {
	Announce(p Places)
	// Silence returns when no further announcement will be sent.
	Silence()
	// Defend sends one more announcement of the announced addresses.
	Defend()
	// Probe asks the network whether another machine has the addresses.
	Probe(p Places)
	// Inquire finds out whether the machine that answered has the addresses, and passes the outcome
	// to Manager.Inquired. Inquire does not block.
	Inquire(p Places)
}

// Election makes the grants that are passed to Manager.Granted.
type Election interface {
	Campaign(ctx context.Context, c Campaign)
	// GiveBack returns the grant; the successor goes before all other candidates. After GiveBack
	// was called, there is no grant until Campaign asks for one.
	GiveBack(ctx context.Context, a GiveBack) error
	// Confirm asks whether this node still has the grant; the answer is a Granted.
	Confirm(ctx context.Context)
	// Refuse answers a request to move with the reason why the VIP does not move.
	Refuse(ctx context.Context, why string)
	// Offer offers the grant to all candidates. The first acceptance is passed to Manager.Accepted.
	Offer(ctx context.Context)
}

// Options configures a Manager.
type Options struct {
	Node string
	// Longest is how long an unobserved holder may go on.
	Longest   time.Duration
	Network   Network
	Fence     Fence
	Announcer Announcer
	Election  Election
	// Slack is how long before the deadline the lifetime of the addresses has to end: 0 with a
	// fence, else the time that the kernel may take to remove them.
	Slack time.Duration
	Log   *zap.Logger
	// Now is the clock; nil is CLOCK_BOOTTIME.
	Now boottime.Clock
	// Observe, if set, is called after each event with what the Manager did and its state. Observe
	// must not block.
	Observe func(Report)
	// Alarm, if set, makes sure that Wake is called at the instant, also if the machine was
	// suspended past the instant.
	Alarm func(boottime.Instant) error
}

// Time limits of an orderly end, together less than a second.
const (
	withdrawBudget = 250 * time.Millisecond
	giveBackBudget = 650 * time.Millisecond
)

// lookInterval is the maximum time between two reads of the kernel's state: events may be lost.
const lookInterval = time.Second

// downLookInterval is the same for a holder whose link is down, before it hands the addresses over:
// a route that comes back is not reported.
const downLookInterval = linkDownTimeout / 5

// ErrNotWithdrawn means that the process ends while the addresses may still be on this node. The
// grant was not given back; the fence and the lifetime of the addresses end the holding.
var ErrNotWithdrawn = errors.New("the address was not removed")

// Manager carries out the actions that step decides. Run's goroutine owns the state; all other
// goroutines store an input and wake Run.
type Manager struct {
	opts Options
	log  *zap.Logger
	now  boottime.Clock

	fence, network callQueue // for all calls to the fence and to the network
	// Contexts of these calls once the process stops; made by Run.
	calls, withdrawal context.Context

	wakeUp     chan struct{}                      // one slot
	grant      atomic.Pointer[Grant]              // newest, nil once taken
	serving    atomic.Pointer[Serving]            // newest, nil once taken
	asked      atomic.Pointer[MoveRequest]        // newest, nil once taken
	unreached  atomic.Pointer[Unreached]          // newest of another node, nil once taken
	reporting  atomic.Bool                        // this node reported another holder
	heard      atomic.Pointer[ForeignClaim]       // since the last one was taken, see Claimed
	inquiry    atomic.Pointer[Inquired]           // newest, nil once taken
	accepted   atomic.Pointer[Accepted]           // newest, nil once taken
	ending     atomic.Bool                        // End was called, false once taken
	cancelWait atomic.Pointer[context.CancelFunc] // ends the wait for a call, nil without a wait
	look       atomic.Bool                        // read the kernel's state again
	until      atomic.Int64                       // deadline for Holds
	turns      atomic.Uint64                      // iterations of Run

	state      State
	campaign   *Campaign   // last sent
	lookError  string      // last logged
	operations []Operation // not published yet
}

// New returns a Manager, which does nothing before Run.
func New(opts Options) *Manager {
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	if opts.Now == nil {
		opts.Now = boottime.Now
	}
	return &Manager{opts: opts, log: opts.Log, now: opts.Now, fence: newCallQueue(), network: newCallQueue(),
		wakeUp: make(chan struct{}, 1), state: State{Node: opts.Node, Longest: opts.Longest}}
}

// Granted passes the newest state of the election. Granted does not block; only the newest grant
// counts.
func (m *Manager) Granted(g Grant) {
	m.grant.Store(&g)
	if m.shortens(g) {
		m.shortenWait()
	}
	m.wakeRun()
}

// shortens tells whether the grant ends earlier than the deadline so far.
func (m *Manager) shortens(g Grant) bool {
	return !g.Held || g.Until < boottime.Instant(m.until.Load())
}

// Serves passes the state of the servers behind the addresses. Serves does not block; only the
// newest state counts.
func (m *Manager) Serves(v Serving) {
	m.serving.Store(&v)
	m.wakeRun()
}

// MoveTo passes a request to move. MoveTo does not block; only the newest request counts.
func (m *Manager) MoveTo(node string) {
	m.asked.Store(&MoveRequest{To: node})
	m.wakeRun()
}

// Unreached passes a report, of another node or of this one about another holder. Unreached does not
// block; only the newest report of another node counts.
func (m *Manager) Unreached(by string) {
	if by == m.opts.Node {
		m.reporting.Store(true)
	} else {
		m.unreached.Store(&Unreached{By: by})
	}
	m.wakeRun()
}

// Claimed reports that another machine claims the addresses; answers is as in ForeignClaim. Claimed
// does not block. Of several claims that Run has not taken, the first one counts, and as more than an
// answer if one of them is.
func (m *Manager) Claimed(mac string, answers bool) {
	c := &ForeignClaim{MAC: mac, At: m.now(), Answers: answers}
	for !m.heard.CompareAndSwap(nil, c) {
		before := m.heard.Load()
		if before == nil {
			continue
		}
		if answers || !before.Answers || m.heard.CompareAndSwap(before, &ForeignClaim{MAC: mac, At: before.At}) {
			break
		}
	}
	m.wakeRun()
}

// Inquired passes the outcome of Inquire. Inquired does not block.
func (m *Manager) Inquired(proxy bool) {
	m.inquiry.Store(&Inquired{Proxy: proxy})
	m.wakeRun()
}

// Wake makes Run look at the time. Wake does not block.
func (m *Manager) Wake() { m.wakeRun() }

// Changed reports that links, addresses or the fence may have changed. Changed does not block.
func (m *Manager) Changed() {
	m.look.Store(true)
	m.wakeRun()
}

func (m *Manager) wakeRun() {
	select {
	case m.wakeUp <- struct{}{}:
	default:
	}
}

// Holds tells whether this node holds the addresses now, with at least 100 ms left before the
// deadline. Any goroutine may call Holds.
func (m *Manager) Holds() bool {
	const enough = 100 * time.Millisecond
	until := boottime.Instant(m.until.Load())
	if g := m.grant.Load(); g != nil {
		until = min(until, g.Until) // Run may be in a call
	}
	return m.now().Add(enough) < until
}

// Turns counts the iterations of Run: after a Wake, a healthy Run makes one more soon.
func (m *Manager) Turns() uint64 { return m.turns.Load() }

// Run runs until ctx ends, or after End until another node can take the addresses over. Run then
// withdraws the addresses, confirms that they are gone, and gives the grant back, in this order. The
// Election must run until Run has returned.
func (m *Manager) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	wish, endWish := context.WithCancel(ctx)
	defer endWish()
	stop := wish.Done()
	calls, endCalls := outlive(wish, endTimeout)
	defer endCalls()
	withdrawal, endWithdrawal := outlive(wish, withdrawTimeout)
	defer endWithdrawal()
	m.calls, m.withdrawal = calls, withdrawal
	ctx, cancel := outlive(wish, withdrawBudget+giveBackBudget)
	defer cancel()
	var stopBy boottime.Instant
	m.observe(ctx) // before Stop: an earlier process may have left addresses here
	looked := m.now()
	for {
		select {
		case <-stop:
		case <-m.wakeUp:
		case <-timer.C:
			m.look.Store(true)
		}
		if stop != nil && wish.Err() != nil {
			stop, stopBy = nil, m.now().Add(withdrawBudget)
			m.handle(ctx, Stop{})
		}
		m.turns.Add(1)
		m.handle(ctx, Tick{}) // the deadline before anything else
		m.takeInputs(ctx)
		if m.ending.Swap(false) {
			m.end(ctx)
		}
		if m.state.Stopping && stop != nil {
			endWish() // the end has a time of its own, whatever began it
			stop, stopBy = nil, m.now().Add(withdrawBudget)
		}
		if m.look.Swap(false) || m.now().Sub(looked) >= m.state.lookInterval() {
			m.observe(ctx)
			looked = m.now()
		}
		if m.state.Done {
			return nil
		}
		now := m.now()
		if stopBy != 0 && (now >= stopBy || withdrawal.Err() != nil) {
			return ErrNotWithdrawn
		}
		at := min(nextWake(m.state, now), max(now+1, looked.Add(m.state.lookInterval()))) // inputs that come more often delay no look
		timer.Reset(at.Sub(now))
		m.setAlarm(at)
	}
}

// lookInterval is the maximum time between two looks in this state.
func (s State) lookInterval() time.Duration {
	if s.Phase == Holding && s.DownSince != 0 {
		return downLookInterval
	}
	return lookInterval
}

// prolonged tells whether the deadline of the present grant has passed while a newer, valid grant
// waits to be taken.
func (m *Manager) prolonged() bool {
	g, now := m.grant.Load(), m.now()
	return m.state.Phase == Holding && now >= m.state.Grant.Until && g != nil && g.Held && now < g.Until
}

// outlive returns a context that ends d after ctx: calls in flight at the end of ctx, and the calls
// that follow, have this time together.
func outlive(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(d, cancel) })
	return longer, func() { stop(); cancel() }
}

func (m *Manager) setAlarm(at boottime.Instant) {
	if m.opts.Alarm == nil {
		return
	}
	if err := m.opts.Alarm(at); err != nil {
		m.log.Warn("suspend alarm not set", zap.Error(err),
			zap.String("consequence", "after a suspend, this node may answer for the VIP for up to a second too long"))
		m.opts.Alarm = nil
	}
}

// takeInputs handles the inputs since the last time. Claims come first: a grant that was confirmed
// after a claim was heard is an answer to that claim.
func (m *Manager) takeInputs(ctx context.Context) {
	if h := m.heard.Swap(nil); h != nil {
		m.handle(ctx, *h)
	}
	if i := m.inquiry.Swap(nil); i != nil {
		m.handle(ctx, *i)
	}
	m.takeGrant(ctx)
	if v := m.serving.Swap(nil); v != nil {
		m.handle(ctx, *v)
	}
	if a := m.asked.Swap(nil); a != nil {
		m.handle(ctx, *a)
	}
	if m.reporting.Swap(false) {
		m.handle(ctx, Unreached{By: m.opts.Node})
	}
	if u := m.unreached.Swap(nil); u != nil {
		m.handle(ctx, *u)
	}
	if a := m.accepted.Swap(nil); a != nil {
		m.handle(ctx, *a)
	}
}

func (m *Manager) takeGrant(ctx context.Context) {
	if g := m.grant.Swap(nil); g != nil {
		m.until.Store(min(m.until.Load(), int64(g.Until))) // at once; raise extends the deadline
		m.handle(ctx, Granted{*g})
	}
}

// observe reads the kernel's state. An error does not mean absent: the state stays as it was.
func (m *Manager) observe(ctx context.Context) {
	seen, err := boundedCall(m, m.network, m.opts.Network.Look)
	seen.Unfenced = m.unfenced() //nolint:contextcheck // a call has a time of its own, see boundedCall and withdraw
	text := ""
	if err != nil {
		text = err.Error()
	}
	switch {
	case text == m.lookError:
	case err == nil:
		m.log.Info("interface usable", zap.String("mac", seen.Places.First().MAC), zap.Bool("up", seen.Places.Up()))
	case errors.Is(err, ErrNoLink):
		m.log.Warn("waiting for a usable interface", zap.Error(err))
	default:
		m.log.Warn("interfaces and addresses not read, using the last known state", zap.Error(err))
	}
	m.lookError = text
	if err == nil || errors.Is(err, ErrNoLink) {
		m.handle(ctx, seen)
	}
}

// unfenced tells whether a holder's fence is known to be damaged.
func (m *Manager) unfenced() bool {
	if m.state.Phase != Holding {
		return false
	}
	intact, err := boundedCall(m, m.fence, m.opts.Fence.Intact)
	if err != nil {
		m.log.Warn("fence not read", zap.Error(err))
	}
	return err == nil && !intact
}

// ErrNoLink is returned by Network.Look, together with the rest of the state, when no interface
// fits.
var ErrNoLink = errors.New("no usable interface")

// handle runs an event through step, carries the actions out, and handles their outcomes. If a
// newer grant has extended the deadline meanwhile, that grant is taken first.
func (m *Manager) handle(ctx context.Context, e Event) {
	if _, is := e.(Granted); !is && m.prolonged() {
		m.takeGrant(ctx)
	}
	for e != nil {
		before := m.state
		var actions []Action
		m.state, actions = step(m.state, m.now(), e)
		e = nil
		for _, a := range actions {
			if outcome := m.do(ctx, a); outcome != nil {
				e = outcome
			}
		}
		m.report(before) // last: what is urgent goes first
		m.publish()
	}
}

// do carries out an action, and returns the outcome if step needs it.
func (m *Manager) do(ctx context.Context, a Action) Event {
	switch a := a.(type) {
	case Raise:
		return m.raise(a) //nolint:contextcheck // a call has a time of its own, see boundedCall and withdraw
	case Extend:
		return Extended{Err: m.extend(a.Grant)} //nolint:contextcheck // a call has a time of its own, see boundedCall and withdraw
	case Refresh:
		return m.refresh(a) //nolint:contextcheck // a call has a time of its own, see boundedCall and withdraw
	case Withdraw:
		return m.withdraw(a.Gently) //nolint:contextcheck // a call has a time of its own, see boundedCall and withdraw
	case GiveBack:
		return m.giveBack(ctx, a)
	case Confirm:
		m.withElection(ctx, m.opts.Election.Confirm)
	case Refuse:
		m.log.Warn("move refused", zap.String("reason", a.Why))
		m.record(Refused, a.Why)
		m.withElection(ctx, func(ctx context.Context) { m.opts.Election.Refuse(ctx, a.Why) })
	case Offer:
		m.withElection(ctx, m.opts.Election.Offer)
	case Probe:
		m.opts.Announcer.Probe(a.Places)
	case Inquire:
		m.opts.Announcer.Inquire(a.Places)
	case Defend:
		m.opts.Announcer.Defend()
		m.record(Defended, a.MAC)
		m.log.Warn("another machine claims the VIP, announced again", zap.String("mac", a.MAC),
			zap.Int("claims", m.state.Rival.Claims), zap.String("remedy", removeThere))
	case Campaign:
		if m.campaign == nil || *m.campaign != a {
			m.campaign = &a
			m.withElection(ctx, func(ctx context.Context) { m.opts.Election.Campaign(ctx, a) })
		}
	}
	return nil
}

// withElection calls the election with a timeout: an election that has ended does not answer, and
// must not block the Manager.
func (m *Manager) withElection(ctx context.Context, tell func(context.Context)) {
	ctx, cancel := context.WithTimeout(ctx, giveBackBudget)
	defer cancel()
	tell(ctx)
}

// repairFence repairs the fence where needed. If the repair fails, the next renewal makes the fence anew.
func (m *Manager) repairFence() {
	if err := m.boundedRun(m.fence, m.opts.Fence.Repair); err != nil {
		m.log.Error("fence not repaired", zap.Error(err),
			zap.String("consequence", "the address's lifetime and this process end the holding in time"))
	}
}

// clearFence removes the fence after the addresses are gone. The removal is not part of the hand-over; a
// fence that stays ends by itself.
func (m *Manager) clearFence() {
	if err := m.boundedRun(m.fence, m.opts.Fence.Clear); err != nil {
		m.log.Warn("fence not removed", zap.Error(err), zap.String("consequence", "the fence ends by itself"))
	}
}
