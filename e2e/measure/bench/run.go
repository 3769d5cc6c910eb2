package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/judge/analyse"
	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/observe"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

const (
	// steady is for how long the VIP has to be on one node before a fault: the others are ready to
	// take over by then.
	steady = time.Second
	// maxPeriod is the longest period of any contender's activity, keepalived's check. The fault
	// comes at a random time of it, and so also of an advertisement or a renewal.
	maxPeriod = 3 * time.Second
	// tail is how long to observe after the VIP has moved, and again after the fault's second part.
	tail = 2 * time.Second
	// settleTimeout bounds the wait for one holder.
	settleTimeout = 40 * time.Second
)

// try runs one fault with one contender.
func (b *bench) try(ctx context.Context, c Contender, f Fault, run int) (r Result, err error) {
	if err := b.startAll(c); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, b.stopAll(ctx)) }()
	if f.only != nil {
		r, err = b.runVipdFault(ctx, *f.only)
	} else {
		r, err = b.runShared(ctx, c, f, run)
	}
	r.Run, r.Fault, r.Contender = run, f.Name, c.Name
	return r, err
}

// runVipdFault runs one of vipd's own faults, which have rules.
func (b *bench) runVipdFault(ctx context.Context, f failover.Fault) (Result, error) {
	out, err := failover.Run(ctx, b.lab, f, func(string, ...any) {})
	if err != nil {
		return Result{}, err
	}
	if out.Unproven != "" {
		err = errors.New(out.Unproven)
	}
	return resultOf(out), err
}

// runShared runs a fault without rules.
func (b *bench) runShared(ctx context.Context, c Contender, f Fault, run int) (r Result, err error) {
	holder, err := b.settled(ctx)
	if err != nil {
		return r, err
	}
	observers, err := observe.Outside(b.lab)
	if err != nil {
		return r, err
	}
	e := record.Episode{Holder: holder.Name, Cluster: b.lab.Cluster()}
	e.Promise.Name = f.Name
	if e.EtcdLeader, err = holder.LeadsEtcd(ctx); err != nil {
		return r, err
	}
	if f.heal != nil {
		defer func() {
			// Also after the end of ctx: the node has to be repaired.
			err = errors.Join(err, f.heal(context.WithoutCancel(ctx), holder))
		}()
	}
	e.History, err = observers.During(ctx, func(ctx context.Context, _ *record.Recorder) error {
		return b.inject(ctx, f, holder, &e)
	})
	if err != nil {
		return r, err
	}
	if err := b.save(fmt.Sprintf("%s-%s-%02d.jsonl", f.Name, c.Name, run), e.History); err != nil {
		return r, err
	}
	return result(e), analyse.Enough(e.History, e.At, e.End)
}

// inject runs the fault while the observers record.
func (b *bench) inject(ctx context.Context, f Fault, holder *lab.Node, e *record.Episode) (err error) {
	if err := wait.For(ctx, 2*before+rand.N(maxPeriod)); err != nil {
		return err
	}
	if e.At, err = f.inject(holder, b.lab.Others(holder)); err != nil {
		return err
	}
	if f.lasts > 0 {
		err = wait.For(ctx, f.lasts)
		e.End = record.Now()
		return err
	}
	if e.Next, err = b.moved(ctx, holder); err != nil {
		return err
	}
	if err := wait.For(ctx, tail); err != nil {
		return err
	}
	if f.after != nil {
		if err := f.after(holder); err != nil {
			return err
		}
		if err := wait.For(ctx, tail); err != nil {
			return err
		}
	}
	e.End = record.Now()
	return nil
}

// startAll starts a contender on all nodes.
func (b *bench) startAll(c Contender) error {
	for _, n := range b.lab.Nodes {
		if err := c.start(n, placeOf(b.lab, n, c.Name)); err != nil {
			return fmt.Errorf("start %s on %s: %w", c.Name, n.Name, err)
		}
	}
	return nil
}

// stopAll ends the daemons, and removes what they left, so that all contenders start with the same
// nodes; also after the end of ctx.
func (b *bench) stopAll(ctx context.Context) error {
	var g errgroup.Group
	for _, n := range b.lab.Nodes {
		g.Go(func() error {
			if n.Vipd.Running() {
				_, resumed := n.Vipd.Resume() // a stopped process does not handle SIGTERM
				_, stopped := lab.StopNow(n.Vipd, stopGrace)
				if err := errors.Join(notRunning(resumed), notRunning(stopped)); err != nil {
					return fmt.Errorf("%s: %w", n.Name, err)
				}
			}
			return n.Forget()
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, n := range b.lab.Nodes {
		if err := n.WaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// settled waits until one node alone has had the VIP for a while and is reachable by it, and
// returns the node.
func (b *bench) settled(ctx context.Context) (*lab.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	var holder *lab.Node
	var since record.Time
	err := wait.Until(ctx, 50*time.Millisecond, func() (bool, error) {
		have, err := b.lab.Holders()
		if err = errors.Join(err, b.running()); err != nil {
			return false, err
		}
		if len(have) != 1 || have[0] != holder {
			holder, since = nil, record.Now()
			if len(have) == 1 {
				holder = have[0]
			}
			return false, nil
		}
		return record.Now().Sub(since) >= steady && b.lab.Reachable(ctx), nil
	})
	if err != nil {
		return nil, fmt.Errorf("wait for one node to have the VIP: %w", err)
	}
	return holder, nil
}

// running returns an error if a daemon does not run.
func (b *bench) running() error {
	for _, n := range b.lab.Nodes {
		if !n.Vipd.Running() {
			log, _ := os.ReadFile(n.Vipd.Log())
			return fmt.Errorf("the daemon on %s has ended:\n%s", n.Name, log[max(0, len(log)-1000):])
		}
	}
	return nil
}

// moved waits until another node has the VIP, and returns its name; "" if the wait ends before,
// which is a valid result.
func (b *bench) moved(ctx context.Context, from *lab.Node) (next string, err error) {
	short, cancel := context.WithTimeout(ctx, b.opts.Wait)
	defer cancel()
	err = wait.Until(short, 10*time.Millisecond, func() (bool, error) {
		have, err := b.lab.Holders()
		for _, n := range have {
			if n != from {
				next = n.Name
			}
		}
		return next != "", err
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return "", nil
	}
	return next, err
}

// save saves the records of a run, to examine outliers.
func (b *bench) save(name string, h record.History) error {
	if b.opts.Save == "" {
		return nil
	}
	if err := os.MkdirAll(b.opts.Save, 0o755); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(b.opts.Save, name))
	if err != nil {
		return err
	}
	return errors.Join(record.Write(f, h), f.Close())
}
