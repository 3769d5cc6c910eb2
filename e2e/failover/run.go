package failover

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/vipd-io/vipd/e2e/analyse"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/observe"
	"github.com/vipd-io/vipd/e2e/record"
)

// moveTimeout bounds the wait for another holder: many times what a move takes.
const moveTimeout = 30 * time.Second

// Outcome is what one fault came to.
type Outcome struct {
	Fault Fault
	// Holder had the VIP before, Next has it after.
	Holder, Next string
	// EtcdLeader: the holder's etcd member led, so a fault that takes it along
	// makes etcd elect as well.
	EtcdLeader bool
	// Unreachable is the longest time in which no new HTTPS connection got an
	// answer from the VIP.
	Unreachable time.Duration
	// Failed counts the requests that failed.
	Failed int
	// Answered counts the ARP answers by node, Twice is evidence of two at once.
	Answered map[string]int
	Twice    []analyse.Violation
	// Announced is the time from the address being up on the next holder to its
	// first announcement on the wire; Moved tells whether there was one.
	Announced time.Duration
	Moved     bool

	History record.History
	At      record.Time
}

// run is one fault under observation.
type run struct {
	lab    *lab.Lab
	holder *lab.Node
	rec    *record.Recorder
	at     record.Time
	next   string
	end    record.Time
}

// Run brings the lab to rest, injects the fault, observes what happens, and
// heals. say is told of each step as it happens.
func Run(ctx context.Context, l *lab.Lab, f Fault, say func(format string, args ...any)) (Outcome, error) {
	holder, err := Ready(ctx, l)
	if err != nil {
		return Outcome{}, fmt.Errorf("%s: %w", f.Name, err)
	}
	leader, err := holder.LeadsEtcd(ctx)
	if err != nil {
		return Outcome{}, fmt.Errorf("%s: %w", f.Name, err)
	}
	observers, err := observe.ForLab(l)
	if err != nil {
		return Outcome{}, fmt.Errorf("%s: %w", f.Name, err)
	}
	say("%s holds the VIP", holder.Name)
	r := &run{lab: l, holder: holder}
	h, err := observers.During(ctx, func(ctx context.Context, rec *record.Recorder) error {
		r.rec = rec
		return r.watched(ctx, f, say)
	})
	if err != nil {
		return Outcome{}, fmt.Errorf("%s: %w", f.Name, err)
	}
	if f.heal != nil {
		if err := f.heal(ctx, holder); err != nil {
			return Outcome{}, fmt.Errorf("%s: heal: %w", f.Name, err)
		}
	}
	out := r.outcome(f, h)
	out.EtcdLeader = leader
	return out, analyse.Enough(h, r.at, r.end)
}

// watched is what happens while the observers watch.
func (r *run) watched(ctx context.Context, f Fault, say func(string, ...any)) error {
	if err := pause(ctx, 500*time.Millisecond); err != nil { // the calm before
		return err
	}
	say("%s: %s", r.holder.Name, f.Title)
	var err error
	if r.at, err = f.inject(ctx, r); err != nil {
		return err
	}
	r.rec.Mark(r.at, "%s on %s", f.Title, r.holder.Name)
	r.next = r.holder.Name
	if f.Moves {
		if r.next, err = awaitMove(ctx, r.lab, r.holder); err != nil {
			return err
		}
		say("%s has the VIP, %.2f s later", r.next, record.Now().Sub(r.at).Seconds())
	}
	if f.after != nil {
		if err := pause(ctx, settle); err != nil {
			return err
		}
		if err := f.after(ctx, r); err != nil {
			return err
		}
	}
	if err := pause(ctx, settle); err != nil {
		return err
	}
	r.end = record.Now()
	return nil
}

// awaitMove waits until a node other than the holder has the address.
func awaitMove(ctx context.Context, l *lab.Lab, from *lab.Node) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	var next string
	err := poll(ctx, 10*time.Millisecond, func() (bool, error) {
		for _, n := range l.Nodes {
			has, err := hasVIP(n)
			if err != nil {
				return false, err
			}
			if n != from && has {
				next = n.Name
				return true, nil
			}
		}
		return false, nil
	})
	if err != nil {
		return "", fmt.Errorf("wait for another node than %s to have the VIP: %w", from.Name, err)
	}
	return next, nil
}

// Ready waits until vipd runs on all nodes, one of them has the VIP, and it is
// reachable there. It returns that node.
func Ready(ctx context.Context, l *lab.Lab) (*lab.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	var holder *lab.Node
	err := poll(ctx, 50*time.Millisecond, func() (bool, error) {
		holder = nil
		for _, n := range l.Nodes {
			has, err := hasVIP(n)
			if err != nil {
				return false, err
			}
			if !n.Vipd.Running() {
				return false, fmt.Errorf("vipd on %s is not running", n.Name)
			}
			if has && holder != nil {
				return false, nil // a leftover that is about to end
			}
			if has {
				holder = n
			}
		}
		if holder == nil {
			return false, nil
		}
		who, err := holder.Holder(ctx)
		return err == nil && who == holder.Name && l.Reachable(ctx), nil
	})
	if err != nil {
		return nil, fmt.Errorf("wait for a holder: %w", err)
	}
	return holder, nil
}

func hasVIP(n *lab.Node) (bool, error) {
	addrs, err := n.Addresses()
	return slices.Contains(addrs, lab.VIP), err
}

// poll asks until the answer is yes, an error, or ctx ends.
func poll(ctx context.Context, every time.Duration, done func() (bool, error)) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// outcome draws up what was seen.
func (r *run) outcome(f Fault, h record.History) Outcome {
	out := Outcome{Fault: f, Holder: r.holder.Name, Next: r.next, History: h, At: r.at,
		Unreachable: analyse.Outage(h.Requests, r.at, r.end), Twice: analyse.Overlap(h.Answers), Answered: make(map[string]int)}
	for mac, n := range analyse.Answering(h.Answers, r.at, r.end) {
		name := mac
		if node := r.lab.Node(mac); node != nil {
			name = node.Name
		}
		out.Answered[name] += n
	}
	for _, q := range h.Requests {
		if q.Start >= r.at && q.End <= r.end && !q.OK() {
			out.Failed++
		}
	}
	if f.Moves {
		out.Announced, out.Moved = r.announced(h)
	}
	return out
}

// announced is the time from the address being up on the next holder to its
// first announcement. The two are seen by different observers, so the second
// may be recorded a little before the first.
func (r *run) announced(h record.History) (time.Duration, bool) {
	for _, e := range h.Addresses {
		if e.At < r.at || !e.Added || e.Node != r.next {
			continue
		}
		for _, a := range h.Announcements {
			if node := r.lab.Node(a.MAC); a.At >= r.at && node != nil && node.Name == r.next {
				return max(0, a.At.Sub(e.At)), true
			}
		}
	}
	return 0, false
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
