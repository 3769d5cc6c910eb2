package daemon

import (
	"context"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/vipd-io/vipd/internal/reach"
	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/election"
	"github.com/vipd-io/vipd/pkg/vip"
)

const (
	// unreachedAfter is how long the VIP has not answered, and how long its holder has held it, before
	// this node reports the holder: a move, and a failure that ends the lease, are over by then.
	unreachedAfter = 5 * time.Second
	// probedFor is the minimum time between the first and the last probe that failed: a probe fails
	// up to a second after it was sent, and probes are up to a quarter of a second apart by then.
	probedFor = unreachedAfter - 1500*time.Millisecond
	// reportEvery is the minimum time between two reports.
	reportEvery = 5 * time.Second
	// reportTimeout bounds the question and the write of one report.
	reportTimeout = time.Second
)

// unreached reports a holder that this node does not reach through the VIP, although it reaches the
// holder's API server directly (docs/adr/0017).
type unreached struct {
	node string
	// serverOf returns the API server of a node, "" if it is not known.
	serverOf func(node string) string
	// sameWay tells whether this node's packets for that server and for the VIP leave through the
	// same interface. If not, the network of the VIP may have failed on this node's side.
	sameWay func(server string) bool
	// lastFailed returns when the newest probe of the VIP that failed was sent.
	lastFailed func() boottime.Instant
	// ready asks an API server whether it is ready.
	ready func(ctx context.Context, server string) (status int, body string, known bool, err error)
	// write reports the holder of a term.
	write func(ctx context.Context, holder string, term int, by string) (bool, error)
	// wrote is called after each report, with this node.
	wrote func(by string)
	log   *zap.Logger
	now   boottime.Clock

	due chan struct{} // one slot

	mu     sync.Mutex
	lease  election.Observation
	since  boottime.Instant // of the holder and the term in lease
	dark   boottime.Instant // beginning of the outage, 0 for none
	serves bool             // this node stands by, and its interface can serve
	last   boottime.Instant // last report
	failed bool             // the last report failed, which was logged
}

// leaseObserved keeps the holder. The holder's own write is the time for a report: the next one is
// far.
func (u *unreached) leaseObserved(o election.Observation) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if o.Holder != u.lease.Holder || o.Term != u.lease.Term {
		u.since = o.At
	}
	u.lease = o
	if !u.isDue() {
		return
	}
	select {
	case u.due <- struct{}{}:
	default:
	}
}

func (u *unreached) outageChanged(o reach.Outage) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.dark = 0
	if o.Ended == 0 {
		u.dark = o.Began
	}
}

func (u *unreached) managerReported(r vip.Report) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.serves = r.State.Phase == vip.Standby && r.State.Places.Up()
}

// isDue tells whether this node has to report the holder. The caller holds the lock.
func (u *unreached) isDue() bool {
	now, o := u.now(), u.lease
	return o.Holder != "" && o.Holder != u.node && u.serves && u.dark != 0 &&
		now.Sub(u.dark) >= unreachedAfter && u.lastFailed().Sub(u.dark) >= probedFor && now.Sub(u.since) >= unreachedAfter && (u.last == 0 || now.Sub(u.last) >= reportEvery)
}

// run reports until ctx ends.
func (u *unreached) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-u.due:
			u.report(ctx)
		}
	}
}

// report asks the holder's API server directly, and reports the holder if that server is ready.
func (u *unreached) report(ctx context.Context) {
	u.mu.Lock()
	due, o := u.isDue(), u.lease
	u.mu.Unlock()
	server := u.serverOf(o.Holder)
	if !due || server == "" || !u.sameWay(server) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	if status, _, _, err := u.ready(ctx, server); err != nil || status != http.StatusOK {
		return // the holder has to see that itself
	}
	written, err := u.write(ctx, o.Holder, o.Term, u.node)
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case err != nil && !u.failed:
		u.log.Warn("holder not reported", zap.String("holder", o.Holder), zap.Error(err))
	case written && (u.last == 0 || u.last < u.dark):
		u.log.Warn("the VIP does not answer, holder reported", zap.String("holder", o.Holder), zap.Int("term", o.Term),
			zap.String("consequence", "the holder hands over if another node reports the same"))
	}
	u.failed = err != nil
	if written || err != nil {
		u.wrote(u.node) // an outcome that is not known may be a report
	}
	if written {
		u.last = u.now()
	}
}
