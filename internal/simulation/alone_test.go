package simulation

import (
	"testing"
	"time"

	"github.com/vipd-io/vipd/pkg/vip"
)

// Three mechanisms end the holding of an address in time: the fence, the lifetime of the address,
// and the process. Each test here has one of them only.

// TestFenceAlone: processes are killed and paused, and addresses have a lifetime of 25 s.
func TestFenceAlone(t *testing.T) { playAll(t, *flagSeeds/3, lingering()) }

// lingering gives addresses a lifetime that is longer than any lease and shorter than that of the
// fence.
func lingering() rules {
	r := ordinary()
	r.change = func(_ *process, s *dependencies) { s.network = lasting{s.network, 25 * time.Second} }
	return r
}

// lasting gives addresses a fixed lifetime.
type lasting struct {
	vip.Network
	valid time.Duration
}

func (l lasting) Put(places vip.Places, _ time.Duration) error {
	return l.Network.Put(places, l.valid)
}

// TestLifetimeAlone: kernels without nftables. Processes are killed, but not paused, see
// TestPauseWithoutAFence.
func TestLifetimeAlone(t *testing.T) { playAll(t, *flagSeeds/3, lifetimeAlone()) }

func lifetimeAlone() rules {
	r := ordinary()
	r.leases, r.lifetime, r.pause = [][]time.Duration{{4 * time.Second}, {4 * time.Second}, {5 * time.Second}, {10 * time.Second}}, true, 0
	r.hang = 0 // a lifetime that is set late ends late
	return r
}

// TestProcessAlone: no fence, no lifetime, and processes that are neither killed nor paused, with
// clocks of almost the same rate: the process needs time for its calls, too.
func TestProcessAlone(t *testing.T) { playAll(t, *flagSeeds/3, processAlone()) }

func processAlone() rules {
	r := ordinary()
	r.pause, r.kills, r.damage, r.drift, r.late = 0, false, false, 0.2, 200*time.Millisecond
	r.hang = 0
	r.change = func(_ *process, s *dependencies) {
		// A slack tells the Manager that there is no fence.
		s.fence, s.network = lifetime{early: time.Nanosecond}, lasting{s.network, time.Hour}
	}
	return r
}
