package kubeadm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/observe"
	"github.com/vipd-io/vipd/e2e/record"
	"github.com/vipd-io/vipd/e2e/wait"
)

const (
	// calm is what is watched before a fault, settle after it has come to what it
	// came to: long enough to see a second node answer, and for kubelet, which starts
	// pods meanwhile, not to take the processors for most of it.
	calm   = 500 * time.Millisecond
	settle = 4 * time.Second
	// moveTimeout bounds the wait for another holder.
	moveTimeout = 30 * time.Second
	// wholeTimeout bounds the wait for all pods to be ready after that.
	wholeTimeout = 2 * time.Minute
)

// A trial is a fault under observation.
type trial struct {
	cluster *Cluster
	fault   Fault
	holder  *Node
	rec     *record.Recorder
	episode record.Episode
}

// Try brings the cluster to rest, does something to the node that has the VIP,
// observes what happens, and heals.
func (c *Cluster) Try(ctx context.Context, f Fault) (record.Episode, error) {
	t := &trial{cluster: c, fault: f}
	if err := t.run(ctx); err != nil {
		return t.episode, fmt.Errorf("%s: %w", f.Name, err)
	}
	return t.episode, nil
}

func (t *trial) run(ctx context.Context) (err error) {
	c := t.cluster
	if t.holder, err = c.Ready(ctx); err != nil {
		return err
	}
	observers, err := observe.ForLab(c.Lab)
	if err != nil {
		return err
	}
	e := &t.episode
	e.Promise, e.Holder = t.fault.Promise, t.holder.Name
	if e.EtcdLeader, err = t.holder.Lab.LeadsEtcd(ctx); err != nil {
		return err
	}
	e.History, err = observers.During(ctx, func(ctx context.Context, rec *record.Recorder) error {
		t.rec = rec
		return t.watched(ctx)
	})
	e.Cluster = c.Lab.Cluster()
	return err
}

// watched is what happens while the observers watch.
func (t *trial) watched(ctx context.Context) error {
	if err := wait.For(ctx, calm); err != nil {
		return err
	}
	e := &t.episode
	e.At = record.Now()
	t.rec.Mark(e.At, "%s on %s", t.fault.Title, e.Holder)
	err := t.fault.inject(ctx, t)
	if err == nil {
		err = t.awaitEffect(ctx)
	}
	if err == nil {
		err = wait.For(ctx, settle)
	}
	if e.Next == "" && err == nil {
		e.Next, err = t.cluster.whoHas()
	}
	e.End = record.Now()
	if t.fault.heal != nil {
		err = errors.Join(err, t.fault.heal(ctx, t))
	}
	if err == nil && !t.fault.Last {
		_, err = t.cluster.Ready(ctx)
	}
	if err != nil {
		return err
	}
	return t.renewed(ctx)
}

// awaitEffect waits for the VIP to be elsewhere, if it is to move, or to be
// whole again. To have waited in vain belongs to the outcome.
func (t *trial) awaitEffect(ctx context.Context) error {
	short, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	var err error
	switch {
	case t.fault.Moves:
		err = wait.Until(short, 10*time.Millisecond, func() (bool, error) {
			have, err := t.cluster.Lab.Holders()
			for _, n := range have {
				if n.Name != t.holder.Name {
					t.episode.Next = n.Name
				}
			}
			return t.episode.Next != "", err
		})
	case t.fault.MayMove:
		_, err = t.cluster.settled(short)
	}
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		t.episode.Stuck = err.Error()
		return nil
	}
	return err
}

// renewed waits until a write of the Lease is seen that was sent from now on.
func (t *trial) renewed(ctx context.Context) error {
	now := record.Now()
	ctx, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	err := wait.Until(ctx, 10*time.Millisecond, func() (bool, error) { return t.rec.SawLeaseOf(now), nil })
	if err != nil {
		return fmt.Errorf("wait for a renewal to be seen: %w", err)
	}
	return nil
}

// Ready waits until all of the cluster is, and one node has the VIP, which it returns.
func (c *Cluster) Ready(ctx context.Context) (*Node, error) {
	ctx, cancel := context.WithTimeout(ctx, wholeTimeout)
	defer cancel()
	var last error
	err := wait.Until(ctx, 200*time.Millisecond, func() (bool, error) {
		last = c.unready(ctx)
		return last == nil, nil
	})
	if err != nil {
		return nil, fmt.Errorf("wait for the cluster to be whole: %w (last: %w)", err, last)
	}
	return c.settled(ctx)
}

// settled waits until one node has the VIP by the Lease, too, and it is reachable
// there.
func (c *Cluster) settled(ctx context.Context) (*Node, error) {
	var holder *Node
	err := wait.Until(ctx, 50*time.Millisecond, func() (bool, error) {
		have, err := c.Lab.Holders()
		if err != nil || len(have) != 1 {
			return false, err
		}
		holder = c.node(have[0])
		who, err := holder.Lab.Holder(ctx)
		return err == nil && who == holder.Name && c.Lab.Reachable(ctx), nil
	})
	if err != nil {
		return nil, fmt.Errorf("wait for a holder: %w", err)
	}
	return holder, nil
}

func (c *Cluster) node(of *lab.Node) *Node {
	for _, n := range c.Nodes {
		if n.Lab == of {
			return n
		}
	}
	return nil
}

// other is a node that is none of those.
func (c *Cluster) other(than *Node) *Node {
	for _, n := range c.Nodes {
		if n != than {
			return n
		}
	}
	return nil
}

// whoHas names the nodes that have the VIP: one, if all is well.
func (c *Cluster) whoHas() (names string, err error) {
	have, err := c.Lab.Holders()
	for i, n := range have {
		if i > 0 {
			names += " and "
		}
		names += n.Name
	}
	return names, err
}
