package election

import (
	"encoding/json"
	"math"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
)

// Annotation says whom a Lease written by vipd speaks of. Other electors carry
// it along when they take the Lease, so it counts only while it matches the
// holder and the term in the spec.
const Annotation = "vipd.io/holder"

// Bounds of a lease duration that a record may ask others to wait. A record
// outside of them was not written by an elector; the longest that electors in
// the field use is 137 s.
const (
	minWait = time.Second
	maxWait = 5 * time.Minute
)

// Self is who this process is. MAC and boot id tell it from a namesake on
// another machine and from itself before a reboot.
type Self struct {
	Node    string
	MAC     string
	BootID  string
	Version string
}

// note is the annotation's content.
type note struct {
	Holder   string `json:"holder"`
	Term     int    `json:"term"`
	Seconds  int    `json:"leaseDurationSeconds"`
	MAC      string `json:"mac"`
	BootID   string `json:"bootID"`
	Version  string `json:"version"`
	Released bool   `json:"released,omitempty"`
	// Successor is who is to take a Lease that was released, by a name or an
	// address of its; "" for whoever is first.
	Successor string `json:"successor,omitempty"`
}

// record is a Lease as far as the election goes. Times that other machines
// wrote are left out: nothing is decided on them.
type record struct {
	holder  string
	term    int
	seconds int  // of the lease, as the spec says: may be nonsense
	note    note // as it stands in the annotation
	noted   bool // it speaks of this holder and term
}

// ByVipd tells whether it was a vipd that wrote who holds a Lease.
func ByVipd(l *coordinationv1.Lease) bool { return parse(l).noted }

// parse reads a Lease, nil for one that does not exist. No content is an error:
// whatever people and programs write there, an election has to go on from it.
func parse(l *coordinationv1.Lease) record {
	if l == nil {
		return record{}
	}
	var r record
	if l.Spec.HolderIdentity != nil {
		r.holder = *l.Spec.HolderIdentity
	}
	if l.Spec.LeaseTransitions != nil {
		r.term = int(*l.Spec.LeaseTransitions)
	}
	if l.Spec.LeaseDurationSeconds != nil {
		r.seconds = int(*l.Spec.LeaseDurationSeconds)
	}
	var n note
	if err := json.Unmarshal([]byte(l.Annotations[Annotation]), &n); err != nil {
		return r
	}
	// A blanked record is still spoken for by the note of its last holder.
	r.note = n
	r.noted = n.Term == r.term && n.Holder != "" && (n.Holder == r.holder && !n.Released || r.holder == "")
	return r
}

// wait is how long the record's holder may go on answering after it was written.
// client-go's electors write 1 s when they release, and kube-vip takes its
// address away after that: the second is for it.
func (r record) wait(own time.Duration) time.Duration {
	seconds := r.seconds
	if r.noted && !r.note.Released {
		// The holder's own word: it counts from this, whatever the spec was
		// edited into since.
		seconds = r.note.Seconds
	}
	if seconds <= 0 {
		return max(own, minWait)
	}
	if seconds > int(maxWait/time.Second) {
		return maxWait
	}
	return time.Duration(seconds) * time.Second
}

// verdict is whom a record speaks of, from where we stand.
type verdict uint8

const (
	absent   verdict = iota // there is no Lease
	vacant                  // nobody's name, and no mark of an orderly release
	released                // nobody's name, and the mark: free at once
	mine                    // this machine, this boot
	rebooted                // this machine before its reboot
	namesake                // this node's name, from another machine
	foreign                 // somebody else, or something that is not vipd
)

func (v verdict) String() string {
	return [...]string{"absent", "vacant", "released", "mine", "rebooted", "namesake", "foreign"}[v]
}

func (r record) verdict(self Self) verdict {
	switch {
	case r.holder == "" && r.noted && r.note.Released:
		return released
	case r.holder == "":
		return vacant
	case r.holder != self.Node || !r.noted:
		return foreign
	case r.note.MAC != self.MAC:
		return namesake
	case r.note.BootID != self.BootID:
		return rebooted
	}
	return mine
}

// maxTerm is the highest that counts. One above it, a person wrote: an election a
// second takes 34 years to come there. Were it counted, terms would begin anew with
// each holder, as none is left above it.
const maxTerm = math.MaxInt32 / 2

// next is the term that follows t; the field is an int32.
func next(t int) int {
	if t < 0 || t >= math.MaxInt32 {
		return 1
	}
	return t + 1
}
