package simulation

import (
	"testing"
	"time"
)

// Suspended machines: only CLOCK_BOOTTIME advances, so nftables' timers and the lifetime of the
// address have the same remaining time after the suspend as before. docs/guarantees.md says what is
// not promised; the promised part is checked here.

// TestSuspend: on a machine with a running vipd, nothing of an expired lease is left shortly after
// the machine woke up, and nothing is announced, opened or refreshed for that lease.
func TestSuspend(t *testing.T) {
	events := playAll(t, *flagSeeds/3, napping())
	if n := events["woke up past the deadline"]; counted() && n < *flagSeeds/12 {
		t.Errorf("woke up past a deadline %d times only; expected about once a scenario", n)
	}
}

// napping suspends machines, at any time and at calls, without other pauses: other tests cover the
// one call that may be in flight when a process is stopped. As a suspend delays the kernel's
// timers, the process is alone, as in processAlone.
func napping() rules {
	r := ordinary()
	r.pause, r.naps, r.drift = 0, true, 0.2
	r.extra = func(c *cluster, n *node) bool {
		if who, _ := c.holders(); len(who) > 0 {
			n = who[0]
		}
		return n.suspend(c.napLength(c.rng.Uint64()))
	}
	return r
}

// napLength draws the length of a suspend: mostly several leases, and sometimes a minute.
func (c *cluster) napLength(random uint64) time.Duration {
	limit := 2 * c.longest
	if random>>32%10 == 0 {
		limit = time.Minute
	}
	return time.Duration(mix(random)%uint64(limit)) + time.Millisecond
}

// wakeUpDelay is how long a process may need to fall silent after waking up past its deadline: a
// slow call in flight, and another one.
const wakeUpDelay = 150 * time.Millisecond

// suspend suspends the machine for a while if it answers by a lease of its running vipd. If that
// vipd were killed, nothing would check the time.
func (n *node) suspend(d time.Duration) bool {
	p := n.running()
	if p == nil || n.spared() {
		return false
	}
	if runs, _ := p.steady(); !runs || !p.electionStatus().Held && len(p.k.leftovers()) > 0 {
		return false
	}
	n.setSpare(d + n.c.most + time.Second) // not killed while timers are late
	n.c.note("%s: suspended for %s", n.name, d)
	p.k.sleep(true)
	p.pause(d)
	time.AfterFunc(d-time.Microsecond, n.wakeUp) // the kernel first
	return true
}

// wakeUp ends a suspend. The alarm fires, whatever the timers say.
func (n *node) wakeUp() {
	k := n.kernel()
	if !k.sleeps() {
		return
	}
	k.sleep(false)
	n.c.note("%s: woke up", n.name)
	if p := n.running(); p != nil {
		p.manager.Wake()
	}
}

// maySuspend may suspend the machine at a call.
func (p *process) maySuspend(d draw) {
	if p.n.c.rules.naps && d != drawClock && !p.n.spared() && p.n.oneIn(200, d+drawNap) {
		p.n.suspend(p.n.c.napLength(p.n.random(d + drawLength)))
	}
}

// refreshes checks whether a call that opens the fence or extends the lifetime of the address is
// made for an expired lease. A process that is paused right after reading the clock may do so once.
func (p *process) refreshes(what string) {
	if p.n.c.rules.pause > 0 || p.n.c.rules.trip != nil {
		return
	}
	if late := p.k.now().Sub(p.deadline()); late >= 0 && p.deadline() != 0 {
		p.n.c.wrong(staleRefresh, "%s: %s %s after its deadline", p.n.name, what, late)
	}
}
