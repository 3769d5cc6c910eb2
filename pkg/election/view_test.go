package election

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/vipd-io/vipd/pkg/boottime"
)

var n1 = Self{Node: "n1", MAC: "02:00:00:00:00:01", BootID: "boot-a", Version: "test"}

const own = 3 * time.Second

// leases builds versions of one Lease, each with the next resourceVersion.
type leases struct{ rv int }

func (b *leases) raw(holder *string, seconds *int32, term *int32, annotation string) *coordinationv1.Lease {
	b.rv++
	l := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{UID: "u", ResourceVersion: strconv.Itoa(b.rv)},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: holder, LeaseDurationSeconds: seconds, LeaseTransitions: term},
	}
	if annotation != "" {
		l.Annotations = map[string]string{Annotation: annotation}
	}
	return l
}

func (b *leases) kubeVIP(holder string, seconds, term int32) *coordinationv1.Lease {
	return b.raw(&holder, &seconds, &term, "")
}

func (b *leases) vipd(s Self, holder string, seconds, term int32, released bool) *coordinationv1.Lease {
	n, err := json.Marshal(note{Holder: s.Node, Term: int(term), Seconds: 3, Machine: s.Machine, MAC: s.MAC, BootID: s.BootID, Released: released})
	if err != nil {
		panic(err)
	}
	return b.raw(&holder, &seconds, &term, string(n))
}

func TestFromWhenALeaseMayBeClaimed(t *testing.T) {
	n2 := Self{Node: "n2", MAC: "02:00:00:00:00:02", BootID: "boot-b"}
	elsewhere, earlier := n1, n1
	elsewhere.MAC = "02:00:00:00:00:99"
	earlier.BootID = "boot-before"
	var b leases
	type seen struct {
		at    time.Duration
		lease *coordinationv1.Lease
	}
	s := time.Second
	tests := []struct {
		name    string
		seen    []seen
		verdict verdict
		from    time.Duration
	}{
		{"does not exist", []seen{{0, nil}}, absent, 3 * s},
		{"own, of an earlier process", []seen{{0, b.vipd(n1, "n1", 3, 4, false)}}, mine, 0},
		{"own, from before a reboot", []seen{{0, b.vipd(earlier, "n1", 3, 4, false)}}, rebooted, 0},
		{"namesake on another machine", []seen{{0, b.vipd(elsewhere, "n1", 3, 4, false)}}, namesake, 3 * s},
		{"own name, not written by vipd", []seen{{0, b.kubeVIP("n1", 5, 4)}}, foreign, 5 * s},
		{"another node", []seen{{0, b.vipd(n2, "n2", 3, 4, false)}}, foreign, 3 * s},
		{"another node renews", []seen{{0, b.vipd(n2, "n2", 3, 4, false)}, {s, b.vipd(n2, "n2", 3, 4, false)}}, foreign, 4 * s},
		{"kube-vip", []seen{{0, b.kubeVIP("n2", 15, 4)}}, foreign, 15 * s},
		{"annotation of an earlier holder carried along by kube-vip", []seen{{0, func() *coordinationv1.Lease {
			l := b.vipd(n1, "n1", 3, 4, false)
			holder, term, seconds := "n2", int32(5), int32(5)
			l.Spec.HolderIdentity, l.Spec.LeaseTransitions, l.Spec.LeaseDurationSeconds = &holder, &term, &seconds
			return l
		}()}}, foreign, 5 * s},
		{"released in order", []seen{{0, b.vipd(n2, "n2", 3, 4, false)}, {s, b.vipd(n2, "", 1, 4, true)}}, released, s},
		{"released in order, not seen before", []seen{{0, b.vipd(n2, "", 1, 4, true)}}, released, 0},
		{"mark of an earlier term", []seen{{0, func() *coordinationv1.Lease {
			l := b.vipd(n2, "", 1, 4, true)
			term := int32(5)
			l.Spec.LeaseTransitions = &term
			return l
		}()}}, vacant, 1 * s},
		{"vipd holder blanked", []seen{{0, b.vipd(n2, "n2", 3, 4, false)}, {s, b.vipd(n2, "", 3, 4, false)}}, vacant, 4 * s},
		{"vipd holder blanked, not seen before", []seen{{0, b.vipd(n2, "", 1, 4, false)}}, vacant, 3 * s},
		{"blanked, annotation deleted, not seen before", []seen{{0, b.kubeVIP("", 3, 4)}}, vacant, 3 * s},
		{"blanked again later", []seen{{0, b.vipd(n2, "n2", 3, 4, false)}, {s, b.vipd(n2, "", 3, 4, false)}, {5 * s, b.vipd(n2, "", 2, 4, false)}}, vacant, 8 * s},
		{"kube-vip released", []seen{{0, b.kubeVIP("n2", 15, 4)}, {s, b.kubeVIP("", 1, 4)}}, vacant, 2 * s},
		{"kube-vip released, not seen before", []seen{{0, b.kubeVIP("", 1, 4)}}, vacant, s},
		{"kube-vip took and released behind our back", []seen{{0, b.vipd(n1, "n1", 3, 4, false)}, {s, b.kubeVIP("", 1, 5)}}, vacant, 2 * s},
		{"vipd holder deleted", []seen{{0, b.vipd(n2, "n2", 3, 4, false)}, {s, nil}}, absent, 4 * s},
		{"own deleted", []seen{{0, b.vipd(n1, "n1", 3, 4, false)}, {s, nil}}, absent, 4 * s},
		{"own blanked", []seen{{0, b.vipd(n1, "n1", 3, 4, false)}, {s, b.vipd(n1, "", 3, 4, false)}}, vacant, 4 * s},
		{"duration zero", []seen{{0, b.kubeVIP("n2", 0, 4)}}, foreign, 3 * s},
		{"duration negative", []seen{{0, b.kubeVIP("n2", -7, 4)}}, foreign, 3 * s},
		{"duration huge", []seen{{0, b.kubeVIP("n2", math.MaxInt32, 4)}}, foreign, 300 * s},
		{"duration edited under a vipd holder", []seen{{0, b.vipd(n2, "n2", math.MaxInt32, 4, false)}}, foreign, 3 * s},
		{"nothing in it at all", []seen{{0, b.raw(nil, nil, nil, "")}}, vacant, 3 * s},
		{"annotation is nonsense", []seen{{0, func() *coordinationv1.Lease {
			l := b.kubeVIP("n1", 3, 4)
			l.Annotations = map[string]string{Annotation: `{"holder":7}`}
			return l
		}()}}, foreign, 3 * s},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := view{self: n1, own: own}
			start := boottime.Instant(0).Add(time.Hour)
			for _, o := range tt.seen {
				v.observe(o.lease, start.Add(o.at))
			}
			if v.verdict != tt.verdict || v.from.Sub(start) != tt.from {
				t.Errorf("verdict %s, claimable after %v; want %s after %v", v.verdict, v.from.Sub(start), tt.verdict, tt.from)
			}
		})
	}
}

func TestObserveSkipsRepetitions(t *testing.T) {
	var b leases
	v := view{self: n1, own: own}
	first, second := b.kubeVIP("n2", 3, 1), b.kubeVIP("n2", 3, 1)
	now := boottime.Instant(0).Add(time.Hour)
	if !v.observe(second, now) || v.observe(second, now.Add(time.Second)) {
		t.Error("the same version counts once")
	}
	if !v.older(first) || v.older(second) {
		t.Error("older goes by resourceVersion")
	}
	if !v.observe(first, now.Add(2*time.Second)) {
		t.Error("a resourceVersion that went back is news")
	}
	if got := v.from.Sub(now); got != 5*time.Second {
		t.Errorf("claimable after %v, want 3s after the last news", got)
	}
}

func TestNextTerm(t *testing.T) {
	for in, want := range map[int]int{-5: 1, 0: 1, 7: 8, math.MaxInt32: 1} {
		if got := next(in); got != want {
			t.Errorf("next(%d) = %d, want %d", in, got, want)
		}
	}
}

// Terms increase from a term that a person wrote and the holder repaired.
func TestInvalidTerm(t *testing.T) {
	n2 := Self{Node: "n2", MAC: "02:00:00:00:00:02", BootID: "boot-b"}
	var b leases
	v := view{self: n1, own: own}
	now := boottime.Instant(0).Add(time.Hour)
	for _, term := range []int32{7, math.MaxInt32, maxTerm + 1, -1, 7} {
		v.observe(b.vipd(n2, "n2", 3, term, false), now)
		if got := next(v.term); got != 8 {
			t.Errorf("after term %d the next is %d, want 8", term, got)
		}
	}
}

// TestOwnRecordFromASnapshot: etcd restored from a snapshot has an old record of this node, after
// which another node held. The claim has a higher term.
func TestOwnRecordFromASnapshot(t *testing.T) {
	n2 := Self{Node: "n2", MAC: "02:00:00:00:00:02", BootID: "boot-b"}
	var b leases
	e := &Elector{view: view{self: n1, own: own}}
	now := boottime.Instant(0).Add(time.Hour)
	for _, seen := range []struct {
		by   Self
		term int32
		want int
	}{{n1, 5, 5}, {n2, 6, 7}, {n1, 5, 7}, {n1, 7, 7}} {
		e.view.observe(b.vipd(seen.by, seen.by.Node, 3, seen.term, false), now)
		if got := e.termFor(); got != seen.want {
			t.Errorf("after %s in term %d it claims in term %d, want %d", seen.by.Node, seen.term, got, seen.want)
		}
	}
}

// TestReusedResourceVersion: after etcd was restored from a snapshot, another version may have the
// number of a known version. It counts as a new version, and the wait starts again.
func TestReusedResourceVersion(t *testing.T) {
	n2 := Self{Node: "n2", MAC: "02:00:00:00:00:02", BootID: "boot-b"}
	var b leases
	v := view{self: n1, own: own}
	first, later := boottime.Instant(0).Add(time.Hour), boottime.Instant(0).Add(time.Hour+time.Minute)
	l := b.vipd(n2, "n2", 3, 5, false)
	v.observe(l, first)
	again := l.DeepCopy()
	if v.observe(again, later) {
		t.Error("the same version is news")
	}
	renewed := metav1.NewMicroTime(time.Unix(1700000000, 0))
	again.Spec.RenewTime = &renewed
	if !v.observe(again, later) || v.from != later.Add(3*time.Second) {
		t.Errorf("another version with the number of the first may be claimed from %v, want %v", v.from, later.Add(3*time.Second))
	}
}

func TestTiming(t *testing.T) {
	ms := time.Millisecond
	tests := []struct {
		lease, renew time.Duration
		want         Timing
	}{
		{2 * time.Second, 0, Timing{2 * time.Second, 240 * ms, 666 * ms, 547 * ms}},
		{3 * time.Second, 0, Timing{3 * time.Second, 350 * ms, 1000 * ms, 825 * ms}},
		{10 * time.Second, 0, Timing{10 * time.Second, 1120 * ms, 2000 * ms, 1000 * ms}},
		{60 * time.Second, 5 * time.Second, Timing{60 * time.Second, 6620 * ms, 5000 * ms, 1000 * ms}},
		{time.Second, 300 * ms, Timing{time.Second, 150 * ms, 300 * ms, 275 * ms}},
		{3 * time.Second, 2900 * ms, Timing{}},
		{3 * time.Second, 2500 * ms, Timing{}},
		{2500 * ms, 0, Timing{}},
		{0, 0, Timing{}},
		{-time.Second, 0, Timing{}},
		{2 * time.Minute, 0, Timing{}},
		{3 * time.Second, time.Millisecond, Timing{}},
		{3 * time.Second, -time.Second, Timing{}},
	}
	for _, tt := range tests {
		got, err := NewTiming(tt.lease, tt.renew)
		if (err == nil) != (tt.want != Timing{}) {
			t.Errorf("NewTiming(%v, %v) = %+v, %v", tt.lease, tt.renew, got, err)
			continue
		}
		got.Attempt = got.Attempt.Truncate(ms)
		if err == nil && got != tt.want {
			t.Errorf("NewTiming(%v, %v) = %+v, want %+v", tt.lease, tt.renew, got, tt.want)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add("n1", int32(3), int32(1), `{"holder":"n1","term":1,"leaseDurationSeconds":3}`)
	f.Add("", int32(-3), int32(math.MaxInt32), `{"holder":"n1","term":2147483647,"leaseDurationSeconds":-9,"released":true}`)
	f.Fuzz(func(t *testing.T, holder string, seconds, term int32, annotation string) {
		var b leases
		l := b.raw(&holder, &seconds, &term, annotation)
		v := view{self: n1, own: own}
		v.observe(l, boottime.Instant(0).Add(time.Hour))
		wait := v.from.Sub(v.at)
		if wait < 0 || wait > maxWait {
			t.Errorf("a wait of %v", wait)
		}
		if wait == 0 && v.verdict != mine && v.verdict != rebooted && v.verdict != released {
			t.Errorf("%s may be claimed at once", v.verdict)
		}
		if n := next(v.term); n < 1 || n > math.MaxInt32 {
			t.Errorf("next term %d", n)
		}
	})
}

// TestManyMACs: a link whose MAC changes again and again does not use unbounded memory, and a
// record with one of the last MACs is this node's.
func TestManyMACs(t *testing.T) {
	var b leases
	v := view{self: n1, own: own}
	for i := range 10000 {
		v.setMAC(fmt.Sprintf("02:00:00:00:%02x:%02x", i/256, i%256))
		v.setMAC("02:00:00:00:ff:01")
	}
	if len(v.macs) > maxMACs {
		t.Errorf("%d MACs are maxSamples", len(v.macs))
	}
	before := n1
	for mac, want := range map[string]verdict{v.macs[0]: mine, "02:00:00:00:ff:01": mine, "02:00:00:00:00:00": namesake} {
		before.MAC = mac
		v.observe(b.vipd(before, "n1", 3, 4, false), boottime.Instant(time.Hour))
		if v.verdict != want {
			t.Errorf("a record with the MAC %s is %s, want %s", mac, v.verdict, want)
		}
	}
}

// TestLongNames: an identity that is too long is shortened.
func TestLongNames(t *testing.T) {
	var b leases
	long := strings.Repeat("n", 1<<20)
	r := parse(b.vipd(Self{Node: long, MAC: long, BootID: long, Version: long}, long, 3, 4, false))
	for _, s := range []string{r.holder, r.note.Holder, r.note.MAC, r.note.BootID, r.note.Version} {
		if len(s) > maxIdentity+3 {
			t.Errorf("%d bytes of a name", len(s))
		}
	}
	if !r.noted {
		t.Error("the note does not speak of its holder")
	}
}

// TestWhoseRecord: the machine id counts more than a MAC, which changes with the link, and less
// than a boot, because clones of a machine (a template of a hypervisor) may share the id.
func TestWhoseRecord(t *testing.T) {
	const a, b = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
	for _, tt := range []struct {
		name       string
		note, self Self
		want       verdict
	}{
		{"the same", Self{Machine: "m", MAC: a, BootID: "1"}, Self{Machine: "m", MAC: a, BootID: "1"}, mine},
		{"another link since", Self{Machine: "m", MAC: a, BootID: "1"}, Self{Machine: "m", MAC: b, BootID: "1"}, mine},
		{"the link is not known yet", Self{Machine: "m", MAC: a, BootID: "1"}, Self{Machine: "m", BootID: "1"}, mine},
		{"before a reboot", Self{Machine: "m", MAC: a, BootID: "1"}, Self{Machine: "m", MAC: a, BootID: "2"}, rebooted},
		{"a copy of this machine, or another link and a reboot", Self{Machine: "m", MAC: a, BootID: "1"}, Self{Machine: "m", MAC: b, BootID: "2"}, namesake},
		{"a copy, and its link is not known yet", Self{Machine: "m", MAC: a, BootID: "1"}, Self{Machine: "m", BootID: "2"}, namesake},
		{"no boot is known", Self{Machine: "m", MAC: a}, Self{Machine: "m", MAC: b}, namesake},
		{"another machine with our MAC", Self{Machine: "m", MAC: a, BootID: "1"}, Self{Machine: "n", MAC: a, BootID: "2"}, namesake},
		{"a note of an earlier vipd", Self{MAC: a, BootID: "1"}, Self{Machine: "m", MAC: a, BootID: "1"}, mine},
		{"a note of an earlier vipd, before a reboot", Self{MAC: a, BootID: "1"}, Self{Machine: "m", MAC: a, BootID: "2"}, rebooted},
		{"a note of an earlier vipd with another MAC", Self{MAC: a, BootID: "1"}, Self{Machine: "m", MAC: b, BootID: "1"}, namesake},
		{"no id of this machine", Self{Machine: "m", MAC: a, BootID: "1"}, Self{MAC: a, BootID: "1"}, mine},
		{"no id of this machine, and another MAC", Self{Machine: "m", MAC: a, BootID: "1"}, Self{MAC: b, BootID: "1"}, namesake},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.note.Node, tt.self.Node = "n1", "n1"
			var b leases
			if got := parse(b.vipd(tt.note, "n1", 3, 4, false)).verdict(tt.self); got != tt.want {
				t.Errorf("verdict = %s, want %s", got, tt.want)
			}
		})
	}
}
