package fence

import (
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// otherForm is a rig whose fence has rules that the kernel accepts and lists in another form: the
// kernel finds a set by its name, and does not list the number that was sent.
func otherForm(t *testing.T) (r *rig, logged *observer.ObservedLogs) {
	t.Helper()
	r = newRig(t)
	must(t, r.fence.Remove())
	return r, r.restartInOtherForm(t)
}

func (r *rig) restartInOtherForm(t *testing.T) *observer.ObservedLogs {
	t.Helper()
	core, logged := observer.New(zap.WarnLevel)
	opts := r.fence.opts
	opts.Log = zap.New(core)
	r.fence = newFence(t, opts)
	for i := range r.fence.nft.layout {
		l := &r.fence.nft.layout[i]
		for _, e := range l.chains[1].rules[0] {
			if lookup, ok := e.(*expr.Lookup); ok {
				lookup.SetID = 4711
			}
		}
	}
	must(t, r.fence.Prepare())
	return logged
}

// TestKernelListsRulesInAnotherForm: the other form is no damage, and is logged once.
func TestKernelListsRulesInAnotherForm(t *testing.T) {
	r, logged := otherForm(t)
	r.expectIntact(t, true, "prepared")
	if n := logged.FilterMessageSnippet("lists the fence in another form").Len(); n != len(r.fence.nft.layout) {
		t.Errorf("said %d times that rules are listed in another form, want once for each table: %v", n, logged.All())
	}
	end := r.opened(t, 10*time.Second)
	r.expectIntact(t, true, "in force")
	r.damage(t, "insert rule arp vipd-test answers-lease accept")
	r.expectIntact(t, false, "damaged")
	must(t, r.fence.Repair())
	r.expectIntact(t, true, "repaired")
	r.expect(t, true, "repaired")
	r.endsBy(t, end)

	r.fence.Close()
	r.restartInOtherForm(t)
	r.expect(t, true, "a restart takes the tables over")
	r.expectIntact(t, true, "after a restart")
	r.endsBy(t, end)
	must(t, r.fence.nft.withConn(func(c *nftables.Conn) error {
		tables, err := c.ListTables()
		if len(tables) != len(r.fence.nft.layout) {
			t.Errorf("%d tables are left, want %d", len(tables), len(r.fence.nft.layout))
		}
		return err
	}))
}

// TestRestartOnDamagedTables: it is not known what the tables let pass, and the address may still
// be here.
func TestRestartOnDamagedTables(t *testing.T) {
	t.Parallel()
	for name, script := range damages {
		if name == "ruleset flushed" {
			continue // after this damage, nothing identifies the tables
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			for r.opened(t, 10*time.Second); r.gate().permitted != 1; { // the damages are in slot 2
				r.opened(t, 10*time.Second)
			}
			r.damage(t, script)
			r.fence.Close()
			r.fence = r.newFence()
			must(t, r.fence.Prepare())
			if name != prolonged {
				r.expect(t, false, "restarted on damaged tables")
				r.expectIntact(t, true, "restarted on damaged tables")
			}
			r.opened(t, 10*time.Second)
			r.expect(t, true, "permitted")
		})
	}
}

// TestTablesAgree: the elements of one transaction end some milliseconds apart.
func TestTablesAgree(t *testing.T) {
	one := func(left time.Duration) Elements { return Elements{Any: true, Ours: true, Left: left} }
	inForce, none, part := one(0), Elements{}, Elements{Any: true, Left: 10 * time.Second}
	here := Content{Fenced: one(40 * time.Second), Armed: one(10 * time.Second), InForce: inForce}
	nearEnd := Content{Fenced: one(30 * time.Second), Armed: one(timerError), InForce: inForce}
	tests := []struct {
		name     string
		one, two Content
		want     bool
	}{
		{"the same", here, here, true},
		{"milliseconds apart", here, Content{one(40*time.Second + timerError), one(10*time.Second - timerError), inForce}, true},
		{"the ticket has ended in one", nearEnd, Content{one(30 * time.Second), none, inForce}, true},
		{"the ticket has ended for one address", nearEnd, Content{one(30 * time.Second), Elements{Any: true, Left: timerError}, inForce}, true},
		{"the ticket is longer in one", here, Content{one(40 * time.Second), one(12 * time.Second), inForce}, false},
		{"the ticket is in one only", here, Content{one(40 * time.Second), none, inForce}, false},
		{"the ticket is for one address only", here, Content{one(40 * time.Second), part, inForce}, false},
		{"in force in one only", here, Content{one(40 * time.Second), one(10 * time.Second), none}, false},
		{"in force for one address only", here, Content{one(40 * time.Second), one(10 * time.Second), Elements{Any: true}}, false},
		{"the fence is in one only", here, Content{none, one(10 * time.Second), inForce}, false},
		{"a slot is in one only", here, Content{}, false},
		{"nothing", Content{}, Content{}, true},
	}
	for _, tt := range tests {
		for _, tables := range [][]Contents{{{tt.one}, {tt.two}}, {{tt.two}, {tt.one}}} {
			if got := (observation{View: View{Gates: [][]Contents{tables}}}).agree(); got != tt.want {
				t.Errorf("%s: agree = %t, want %t", tt.name, got, tt.want)
			}
		}
	}
}
