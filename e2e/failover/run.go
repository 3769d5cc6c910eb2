package failover

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/observe"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// moveTimeout bounds the wait for another holder: many times what a move takes.
const moveTimeout = 30 * time.Second

// run is one fault under observation.
type run struct {
	lab    *lab.Lab
	fault  Fault
	say    func(format string, args ...any)
	holder *lab.Node
	victim *lab.Node // of a fault that hits another node
	target *lab.Node // to which the VIP is to move, nil for any
	rec    *record.Recorder
	at     record.Time
	next   string
	rng    *rand.Rand
	undo   func() error // of what prepare did, for heal
	began  record.Time  // when prepare began what inject goes on with
	stuck  string       // what was waited for did not come
	end    record.Time
	gone   map[string]string // by node, what a fault gave it as another's and did not find again
	parts  []*run            // of a fault that is several: see Both
}

func newRun(l *lab.Lab, f Fault, say func(format string, args ...any)) *run {
	return &run{lab: l, fault: f, say: say, rng: newRand(f.Seed, 0), undo: func() error { return nil }}
}

func newRand(seed, stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, stream)) }

// Run brings the lab to rest, injects the fault, observes what happens, and
// heals. say is told of each step as it happens. The error is that the fault
// could not be tried or observed.
func Run(ctx context.Context, l *lab.Lab, f Fault, say func(format string, args ...any)) (Outcome, error) {
	e, err := newRun(l, f, say).run(ctx)
	var out Outcome
	if err == nil {
		out, err = outcome(e)
	}
	if err != nil {
		return out, fmt.Errorf("%s: %w", f.Name, err)
	}
	return out, nil
}

func (r *run) run(ctx context.Context) (e record.Episode, err error) {
	if r.holder, err = Ready(ctx, r.lab); err != nil {
		return e, err
	}
	observers, err := observe.ForLab(r.lab)
	if err != nil {
		return e, err
	}
	if e.Before, err = r.foreign(ctx); err != nil {
		return e, err
	}
	if err := r.prepare(ctx); err != nil {
		return e, errors.Join(err, r.heal(ctx))
	}
	if e.EtcdLeader, err = r.holder.LeadsEtcd(ctx); err != nil {
		return e, errors.Join(err, r.heal(ctx))
	}
	r.say("%s holds the VIP", r.holder.Name)
	e.History, err = observers.During(ctx, func(ctx context.Context, rec *record.Recorder) error {
		r.rec = rec
		if err := errors.Join(r.watched(ctx), r.heal(ctx)); err != nil {
			return err
		}
		return r.whole(ctx)
	})
	if err != nil {
		return e, err
	}
	e.After, err = r.foreign(ctx)
	for node, what := range r.gone {
		e.After[node] += "\n" + what
	}
	r.describe(&e)
	return e, err
}

// describe puts down what happened.
func (r *run) describe(e *record.Episode) {
	e.Promise, e.Stuck, e.At, e.End = r.fault.Promise, r.stuck, r.at, r.end
	e.Holder, e.Next = r.holder.Name, r.next
	if r.target != nil {
		e.Wanted = r.target.Name
	}
	e.Cluster = r.lab.Cluster()
	if r.fault.Stranger != nil {
		e.Cluster.Strangers = r.fault.Stranger(r.lab).MACs()
	}
}

// foreign is each node's state that is not vipd's.
func (r *run) foreign(ctx context.Context) (map[string]string, error) {
	all := make(map[string]string)
	for _, n := range r.lab.Nodes {
		state, err := n.Foreign(ctx)
		if err != nil {
			return nil, err
		}
		all[n.Name] = state
	}
	return all, nil
}

func (r *run) prepare(ctx context.Context) error {
	if r.fault.prepare == nil {
		return nil
	}
	if err := r.fault.prepare(ctx, r); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	return nil
}

func (r *run) inject(ctx context.Context) (err error) {
	if r.at, err = r.fault.inject(ctx, r); err != nil {
		return err
	}
	if len(r.parts) == 0 {
		r.rec.Mark(r.at, "%s on %s", r.fault.Title, r.holder.Name)
	}
	return nil
}

// goOn is what follows once the VIP has moved.
func (r *run) goOn(ctx context.Context) error {
	if r.fault.after == nil {
		return nil
	}
	return r.fault.after(ctx, r)
}

func (r *run) heal(ctx context.Context) error {
	if r.fault.heal == nil {
		return nil
	}
	if err := r.fault.heal(ctx, r); err != nil {
		return fmt.Errorf("heal: %w", err)
	}
	return nil
}

// whole waits until all is as it should be, and until the observers know: a
// version of the Lease may be delivered late.
func (r *run) whole(ctx context.Context) error {
	if _, err := Ready(ctx, r.lab); err != nil {
		return err
	}
	r.say("all is whole")
	return r.renewed(ctx)
}

// renewed waits until a write of the Lease is seen that was sent from now on.
func (r *run) renewed(ctx context.Context) error {
	now := record.Now()
	ctx, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	err := wait.Until(ctx, 10*time.Millisecond, func() (bool, error) { return r.rec.SawLeaseOf(now), nil })
	if err != nil {
		return fmt.Errorf("wait for a renewal to be seen: %w", err)
	}
	return nil
}

// watched is what happens while the observers watch.
func (r *run) watched(ctx context.Context) (err error) {
	if err := wait.For(ctx, 500*time.Millisecond); err != nil { // the calm before
		return err
	}
	r.say("%s: %s", r.holder.Name, r.fault.Title)
	if err := r.inject(ctx); err != nil {
		return err
	}
	if err := r.awaitEffect(ctx); err != nil {
		return err
	}
	if r.fault.after != nil {
		if err := wait.For(ctx, settle); err != nil {
			return err
		}
		if err := r.goOn(ctx); err != nil {
			return err
		}
	}
	if err := wait.For(ctx, settle); err != nil {
		return err
	}
	if !r.fault.Moves || r.stuck != "" {
		if r.next, err = r.keeper(ctx); err != nil {
			return err
		}
	}
	r.end = record.Now()
	return nil
}

// awaitEffect waits for the VIP to be elsewhere, if it is to move, or to be
// whole again, if it may be away for a while. To have waited in vain belongs to the outcome.
func (r *run) awaitEffect(ctx context.Context) (err error) {
	switch {
	case r.fault.Moves:
		var next *lab.Node
		if next, err = awaitMove(ctx, r.lab, r.holder); err == nil {
			r.next = next.Name
			r.say("%s has the VIP, %.2f s later", r.next, record.Now().Sub(r.at).Seconds())
		}
	case r.fault.Flickers || r.fault.MayMove:
		_, err = settled(ctx, r.lab)
	}
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		r.stuck = err.Error()
		return nil
	}
	return err
}

// other returns a node that is none of those given.
func (r *run) other(than ...*lab.Node) *lab.Node {
	for _, n := range r.lab.Nodes {
		if !slices.Contains(than, n) {
			return n
		}
	}
	return nil
}

// awaitMove waits until a node other than the holder has the address.
func awaitMove(ctx context.Context, l *lab.Lab, from *lab.Node) (next *lab.Node, err error) {
	ctx, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	err = wait.Until(ctx, 10*time.Millisecond, func() (bool, error) {
		have, err := l.Holders()
		for _, n := range have {
			if n != from {
				next = n
			}
		}
		return next != nil, err
	})
	if err != nil {
		return nil, fmt.Errorf("wait for another node than %s to have the VIP: %w", from.Name, err)
	}
	return next, nil
}

// untilMoved does something again and again until another node has the VIP. That
// none has it for so long belongs to the outcome.
func untilMoved(ctx context.Context, r *run, every time.Duration, do func() error) error {
	short, cancel := context.WithTimeout(ctx, moveTimeout/2)
	defer cancel()
	err := wait.Until(short, every, func() (bool, error) {
		if err := do(); err != nil {
			return false, err
		}
		who, err := whoHas(r.lab)
		return who != "" && who != r.holder.Name, err
	})
	return nothingElse(ctx, err)
}

// Ready waits until all nodes are whole, one of them has the VIP, and it is reachable
// there. It returns that node.
func Ready(ctx context.Context, l *lab.Lab) (*lab.Node, error) {
	if err := whole(ctx, l); err != nil {
		return nil, err
	}
	holder, err := settled(ctx, l)
	if err == nil {
		err = whole(ctx, l)
	}
	return holder, err
}

func whole(ctx context.Context, l *lab.Lab) error {
	for _, n := range l.Nodes {
		if err := n.Whole(ctx); err != nil {
			return err
		}
	}
	return nil
}

// settled waits until one node has the VIP by the Lease, too, and it is reachable
// there.
func settled(ctx context.Context, l *lab.Lab) (*lab.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	var holder *lab.Node
	err := wait.Until(ctx, 50*time.Millisecond, func() (bool, error) {
		have, err := l.Holders()
		if err != nil || len(have) != 1 {
			return false, err // none yet, or a leftover that is about to end
		}
		holder = have[0]
		who, err := holder.Holder(ctx)
		return err == nil && who == holder.Name && l.Reachable(ctx), nil
	})
	if err != nil {
		return nil, fmt.Errorf("wait for a holder: %w", err)
	}
	return holder, nil
}

// whoHas names the nodes that have the VIP: one, if all is well.
func whoHas(l *lab.Lab) (string, error) {
	have, err := l.Holders()
	var names []string
	for _, n := range have {
		names = append(names, n.Name)
	}
	return strings.Join(names, " and "), err
}

// keeper is whoHas once what a vipd that was killed left has gone; whether that takes too
// long, its history tells.
func (r *run) keeper(ctx context.Context) (names string, err error) {
	if !r.fault.Crippled {
		return whoHas(r.lab)
	}
	short, cancel := context.WithTimeout(ctx, goneTimeout)
	defer cancel()
	err = wait.Until(short, 50*time.Millisecond, func() (bool, error) {
		names, err = whoHas(r.lab)
		return !strings.Contains(names, " and "), err
	})
	return names, nothingElse(ctx, err)
}

// Start starts vipd on all nodes, with flags that win over the lab's.
func Start(l *lab.Lab, flags ...string) error {
	for _, n := range l.Nodes {
		if err := n.StartVipd(flags...); err != nil {
			return err
		}
	}
	return nil
}
