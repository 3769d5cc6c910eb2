package election

import (
	"errors"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"pgregory.net/rapid"

	"github.com/vipd-io/vipd/internal/bubble"
	"github.com/vipd-io/vipd/internal/leasetest"
)

// lostFor is longer than any lease in these tests; cluster.end waits for that time.
const lostFor = 50 * time.Second

func least(t interface{ Fatal(...any) }, lease time.Duration) Timing {
	timing, err := NewTiming(lease, 0)
	if err != nil {
		t.Fatal(err)
	}
	return timing
}

// TestLengthFollowsTheStore: the length grows at once after two slow renewals, and shrinks by a
// second with each answer after half a minute of renewals that needed less.
func TestLengthFollowsTheStore(t *testing.T) {
	l := newLength(least(t, 3*time.Second), 20*time.Second)
	seconds := func() int {
		timing, why := l.next(false)
		if (why == SlowStore) != (timing.Lease > 3*time.Second) {
			t.Errorf("a lease of %s because of %q", timing.Lease, why)
		}
		return int(timing.Lease / time.Second)
	}
	feed := func(took time.Duration, want ...int) {
		t.Helper()
		for i, want := range want {
			l.renewed(took)
			if got := seconds(); got != want {
				t.Errorf("after %d renewals of %s: %d s, want %d s", i+1, took, got, want)
			}
		}
	}
	feed(20*time.Millisecond, 3, 3, 3)
	feed(1500*time.Millisecond, 3, 8) // a single slow renewal changes nothing
	feed(3*time.Second, 8, 15)
	feed(time.Minute, 15, 20) // the length is bounded
	for range maxSamples - 2 {
		l.renewed(20 * time.Millisecond)
	}
	feed(20*time.Millisecond, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 3)
}

// TestLengthOfUnanswered: after each unanswered call, the next one may take twice as long, with a
// lease that has room for it; an answer ends that, for writes only an answer to a write.
func TestLengthOfUnanswered(t *testing.T) {
	l := newLength(least(t, 3*time.Second), 20*time.Second)
	base := l.least.Attempt
	for _, want := range []struct {
		seconds int
		attempt time.Duration
	}{{5, 2 * base}, {9, 4 * base}, {13, maxRetryAttempt}, {13, maxRetryAttempt}, {13, maxRetryAttempt}, {13, maxRetryAttempt}} {
		l.timedOut(true)
		timing, _ := l.next(false)
		if got := int(timing.Lease / time.Second); got != want.seconds || timing.Attempt != want.attempt {
			t.Errorf("after %+v: a lease of %d s with an attempt of %s, want %d s and %s", l.unanswered, got, timing.Attempt, want.seconds, want.attempt)
		}
	}
	l.answered(20*time.Millisecond, false)
	if timing, _ := l.next(false); timing.Attempt != maxRetryAttempt {
		t.Errorf("after a read that was answered at once: an attempt of %s for a write", timing.Attempt)
	}
	l.answered(1500*time.Millisecond, true)
	if timing, _ := l.next(false); timing.Attempt != 4*base {
		t.Errorf("after an answer that took 1.5 s: an attempt of %s", timing.Attempt)
	}
	l.answered(20*time.Millisecond, true)
	if timing, why := l.next(false); timing != l.least || why != AsConfigured {
		t.Errorf("after an answer: %+v (%q), want %+v", timing, why, l.least)
	}
}

// TestLengthKeepsTheArithmetic: whatever renewals take, a lease is within its bounds and has room
// for two attempts.
func TestLengthKeepsTheArithmetic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shortest := time.Duration(rapid.IntRange(2, 15).Draw(t, "shortest")) * time.Second
		most := time.Duration(rapid.IntRange(0, 60).Draw(t, "most")) * time.Second
		l := newLength(least(t, shortest), most)
		for range rapid.IntRange(0, 80).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0:
				l.timedOut(rapid.Bool().Draw(t, "write"))
			case 1:
				l.answered(time.Duration(rapid.IntRange(0, 10_000).Draw(t, "answered"))*time.Millisecond, rapid.Bool().Draw(t, "write"))
			case 2:
				l.inherit(time.Duration(rapid.IntRange(0, 400).Draw(t, "inherited")) * time.Second)
			default:
				l.renewed(time.Duration(rapid.IntRange(0, 30_000).Draw(t, "took")) * time.Millisecond)
			}
			got, why := l.next(rapid.Bool().Draw(t, "alone"))
			if got.Lease < shortest || got.Lease > max(most, shortest) || got.Lease != got.Lease.Truncate(time.Second) {
				t.Fatalf("a lease of %s is not within %s and %s", got.Lease, shortest, most)
			}
			if got.Lease < got.Margin+got.Renew+2*got.Attempt || got.Attempt < minAttempt || got.Renew != l.least.Renew {
				t.Fatalf("%+v has no room for two attempts", got)
			}
			if (why == AsConfigured) != (got.Lease == shortest) {
				t.Fatalf("%s because of %q", got.Lease, why)
			}
		}
	})
}

// seconds returns the length in the newest record.
func (c *cluster) seconds() int {
	if l := c.server.Lease(); l != nil && l.Spec.LeaseDurationSeconds != nil {
		return int(*l.Spec.LeaseDurationSeconds)
	}
	return 0
}

// TestLoneHolderOutlastsTheStore: a holder without another candidate is never silent
// while the store is away for less than its lease.
func TestLoneHolderOutlastsTheStore(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.most, c.alone = time.Minute, func() (bool, bool) { return true, true }
		n := c.join("n1")
		c.awaitHolder("", 10*time.Second)
		time.Sleep(5 * time.Second)
		if got := c.seconds(); got != int(AloneLease/time.Second) {
			t.Errorf("alone, it writes %d s", got)
		}
		for _, away := range []time.Duration{time.Second, 5 * time.Second, 15 * time.Second, 30 * time.Second} {
			back := time.Now().Add(away) // an API server answers waiting requests when etcd is back
			n.client.SetFault(func(string) leasetest.Fault { return leasetest.Fault{Before: max(0, time.Until(back))} })
			time.Sleep(away + 10*time.Second)
		}
		n.client.SetFault(func(string) leasetest.Fault { return leasetest.Fault{Before: lostFor} })
		time.Sleep(AloneLease - 2*maxRetryAttempt)
		n.client.SetFault(nil)
		time.Sleep(10 * time.Second)
		c.end()
		if len(c.held) == 0 {
			t.Fatal("never held")
		}
		for i, h := range c.held[1:] {
			if gap := h.from.Sub(c.held[i].to); gap > 0 {
				t.Errorf("silent for %s", gap)
			}
		}
	})
}

// TestRequestLostBeforeTheStoreReturns: the holder does not wait until the deadline for the last
// lost request, whenever the store went away and came back.
func TestRequestLostBeforeTheStoreReturns(t *testing.T) {
	for _, lease := range []time.Duration{2 * time.Second, 3 * time.Second, 10 * time.Second} {
		for off := time.Duration(0); off < 2*time.Second; off += 400 * time.Millisecond {
			for away := 26 * time.Second; away < 30*time.Second; away += 400 * time.Millisecond {
				bubble.Test(t, func(t *testing.T) {
					c := newCluster(t)
					c.timing = least(t, lease)
					c.most, c.alone = AloneLease, func() (bool, bool) { return true, true }
					n := c.join("n1")
					c.awaitHolder("", 30*time.Second)
					time.Sleep(5*time.Second + off)
					n.client.SetFault(func(string) leasetest.Fault { return leasetest.Fault{Before: lostFor} })
					time.Sleep(away)
					n.client.SetFault(nil)
					time.Sleep(10 * time.Second)
					c.end()
					for i, h := range c.held[1:] {
						if gap := h.from.Sub(c.held[i].to); gap > 0 {
							t.Errorf("a lease of %s, the store away for %s from %s on: silent for %s", lease, away, off, gap)
						}
					}
				})
			}
		}
	}
}

// TestShortLeaseOnceAnotherCandidateIsKnown: once another candidate is known, the next renewal has the short
// lease, and the holding ends no later than that lease, with or without an answer.
func TestShortLeaseOnceAnotherCandidateIsKnown(t *testing.T) {
	for _, lost := range []bool{false, true} {
		bubble.Test(t, func(t *testing.T) {
			c := newCluster(t)
			alone := true
			c.most, c.alone = 30*time.Second, func() (bool, bool) { c.mu.Lock(); defer c.mu.Unlock(); return alone, true }
			n := c.join("n1")
			c.awaitHolder("", 10*time.Second)
			time.Sleep(5500 * time.Millisecond)
			if lost { // the write is committed, and never answered
				n.client.SetFault(func(string) leasetest.Fault { return leasetest.Fault{After: lostFor} })
			}
			c.mu.Lock()
			alone = false
			c.mu.Unlock()
			time.Sleep(c.timing.Renew)
			if got := c.seconds(); got != 3 {
				t.Errorf("no longer alone, it writes %d s", got)
			}
			if left := n.latest().Until.Sub(c.now()); left > c.timing.Hold() {
				t.Errorf("lost=%v: it would answer for %s after the others were told of 3 s", lost, left)
			}
			other := c.join("n2")
			if lost { // after the second attempt at the latest, which had 5 s
				if got, _ := c.awaitHolder("n1", 6*time.Second); got != other {
					t.Errorf("%s took it over", got.name)
				}
			}
			c.end()
		})
	}
}

// TestNotShorterWhileRenewalsFail: a holder that learns of another candidate while it cannot write
// keeps its deadline.
func TestNotShorterWhileRenewalsFail(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := newCluster(t)
		alone := true
		c.most, c.alone = 30*time.Second, func() (bool, bool) { c.mu.Lock(); defer c.mu.Unlock(); return alone, true }
		n := c.join("n1")
		c.awaitHolder("", 10*time.Second)
		time.Sleep(5 * time.Second)
		n.client.SetFault(func(string) leasetest.Fault { return leasetest.Fault{Before: lostFor} })
		time.Sleep(2 * time.Second)
		c.mu.Lock()
		alone = false
		c.mu.Unlock()
		time.Sleep(20 * time.Second)
		if s := n.latest(); !s.Held {
			t.Errorf("given up %s", s.Why)
		}
		n.client.SetFault(nil)
		time.Sleep(20 * time.Second) // the call in flight, and two renewals
		if s, got := n.latest(), c.seconds(); !s.Held || got != 3 {
			t.Errorf("held %v, %d s", s.Held, got)
		}
		c.end()
	})
}

// TestSlowStoreIsHeld: a store that becomes slower and slower keeps its holder, even if that began
// during a claim, and the length shrinks again.
func TestSlowStoreIsHeld(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.most = 30 * time.Second
		slow := func(d time.Duration) {
			for _, n := range c.nodes {
				n.client.SetFault(func(string) leasetest.Fault { return leasetest.Fault{Before: d / 2, After: d / 2} })
			}
		}
		c.join("n1")
		first, _ := c.awaitHolder("", 10*time.Second)
		c.join("n2")
		for d := 200 * time.Millisecond; d <= 3*time.Second; d += 200 * time.Millisecond {
			slow(d)
			time.Sleep(20 * time.Second)
		}
		if got := c.seconds(); !first.latest().Held || got < 14 || got > 16 {
			t.Errorf("with a store that takes 3 s: held %v, %d s", first.latest().Held, got)
		}
		// The next holder continues with that length, and does not fail because its own timeouts
		// are too short.
		first.crash()
		next, _ := c.awaitHolder("n1", 60*time.Second)
		time.Sleep(20 * time.Second)
		if got := c.seconds(); !next.latest().Held || got < 13 {
			t.Errorf("the next holder: held %v, %d s", next.latest().Held, got)
		}
		slow(0)
		time.Sleep(90 * time.Second)
		if got := c.seconds(); got != 3 {
			t.Errorf("with a fast store again: %d s", got)
		}
		c.end()
	})
}

// TestSlowWrites: the disks of etcd suddenly become slow, so that writes take seconds and reads do
// not. The holder may lose the lease; then a node claims it again, and keeps it.
func TestSlowWrites(t *testing.T) {
	for _, slow := range []time.Duration{time.Second, 2 * time.Second, 3 * time.Second} {
		bubble.Test(t, func(t *testing.T) {
			c := newCluster(t)
			c.most = 40 * time.Second
			c.join("n1")
			c.awaitHolder("", 10*time.Second)
			c.join("n2")
			time.Sleep(5 * time.Second)
			for _, n := range c.nodes {
				n.client.SetFault(func(verb string) leasetest.Fault {
					if verb == "get" || verb == "watch" {
						return leasetest.Fault{}
					}
					return leasetest.Fault{Before: slow / 2, After: slow / 2}
				})
			}
			time.Sleep(time.Minute)
			holder, _ := c.awaitHolder("", 10*time.Second)
			term := holder.latest().Term
			time.Sleep(time.Minute)
			if s := holder.latest(); !s.Held || s.Term != term {
				t.Errorf("writes take %s: %s has lost it again: %+v", slow, holder.name, s)
			}
			c.end()
		})
	}
}

// TestRestartAlone: the knowledge of an earlier process about candidates counts until this process
// has its own.
func TestRestartAlone(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := newCluster(t)
		alone, known := true, true
		c.most, c.alone = 30*time.Second, func() (bool, bool) { c.mu.Lock(); defer c.mu.Unlock(); return alone, known }
		n := c.join("n1")
		c.awaitHolder("", 10*time.Second)
		time.Sleep(5 * time.Second)
		n.crash()
		c.mu.Lock()
		alone, known = false, false
		c.mu.Unlock()
		c.join("n1")
		time.Sleep(3 * time.Second)
		if got := c.seconds(); got != 30 {
			t.Errorf("after a restart it writes %d s", got)
		}
		c.mu.Lock()
		known = true
		c.mu.Unlock()
		time.Sleep(2 * time.Second)
		if got := c.seconds(); got != 3 {
			t.Errorf("once another is known it writes %d s", got)
		}
		c.end()
	})
}

// TestDeletedUnderALongLease: a node that creates a deleted Lease anew makes the others wait for as
// long as its holder may go on, even if the newest version was not observed.
func TestDeletedUnderALongLease(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.most, c.alone = 30*time.Second, func() (bool, bool) { return false, true }
		c.join("n1")
		first, _ := c.awaitHolder("", 10*time.Second)
		c.join("n2")
		time.Sleep(2 * time.Second)
		for d := 200 * time.Millisecond; d <= 3*time.Second; d += 200 * time.Millisecond {
			first.client.SetFault(func(string) leasetest.Fault { return leasetest.Fault{Before: d} })
			time.Sleep(20 * time.Second) // the lease of n1 becomes longer
		}
		if s := first.latest(); s.Lease < 10*time.Second {
			t.Fatalf("no long lease is held: %+v", s)
		}
		c.server.Mute() // no watch reports to the holder what follows
		first.client.SetFault(func(string) leasetest.Fault { return leasetest.Fault{Before: lostFor} })
		c.deleted = true
		c.server.Delete()
		c.awaitHolder("n1", 40*time.Second)
		c.end()
	})
}

// TestLeaseCreatedByANewNode: a Lease is deleted while its holder cannot write, and a node that never
// observed a holder creates it anew. That node waits, because a machine answered its probes. A
// third node, which observed how long leases may be, waits that long, and not as long as the new
// record says.
func TestLeaseCreatedByANewNode(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.most = 30 * time.Second
		holder := c.join("n1")
		c.awaitHolder("", 10*time.Second)
		third := c.join("n2")
		time.Sleep(2 * time.Second)
		for d := 200 * time.Millisecond; d <= 3*time.Second; d += 200 * time.Millisecond {
			holder.client.SetFault(func(string) leasetest.Fault { return leasetest.Fault{Before: d} })
			time.Sleep(20 * time.Second) // the lease of n1 becomes longer
		}
		holder.client.SetFault(func(string) leasetest.Fault { return leasetest.Fault{Before: lostFor} })
		third.client.SetFault(func(string) leasetest.Fault { return leasetest.Fault{Before: 300 * time.Millisecond} })
		c.server.Mute() // no watch reports to the holder either
		c.deleted = true
		c.server.Delete()
		newcomer := c.join("n3")
		newcomer.elector.SetCandidate(t.Context(), Candidate{Eligible: true, MAC: "mac-of-n3", NotBefore: c.now().Add(c.most)})
		time.Sleep(time.Second)
		if l := c.server.Lease(); l == nil || *l.Spec.LeaseDurationSeconds != 3 {
			t.Fatalf("the newcomer did not make it: %+v", l)
		}
		c.awaitHolder("n1", 40*time.Second)
		c.end()
	})
}

// TestInvalidDurationCountsAsTheLongest: an edit may have removed every information on how long the
// holder may go on.
func TestInvalidDurationCountsAsTheLongest(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.most, c.alone = 30*time.Second, func() (bool, bool) { return true, true }
		n := c.join("n1")
		c.awaitHolder("", 10*time.Second)
		time.Sleep(5 * time.Second)
		n.client.SetFault(func(string) leasetest.Fault { return leasetest.Fault{Before: lostFor} })
		c.server.Edit(func(l *coordinationv1.Lease) { l.Annotations, l.Spec.LeaseDurationSeconds = nil, nil })
		c.join("n2")
		c.awaitHolder("n1", 40*time.Second)
		c.end()
	})
}

// TestStoreThatIsFastAgain: the store was slow, and has been fast for half an hour, as the record
// of the holder shows. The next holder has a lease as configured.
func TestStoreThatIsFastAgain(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.most = 30 * time.Second
		n1 := c.join("n1")
		c.awaitHolder("", 10*time.Second)
		n2 := c.join("n2")
		slow := func(d time.Duration) {
			for _, n := range c.nodes {
				n.client.SetFault(func(string) leasetest.Fault { return leasetest.Fault{Before: d / 2, After: d / 2} })
			}
		}
		for d := 200 * time.Millisecond; d <= 3*time.Second; d += 200 * time.Millisecond {
			slow(d)
			time.Sleep(20 * time.Second)
		}
		slow(0)
		time.Sleep(30 * time.Minute)
		if got := c.seconds(); got != 3 || !n1.latest().Held {
			t.Fatalf("n1 holds: %v, %d s", n1.latest().Held, got)
		}
		n1.crash()
		next, _ := c.awaitHolder("n1", 10*time.Second)
		time.Sleep(2500 * time.Millisecond)
		if got := c.seconds(); next != n2 || got != 3 {
			t.Errorf("%s takes it over with a lease of %d s (%q), want 3 s", next.name, got, next.elector.reason)
		}
		c.end()
	})
}

// TestNotShortenedWithoutAWrite: the shorter lease is not sent, because the fence accepts no change
// for some seconds (another program's transaction). The longer lease stays valid: it is in the
// record and in the kernel's timer, and the other nodes wait for it.
func TestNotShortenedWithoutAWrite(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := newCluster(t)
		alone := true
		c.most, c.alone = 40*time.Second, func() (bool, bool) { c.mu.Lock(); defer c.mu.Unlock(); return alone, true }
		n := c.join("n1")
		c.awaitHolder("", 10*time.Second)
		time.Sleep(5500 * time.Millisecond)
		c.mu.Lock()
		alone, n.unarm = false, errors.New("the kernel has not answered in time")
		c.mu.Unlock()
		time.Sleep(4 * time.Second)
		if s, got := n.latest(), c.seconds(); !s.Held {
			t.Errorf("after 4 s without an Arm, with a record of %d s: %s", got, s.Why)
		}
		c.mu.Lock()
		n.unarm = nil
		c.mu.Unlock()
		time.Sleep(5 * time.Second)
		c.end()
	})
}
