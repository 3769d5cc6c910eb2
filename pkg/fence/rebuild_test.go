package fence

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// nft runs nft like another program.
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

// prolonged is the damage that a restart cannot distinguish from a longer lease.
const prolonged = "ticket prolonged"

// damages lists what other programs may do to the tables, with a ticket in force in slot 2.
var damages = map[string]string{
	"ruleset flushed":         "flush ruleset",
	"ARP table deleted":       "delete table arp vipd-test",
	"IP table deleted":        "delete table ip vipd-test",
	"chain flushed":           "flush chain arp vipd-test answers-lease",
	"chain deleted":           "flush chain ip vipd-test receives; delete chain ip vipd-test receives",
	"guard's rule deleted":    "flush chain ip vipd-test receives",
	"first rule deleted":      "delete rule arp vipd-test answers-lease handle %first%",
	"rule inserted":           "insert rule arp vipd-test answers accept",
	"rule of source inserted": "insert rule ip vipd-test receives-lease return",
	"policy changed":          "chain arp vipd-test answers { policy drop; }",
	"table put to sleep":      "add table ip vipd-test { flags dormant; }",
	"elements deleted: ends":  "flush set arp vipd-test lease-armed2",
	"elements deleted: named": "flush set ip vipd-test lease-inforce2",
	"elements deleted: fence": "flush set arp vipd-test lease-fenced2",
	"element added":           "add element ip vipd-test lease-armed2 { 192.168.35.101 }",
	"set added":               "add set ip vipd-test more { type ipv4_addr; }",
	"other table of the name": "flush ruleset; add table arp vipd-test; add chain arp vipd-test answers { type filter hook output priority 0; }",
	"slot deleted in a table": "flush set arp vipd-test lease-armed2; flush set arp vipd-test lease-fenced2; flush set arp vipd-test lease-inforce2",
	"timeout deleted: ends": "flush set arp vipd-test lease-armed2; flush set ip vipd-test lease-armed2;" +
		"add element arp vipd-test lease-armed2 { 192.168.35.100 }; add element ip vipd-test lease-armed2 { 192.168.35.100 }",
	"timeout deleted: fence": "flush set arp vipd-test lease-fenced2; add element arp vipd-test lease-fenced2 { 192.168.35.100 }",
	prolonged: "flush set arp vipd-test lease-armed2; flush set ip vipd-test lease-armed2;" +
		"add element arp vipd-test lease-armed2 { 192.168.35.100 timeout 1h }; add element ip vipd-test lease-armed2 { 192.168.35.100 timeout 1h }",
}

func (r *rig) damage(t rapid.TB, script string) {
	t.Helper()
	if strings.Contains(script, "%first%") {
		arp := r.fence.nft.layout[0]
		must(t, r.fence.nft.withConn(func(c *nftables.Conn) error {
			rules, err := c.GetRules(arp.table, arp.chains[1].Chain)
			script = strings.ReplaceAll(script, "%first%", fmt.Sprint(rules[0].Handle))
			return err
		}))
	}
	r.nft(t, script)
}

func (r *rig) expectIntact(t rapid.TB, want bool, when string) {
	t.Helper()
	got, err := r.fence.Intact()
	// On a busy machine, a look takes so long that it proves nothing.
	for end := boottime.Now().Add(10 * time.Second); want && !got && err == nil && boottime.Now() < end; {
		got, err = r.fence.Intact()
	}
	if got != want || err != nil {
		t.Fatalf("%s: Intact = %t, %v, want %t", when, got, err, want)
	}
}

// opened puts a ticket in force for d, and returns when the ticket ends at the latest.
func (r *rig) opened(t *testing.T, d time.Duration) (end boottime.Instant) {
	t.Helper()
	ticket, err := r.gate().Arm(d)
	must(t, err)
	end = boottime.Now().Add(d)
	must(t, r.gate().Permit(ticket))
	return end
}

func TestRepairOfAnyDamage(t *testing.T) {
	t.Parallel()
	for name, script := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.expectIntact(t, true, "prepared")
			end := r.opened(t, 10*time.Second)
			r.expectIntact(t, true, "in force")
			r.damage(t, script)
			r.expectIntact(t, false, "damaged")
			must(t, r.fence.Repair())
			r.expectIntact(t, true, "repaired")
			r.expect(t, true, "repaired with the ticket in force")
			r.endsBy(t, end)
			r.opened(t, 10*time.Second)
			r.expectIntact(t, true, "renewed")
			r.expect(t, true, "renewed")
		})
	}
}

// jiffy is the maximum rounding of the kernel.
const jiffy = 10 * time.Millisecond

// endsBy reads from the kernel when the ticket in force ends.
func (r *rig) endsBy(t *testing.T, end boottime.Instant) {
	t.Helper()
	now := r.fence.now()
	v, err := r.fence.kernel.Look()
	must(t, err)
	if !v.Whole {
		t.Fatal("the tables are not whole")
	}
	for i, table := range v.Gates[0] {
		armed := table[r.gate().permitted].Armed
		if !armed.Ours {
			t.Fatalf("armed = %+v, want one element", armed)
		}
		if now.Add(armed.Left).Sub(end) > jiffy {
			t.Errorf("%v left in table %d, want %v", armed.Left, i, end.Sub(now))
		}
	}
}

// TestRepairsBreakNoConnection flushes the ruleset 50 times while a client and a server exchange
// data: a packet that arrives while the fence is closed is sent again.
func TestRepairsBreakNoConnection(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opened(t, time.Minute)
	listener := r.listen(t)
	var g errgroup.Group
	g.Go(func() error {
		c, err := listener.Accept()
		if err != nil {
			return err
		}
		_, err = io.Copy(c, c)
		return errors.Join(err, c.Close(), listener.Close())
	})
	var client net.Conn
	must(t, r.client.Do(func() (err error) {
		client, err = net.Dial("tcp", listener.Addr().String())
		return err
	}))
	done, stop := context.WithCancel(t.Context())
	g.Go(func() error {
		defer stop()
		for range 50 {
			err := r.node.Do(func() error { return exec.CommandContext(t.Context(), "nft", "flush ruleset").Run() })
			if err := errors.Join(err, r.fence.Repair()); err != nil {
				return err
			}
		}
		return nil
	})
	said := 0
	for b := make([]byte, 1); done.Err() == nil; said++ {
		_, err := client.Write(b)
		must(t, err)
		_, err = io.ReadFull(client, b)
		must(t, err)
	}
	must(t, client.Close())
	must(t, g.Wait())
	if said < 100 {
		t.Errorf("said %d bytes only: proves nothing", said)
	}
	r.expect(t, true, "at the end")
	r.expectIntact(t, true, "at the end")
}

func TestRepairedTicketEndsByItself(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	end := r.opened(t, 3*time.Second)
	r.nft(t, "flush ruleset")
	must(t, r.fence.Repair())
	r.expect(t, true, "repaired")
	r.fallsSilent(t, end)
	r.expectIntact(t, true, "ticket over")
}

func TestClosedFenceIsRepairedClosed(t *testing.T) {
	const flush = "flush ruleset"
	t.Run("forbidden", func(t *testing.T) {
		r := newRig(t)
		r.opened(t, 10*time.Second)
		must(t, r.gate().Forbid())
		r.nft(t, flush)
		r.expectIntact(t, false, "flushed")
		must(t, r.fence.Repair())
		r.expect(t, false, "repaired")
		r.expectIntact(t, true, "repaired")
	})
	t.Run("ticket over", func(t *testing.T) {
		r := newRig(t)
		r.opened(t, 50*time.Millisecond)
		time.Sleep(100 * time.Millisecond)
		r.nft(t, flush)
		must(t, r.fence.Repair())
		r.expect(t, false, "repaired")
	})
	t.Run("put back from a file", func(t *testing.T) {
		r := newRig(t)
		r.opened(t, 10*time.Second)
		saved := r.nft(t, "list ruleset")
		must(t, r.gate().Forbid())
		r.nft(t, flush+"\n"+saved)
		r.expect(t, true, "opened by somebody else")
		r.expectIntact(t, false, "opened by somebody else")
		must(t, r.fence.Repair())
		r.expect(t, false, "repaired")
	})
	t.Run("forbid on tables that are gone", func(t *testing.T) {
		r := newRig(t)
		r.opened(t, 10*time.Second)
		r.nft(t, flush)
		must(t, r.gate().Forbid())
		r.expect(t, false, "forbidden")
	})
	t.Run("forbid on tables of which one is gone", func(t *testing.T) {
		r := newRig(t)
		r.opened(t, 10*time.Second)
		r.nft(t, "delete table ip vipd-test")
		must(t, r.gate().Forbid())
		r.expect(t, false, "forbidden")
		r.expectIntact(t, true, "forbidden")
	})
	t.Run("at rest", func(t *testing.T) {
		r := newRig(t)
		r.opened(t, 10*time.Second)
		must(t, r.gate().Clear())
		r.expectIntact(t, true, "rested")
		r.nft(t, flush)
		must(t, r.fence.Repair())
		r.expect(t, true, "repaired at rest")
		must(t, r.fence.Remove())
		r.expectIntact(t, true, "removed")
		must(t, r.fence.Repair())
		if s := r.nft(t, "list ruleset"); s != "" {
			t.Errorf("Repair after Remove made\n%s", s)
		}
	})
}

func TestPermitFindsItsTicketInRepairedTables(t *testing.T) {
	for _, repair := range []bool{true, false} {
		t.Run(fmt.Sprintf("repair=%t", repair), func(t *testing.T) {
			r := newRig(t)
			r.opened(t, 10*time.Second)
			must(t, r.gate().Forbid())
			ticket, err := r.gate().Arm(5 * time.Second)
			must(t, err)
			end := boottime.Now().Add(5 * time.Second)
			r.nft(t, "flush ruleset")
			if repair {
				must(t, r.fence.Repair())
				r.expect(t, false, "repaired, not permitted yet")
			}
			must(t, r.gate().Permit(ticket))
			r.expect(t, true, "permitted")
			r.expectIntact(t, true, "permitted")
			r.endsBy(t, end)
		})
	}
}

// TestPausedRepairExtendsNothing has a clock that jumps during a transaction, as if this process
// was stopped.
func TestPausedRepairExtendsNothing(t *testing.T) {
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
				if calls++; calls == 3 { // the second call is before the transaction
					jump = tt.jump
				}
				return boottime.Now().Add(jump)
			}
			must(t, r.fence.run("rebuild", r.fence.rebuild))
			r.expect(t, tt.open, "after the pause")
			r.expectIntact(t, true, "repaired")
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
	must(t, r.fence.Repair())
	r.expect(t, true, "repaired with what the earlier process left")
	r.endsBy(t, end)
}

// TestRestartDuringARenewal: a process was killed between Arm and Permit.
func TestRestartDuringARenewal(t *testing.T) {
	for _, renewals := range []int{1, 2} { // in either slot
		r := newRig(t)
		for range renewals {
			r.opened(t, 10*time.Second)
		}
		_, err := r.gate().Arm(20 * time.Second)
		must(t, err)
		r.fence = r.newFence()
		must(t, r.fence.Prepare())
		_, err = r.gate().Arm(20 * time.Second)
		must(t, err)
		r.expect(t, true, "armed after a restart")
		r.expectIntact(t, true, "armed after a restart")
	}
}

// TestFailedChangeIsRepaired: after a failed transaction it is not known what the kernel did.
func TestFailedChangeIsRepaired(t *testing.T) {
	r := newRig(t)
	ticket, err := r.gate().Arm(10 * time.Second)
	must(t, err)
	end := boottime.Now().Add(10 * time.Second)
	r.fence.nft.layout[0].v6 = true // the addresses are then too long for the sets
	r.fence.nft.groups = [][]netip.Addr{{netip.IPv6Loopback()}}
	if _, err := r.gate().Arm(20 * time.Second); err == nil {
		t.Fatal("armed an address that does not fit")
	}
	r.fence.nft.layout[0].v6, r.fence.nft.groups = false, r.fence.opts.Groups
	r.expectIntact(t, true, "a change failed, and changed nothing")
	must(t, r.gate().Permit(ticket))
	r.expectIntact(t, true, "permitted")
	r.expect(t, true, "permitted")
	r.endsBy(t, end)
}

// model models the calls, independently of their implementation.
type model struct {
	newest    Ticket
	newestEnd boottime.Instant
	// The times until which the last permitted ticket, and the one before it, keep the fence open.
	last, before boottime.Instant
	fenced       bool
}

func (m *model) arm(t Ticket, d time.Duration) {
	end := boottime.Now().Add(d)
	// The ticket in force lasts no longer than the new one.
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

// answers returns ok=false near the end of a ticket, when the result is not certain.
func (m *model) answers() (yes, ok bool) {
	now := boottime.Now()
	for _, end := range []boottime.Instant{m.last, m.before} {
		if now.Sub(end).Abs() < 2*timerError {
			return false, false
		}
	}
	return !m.fenced || now.Before(m.last) || now.Before(m.before), true
}

// TestAnyOrder makes calls, and changes of other programs, in any order.
func TestAnyOrder(t *testing.T) {
	t.Parallel()
	// A step takes milliseconds; -rapid.checks runs more.
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
				ticket, err := r.gate().Arm(d)
				must(t, err)
				m.arm(ticket, d)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"arm":         arm(10 * time.Second),
			"arm briefly": arm(5 * time.Millisecond),
			"permit": func(t *rapid.T) {
				if err := r.gate().Permit(m.newest); m.newest == 0 {
					if !errors.Is(err, ErrSuperseded) {
						t.Fatalf("Permit of the zero ticket = %v", err)
					}
					t.Skip("nothing to permit")
				} else {
					must(t, err)
				}
				m.permit()
			},
			"forbid":      func(t *rapid.T) { must(t, r.gate().Forbid()); m.last, m.before = 0, 0 },
			"clear":       func(t *rapid.T) { must(t, r.gate().Clear()); m = model{} },
			"time passes": func(*rapid.T) { time.Sleep(2 * timerError) },
			"restart": func(t *rapid.T) {
				must(t, r.fence.Repair())
				r.fence.Close()
				r.fence = r.newFence()
				must(t, r.fence.Prepare())
				m.restart()
			},
			"damage": func(t *rapid.T) {
				must(t, r.fence.Repair())
				r.damage(t, damages[rapid.SampledFrom(slices.Sorted(maps.Keys(damages))).Draw(t, "damage")])
			},
			"look": func(t *rapid.T) {
				must(t, r.fence.Repair())
				r.expectIntact(t, true, "repaired")
				if want, ok := m.answers(); ok && want {
					r.expect(t, true, "repaired")
				} else if ok && r.answers(t) {
					t.Fatal("answers, and must not")
				}
			},
		})
	})
}
