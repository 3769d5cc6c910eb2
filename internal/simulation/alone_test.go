package simulation

import (
	"testing"
	"time"

	"github.com/vipd-io/vipd/pkg/vip"
)

// Three things end an address when its time is up: the fence, the address's own
// lifetime, and the process. Each test here leaves one of them.

// TestFenceAlone: processes are killed and paused, and the address stays for 25 s.
func TestFenceAlone(t *testing.T) { playAll(t, *flagSeeds/3, lingering()) }

// lingering has addresses that last for longer than any lease, and less long than
// the fence.
func lingering() rules {
	r := ordinary()
	r.change = func(_ *process, s *seams) { s.network = lasting{s.network, 25 * time.Second} }
	return r
}

// lasting gives addresses another lifetime.
type lasting struct {
	vip.Network
	valid time.Duration
}

func (l lasting) Put(link vip.Link, _ time.Duration) error { return l.Network.Put(link, l.valid) }

// TestLifetimeAlone: a kernel without nftables. Processes are killed, but not
// paused, see TestPauseWithoutAFence.
func TestLifetimeAlone(t *testing.T) { playAll(t, *flagSeeds/3, lifetimeAlone()) }

func lifetimeAlone() rules {
	r := ordinary()
	r.leases, r.lifetime, r.pause = [][]time.Duration{{4 * time.Second}, {4 * time.Second}, {5 * time.Second}, {10 * time.Second}}, true, 0
	return r
}

// TestProcessAlone: no fence, no lifetime, and a process that is neither killed
// nor paused, with clocks that differ little: its own calls take time, too.
func TestProcessAlone(t *testing.T) { playAll(t, *flagSeeds/3, processAlone()) }

func processAlone() rules {
	r := ordinary()
	r.pause, r.kills, r.damage, r.drift, r.late = 0, false, false, 0.2, 200*time.Millisecond
	r.change = func(_ *process, s *seams) {
		s.fence, s.network = lifetime{}, lasting{s.network, time.Hour}
	}
	return r
}
