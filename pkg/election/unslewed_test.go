package election

import (
	"testing"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// TestMargin: every lease is over before another node may claim it, even if the holder's clocks are
// as slow as an NTP client can make them, and the other node's clocks are one percent fast.
func TestMargin(t *testing.T) {
	const timers = 10 * time.Millisecond // maximum delay of the kernel's timers
	for lease := MinLease; lease <= MaxLease; lease += time.Second {
		timing, err := NewTiming(lease, 0)
		if err != nil {
			t.Fatal(err)
		}
		ends := slowed(timing.Hold()) + timers
		if claimed := lease - lease/100; ends >= claimed {
			t.Errorf("a lease of %s ends after up to %s, and may be claimed after %s", lease, ends, claimed)
		}
	}
}

// slowed returns how long d lasts on a clock that is slewed by MaxSlew.
func slowed(d time.Duration) time.Duration { return d * 1_000_000 / time.Duration(1_000_000-MaxSlew) }

// slewed are the clocks of a node whose CLOCK_BOOTTIME changes its rate at some instant, and which
// may have been suspended.
type slewed struct {
	c         *cluster
	rate      boottime.PPM
	since     time.Duration // when the rate begins
	suspended time.Duration
}

func (s slewed) now() boottime.Instant {
	t := time.Since(s.c.start)
	extra := max(0, t-s.since) * time.Duration(s.rate) / 1_000_000
	return boottime.Instant(t + extra + s.suspended + time.Hour)
}

func (s slewed) raw() boottime.Raw { return boottime.Raw(time.Since(s.c.start) + time.Minute) }

// TestSlewedStandby: a standby whose clock runs fast still waits for the whole lease, whether the
// slew began before or during the lease; a standby whose clock runs slow waits for at least the
// lease by its own clock.
func TestSlewedStandby(t *testing.T) {
	for _, tt := range []struct {
		name  string
		rate  boottime.PPM
		since time.Duration // after the last renewal was sent
		want  time.Duration
	}{
		{"not slewed", 0, 0, 3 * time.Second},
		{"a tenth faster", MaxSlew, -time.Minute, 3 * time.Second},
		{"a tenth faster from the midst", MaxSlew, 1500 * time.Millisecond, 3 * time.Second},
		{"jumps ahead", 1_000_000, 2900 * time.Millisecond, 3 * time.Second},
		{"a tenth slower", -MaxSlew, -time.Minute, slowed(3 * time.Second)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(c *cluster) {
				n1 := c.join("n1")
				c.awaitHolder("", 10*time.Second)
				const crash = 20*time.Second + 1
				renewed := n1.latest().Until.Add(-c.timing.Hold()).Sub(boottime.Instant(time.Hour))
				for next := renewed; next < crash; next += c.timing.Renew {
					renewed = next
				}
				clocks := slewed{c: c, rate: tt.rate, since: max(0, renewed+tt.since)}
				c.joinSlewed("n2", clocks)
				time.Sleep(crash - time.Since(c.start))
				n1.crash()
				n2, _ := c.awaitHolder("n1", 10*time.Second)
				sent := n2.latest().Claim.Sent
				after := time.Since(c.start) - renewed
				if after < tt.want || after > tt.want+20*time.Millisecond {
					t.Errorf("claimed %s after the last renewal (at %d by its clock), want %s", after, sent, tt.want)
				}
			})
		})
	}
}

// TestSuspendedStandby: the second clock stands still while a machine is suspended. After the
// resume, the standby continues to wait.
func TestSuspendedStandby(t *testing.T) {
	v := view{self: Self{Node: "n2"}, own: 3 * time.Second, named: func(string) bool { return false }}
	var now boottime.Instant = 1
	var raw boottime.Raw
	e := Elector{view: v, now: func() boottime.Instant { return now }, raw: func() boottime.Raw { return raw }}
	var b leases
	e.observeNow(b.kubeVIP("n1", 3, 1))
	now, raw = now.Add(time.Hour), raw+boottime.Raw(time.Second)
	if got := e.expiry(now).Sub(now); got != 2*time.Second {
		t.Errorf("waits for another %s on waking up after a second of 3, want 2s", got)
	}
	raw += boottime.Raw(2 * time.Second)
	if got := e.expiry(now); got > now {
		t.Errorf("waits for another %s when the lease has passed by both clocks", got.Sub(now))
	}
}
