package reach

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/vipd-io/vipd/internal/bubble"
	"github.com/vipd-io/vipd/pkg/boottime"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client runs a Prober in a synctest bubble.
type client struct {
	start  time.Time
	prober *Prober
	asked  atomic.Int32
	// How the address behaves.
	dark, mute, idle, unknown, held atomic.Bool

	observed []Outage
	end      func()
}

var errDark = errors.New("connection refused")

func run(t *testing.T) *client {
	c := &client{start: time.Now()}
	c.prober = New(Options{Every: time.Second, Idle: c.idle.Load, Expected: c.held.Load, Now: c.now, Observe: func(o Outage) { c.observed = append(c.observed, o) },
		Ask: func(ctx context.Context) (bool, error) {
			c.asked.Add(1)
			switch {
			case c.unknown.Load():
				return false, errors.New("no credentials")
			case c.mute.Load():
				<-ctx.Done()
				return true, ctx.Err()
			case c.dark.Load():
				return true, errDark
			}
			return true, nil
		}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.prober.Run(ctx) }()
	c.end = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	return c
}

func (c *client) now() boottime.Instant { return boottime.Instant(time.Since(c.start) + time.Hour) }

// at returns the instant d after the start.
func at(d time.Duration) boottime.Instant { return boottime.Instant(d + time.Hour) }

func TestOutage(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := run(t)
		time.Sleep(5*time.Second + time.Millisecond)
		if n := c.asked.Load(); n != 5 {
			t.Errorf("%d questions in 5 s", n)
		}
		c.dark.Store(true)
		c.prober.Nudge() // the holder is about to change
		time.Sleep(210 * time.Millisecond)
		c.dark.Store(false)
		time.Sleep(5 * time.Second)
		c.end()
		if len(c.observed) != 2 {
			t.Fatalf("outages %+v", c.observed)
		}
		if o := c.observed[1]; o.Began != at(5001*time.Millisecond) || o.Ended != at(5251*time.Millisecond) || !errors.Is(o.Err, errDark) || c.observed[0].Ended != 0 {
			t.Errorf("outages %+v", c.observed)
		}
	})
}

// TestFailed: the newest failed probe is known during an outage, and one that is answered does not
// count.
func TestFailed(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := run(t)
		time.Sleep(1500 * time.Millisecond)
		if got := c.prober.Failed(); got != 0 {
			t.Errorf("failed at %v without a failure", got)
		}
		c.mute.Store(true)
		time.Sleep(6 * time.Second)
		c.mute.Store(false)
		last := c.prober.Failed()
		time.Sleep(5 * time.Second)
		if last.Sub(at(2*time.Second)) < 4*time.Second || c.prober.Failed().Sub(last) > timeout {
			t.Errorf("failed at %v and at %v", last, c.prober.Failed())
		}
		c.end()
	})
}

// TestMute: probes without an answer do not delay other probes.
func TestMute(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := run(t)
		time.Sleep(1500 * time.Millisecond)
		c.mute.Store(true)
		time.Sleep(4500 * time.Millisecond)
		before := c.asked.Load()
		time.Sleep(10 * time.Second)
		if n := c.asked.Load() - before; n < 15 || n > 60 {
			t.Errorf("%d questions in 10 s of an outage", n)
		}
		c.mute.Store(false)
		time.Sleep(time.Second)
		c.end()
		if len(c.observed) != 2 || c.observed[0].Began != at(2*time.Second) || c.observed[1].Ended.Sub(at(16*time.Second)) > 14*time.Second/outageShare {
			t.Errorf("outages %+v", c.observed)
		}
	})
}

// TestNothingToAsk: no probes on the holder, nor without credentials.
func TestNothingToAsk(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := run(t)
		c.idle.Store(true)
		time.Sleep(10 * time.Second)
		if n := c.asked.Load(); n != 0 {
			t.Errorf("%d questions by the holder", n)
		}
		c.idle.Store(false)
		c.dark.Store(true) // a cluster that does not exist yet
		time.Sleep(10 * time.Second)
		c.dark.Store(false)
		time.Sleep(2 * time.Second)
		c.unknown.Store(true)
		time.Sleep(10 * time.Second)
		c.unknown.Store(false)
		c.dark.Store(true)
		time.Sleep(2 * time.Second)
		c.idle.Store(true) // this node took the VIP meanwhile
		c.dark.Store(false)
		time.Sleep(time.Second)
		c.end()
		if len(c.observed) != 2 || c.observed[1].Ended == 0 {
			t.Errorf("outages %+v", c.observed)
		}
	})
}

// TestStartedIntoAnOutage: an address that some node holds is dark from the first probe on.
func TestStartedIntoAnOutage(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := run(t)
		c.dark.Store(true)
		time.Sleep(2500 * time.Millisecond) // who holds is not known yet
		c.held.Store(true)
		time.Sleep(10 * time.Second)
		c.dark.Store(false)
		time.Sleep(2 * time.Second)
		c.end()
		if len(c.observed) != 2 || c.observed[0].Began != at(3*time.Second) || c.observed[0].Ended != 0 || c.observed[1].Ended < at(12500*time.Millisecond) {
			t.Errorf("outages %+v", c.observed)
		}
	})
}

// TestOneFailedProbe: a single failed probe among answered ones is an outage until the next answer.
func TestOneFailedProbe(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := run(t)
		time.Sleep(1500 * time.Millisecond)
		c.mute.Store(true)
		time.Sleep(510 * time.Millisecond)
		c.mute.Store(false)
		before := c.asked.Load()
		time.Sleep(10 * time.Second)
		c.end()
		if len(c.observed) != 1 || c.observed[0].Began != at(2*time.Second) || c.observed[0].Ended != at(2100*time.Millisecond) {
			t.Errorf("outages %+v", c.observed)
		}
		if n := c.asked.Load() - before; n > 20 {
			t.Errorf("%d questions in 10 s after it", n)
		}
	})
}
