package fence

import (
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// gates is a Fence of several gates over a kernel that pauses the process and fails, and what each
// gate may do.
type gates struct {
	t       *testing.T
	seed    uint64
	rng     *rand.Rand
	k       *modelKernel
	f       *Fence
	of      []gateModel
	flushed bool // the ruleset was flushed, and not repaired yet
}

// gateModel is what a gate may do.
type gateModel struct {
	tickets map[Ticket]*ticketModel
	newest  Ticket
	clear   bool             // the gate has no fence
	closed  bool             // closed by Forbid, without a Permit since then
	last    boottime.Instant // the latest end of a ticket
}

type ticketModel struct {
	until     boottime.Instant
	permitted bool
}

// TestManyGates: no gate is open for longer than its newest ticket allows, and no gate is affected
// by changes of other gates, whatever fails, is paused, killed or flushed.
func TestManyGates(t *testing.T) {
	for seed := range uint64(2000) {
		g := newGates(t, seed)
		for range 40 {
			g.step(g.rng.IntN(len(g.of)))
			g.check()
		}
		if t.Failed() {
			return
		}
	}
}

func newGates(t *testing.T, seed uint64) *gates {
	g := &gates{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 7))}
	g.k, g.f = newModel(t, 2, Lease, grant)
	g.k.late = func() time.Duration { return g.below(int(jiffy.Milliseconds())) }
	g.k.before, g.k.after = g.disturbed, g.disturbed
	for range g.k.gates {
		g.of = append(g.of, gateModel{tickets: make(map[Ticket]*ticketModel), clear: true})
	}
	return g
}

// below returns some milliseconds.
func (g *gates) below(n int) time.Duration { return time.Duration(g.rng.IntN(n)) * time.Millisecond }

// disturbed pauses the process and returns errors in some of the runs.
func (g *gates) disturbed() error {
	if g.seed%3 != 0 && g.rng.IntN(6) == 0 {
		g.k.pass(g.below(4000))
	}
	if g.seed%2 == 0 && g.rng.IntN(16) == 0 {
		return unix.ENOBUFS
	}
	return nil
}

// repeated calls until there is no error.
func (g *gates) repeated(do func() error) {
	g.t.Helper()
	for tries := 0; do() != nil; tries++ {
		if tries == 1000 {
			g.t.Fatalf("seed %d: no call succeeds", g.seed)
		}
	}
}

func (g *gates) step(i int) {
	switch op := g.rng.IntN(20); {
	case op < 6:
		g.arm(i)
	case op < 12:
		g.permit(i)
	case op < 14:
		g.forbid(i)
	case op < 15:
		g.repeated(g.f.gates[i].Clear)
		g.of[i] = gateModel{tickets: make(map[Ticket]*ticketModel), clear: true}
	case op < 16:
		g.repeated(g.f.Repair)
		g.flushed = false
	case op < 17:
		g.restart()
	case op < 18 && g.rng.IntN(2) == 0:
		must(g.t, g.k.apply([]Change{{Verb: Delete}}))
		g.flushed = true
	case op < 19:
		g.k.pass(g.below(1500))
	default:
		g.k.pass(g.below(15000))
	}
}

func (g *gates) arm(i int) {
	d := 300*time.Millisecond + g.below(5000)
	if g.rng.IntN(5) == 0 {
		d *= 8
	}
	ticket, err := g.f.gates[i].Arm(d)
	if err != nil {
		return
	}
	g.flushed = false
	m, until := &g.of[i], g.k.now.Add(d) // the write is sent after Arm
	for _, before := range m.tickets {
		before.until = min(before.until, until)
	}
	m.tickets[ticket] = &ticketModel{until: until}
	m.newest, m.clear, m.last = ticket, false, max(m.last, until)
}

func (g *gates) permit(i int) {
	m := &g.of[i]
	ticket := m.newest
	if g.rng.IntN(2) == 0 {
		ticket-- // this ticket may be of another gate
	}
	one := m.tickets[ticket]
	if one == nil {
		return
	}
	one.permitted, m.closed = true, false
	if g.f.gates[i].Permit(ticket) == nil {
		g.flushed = false
	}
}

func (g *gates) forbid(i int) {
	g.repeated(g.f.gates[i].Forbid)
	g.of[i].closed = true
	for _, one := range g.of[i].tickets {
		one.permitted = false
	}
}

// restart kills the process and starts another one, which knows no ticket. A flushed gate is
// forgotten.
func (g *gates) restart() {
	flushed := !g.k.there
	g.f = New(g.f.opts)
	g.repeated(g.f.Prepare)
	g.flushed = false
	for i := range g.of {
		before := g.of[i]
		g.of[i].tickets, g.of[i].newest = make(map[Ticket]*ticketModel), 0
		if flushed {
			g.of[i] = gateModel{tickets: g.of[i].tickets, clear: true}
			continue
		}
		for ticket, one := range before.tickets {
			g.of[i].tickets[ticket+1<<40] = one // a Ticket that no Arm returns
		}
	}
}

func (g *gates) check() {
	g.t.Helper()
	if g.flushed {
		return
	}
	for i, m := range g.of {
		var until boottime.Instant
		for _, one := range m.tickets {
			if one.permitted {
				until = max(until, one.until)
			}
		}
		open := g.k.openUntil(i)
		if open != 0 && m.closed {
			g.t.Errorf("seed %d: gate %d is open for %s after Forbid", g.seed, i, open.Sub(g.k.now))
		}
		if open != 0 && open.Sub(until) > jiffy+timerError {
			g.t.Errorf("seed %d: gate %d is open until %s after the end of its ticket", g.seed, i, open.Sub(until))
		}
		if !m.clear && g.k.now.Before(m.last.Add(linger/2)) && g.k.fencedUntil(i) <= g.k.now && !g.f.unsure {
			g.t.Errorf("seed %d: gate %d has no fence", g.seed, i)
		}
	}
}
