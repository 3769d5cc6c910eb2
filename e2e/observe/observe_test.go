package observe_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vipd-io/vipd/e2e/judge/analyse"
	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/observe"
	"github.com/vipd-io/vipd/e2e/testkit/labtest"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

var shared *lab.Lab

func TestMain(m *testing.M) {
	options := func(b lab.Binaries) lab.Options { return lab.Options{Binaries: b} }
	labtest.MainIn(m, options, func(l *lab.Lab) error {
		shared = l
		return nil
	})
}

// take makes the node the holder, as seen from the network.
func take(n *lab.Node) error {
	return errors.Join(n.AddAddress(shared.VIP), n.Announce(shared.VIP))
}

// watch runs the observers during fn, which restores the lab. If the observers saw too little, as
// on a busy machine, watch repeats that, and fails after three times.
func watch(t *testing.T, fn func(context.Context, *record.Recorder) error) record.History {
	t.Helper()
	const tries = 3
	for i := 1; ; i++ {
		h, tooLittle := observed(t, fn)
		if tooLittle == nil {
			return h
		}
		if i == tries {
			t.Fatal(tooLittle)
		}
		t.Logf("again: %v", tooLittle)
	}
}

// watchOnce is watch for an fn that cannot be repeated.
func watchOnce(t *testing.T, fn func(context.Context, *record.Recorder) error) record.History {
	t.Helper()
	h, tooLittle := observed(t, fn)
	if tooLittle != nil {
		t.Error(tooLittle)
	}
	return h
}

// observed returns the observations during fn, and the reason if they are not enough.
func observed(t *testing.T, fn func(context.Context, *record.Recorder) error) (h record.History, tooLittle error) {
	t.Helper()
	obs, err := observe.ForLab(shared)
	if err != nil {
		t.Fatal(err)
	}
	var from, to record.Time
	h, err = obs.During(t.Context(), func(ctx context.Context, rec *record.Recorder) error {
		from = record.Now()
		defer func() { to = record.Now() }()
		return fn(ctx, rec)
	})
	if err != nil {
		t.Fatal(err)
	}
	return h, analyse.Enough(h, from, to)
}

// The VIP moves from n1 to n2 in order, with a gap.
func TestHandover(t *testing.T) {
	n1, n2 := shared.Nodes[0], shared.Nodes[1]
	var up, gone, back, taken, end record.Time
	h := watch(t, func(ctx context.Context, rec *record.Recorder) error {
		if err := take(n1); err != nil {
			return err
		}
		up = record.Now()
		if err := wait.For(ctx, time.Second); err != nil {
			return err
		}
		if err := n1.RemoveAddress(shared.VIP); err != nil {
			return err
		}
		gone = record.Now()
		rec.Mark(gone, "removed from n1")
		if err := wait.For(ctx, 300*time.Millisecond); err != nil {
			return err
		}
		back = record.Now()
		if err := take(n2); err != nil {
			return err
		}
		taken = record.Now()
		err := wait.For(ctx, 500*time.Millisecond)
		end = record.Now()
		return errors.Join(err, n2.RemoveAddress(shared.VIP), wait.For(ctx, 100*time.Millisecond))
	})
	if v := analyse.Overlap(h.Probes, h.Answers, nil); len(v) > 0 {
		t.Errorf("%d violations, the first: %v", len(v), v[0])
	}
	// A reply that was sent just before the removal may be read just after it.
	slack := record.Time(5 * time.Millisecond)
	for _, w := range []struct {
		from, to record.Time
		want     []string
	}{
		{up, gone, []string{n1.MAC.String()}},
		{gone + slack, back, nil},
		{back, end, []string{n2.MAC.String()}},
	} {
		got := slices.Collect(maps.Keys(analyse.Answering(h.Answers, w.from, w.to)))
		if diff := cmp.Diff(w.want, got); diff != "" {
			t.Errorf("who answers from %v to %v (-want +got):\n%s", w.from, w.to, diff)
		}
	}
	least, most := back.Sub(gone), taken.Sub(gone)+100*time.Millisecond // 300 ms, and the delays of a busy machine
	if got := analyse.Silence(h.Answers, up, end); got < least-10*time.Millisecond || got > most {
		t.Errorf("silence of %v, want %v to %v", got, least, most)
	}
	if got := analyse.Outage(h.Requests, up, gone.Add(-100*time.Millisecond)); got > 200*time.Millisecond {
		t.Errorf("outage of %v with the VIP in place", got)
	}
	if got := analyse.Outage(h.Requests, up, end); got < least-20*time.Millisecond || got > most {
		t.Errorf("outage of %v, want %v to %v", got, least, most)
	}
	checkAddresses(t, h, []record.AddressEvent{{Node: "n1", Added: true}, {Node: "n1"}, {Node: "n2", Added: true}, {Node: "n2"}})
	served := make(map[string]bool)
	for _, r := range h.Requests {
		if r.OK() {
			served[r.Node] = true
		}
	}
	if diff := cmp.Diff(map[string]bool{"n1": true, "n2": true}, served); diff != "" {
		t.Errorf("who served requests (-want +got):\n%s", diff)
	}
}

func checkAddresses(t *testing.T, h record.History, want []record.AddressEvent) {
	t.Helper()
	got := slices.Clone(h.Addresses)
	slices.SortStableFunc(got, func(a, b record.AddressEvent) int { return int(a.At - b.At) })
	for i := range got {
		got[i].At = 0
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("address events (-want +got):\n%s", diff)
	}
}

// Two nodes have the VIP: the observers must never miss that.
func TestTwoHolders(t *testing.T) {
	n1, n3 := shared.Nodes[0], shared.Nodes[2]
	h := watch(t, func(ctx context.Context, _ *record.Recorder) error {
		if err := n1.AddAddress(shared.VIP); err != nil {
			return err
		}
		if err := wait.For(ctx, 200*time.Millisecond); err != nil {
			return err
		}
		err := errors.Join(n3.AddAddress(shared.VIP), wait.For(ctx, 20*time.Millisecond), n3.RemoveAddress(shared.VIP))
		return errors.Join(err, wait.For(ctx, 200*time.Millisecond), n1.RemoveAddress(shared.VIP))
	})
	v := analyse.Overlap(h.Probes, h.Answers, nil)
	if len(v) < 2 || len(v) > 10 {
		t.Errorf("%d violations, want one for each of about 4 probes: %v", len(v), v)
	}
}

// A node that has the VIP and does not answer ARP is detected, and so is a second node that accepts
// packets.
func TestAcceptance(t *testing.T) {
	n1, n3 := shared.Nodes[0], shared.Nodes[2]
	for _, n := range []*lab.Node{n1, n3} {
		if _, err := n.Run(t.Context(), "nft", "add table arp mute; add chain arp mute out { type filter hook output priority 0; }; add rule arp mute out arp saddr ip "+shared.VIP.String()+" drop"); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_, err := n.Run(context.WithoutCancel(t.Context()), "nft", "delete table arp mute")
			if err != nil {
				t.Error(err)
			}
		}()
	}
	var one, two, end record.Time
	h := watch(t, func(ctx context.Context, _ *record.Recorder) error {
		one = record.Now()
		err := errors.Join(n1.AddAddress(shared.VIP), wait.For(ctx, 500*time.Millisecond))
		two = record.Now()
		err = errors.Join(err, n3.AddAddress(shared.VIP), wait.For(ctx, 200*time.Millisecond), n3.RemoveAddress(shared.VIP), n1.RemoveAddress(shared.VIP))
		end = record.Now()
		return errors.Join(err, wait.For(ctx, 200*time.Millisecond))
	})
	if len(h.Answers) > 0 {
		t.Errorf("%d answers by ARP, want none", len(h.Answers))
	}
	knocks := make(map[uint32]record.Knock)
	for _, k := range h.Knocks {
		knocks[k.Seq] = k
	}
	seen := make(map[string]int)
	for _, a := range h.Acceptances {
		k := knocks[a.Seq]
		who := shared.Cluster().Node(a.MAC)
		if k.Node != who || k.At < one.Add(-50*time.Millisecond) || who == "n3" && k.At < two.Add(-50*time.Millisecond) || k.At > end {
			t.Errorf("%s accepts %+v at %v; n1 has the VIP since %v, n3 since %v, until %v", who, k, a.At, one, two, end)
		}
		seen[who+" "+k.How]++
	}
	for who, want := range map[string]int{"n1 tcp": 5, "n1 icmp": 5, "n3 tcp": 1, "n3 icmp": 1} {
		if seen[who] < want {
			t.Errorf("%s: accepted %d times, want %d at least: %v", who, seen[who], want, seen)
		}
	}
	e := record.Episode{Cluster: shared.Cluster(), At: one, End: end, History: h}
	v, err := analyse.Judge(e)
	if err != nil || !slices.ContainsFunc(v.Violations, func(v analyse.Violation) bool { return v.Rule == analyse.AcceptsAlone }) {
		t.Errorf("%v, %v, want %q to be broken", v.Violations, err, analyse.AcceptsAlone)
	}
}

// A node that answers for another one is detected by the form of the probe that the kernel answers
// in that case.
func TestProxyARP(t *testing.T) {
	n1, n2 := shared.Nodes[0], shared.Nodes[1]
	proxy := func(on string) error {
		_, err := n2.Run(context.WithoutCancel(t.Context()), "sh", "-c", "echo "+on+" > /proc/sys/net/ipv4/conf/"+lab.Interface+"/proxy_arp_pvlan")
		return err
	}
	if err := proxy("1"); err != nil {
		t.Fatal(err)
	}
	h := watch(t, func(ctx context.Context, _ *record.Recorder) error {
		return errors.Join(n1.AddAddress(shared.VIP), wait.For(ctx, 400*time.Millisecond), n1.RemoveAddress(shared.VIP), wait.For(ctx, 100*time.Millisecond))
	})
	if err := proxy("0"); err != nil {
		t.Fatal(err)
	}
	ordinary := make(map[uint32]bool)
	for _, p := range h.Probes {
		ordinary[p.Seq] = p.Ordinary
	}
	got := make(map[string]int)
	for _, a := range h.Answers {
		got[fmt.Sprintf("%s ordinary=%t", shared.Cluster().Node(a.MAC), ordinary[a.Seq])]++
	}
	if got["n1 ordinary=true"] < 10 || got["n1 ordinary=false"] < 10 || got["n2 ordinary=true"] < 10 || got["n2 ordinary=false"] > 0 {
		t.Errorf("answers %v, want those of n1 to both forms, and of n2 to the ordinary one", got)
	}
	if len(analyse.Overlap(h.Probes, h.Answers, nil)) == 0 {
		t.Error("two answered, and no rule was broken")
	}
}

// The observer sees what a client that is cut off misses.
func TestClientsCutOff(t *testing.T) {
	n1 := shared.Nodes[0]
	var from, to record.Time
	h := watch(t, func(ctx context.Context, _ *record.Recorder) error {
		err := errors.Join(n1.AddAddress(shared.VIP), n1.Cut(shared.Clients...))
		from = record.Now()
		err = errors.Join(err, wait.For(ctx, 300*time.Millisecond))
		to = record.Now()
		return errors.Join(err, n1.Heal(), n1.RemoveAddress(shared.VIP))
	})
	clients := make(map[string]int)
	by := make(map[uint32]string)
	for _, p := range h.Probes {
		by[p.Seq] = p.From
	}
	for _, a := range h.Answers {
		if a.At > from && a.At < to {
			clients[by[a.Seq]]++
		}
	}
	if clients["c2"] > 1 || clients["o1"] < 10 { // one may have been in flight
		t.Errorf("answers to %v, want o1 alone", clients)
	}
}

// An announcement does not count as an answer.
func TestAnnouncement(t *testing.T) {
	n2 := shared.Nodes[1]
	var at record.Time
	h := watch(t, func(ctx context.Context, _ *record.Recorder) error {
		at = record.Now()
		return errors.Join(n2.Announce(shared.VIP), wait.For(ctx, 200*time.Millisecond))
	})
	got, ok := analyse.FirstAnnouncementAfter(h.Announcements, at)
	if !ok || got.MAC != n2.MAC.String() || got.Op != "reply" || got.At.Sub(at) > 100*time.Millisecond {
		t.Errorf("first announcement %+v, %t, want a reply by %s soon after %v", got, ok, n2.MAC, at)
	}
	if len(h.Announcements) != 1 || len(h.Answers) != 0 {
		t.Errorf("%d announcements and %d answers, want 1 and 0", len(h.Announcements), len(h.Answers))
	}
}

// The lab announces by replies: a host that accepts requests only ignores them.
func TestListeners(t *testing.T) {
	n1, n2 := shared.Nodes[0], shared.Nodes[1]
	if err := take(n1); err != nil {
		t.Fatal(err)
	}
	known := make(map[string]string)
	believe := func(list []record.Neighbour) {
		for _, n := range list {
			known[n.Host] = n.MAC
		}
	}
	watchOnce(t, func(ctx context.Context, rec *record.Recorder) error {
		looking, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		until := func(enough func() bool) error {
			return wait.Until(looking, 10*time.Millisecond, func() (bool, error) {
				believe(rec.History().Neighbours)
				return enough(), nil
			})
		}
		err := until(func() bool { return known["c4"] != "" && known["c5"] != "" && known["c6"] != "" })
		if err := errors.Join(err, n1.RemoveAddress(shared.VIP), take(n2)); err != nil {
			return err
		}
		moved := until(func() bool { return known["c4"] == n2.MAC.String() && known["c5"] == n2.MAC.String() })
		if err := errors.Join(moved, wait.For(ctx, 500*time.Millisecond)); err != nil {
			return err
		}
		believe(rec.History().Neighbours)
		return n2.RemoveAddress(shared.VIP)
	})
	want := map[string]string{"c4": n2.MAC.String(), "c5": n2.MAC.String(), "c6": n1.MAC.String()}
	if diff := cmp.Diff(want, known); diff != "" {
		t.Errorf("who is taken for the holder (-want +got):\n%s", diff)
	}
}

// An idle client notices the end of an API server, and is connected again when another node has the
// VIP.
func TestIdle(t *testing.T) {
	n1, n2 := shared.Nodes[0], shared.Nodes[1]
	if err := take(n1); err != nil {
		t.Fatal(err)
	}
	defer n2.RemoveAddress(shared.VIP)
	var killed, moved record.Time
	h := watchOnce(t, func(ctx context.Context, rec *record.Recorder) error {
		err := wait.For(ctx, 300*time.Millisecond)
		if err != nil {
			return err
		}
		if killed, err = n1.APIServer.Kill(); err != nil {
			return err
		}
		if err := errors.Join(wait.For(ctx, time.Second), n1.RemoveAddress(shared.VIP)); err != nil {
			return err
		}
		moved = record.Now()
		back, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		return errors.Join(take(n2), wait.Until(back, 10*time.Millisecond, func() (bool, error) {
			return len(rec.History().Reconnects) > 0, nil
		}))
	})
	if len(h.Reconnects) != 1 {
		t.Fatalf("%d reconnects, want 1: %+v", len(h.Reconnects), h.Reconnects)
	}
	if r := h.Reconnects[0]; r.Noticed < killed || r.Noticed > moved || r.Done < moved {
		t.Errorf("noticed at %v, done at %v: want after the kill at %v, and after the move at %v", r.Noticed, r.Done, killed, moved)
	}
	if err := n1.RestartAPIServer(t.Context()); err != nil {
		t.Error(err)
	}
}
