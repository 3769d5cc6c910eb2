package fence

import (
	"errors"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestPausedLookHidesNoLongerTicket: a repair left a timer that ends too late, because the process
// was paused before the transaction, and the answer was lost. The look before the Permit is paused
// for as long, and still the timer does not count as right.
func TestPausedLookHidesNoLongerTicket(t *testing.T) {
	for _, paused := range [][]int{{1}, {1, 2}, {1, 2, 3}} { // the paused looks
		k, f := newModel(t, 1, Lease)
		g := f.Gate(0, Lease)
		ticket, err := g.Arm(10 * time.Second)
		must(t, err)
		end := k.now.Add(10 * time.Second)
		k.there = false // the ruleset was flushed
		calls := 0
		k.before = func() error {
			if calls++; calls == 3 { // Forbid, Look, Make
				k.pass(2 * time.Second)
				k.after = func() error { return unix.ENOBUFS }
			}
			return nil
		}
		if err := g.Forbid(); !errors.Is(err, unix.ENOBUFS) {
			t.Fatalf("Forbid = %v, want %v", err, unix.ENOBUFS)
		}
		k.calm()
		calls = 0
		k.before = func() error {
			if calls++; slices.Contains(paused, calls) {
				k.pass(2 * time.Second)
			}
			return nil
		}
		must(t, g.Permit(ticket))
		if open := k.openUntil(0); open > end || open < end.Add(-time.Second) {
			t.Errorf("paused in looks %v: open until %s after the end of the ticket", paused, open.Sub(end))
		}
	}
}

// TestSlowLook: unchanged tables are no damage as long as one of several looks is fast enough, or
// the read is at the end of the look.
func TestSlowLook(t *testing.T) {
	tests := []struct {
		name          string
		before, after []time.Duration // pauses around the read, by look
		want          bool
		looks         int
	}{
		{"quick", nil, nil, true, 1},
		{"slow before the read", []time.Duration{time.Second}, nil, true, 1},
		{"slow after the read", nil, []time.Duration{time.Second}, true, 2},
		{"always slow", nil, []time.Duration{time.Second, time.Second, time.Second}, false, maxLooks},
	}
	for _, tt := range tests {
		k, f := newModel(t, 1, Lease)
		ticket, err := f.Gate(0, Lease).Arm(10 * time.Second)
		must(t, err)
		must(t, f.Gate(0, Lease).Permit(ticket))
		looks := 0
		pause := func(pauses []time.Duration) error {
			if looks < len(pauses) {
				k.pass(pauses[looks])
			}
			return nil
		}
		k.before = func() error { return pause(tt.before) }
		k.after = func() error { defer func() { looks++ }(); return pause(tt.after) }
		if got, err := f.Intact(); got != tt.want || err != nil || looks != tt.looks {
			t.Errorf("%s: Intact = %t, %v after %d looks, want %t after %d", tt.name, got, err, looks, tt.want, tt.looks)
		}
	}
}

// TestFailedRemoveForgetsNoTicket: a transaction that fails usually changed nothing.
func TestFailedRemoveForgetsNoTicket(t *testing.T) {
	k, f := newModel(t, 1, Lease)
	g := f.Gate(0, Lease)
	ticket, err := g.Arm(10 * time.Second)
	must(t, err)
	k.before = func() error { return unix.ENOBUFS }
	if err := f.Remove(); !errors.Is(err, unix.ENOBUFS) {
		t.Fatalf("Remove = %v, want %v", err, unix.ENOBUFS)
	}
	k.calm()
	must(t, g.Permit(ticket))
	if k.openUntil(0) == 0 {
		t.Error("closed after a Permit")
	}
}
