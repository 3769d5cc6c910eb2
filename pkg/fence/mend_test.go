package fence

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// nft runs the command as somebody else does.
func (r *rig) nft(t rapid.TB, script string) (out string) {
	t.Helper()
	err := r.node.Do(func() error {
		c := exec.CommandContext(context.Background(), "nft", "-f", "-")
		c.Stdin = strings.NewReader(script)
		b, err := c.CombinedOutput()
		if err != nil {
			return fmt.Errorf("nft: %w: %s", err, b)
		}
		out = string(b)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// damages is what others may do to the tables, with a ticket in force in slot 2.
var damages = map[string]string{
	"ruleset flushed":         "flush ruleset",
	"ARP table deleted":       "delete table arp vipd-test",
	"IP table deleted":        "delete table ip vipd-test",
	"chain flushed":           "flush chain arp vipd-test answers",
	"chain deleted":           "flush chain ip vipd-test receives; delete chain ip vipd-test receives",
	"first rule deleted":      "delete rule arp vipd-test answers handle %first%",
	"rule inserted":           "insert rule arp vipd-test answers accept",
	"policy changed":          "chain arp vipd-test answers { policy drop; }",
	"table put to sleep":      "add table ip vipd-test { flags dormant; }",
	"elements deleted: ends":  "flush set arp vipd-test armed2",
	"elements deleted: named": "flush set ip vipd-test inforce2",
	"elements deleted: fence": "flush set arp vipd-test fenced2",
	"element added":           "add element ip vipd-test armed2 { 192.168.35.101 }",
	"set added":               "add set ip vipd-test more { type ipv4_addr; }",
	"other table of the name": "flush ruleset; add table arp vipd-test; add chain arp vipd-test answers { type filter hook output priority 0; }",
	"ticket prolonged": "flush set arp vipd-test armed2; flush set ip vipd-test armed2;" +
		"add element arp vipd-test armed2 { 192.168.35.100 timeout 1h }; add element ip vipd-test armed2 { 192.168.35.100 timeout 1h }",
}

func (r *rig) damage(t rapid.TB, script string) {
	t.Helper()
	if strings.Contains(script, "%first%") {
		rules, err := r.fence.socket.GetRules(r.fence.layout[0].table, r.fence.layout[0].chain)
		if err != nil {
			t.Fatal(err)
		}
		script = strings.ReplaceAll(script, "%first%", fmt.Sprint(rules[0].Handle))
	}
	r.nft(t, script)
}

func (r *rig) expectIntact(t rapid.TB, want bool, when string) {
	t.Helper()
	if got, err := r.fence.Intact(); got != want || err != nil {
		t.Fatalf("%s: Intact = %t, %v, want %t", when, got, err, want)
	}
}

// opened has a ticket in force for d, and tells when it ends at the latest.
func (r *rig) opened(t *testing.T, d time.Duration) (end boottime.Instant) {
	t.Helper()
	ticket, err := r.fence.Arm(d)
	must(t, err)
	end = boottime.Now().Add(d)
	must(t, r.fence.Permit(ticket))
	return end
}

func TestMendRepairsAnyDamage(t *testing.T) {
	for name, script := range damages {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.expectIntact(t, true, "prepared")
			end := r.opened(t, 10*time.Second)
			r.expectIntact(t, true, "in force")
			r.damage(t, script)
			r.expectIntact(t, false, "damaged")
			must(t, r.fence.Mend())
			r.expectIntact(t, true, "mended")
			r.expect(t, true, "mended with the ticket in force")
			r.endsBy(t, end)
			r.opened(t, 10*time.Second)
			r.expectIntact(t, true, "renewed")
			r.expect(t, true, "renewed")
		})
	}
}

// endsBy asks the kernel when the ticket in force ends.
func (r *rig) endsBy(t *testing.T, end boottime.Instant) {
	t.Helper()
	for _, l := range r.fence.layout {
		now := r.fence.now()
		got, err := l.slots[r.fence.named].read(r.fence.socket)
		must(t, err)
		if len(got.armed) != 1 {
			t.Fatalf("armed = %v, want one element", got.armed)
		}
		if left := got.armed[0].Expires; now.Add(left).Sub(end) > 0 {
			t.Errorf("%v left in table %s, want %v", left, l.familyName, end.Sub(now))
		}
	}
}

func TestMendedTicketEndsByItself(t *testing.T) {
	r := newRig(t)
	end := r.opened(t, time.Second)
	r.nft(t, "flush ruleset")
	must(t, r.fence.Mend())
	r.expect(t, true, "mended")
	r.fallsSilent(t, end)
	r.expectIntact(t, true, "ticket over")
}

func TestClosedFenceIsMendedClosed(t *testing.T) {
	const flush = "flush ruleset"
	t.Run("forbidden", func(t *testing.T) {
		r := newRig(t)
		r.opened(t, 10*time.Second)
		must(t, r.fence.Forbid())
		r.nft(t, flush)
		r.expectIntact(t, false, "flushed")
		must(t, r.fence.Mend())
		r.expect(t, false, "mended")
		r.expectIntact(t, true, "mended")
	})
	t.Run("ticket over", func(t *testing.T) {
		r := newRig(t)
		r.opened(t, 50*time.Millisecond)
		time.Sleep(100 * time.Millisecond)
		r.nft(t, flush)
		must(t, r.fence.Mend())
		r.expect(t, false, "mended")
	})
	t.Run("put back from a file", func(t *testing.T) {
		r := newRig(t)
		r.opened(t, 10*time.Second)
		saved := r.nft(t, "list ruleset")
		must(t, r.fence.Forbid())
		r.nft(t, flush+"\n"+saved)
		r.expect(t, true, "opened by somebody else")
		r.expectIntact(t, false, "opened by somebody else")
		must(t, r.fence.Mend())
		r.expect(t, false, "mended")
	})
	t.Run("forbid on tables that are gone", func(t *testing.T) {
		r := newRig(t)
		r.opened(t, 10*time.Second)
		r.nft(t, flush)
		must(t, r.fence.Forbid())
		r.expect(t, false, "forbidden")
	})
	t.Run("forbid on tables of which one is gone", func(t *testing.T) {
		r := newRig(t)
		r.opened(t, 10*time.Second)
		r.nft(t, "delete table ip vipd-test")
		must(t, r.fence.Forbid())
		r.expect(t, false, "forbidden")
		r.expectIntact(t, true, "forbidden")
	})
	t.Run("at rest", func(t *testing.T) {
		r := newRig(t)
		r.opened(t, 10*time.Second)
		must(t, r.fence.Rest())
		r.expectIntact(t, true, "rested")
		r.nft(t, flush)
		must(t, r.fence.Mend())
		r.expect(t, true, "mended at rest")
		must(t, r.fence.Remove())
		r.expectIntact(t, true, "removed")
		must(t, r.fence.Mend())
		if s := r.nft(t, "list ruleset"); s != "" {
			t.Errorf("Mend after Remove made\n%s", s)
		}
	})
}

func TestPermitFindsItsTicketInMendedTables(t *testing.T) {
	for _, mend := range []bool{true, false} {
		t.Run(fmt.Sprintf("mend=%t", mend), func(t *testing.T) {
			r := newRig(t)
			r.opened(t, 10*time.Second)
			must(t, r.fence.Forbid())
			ticket, err := r.fence.Arm(5 * time.Second)
			must(t, err)
			end := boottime.Now().Add(5 * time.Second)
			r.nft(t, "flush ruleset")
			if mend {
				must(t, r.fence.Mend())
				r.expect(t, false, "mended, not permitted yet")
			}
			must(t, r.fence.Permit(ticket))
			r.expect(t, true, "permitted")
			r.expectIntact(t, true, "permitted")
			r.endsBy(t, end)
		})
	}
}

// TestPausedMendProlongsNothing has a clock that jumps while a transaction is on
// its way, as if this process had been stopped.
func TestPausedMendProlongsNothing(t *testing.T) {
	for _, tt := range []struct {
		jump time.Duration
		open bool
	}{{time.Second, true}, {5 * time.Second, false}} {
		t.Run(tt.jump.String(), func(t *testing.T) {
			r := newRig(t)
			end := r.opened(t, 4*time.Second)
			r.nft(t, "flush ruleset")
			jump, calls := time.Duration(0), 0
			r.fence.now = func() boottime.Instant {
				if calls++; calls == 2 { // the first is before the transaction
					jump = tt.jump
				}
				return boottime.Now().Add(jump)
			}
			r.fence.mu.Lock()
			must(t, r.fence.rebuild())
			r.fence.mu.Unlock()
			r.expect(t, tt.open, "after the pause")
			r.expectIntact(t, true, "mended")
			if tt.open {
				r.endsBy(t, end)
			}
		})
	}
}

func TestRestartTakesOverAForeignFlushToo(t *testing.T) {
	r := newRig(t)
	end := r.opened(t, 10*time.Second)
	r.fence = r.newFence()
	must(t, r.fence.Prepare())
	r.expectIntact(t, true, "taken over")
	r.nft(t, "flush ruleset")
	r.expectIntact(t, false, "flushed")
	must(t, r.fence.Mend())
	r.expect(t, true, "mended with what the earlier process left")
	r.endsBy(t, end)
}

// TestRestartDuringARenewal is of a process that was killed between Arm and Permit.
func TestRestartDuringARenewal(t *testing.T) {
	for _, renewals := range []int{1, 2} { // in either slot
		r := newRig(t)
		for range renewals {
			r.opened(t, 10*time.Second)
		}
		_, err := r.fence.Arm(20 * time.Second)
		must(t, err)
		r.fence = r.newFence()
		must(t, r.fence.Prepare())
		_, err = r.fence.Arm(20 * time.Second)
		must(t, err)
		r.expect(t, true, "armed after a restart")
		r.expectIntact(t, true, "armed after a restart")
	}
}

// TestFailedChangeIsMadeGood: of a transaction that failed it is not known what
// the kernel did.
func TestFailedChangeIsMadeGood(t *testing.T) {
	r := newRig(t)
	ticket, err := r.fence.Arm(10 * time.Second)
	must(t, err)
	end := boottime.Now().Add(10 * time.Second)
	r.fence.opts.Addresses = []netip.Addr{netip.IPv6Loopback()} // too long for the sets
	if _, err := r.fence.Arm(20 * time.Second); err == nil {
		t.Fatal("armed an address that does not fit")
	}
	r.fence.opts.Addresses = []netip.Addr{vip}
	r.expectIntact(t, false, "a change failed")
	must(t, r.fence.Permit(ticket))
	r.expectIntact(t, true, "permitted")
	r.expect(t, true, "permitted")
	r.endsBy(t, end)
}

// model knows what was asked for, and nothing of how it is done.
type model struct {
	newest    Ticket
	newestEnd boottime.Instant
	// Until when the last ticket that was permitted, and the one before it, open.
	last, before boottime.Instant
	fenced       bool
}

func (m *model) arm(t Ticket, d time.Duration) {
	end := boottime.Now().Add(d)
	// What is in force goes on for no longer than the new one.
	*m = model{newest: t, newestEnd: end, last: min(m.last, end), fenced: true}
}

func (m *model) permit() {
	if m.last != m.newestEnd {
		m.last, m.before = m.newestEnd, m.last
	}
}

func (m *model) restart() {
	m.newest, m.last, m.before = 0, max(m.last, m.before), min(m.last, m.before)
}

// answers is not ok near a ticket's end.
func (m *model) answers() (yes, ok bool) {
	now := boottime.Now()
	for _, end := range []boottime.Instant{m.last, m.before} {
		if now.Sub(end).Abs() < 2*grain {
			return false, false
		}
	}
	return !m.fenced || now.Before(m.last) || now.Before(m.before), true
}

// TestAnyOrder does whatever comes in any order, among others who interfere.
func TestAnyOrder(t *testing.T) {
	// A step takes milliseconds; -rapid.checks asks for more.
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		must(t, checks.Value.Set("25"))
	}
	r := newRig(t)
	rapid.Check(t, func(t *rapid.T) {
		must(t, r.fence.Remove())
		must(t, r.fence.Prepare())
		var m model
		arm := func(d time.Duration) func(*rapid.T) {
			return func(t *rapid.T) {
				ticket, err := r.fence.Arm(d)
				must(t, err)
				m.arm(ticket, d)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"arm":         arm(10 * time.Second),
			"arm briefly": arm(5 * time.Millisecond),
			"permit": func(t *rapid.T) {
				if err := r.fence.Permit(m.newest); m.newest == 0 {
					if !errors.Is(err, ErrSuperseded) {
						t.Fatalf("Permit of the zero ticket = %v", err)
					}
					t.Skip("nothing to permit")
				} else {
					must(t, err)
				}
				m.permit()
			},
			"forbid":      func(t *rapid.T) { must(t, r.fence.Forbid()); m.last, m.before = 0, 0 },
			"rest":        func(t *rapid.T) { must(t, r.fence.Rest()); m = model{} },
			"time passes": func(*rapid.T) { time.Sleep(2 * grain) },
			"restart": func(t *rapid.T) {
				must(t, r.fence.Mend())
				r.fence.Close()
				r.fence = r.newFence()
				must(t, r.fence.Prepare())
				m.restart()
			},
			"damage": func(t *rapid.T) {
				must(t, r.fence.Mend())
				r.damage(t, damages[rapid.SampledFrom(slices.Sorted(maps.Keys(damages))).Draw(t, "damage")])
			},
			"look": func(t *rapid.T) {
				must(t, r.fence.Mend())
				r.expectIntact(t, true, "mended")
				if want, ok := m.answers(); ok && want {
					r.expect(t, true, "mended")
				} else if ok && r.answers(t) {
					t.Fatal("answers, and must not")
				}
			},
		})
	})
}
