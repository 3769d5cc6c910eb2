package observe_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/vipd-io/vipd/e2e/analyse"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/observe"
	"github.com/vipd-io/vipd/e2e/record"
	"github.com/vipd-io/vipd/e2e/wait"
)

var shared *lab.Lab

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintf(os.Stderr, "observe: %v\n", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx := context.Background()
	binaries, err := lab.Build(ctx, lab.BuildOptions{Progress: os.Stderr, ControlPlaneOnly: true})
	if err != nil {
		return 1, err
	}
	release, err := lab.Exclusive(ctx)
	if err != nil {
		return 1, err
	}
	defer release()
	if shared, err = lab.Start(ctx, lab.Options{Binaries: binaries}); err != nil {
		return 1, err
	}
	code = m.Run()
	if err := shared.Close(); err != nil {
		return 1, err
	}
	if code == 0 {
		err = goleak.Find()
	}
	return code, err
}

// take makes the node the holder, as far as the network can tell.
func take(n *lab.Node) error {
	return errors.Join(n.AddAddress(lab.VIP), n.Announce(lab.VIP))
}

// watch runs the observers during fn and fails if they saw too little.
func watch(t *testing.T, fn func(context.Context, *record.Recorder) error) record.History {
	t.Helper()
	obs, err := observe.ForLab(shared)
	if err != nil {
		t.Fatal(err)
	}
	var from, to record.Time
	h, err := obs.During(t.Context(), func(ctx context.Context, rec *record.Recorder) error {
		from = record.Now()
		defer func() { to = record.Now() }()
		return fn(ctx, rec)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := analyse.Enough(h, from, to); err != nil {
		t.Error(err)
	}
	return h
}

// The VIP moves from n1 to n2 in good order, with a gap.
func TestHandover(t *testing.T) {
	n1, n2 := shared.Nodes[0], shared.Nodes[1]
	var up, gone, back, end record.Time
	h := watch(t, func(ctx context.Context, rec *record.Recorder) error {
		if err := take(n1); err != nil {
			return err
		}
		up = record.Now()
		if err := wait.For(ctx, time.Second); err != nil {
			return err
		}
		if err := n1.RemoveAddress(lab.VIP); err != nil {
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
		err := wait.For(ctx, 500*time.Millisecond)
		end = record.Now()
		return errors.Join(err, n2.RemoveAddress(lab.VIP), wait.For(ctx, 100*time.Millisecond))
	})
	if v := analyse.Overlap(h.Answers, nil); len(v) > 0 {
		t.Errorf("%d violations, the first: %v", len(v), v[0])
	}
	// A reply sent just before the removal may be read just after.
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
	if got := analyse.Silence(h.Answers, up, end); got < 290*time.Millisecond || got > 400*time.Millisecond {
		t.Errorf("silence of %v, want about 300 ms", got)
	}
	if got := analyse.Outage(h.Requests, up, gone.Add(-100*time.Millisecond)); got > 200*time.Millisecond {
		t.Errorf("outage of %v with the VIP in place", got)
	}
	if got := analyse.Outage(h.Requests, up, end); got < 280*time.Millisecond || got > 400*time.Millisecond {
		t.Errorf("outage of %v, want about 300 ms", got)
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

// Two nodes have the VIP: the very thing that must never be overlooked.
func TestTwoHolders(t *testing.T) {
	n1, n3 := shared.Nodes[0], shared.Nodes[2]
	h := watch(t, func(ctx context.Context, _ *record.Recorder) error {
		if err := n1.AddAddress(lab.VIP); err != nil {
			return err
		}
		if err := wait.For(ctx, 200*time.Millisecond); err != nil {
			return err
		}
		err := errors.Join(n3.AddAddress(lab.VIP), wait.For(ctx, 20*time.Millisecond), n3.RemoveAddress(lab.VIP))
		return errors.Join(err, wait.For(ctx, 200*time.Millisecond), n1.RemoveAddress(lab.VIP))
	})
	v := analyse.Overlap(h.Answers, nil)
	if len(v) < 2 || len(v) > 10 {
		t.Errorf("%d violations, want one for each of about 4 probes: %v", len(v), v)
	}
}

// An announcement is not taken for an answer.
func TestAnnouncement(t *testing.T) {
	n2 := shared.Nodes[1]
	var at record.Time
	h := watch(t, func(ctx context.Context, _ *record.Recorder) error {
		at = record.Now()
		return errors.Join(n2.Announce(lab.VIP), wait.For(ctx, 200*time.Millisecond))
	})
	got, ok := analyse.FirstAnnouncementAfter(h.Announcements, at)
	if !ok || got.MAC != n2.MAC.String() || got.Op != "reply" || got.At.Sub(at) > 100*time.Millisecond {
		t.Errorf("first announcement %+v, %t, want a reply by %s soon after %v", got, ok, n2.MAC, at)
	}
	if len(h.Announcements) != 1 || len(h.Answers) != 0 {
		t.Errorf("%d announcements and %d answers, want 1 and 0", len(h.Announcements), len(h.Answers))
	}
}

// What the lab announces is a reply: one that heeds requests alone does not hear it.
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
	watch(t, func(ctx context.Context, rec *record.Recorder) error {
		looking, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		err := wait.Until(looking, 10*time.Millisecond, func() (bool, error) {
			believe(rec.History().Neighbours)
			return known["c4"] != "" && known["c5"] != "" && known["c6"] != "", nil
		})
		if err := errors.Join(err, n1.RemoveAddress(lab.VIP), take(n2), wait.For(ctx, 500*time.Millisecond)); err != nil {
			return err
		}
		believe(rec.History().Neighbours)
		return n2.RemoveAddress(lab.VIP)
	})
	want := map[string]string{"c4": n2.MAC.String(), "c5": n2.MAC.String(), "c6": n1.MAC.String()}
	if diff := cmp.Diff(want, known); diff != "" {
		t.Errorf("who is taken for the holder (-want +got):\n%s", diff)
	}
}

// A client that lies idle notices the end of an API server, and is back when the
// VIP is with another one.
func TestIdle(t *testing.T) {
	n1, n2 := shared.Nodes[0], shared.Nodes[1]
	if err := take(n1); err != nil {
		t.Fatal(err)
	}
	defer n2.RemoveAddress(lab.VIP)
	var killed, moved record.Time
	h := watch(t, func(ctx context.Context, _ *record.Recorder) error {
		err := wait.For(ctx, 300*time.Millisecond)
		if err != nil {
			return err
		}
		if killed, err = n1.APIServer.Kill(); err != nil {
			return err
		}
		if err := errors.Join(wait.For(ctx, 200*time.Millisecond), n1.RemoveAddress(lab.VIP)); err != nil {
			return err
		}
		moved = record.Now()
		return errors.Join(take(n2), wait.For(ctx, 1500*time.Millisecond))
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
