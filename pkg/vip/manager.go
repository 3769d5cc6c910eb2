package vip

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// Network is this node's addresses and links.
type Network interface {
	// Look reads what is there now.
	Look() (Looked, error)
	// Put makes sure that the addresses are on the link, for valid.
	Put(l Link, valid time.Duration) error
	// Divert has what is sent to the addresses wait for the next holder, where
	// that can be had.
	Divert()
	// Remove takes the addresses away and confirms that they are gone.
	Remove() error
}

// Fence is what the kernel enforces when this process cannot.
type Fence interface {
	// Permit lets the addresses be answered for while the ticket lasts.
	Permit(ticket uint64) error
	// Forbid ends that at once.
	Forbid() error
	// Rest takes the fence away behind addresses that are gone.
	Rest() error
	// Intact tells whether the fence is as it was left.
	Intact() (bool, error)
	// Mend makes it so again, for no longer than was permitted.
	Mend() error
}

// Announcer tells the network where the addresses are.
type Announcer interface {
	Announce(l Link)
	// Silence returns when no announcement will be sent any more.
	Silence()
	// Defend announces once more what is announced.
	Defend()
	// Probe asks whether a machine has the addresses.
	Probe(l Link)
}

// Election hands out the grants that Manager.Granted is told of.
type Election interface {
	Campaign(ctx context.Context, c Campaign)
	// GiveBack returns the grant, for the successor before all others. No grant
	// is handed out after it was called, until Campaign asks for one.
	GiveBack(ctx context.Context, successor string) error
	// Confirm asks whether the grant is ours; the answer comes as Granted.
	Confirm(ctx context.Context)
	// Refuse tells who asked for a move why there is none.
	Refuse(ctx context.Context, why string)
}

// Options configure a Manager.
type Options struct {
	Node      string
	Network   Network
	Fence     Fence
	Announcer Announcer
	Election  Election
	// Slack is how much earlier than the deadline the addresses' own lifetime
	// has to end: 0 beside a fence, else what the kernel may take to remove them.
	Slack time.Duration
	Log   *zap.Logger
	// Now is the clock; nil is CLOCK_BOOTTIME.
	Now boottime.Clock
	// Tell, if set, is told what the Manager did and where it stands, after each
	// event. It must not block.
	Tell func(News)
	// Alarm, if set, sees to it that Wake is called at the instant also if the
	// machine was suspended past it.
	Alarm func(boottime.Instant) error
}

// Budgets of an orderly end, together under a second.
const (
	withdrawBudget = 250 * time.Millisecond
	giveBackBudget = 650 * time.Millisecond
)

// ErrNotWithdrawn means that the process ends and the addresses may still be on
// this node. The grant was not given back; fence and lifetime end them.
var ErrNotWithdrawn = errors.New("the address could not be taken away")

// Manager carries out what step decides. One goroutine, Run's, owns the state;
// everybody else only says that there is something to look at.
type Manager struct {
	opts Options
	log  *zap.Logger
	now  boottime.Clock

	wakeUp  chan struct{}           // one slot
	grant   atomic.Pointer[Grant]   // newest, nil once taken
	serving atomic.Pointer[Serving] // the same
	asked   atomic.Pointer[Asked]   // the same
	heard   atomic.Pointer[Heard]   // the first since the last was taken
	look    atomic.Bool             // look at the kernel's state again
	until   atomic.Int64            // what Mine goes by
	turns   atomic.Uint64           // of Run

	state     State
	campaign  *Campaign // last told
	lookError string    // last logged
	deeds     []Deed    // not told yet
}

// New returns a manager; nothing happens before Run.
func New(opts Options) *Manager {
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	if opts.Now == nil {
		opts.Now = boottime.Now
	}
	return &Manager{opts: opts, log: opts.Log, now: opts.Now, wakeUp: make(chan struct{}, 1), state: State{Node: opts.Node}}
}

// Granted tells of a new standing in the election. It does not block; only the
// newest counts.
func (m *Manager) Granted(g Grant) {
	m.grant.Store(&g)
	m.nudge()
}

// Serves tells how the servers behind the addresses do. It does not block; only
// the newest counts.
func (m *Manager) Serves(v Serving) {
	m.serving.Store(&v)
	m.nudge()
}

// MoveTo tells of a person's wish. It does not block; only the newest counts.
func (m *Manager) MoveTo(node string) {
	m.asked.Store(&Asked{To: node})
	m.nudge()
}

// Claimed tells that another machine claims the addresses. It does not block.
func (m *Manager) Claimed(mac string) {
	m.heard.CompareAndSwap(nil, &Heard{MAC: mac, At: m.now()})
	m.nudge()
}

// Wake has the Manager look at the time. It does not block.
func (m *Manager) Wake() { m.nudge() }

// Changed tells that links, addresses or the fence may have changed. It does not block.
func (m *Manager) Changed() {
	m.look.Store(true)
	m.nudge()
}

func (m *Manager) nudge() {
	select {
	case m.wakeUp <- struct{}{}:
	default:
	}
}

// Mine tells whether this node holds the addresses at this moment, with enough
// time left to say so. It is safe to call from any goroutine.
func (m *Manager) Mine() bool {
	const enough = 100 * time.Millisecond
	return m.now().Add(enough) < boottime.Instant(m.until.Load())
}

// Turns counts Run's turns: after a Wake, one more is not far if it is well.
func (m *Manager) Turns() uint64 { return m.turns.Load() }

// Run serves until ctx ends, and then withdraws, confirms, and gives the grant
// back, in this order. The Election must go on running until Run has returned.
func (m *Manager) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	stop := ctx.Done()
	ctx, cancel := outlive(ctx, withdrawBudget+giveBackBudget)
	defer cancel()
	var stopBy boottime.Instant
	m.observe(ctx) // before a wish to end: an earlier process may have left something here
	for {
		select {
		case <-stop:
			stop, stopBy = nil, m.now().Add(withdrawBudget)
			m.handle(ctx, Stop{})
		case <-m.wakeUp:
		case <-timer.C:
			m.look.Store(true)
		}
		m.turns.Add(1)
		m.handle(ctx, Tick{}) // the deadline before anything else
		m.takeNews(ctx)
		if m.look.Swap(false) {
			m.observe(ctx)
		}
		if m.state.Done {
			return nil
		}
		now := m.now()
		if stopBy != 0 && now >= stopBy {
			return ErrNotWithdrawn
		}
		at := wake(m.state, now)
		timer.Reset(at.Sub(now))
		m.setAlarm(at)
	}
}

// outlive returns a context that ends d after ctx: what is under way when the wish
// to end comes, and what follows, have this long together.
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
		m.log.Warn("no alarm: should this machine be suspended, it may answer for a second too long", zap.Error(err))
		m.opts.Alarm = nil
	}
}

// takeNews handles what others told of since the last time. Claims come first: a
// grant that was confirmed after one was heard is an answer to it.
func (m *Manager) takeNews(ctx context.Context) {
	if h := m.heard.Swap(nil); h != nil {
		m.handle(ctx, *h)
	}
	if g := m.grant.Swap(nil); g != nil {
		m.handle(ctx, Granted{*g})
	}
	if v := m.serving.Swap(nil); v != nil {
		m.handle(ctx, *v)
	}
	if a := m.asked.Swap(nil); a != nil {
		m.handle(ctx, *a)
	}
}

// observe looks at the kernel's state. What could not be looked at is not taken
// for absent: the state stays as it was.
func (m *Manager) observe(ctx context.Context) {
	seen, err := m.opts.Network.Look()
	seen.Unfenced = m.unfenced()
	text := ""
	if err != nil {
		text = err.Error()
	}
	switch {
	case text == m.lookError:
	case err == nil:
		m.log.Info("interface usable", zap.String("mac", seen.Link.MAC), zap.Bool("up", seen.Link.Up))
	case errors.Is(err, ErrNoLink):
		m.log.Warn("waiting for a usable interface", zap.Error(err))
	default:
		m.log.Warn("could not look at interfaces and addresses, going on from what was seen last", zap.Error(err))
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
	intact, err := m.opts.Fence.Intact()
	if err != nil {
		m.log.Warn("could not look at the fence", zap.Error(err))
	}
	return err == nil && !intact
}

// ErrNoLink is what a Network's Look returns, beside what it saw otherwise, when
// there is no fitting interface.
var ErrNoLink = errors.New("no usable interface")

// handle runs one event through step, its actions, and what comes of them.
func (m *Manager) handle(ctx context.Context, e Event) {
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
		m.report(before) // behind what is urgent
		m.news()
	}
}

// do carries out one action and returns its outcome, if step wants to know it.
func (m *Manager) do(ctx context.Context, a Action) Event {
	switch a := a.(type) {
	case Raise:
		return m.raise(a)
	case Withdraw:
		return Withdrawn{Err: m.withdraw(a.Gently)}
	case GiveBack:
		ctx, cancel := context.WithTimeout(ctx, giveBackBudget)
		defer cancel()
		if err := m.opts.Election.GiveBack(ctx, a.Successor); err != nil {
			m.log.Warn("lease not released in time; tried on while vipd runs, else it runs out by itself", zap.Error(err))
		} else {
			m.did(Released, "")
		}
		m.rest()
	case Confirm:
		m.bounded(ctx, m.opts.Election.Confirm)
	case Refuse:
		m.log.Warn("not moving the VIP", zap.String("reason", a.Why))
		m.did(Refused, a.Why)
		m.bounded(ctx, func(ctx context.Context) { m.opts.Election.Refuse(ctx, a.Why) })
	case Probe:
		m.opts.Announcer.Probe(a.Link)
	case Defend:
		m.opts.Announcer.Defend()
		m.did(Defended, a.MAC)
		m.log.Warn("another machine claims the VIP, which is ours by the lease: announced again; find that machine and take the address away there",
			zap.String("mac", a.MAC), zap.Int("claims", m.state.Rival.Claims))
	case Campaign:
		if m.campaign == nil || *m.campaign != a {
			m.campaign = &a
			m.bounded(ctx, func(ctx context.Context) { m.opts.Election.Campaign(ctx, a) })
		}
	}
	return nil
}

// bounded tells the election something: one that does not listen has ended, and
// must not keep us.
func (m *Manager) bounded(ctx context.Context, tell func(context.Context)) {
	ctx, cancel := context.WithTimeout(ctx, giveBackBudget)
	defer cancel()
	tell(ctx)
}

// raise opens the fence, puts the addresses up and announces them, in this order.
func (m *Manager) raise(a Raise) Event {
	out := Raised{Refresh: !a.Announce}
	if a.Mend {
		m.mend()
	}
	if out.Err = m.opts.Fence.Permit(a.Grant.Ticket); out.Err != nil {
		return out
	}
	if a.Announce {
		m.did(Opened, "")
	}
	valid := a.Grant.Until.Sub(m.now()) - m.opts.Slack
	if m.opts.Slack > 0 {
		valid = valid.Truncate(time.Second) // the kernel counts whole ones
	}
	switch {
	case valid > 0:
		out.Err = m.opts.Network.Put(a.Link, valid)
	case a.Announce:
		out.Err = fmt.Errorf("too little of the lease is left: %s", valid)
	}
	if out.Err != nil {
		return out
	}
	m.until.Store(int64(a.Grant.Until))
	if a.Announce {
		m.did(Added, "")
		m.opts.Announcer.Announce(a.Link)
		m.did(Announced, "")
	}
	switch {
	case a.Repair != "":
		m.did(Repaired, a.Repair)
		m.log.Warn("the VIP was put right", zap.String("reason", a.Repair), zap.Int("repairs", m.state.Fight.Repairs))
	case a.Announce:
		m.log.Info("holding the VIP", zap.String("reason", m.state.Cause), zap.Int("term", a.Grant.Term),
			zap.String("mac", a.Link.MAC), zap.Duration("deadline_in", a.Grant.Until.Sub(m.now())))
	}
	return out
}

// mend puts the fence right, where it needs to be. One that cannot be is armed
// anew by the next renewal.
func (m *Manager) mend() {
	if err := m.opts.Fence.Mend(); err != nil {
		m.log.Error("the fence could not be put right; the address's lifetime and this process still end it in time", zap.Error(err))
	}
}

// withdraw falls silent, closes the fence, takes the addresses away and confirms
// it. Each step is done whatever came of the one before.
func (m *Manager) withdraw(gently bool) error {
	m.until.Store(0)
	m.opts.Announcer.Silence()
	m.did(Silenced, "")
	if gently {
		m.opts.Network.Divert() // before the fence drops what clients send
	}
	forbidden := m.opts.Fence.Forbid()
	if forbidden == nil {
		m.did(Closed, "")
	}
	if !gently {
		m.opts.Network.Divert()
	}
	removed := m.opts.Network.Remove()
	if err := errors.Join(forbidden, removed); err != nil {
		m.log.Error("the VIP could not be withdrawn, trying again", zap.Error(err))
	}
	if removed != nil {
		return removed
	}
	m.did(Removed, "")
	return nil // a fence that cannot be closed has nothing left to keep back
}

// rest takes the fence away behind addresses that are gone. It is out of the
// way of the hand-over; a fence that stays rests by itself.
func (m *Manager) rest() {
	if err := m.opts.Fence.Rest(); err != nil {
		m.log.Warn("fence not taken away, it ends by itself", zap.Error(err))
	}
}
