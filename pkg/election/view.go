package election

import (
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// view is what this process has seen of the Lease, and when. It is pure: it
// asks no clock and no network.
type view struct {
	self Self
	macs []string      // all that were ours in the life of this process
	own  time.Duration // our own lease duration, for records that do not say
	// named tells whether a released record is meant for us.
	named func(successor string) bool

	known   bool                  // the Lease, or its absence, was seen
	lease   *coordinationv1.Lease // nil: absent
	record  record
	verdict verdict
	at      boottime.Instant // when this version was first seen
	from    boottime.Instant // from when on it may be claimed
	term    int              // the highest seen
}

// older tells whether l is an earlier version than the one that is known, as a
// watch that lags behind our own reads and writes delivers.
func (v *view) older(l *coordinationv1.Lease) bool {
	if v.lease == nil || l == nil {
		return false
	}
	return before(l, v.lease)
}

// before tells whether a is an earlier version than b.
func before(a, b *coordinationv1.Lease) bool {
	c, err := resourceversion.CompareResourceVersion(a.ResourceVersion, b.ResourceVersion)
	return err == nil && c < 0
}

// observe takes in a version of the Lease (nil: there is none) that was seen at
// now. Any difference is news, also a resourceVersion that went back. It tells
// whether it was news.
func (v *view) observe(l *coordinationv1.Lease, now boottime.Instant) bool {
	if v.known && same(v.lease, l) {
		return false
	}
	v.known, v.lease, v.at = true, l, now
	v.record = parse(l)
	v.verdict = absent
	if l != nil {
		v.verdict = v.judge()
	}
	if v.record.term <= maxTerm {
		v.term = max(v.term, v.record.term)
	}
	v.from = v.claimable()
	return true
}

// adopts tells whether a claim goes on with our own record. One that is behind what was
// seen came back with a snapshot of etcd: others have held since, in higher terms.
func (v *view) adopts() bool { return v.verdict == mine && v.record.term >= v.term }

// acquired is when the Lease says that its holder took it, zero for never.
func (v *view) acquired() time.Time {
	if v.lease == nil || v.lease.Spec.AcquireTime == nil {
		return time.Time{}
	}
	return v.lease.Spec.AcquireTime.Time
}

// setMAC says which MAC is ours from now on. Until it is known, our own record
// looks like a namesake's.
func (v *view) setMAC(mac string) {
	if mac == "" || mac == v.self.MAC {
		return
	}
	v.macs = append(v.macs, mac)
	v.self.MAC = mac
	if v.lease != nil {
		v.verdict = v.judge()
		v.from = v.claimable()
	}
}

// judge tells whom the record speaks of. One with a MAC that our interface had
// before is ours: it may have been under way when the MAC changed.
func (v *view) judge() verdict {
	self := v.self
	if slices.Contains(v.macs, v.record.note.MAC) {
		self.MAC = v.record.note.MAC
	}
	return v.record.verdict(self)
}

// same tells whether two are one version. Its number alone does not: etcd restored from a
// snapshot gives numbers again.
func same(a, b *coordinationv1.Lease) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.UID == b.UID && a.ResourceVersion == b.ResourceVersion && equality.Semantic.DeepEqual(a.Spec, b.Spec) &&
		a.Annotations[Annotation] == b.Annotations[Annotation]
}

// claimable is the instant from which the record just observed may be claimed.
// It is counted from when it was seen here, which is no earlier than when its
// holder sent it.
//
// A record that was blanked or deleted is not free: its holder may not know
// yet, and its last renewal may be one that was not seen here. So it is waited
// out from when the blank was seen, not from when the last record was.
func (v *view) claimable() boottime.Instant {
	switch v.verdict {
	case mine, rebooted:
		return v.at
	case released:
		return v.at.Add(v.courtesy())
	default: // vacant, namesake, foreign; absent is never claimed, see opSeed
		return v.at.Add(v.record.wait(v.own))
	}
}

const (
	// courtesy is how long the others leave a released Lease to the successor
	// that it names: many times what a claim takes.
	courtesy = 200 * time.Millisecond
	// afterwards is how long who released it leaves it to all others.
	afterwards = 300 * time.Millisecond
)

// courtesy is how long a released Lease is left to others.
func (v *view) courtesy() time.Duration {
	switch n := v.record.note; {
	case v.chosen():
		return 0
	case n.Holder == v.self.Node:
		return afterwards
	case n.Successor == "":
		return 0
	}
	return courtesy
}

// chosen tells whether the Lease was released for us.
func (v *view) chosen() bool {
	return v.verdict == released && v.record.note.Successor != "" && v.named(v.record.note.Successor)
}

// holder names who holds the Lease by the record, "" for nobody.
func (v *view) holder() string { return v.record.holder }

// Sight is a version of the Lease as one node saw it.
type Sight struct {
	// Holder is the name in it, "" for none; MAC its machine's, "" if not known.
	Holder, MAC string
	Term        int
	// Wait is how long its holder may go on after it was written.
	Wait time.Duration
	// At is when it was first seen here, Free from when on it may be claimed here.
	At, Free boottime.Instant
}

func (v *view) sight() Sight {
	s := Sight{Holder: v.record.holder, Term: v.record.term, Wait: v.record.wait(v.own), At: v.at, Free: v.from}
	if v.record.noted {
		s.MAC = v.record.note.MAC
	}
	return s
}
