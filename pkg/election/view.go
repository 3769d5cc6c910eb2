package election

import (
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// view is what this process has observed of the Lease, and when. A view does no I/O and reads no
// clock.
type view struct {
	self Self
	macs []string      // this node's MACs in the life of this process, the last maxMACs
	own  time.Duration // this node's longest lease duration, for records without one
	// named tells whether a released record names this node as the successor.
	named func(successor string) bool

	known     bool                  // the Lease, or its absence, was observed
	lease     *coordinationv1.Lease // nil: absent
	newest    *coordinationv1.Lease // the last version observed, even if the Lease is deleted
	recreated bool                  // deleted and created again, and without a holder since
	first     bool                  // the store never had an earlier version, see Store.First
	record    record
	verdict   verdict
	at        boottime.Instant // when this version was first observed
	raw       boottime.Raw     // the same instant by the second clock
	from      boottime.Instant // when the record may be claimed, by the first clock
	term      int              // the highest term observed
}

// older tells whether l is an earlier version than the known one. A watch that lags behind this
// node's reads and writes delivers such versions.
func (v *view) older(l *coordinationv1.Lease) bool {
	if v.newest == nil || l == nil {
		return false
	}
	return before(l, v.newest)
}

// before tells whether a is an earlier version than b.
func before(a, b *coordinationv1.Lease) bool {
	c, err := resourceversion.CompareResourceVersion(a.ResourceVersion, b.ResourceVersion)
	return err == nil && c < 0
}

// observe records a version of the Lease (nil: there is none) that was seen at now. Any difference
// counts as a new version, also a resourceVersion that went back. The result is false if the
// version was known.
func (v *view) observe(l *coordinationv1.Lease, now boottime.Instant) bool {
	if v.known && same(v.lease, l) {
		return false
	}
	v.known, v.lease, v.at, v.first = true, l, now, false
	v.record = parse(l)
	v.verdict = absent
	if l != nil {
		v.recreated = v.newest != nil && v.newest.UID != l.UID || v.recreated && v.record.holder == ""
		v.newest, v.verdict = l, v.judge()
	}
	if v.record.term <= maxTerm {
		v.term = max(v.term, v.record.term)
	}
	v.from = v.claimable()
	return true
}

// adopts tells whether a claim continues this node's own record. A record with a lower term than
// the highest observed came back with a snapshot of etcd: others have held the Lease since, in
// higher terms.
func (v *view) adopts() bool { return v.verdict == mine && v.record.term >= v.term }

// acquired returns the acquireTime in the Lease, zero for none.
func (v *view) acquired() time.Time {
	if v.lease == nil || v.lease.Spec.AcquireTime == nil {
		return time.Time{}
	}
	return v.lease.Spec.AcquireTime.Time
}

// maxMACs bounds the remembered MACs: a link may change its MAC without end. A record with a
// forgotten MAC counts as another machine's, and is waited out.
const maxMACs = 16

// setMAC sets this node's MAC. Until the MAC is known, this node's own record looks like another
// machine's, if the machine has no id.
func (v *view) setMAC(mac string) {
	if mac == "" || mac == v.self.MAC {
		return
	}
	v.macs = append(slices.DeleteFunc(v.macs, func(m string) bool { return m == mac }), mac)
	v.macs = slices.Clone(v.macs[max(0, len(v.macs)-maxMACs):])
	v.self.MAC = mac
	if v.lease != nil {
		v.verdict = v.judge()
		v.from = v.claimable()
	}
}

// judge tells what the record means for this node. A record with a MAC that the interface had
// before is this node's: the write may have been in flight when the MAC changed.
func (v *view) judge() verdict {
	self := v.self
	if slices.Contains(v.macs, v.record.note.MAC) {
		self.MAC = v.record.note.MAC
	}
	verdict := v.record.verdict(self)
	if verdict == vacant && v.first {
		return unheld
	}
	return verdict
}

// mayBeFirst tells whether the observed version may be the first one that the store ever had: it
// names no holder, and this node never observed one. Whoever creates a Lease without having observed
// a holder writes the term 0.
func (v *view) mayBeFirst() bool { return v.lease != nil && v.verdict == vacant && v.term == 0 }

// isFirst records that l is the first version that the store ever had. The fact holds for that
// version only: the next one may be a blanked record of a holder.
func (v *view) isFirst(l *coordinationv1.Lease) {
	if !v.mayBeFirst() || !same(v.lease, l) {
		return
	}
	v.first = true
	v.verdict = v.judge()
	v.from = v.claimable()
}

// same tells whether a and b are the same version. The resourceVersion alone does not suffice: etcd
// restored from a snapshot uses numbers again.
func same(a, b *coordinationv1.Lease) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.UID == b.UID && a.ResourceVersion == b.ResourceVersion && equality.Semantic.DeepEqual(a.Spec, b.Spec) &&
		a.Annotations[Annotation] == b.Annotations[Annotation]
}

// claimable returns the instant from which the observed record may be claimed. The wait counts from
// the observation on this node, which is no earlier than the holder's send.
//
// A blanked or deleted record is not free: the holder may not know yet, and the holder's last
// renewal may not have been observed here. So the wait counts from when the blank was observed, not
// from the record before.
func (v *view) claimable() boottime.Instant {
	switch v.verdict {
	case mine, rebooted, unheld:
		return v.at
	case released:
		return v.at.Add(v.releaseDelay())
	default: // vacant, namesake, foreign; absent is never claimed, see opCreate
		if v.verdict == vacant && v.recreated && v.term > 0 {
			// The node that created the Lease may not have observed the lease duration, see
			// emptyLeaseDuration.
			return v.at.Add(max(v.own, v.record.wait(v.own)))
		}
		return v.at.Add(v.record.wait(v.own))
	}
}

const (
	// successorDelay is how long the other candidates leave a released Lease to the successor that
	// it names: many times the duration of a claim.
	successorDelay = 200 * time.Millisecond
	// releaserDelay is how long the node that released the Lease leaves it to all others.
	releaserDelay = 300 * time.Millisecond
)

// releaseDelay returns how long this node leaves a released Lease to others.
func (v *view) releaseDelay() time.Duration {
	switch n := v.record.note; {
	case v.namedSuccessor():
		return 0
	case n.Holder == v.self.Node:
		return releaserDelay
	case n.Successor == "":
		return 0
	}
	return successorDelay
}

// namedSuccessor tells whether the Lease was released for this node.
func (v *view) namedSuccessor() bool {
	return v.verdict == released && v.record.note.Successor != "" && v.named(v.record.note.Successor)
}

// holder returns the holder in the record, "" for none.
func (v *view) holder() string { return v.record.holder }

// Observation is a version of the Lease as this node observed it.
type Observation struct {
	// Holder is the name in the record, "" for none; MAC is the holder's, "" if not known.
	Holder, MAC string
	Term        int
	// Wait is how long the holder may go on after the write, Reason why that is longer than
	// configured.
	Wait   time.Duration
	Reason Reason
	// At is when this node first observed the version, Free from when on this node may claim it.
	At, Free boottime.Instant
}

func (v *view) observation() Observation {
	s := Observation{Holder: v.record.holder, Term: v.record.term, Wait: v.record.wait(v.own), At: v.at, Free: v.from}
	if v.record.noted {
		s.MAC, s.Reason = v.record.note.MAC, v.record.note.Reason.known()
	}
	return s
}
