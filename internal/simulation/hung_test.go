package simulation

import (
	"testing"
	"time"
)

// TestProcessBesideAHungFence: no effective fence, no lifetime, processes that are neither killed
// nor paused, and fence calls that often hang for seconds: the process still removes its address in
// time.
func TestProcessBesideAHungFence(t *testing.T) { playAll(t, *flagSeeds/3, besideAHungFence()) }

func besideAHungFence() rules {
	r := processAlone()
	// A hanging Permit adds no address, and a loss is reported meanwhile.
	r.late += 100 * time.Millisecond
	alone := r.change
	r.change = func(p *process, s *dependencies) {
		alone(p, s)
		s.fence = hung{s.fence, p}
	}
	return r
}

// hung is a fence without an effect.
type hung struct {
	fence
	p *process
}

func (h hung) wait(d draw) {
	if n := h.p.n; n.oneIn(20, d+drawHang) && !n.spared() {
		h.p.hangFor(d, n.below(6*time.Second, d+drawHang+drawLength))
	}
}

func (h hung) Permit(ticket uint64) error { h.wait(drawPermit); return h.fence.Permit(ticket) }
func (h hung) Forbid() error              { h.wait(drawForbid); return h.fence.Forbid() }
func (h hung) Clear() error               { h.wait(drawClear); return h.fence.Clear() }
func (h hung) Intact() (bool, error)      { h.wait(drawLook); return h.fence.Intact() }

// TestFenceBesideAHungNetwork: calls to the network often hang, addresses have a long lifetime, and
// the fence ends the holding.
func TestFenceBesideAHungNetwork(t *testing.T) { playAll(t, *flagSeeds/3, besideAHungNetwork()) }

func besideAHungNetwork() rules {
	r := lingering()
	r.hung = []draw{drawPut, drawDivert, drawTake, drawGlance}
	return r
}
