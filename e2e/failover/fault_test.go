package failover

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vipd-io/vipd/e2e/lab"
)

// Each fault has a unique name, does something, and makes one promise about the VIP.
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
		if f.Moves && (f.Flickers || f.MayFail || f.MayMove || f.Within == 0) || f.EndsIdle && !f.Moves {
			t.Errorf("%s: moves %t, flickers %t, may fail %t, ends idle %t", f.Name, f.Moves, f.Flickers, f.MayFail, f.EndsIdle)
		}
	}
	if _, err := ByName("none"); err == nil {
		t.Error("found a fault that is none")
	}
}

// A proxy between vipd and API servers needs plain nodes, and so does a pair with such a fault.
func TestOfKubelets(t *testing.T) {
	names := make(map[string]bool)
	for _, f := range OfKubelets() {
		names[f.Name] = true
	}
	for name, want := range map[string]bool{"sigkill": true, "apihang": true, "poweroff": true, "linkflap": true, "latekill": false, "calls409": false, "shorter": false} {
		if names[name] != want {
			t.Errorf("%s: can happen to a node with a kubelet: %t", name, names[name])
		}
	}
	slow, err := ByName("apislow")
	if err != nil {
		t.Fatal(err)
	}
	if pair := Both(None(time.Second), slow, time.Second); !pair.Plain {
		t.Error("a pair is for all nodes, of which one is not")
	}
}

// A fifth of the calls fail, in all ways, and the same seed gives the same failures.
func TestFlaky(t *testing.T) {
	const calls = 10000
	draw := func(seed uint64) []lab.Effect {
		effect := flaky(rand.New(rand.NewPCG(seed, 0)))
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
