package failover

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vipd-io/vipd/e2e/analyse"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/record"
)

// Each fault can be found by its name, does something, and says one thing about
// the VIP.
func TestFaultList(t *testing.T) {
	titles := make(map[string]bool)
	for _, f := range Faults {
		if got, err := ByName(f.Name); err != nil || got.Title != f.Title {
			t.Errorf("by the name of %q: %q, %v", f.Name, got.Title, err)
		}
		if f.inject == nil || f.Title == "" || titles[f.Title] {
			t.Errorf("%s: nothing to inject, or the title %q is empty or taken", f.Name, f.Title)
		}
		titles[f.Title] = true
		if f.Moves && (f.Flickers || f.MayFail) || f.EndsIdle && !f.Moves {
			t.Errorf("%s: moves %t, flickers %t, may fail %t, ends idle %t", f.Name, f.Moves, f.Flickers, f.MayFail, f.EndsIdle)
		}
	}
	if _, err := ByName("none"); err == nil {
		t.Error("found a fault that is none")
	}
}

// A fifth of the calls fail, in all ways, and the same seed gives the same.
func TestFlaky(t *testing.T) {
	const calls = 10000
	draw := func(seed uint64) []lab.Effect {
		effect := flaky(seed)
		var out []lab.Effect
		for range calls {
			out = append(out, effect(nil))
		}
		return out
	}
	first := draw(1)
	count := make(map[lab.Effect]int)
	for _, e := range first {
		count[e]++
	}
	if failed := calls - count[lab.Effect{}]; failed < calls*17/100 || failed > calls*23/100 {
		t.Errorf("%d of %d fail, want about a fifth", failed, calls)
	}
	for _, e := range failures {
		if count[e] < calls*5/100 {
			t.Errorf("%+v: %d of %d", e, count[e], calls)
		}
	}
	if len(count) != len(failures)+1 {
		t.Errorf("effects %v, want those of the list and none", count)
	}
	if !slices.Equal(first, draw(1)) || slices.Equal(first, draw(2)) {
		t.Error("the effects do not depend on the seed, or on something else")
	}
}

func TestOtherMAC(t *testing.T) {
	mac := []byte{2, 0, 0, 35, 0, 11}
	if got := otherMAC(mac).String(); got != "02:00:00:23:01:0b" || mac[4] != 0 {
		t.Errorf("other MAC %s; the first is now %x", got, mac)
	}
}

func TestIdleTimes(t *testing.T) {
	const ms = record.Time(time.Millisecond)
	tests := []struct {
		name          string
		list          []record.Reconnect
		noticed, done time.Duration
	}{
		{"never", nil, 0, 0},
		{"before", []record.Reconnect{{Noticed: 99 * ms, Done: 101 * ms}}, 0, 0},
		{"the first", []record.Reconnect{{Noticed: 110 * ms, Done: 130 * ms}, {Noticed: 140 * ms, Done: 150 * ms}}, 10 * time.Millisecond, 30 * time.Millisecond},
		{"not back", []record.Reconnect{{Noticed: 110 * ms}}, 10 * time.Millisecond, 0},
	}
	for _, tt := range tests {
		if noticed, done := idle(tt.list, 100*ms); noticed != tt.noticed || done != tt.done {
			t.Errorf("%s: noticed after %v, done after %v, want %v, %v", tt.name, noticed, done, tt.noticed, tt.done)
		}
	}
}

// Each promise of a fault is kept in one outcome, and broken in others.
func TestProblems(t *testing.T) {
	moved := func(change func(*Outcome)) Outcome {
		o := Outcome{Fault: Fault{Moves: true}, Holder: "n1", Next: "n2", Moved: true, Failed: 7,
			Answered: map[string]int{"n1": 1, "n2": 9}, At: 100,
			History: record.History{Addresses: []record.AddressEvent{{At: 110, Node: "n1"}, {At: 120, Node: "n2", Added: true}}}}
		change(&o)
		return o
	}
	stayed := func(f Fault, change func(*Outcome)) Outcome {
		o := Outcome{Fault: f, Holder: "n1", Next: "n1", Answered: map[string]int{"n1": 9}, At: 100,
			History: record.History{Addresses: []record.AddressEvent{{At: 99, Node: "n1", Added: true}}}}
		change(&o)
		return o
	}
	same := func(*Outcome) {}
	event := func(node string) func(*Outcome) {
		return func(o *Outcome) {
			o.History.Addresses = append(o.History.Addresses, record.AddressEvent{At: 110, Node: node})
		}
	}
	tests := []struct {
		name    string
		outcome Outcome
		want    int
	}{
		{"moved", moved(same), 0},
		{"moved: still there", moved(func(o *Outcome) { o.Next = "n1" }), 1},
		{"moved: nowhere", moved(func(o *Outcome) { o.Next = "" }), 1},
		{"moved: in vain", moved(func(o *Outcome) { o.Stuck = context.DeadlineExceeded }), 1},
		{"moved: where it was wanted", moved(func(o *Outcome) { o.Wanted = "n2" }), 0},
		{"moved: elsewhere than wanted", moved(func(o *Outcome) { o.Wanted = "n3" }), 1},
		{"moved: in silence", moved(func(o *Outcome) { o.Moved = false }), 1},
		{"moved: two at once", moved(func(o *Outcome) { o.Twice = make([]analyse.Violation, 2) }), 2},
		{"moved: idle client left alone", moved(func(o *Outcome) { o.Fault.EndsIdle = true }), 1},
		{"moved: idle client not back", moved(func(o *Outcome) { o.Fault.EndsIdle, o.IdleNoticed = true, 1 }), 1},
		{"moved: idle client back", moved(func(o *Outcome) { o.Fault.EndsIdle, o.IdleNoticed, o.IdleDone = true, 1, 2 }), 0},
		{"stayed", stayed(Fault{}, same), 0},
		{"stayed: moved", stayed(Fault{}, func(o *Outcome) { o.Next = "n2" }), 1},
		{"stayed: gone", stayed(Fault{}, func(o *Outcome) { o.Next = "" }), 1},
		{"stayed: two at once", stayed(Fault{}, func(o *Outcome) { o.Twice = make([]analyse.Violation, 1) }), 1},
		{"stayed: a request failed", stayed(Fault{}, func(o *Outcome) { o.Failed = 1 }), 1},
		{"stayed: another answered", stayed(Fault{}, func(o *Outcome) { o.Answered["n2"] = 1 }), 1},
		{"stayed: nobody answered", stayed(Fault{}, func(o *Outcome) { o.Answered = nil }), 1},
		{"stayed: the address went", stayed(Fault{}, event("n1")), 1},
		{"may fail", stayed(Fault{MayFail: true}, func(o *Outcome) { o.Failed = 1 }), 0},
		{"may fail: the address went", stayed(Fault{MayFail: true}, event("n1")), 1},
		{"flickered", stayed(Fault{Flickers: true}, func(o *Outcome) { o.Failed = 5; event("n1")(o) }), 0},
		{"flickered: without the stranger", stayed(Fault{Flickers: true, Stranger: stranger}, same), 1},
		{"flickered: with the stranger", stayed(Fault{Flickers: true, Stranger: stranger}, func(o *Outcome) { o.StrangerAnswered = 1 }), 0},
		{"flickered: on another node", stayed(Fault{Flickers: true}, event("n2")), 1},
		{"flickered: another answered", stayed(Fault{Flickers: true}, func(o *Outcome) { o.Answered["n2"] = 1 }), 1},
		{"flickered: moved", stayed(Fault{Flickers: true}, func(o *Outcome) { o.Next = "n2" }), 1},
	}
	for _, tt := range tests {
		got := tt.outcome.Problems()
		if len(got) != tt.want || tt.outcome.AsExpected() != (tt.want == 0) {
			t.Errorf("%s: problems %q, want %d", tt.name, got, tt.want)
		}
	}
}

func TestMoveCommand(t *testing.T) {
	n := &lab.Node{Host: &lab.Host{Dir: "/lab/n1"}}
	for to, want := range map[string][]string{
		"":   {"", "move", "--kubeconfig", "/lab/n1/admin.conf"},
		"n2": {"", "move", "--kubeconfig", "/lab/n1/admin.conf", "--to", "n2"},
	} {
		if diff := cmp.Diff(want, moveCommand(n, to)); diff != "" {
			t.Errorf("to %q (-want +got):\n%s", to, diff)
		}
	}
}
