package daemon

import (
	"testing"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/election"
)

// TestTicket: at any clock rate, the fence closes before another node may claim the lease; the
// margin alone covers the rates that NTP clients set.
func TestTicket(t *testing.T) {
	timing, err := election.NewTiming(3*time.Second, 0)
	if err != nil {
		t.Fatal(err)
	}
	hold := timing.Hold()
	for _, rate := range []boottime.PPM{100_000, 500, 0, -500, -83_333, -100_000} {
		if got := ticket(hold, rate); got != hold {
			t.Errorf("at %d ppm: a ticket of %s, want %s", rate, got, hold)
		}
	}
	const timers = 10 * time.Millisecond
	for _, rate := range []boottime.PPM{-100_001, -150_500, -225_000, -500_000} {
		lasts := ticket(hold, rate)*1_000_000/time.Duration(1_000_000+rate) + timers
		if lasts >= timing.Lease*99/100 || lasts < timing.Lease*97/100 {
			t.Errorf("at %d ppm: the ticket lasts for %s of a lease of %s", rate, lasts, timing.Lease)
		}
	}
	for _, rate := range []boottime.PPM{-1_000_000, -2_000_000} {
		if got := ticket(hold, rate); got != time.Millisecond {
			t.Errorf("at %d ppm: a ticket of %s", rate, got)
		}
	}
}
