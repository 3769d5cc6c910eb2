package simulation

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/vipd-io/vipd/internal/bubble"
	"github.com/vipd-io/vipd/pkg/vip"
)

// jammed is a network that removes no address for a while, because the kernel's configuration lock
// is held: neither by Divert or Remove, nor at the end of a lifetime.
type jammed struct {
	vip.Network
	p    *process
	jams *atomic.Int64
}

func (j jammed) Divert() error { j.wait(drawDivert); return j.Network.Divert() }

func (j jammed) wait(d draw) {
	if length := time.Duration(j.jams.Swap(0)); length > 0 && j.p.n.number == 0 {
		j.p.hangFor(d, length)
	}
}

// TestRemovalBlockedPastTheTicket: a holder loses its lease and cannot remove the address for longer
// than the fence outlives a ticket (30 s). The fence stays while the process retries.
func TestRemovalBlockedPastTheTicket(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		var jams atomic.Int64
		c := newCluster(t, 1, rules{leases: [][]time.Duration{{3 * time.Second}},
			change: func(p *process, s *dependencies) { s.network = jammed{lasting{s.network, time.Hour}, p, &jams} }})
		n, other := c.two()
		jams.Store(int64(90 * time.Second))
		n.setStoreAccess(cut)
		c.until(2 * time.Minute)
		for _, n := range []*node{n, other} {
			n.stop()
		}
		c.until(time.Minute)
		c.judge()
		for _, w := range c.wrongs {
			t.Error(w)
		}
	})
}
