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

// moveTimeout bounds the wait for another holder: many times the duration of a move.
const moveTimeout = 30 * time.Second

// run is one fault under observation.
type run struct {
	lab    *lab.Lab
	fault  Fault
	say    func(format string, args ...any)
	holder *lab.Node
	victim *lab.Node // the node that the fault hits, if it is not the holder
	target *lab.Node // the node to which the VIP has to move, nil for any
	rec    *record.Recorder
	at     record.Time
	next   string
	rng    *rand.Rand
	undo   func() error // undoes what prepare did, for heal
	began  record.Time  // when prepare started what inject continues
	stuck  string       // the awaited event that did not occur
	end    record.Time
	gone   map[string]string // by node, foreign state that a fault added and did not find again
	parts  []*run            // the runs of a fault that consists of several, see Both
}

func newRun(l *lab.Lab, f Fault, say func(format string, args ...any)) *run {
	return &run{lab: l, fault: f, say: say, rng: newRand(f.Seed, 0), undo: func() error { return nil }}
}

func newRand(seed, stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, stream)) }

// Run waits until the lab is at rest, injects the fault, observes the effects, and repairs the
// damage. say reports each step. The error means that the fault could not be injected or observed.
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

// describe writes the facts of the run to the episode.
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

// foreign returns the state of other programs on each node.
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

// goOn runs the step that follows once the VIP has moved.
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

// whole waits until everything is healthy, and until the observers have recorded that: a version of
// the Lease may be delivered late.
func (r *run) whole(ctx context.Context) error {
	if _, err := Ready(ctx, r.lab); err != nil {
		return err
	}
	r.say("everything is healthy")
	return r.renewed(ctx)
}

// renewed waits until the observers have seen a write of the Lease that was sent from now on.
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

// watched runs while the observers watch.
func (r *run) watched(ctx context.Context) (err error) {
	if err := wait.For(ctx, 500*time.Millisecond); err != nil { // the time before the fault
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

// awaitEffect waits until the VIP has moved if it has to move, or is healthy again if it may
// flicker. If that does not happen, this is part of the outcome.
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

// other returns a node that is none of the given nodes.
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

// untilMoved repeats an operation until another node has the VIP. If no node takes the VIP in time,
// this is part of the outcome.
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

// Ready waits until all nodes are healthy, one of them has the VIP, and the VIP is reachable on
// that node. It returns that node.
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

// settled waits until one node has the VIP and the Lease, and the VIP is reachable.
func settled(ctx context.Context, l *lab.Lab) (*lab.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	var holder *lab.Node
	err := wait.Until(ctx, 50*time.Millisecond, func() (bool, error) {
		have, err := l.Holders()
		if err != nil || len(have) != 1 {
			return false, err // there is none yet, or an address that is about to expire
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

// whoHas returns the names of the nodes that have the VIP: one, in a healthy lab.
func whoHas(l *lab.Lab) (string, error) {
	have, err := l.Holders()
	var names []string
	for _, n := range have {
		names = append(names, n.Name)
	}
	return strings.Join(names, " and "), err
}

// keeper is whoHas after the address that a killed vipd left has gone. The history shows whether
// that took too long.
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

// Start starts vipd on all nodes; the given flags override those of the lab.
func Start(l *lab.Lab, flags ...string) error {
	for _, n := range l.Nodes {
		if err := n.StartVipd(flags...); err != nil {
			return err
		}
	}
	return nil
}
