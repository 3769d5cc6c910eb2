package election

import (
	"encoding/json"
	"math"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
)

// Annotation describes the holder that vipd wrote. Other electors carry the annotation along when
// they take the Lease, so the annotation counts only while it matches the holder and the term in
// the spec.
const Annotation = "vipd.io/holder"

// Bounds of a lease duration that a record may make others wait for. No elector writes a record
// outside these bounds; the longest duration in the field is 137 s.
const (
	minWait = time.Second
	maxWait = 5 * time.Minute
)

// Self is the identity of this process. Machine, MAC and BootID tell this process from another
// machine under the same name, and from itself before a reboot.
type Self struct {
	Node string
	// Machine is an id of the machine, "" if none is known. Cloned machines may share one id.
	Machine string
	MAC     string
	// BootID identifies one boot of one machine.
	BootID  string
	Version string
}

// note is the content of the annotation.
type note struct {
	Holder  string `json:"holder"`
	Term    int    `json:"term"`
	Seconds int    `json:"leaseDurationSeconds"`
	// Machine is missing in notes of earlier versions, and where the id is not known.
	Machine string `json:"machine,omitempty"`
	MAC     string `json:"mac"`
	BootID  string `json:"bootID"`
	Version string `json:"version"`
	// Reason is why the lease is longer than configured.
	Reason   Reason `json:"reason,omitempty"`
	Released bool   `json:"released,omitempty"`
	// Successor is the name or an address of the candidate that is to take the released Lease; ""
	// names none.
	Successor string `json:"successor,omitempty"`
	// Reported: released because other nodes did not reach the holder.
	Reported bool `json:"reported,omitempty"`
	// Offered: the holder is about to end, and goes on until a candidate accepts.
	Offered bool `json:"offered,omitempty"`
}

// sameTerm tells whether two notes name the same holder in the same term, whatever the length of
// the lease, and whether the lease is offered.
func (n note) sameTerm(by note) bool {
	n.Seconds, n.Reason, n.Offered = by.Seconds, by.Reason, by.Offered
	return n == by
}

// record is what the election reads of a Lease. Times that other machines wrote are left out: no
// decision uses them.
type record struct {
	holder  string
	term    int
	seconds int  // lease duration in the spec: may be nonsense
	note    note // content of the annotation
	noted   bool // the note matches this holder and term
}

// ByVipd tells whether vipd wrote the present holder of the Lease.
func ByVipd(l *coordinationv1.Lease) bool { return parse(l).noted }

// Lengthened returns why the lease is longer than its holder is configured.
func Lengthened(l *coordinationv1.Lease) Reason {
	if r := parse(l); r.noted {
		return r.note.Reason.known()
	}
	return AsConfigured
}

// parse reads a Lease, nil if the Lease does not exist. No content is an error: people and programs
// may write anything there, and the election has to continue.
func parse(l *coordinationv1.Lease) record {
	if l == nil {
		return record{}
	}
	var r record
	if l.Spec.HolderIdentity != nil {
		r.holder = truncate(*l.Spec.HolderIdentity)
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
	for _, s := range []*string{&n.Holder, &n.Machine, &n.MAC, &n.BootID, &n.Version, &n.Successor} {
		*s = truncate(*s)
	}
	// In a blanked record, the note of the last holder still counts.
	r.note = n
	r.noted = n.Term == r.term && n.Holder != "" && (n.Holder == r.holder && !n.Released || r.holder == "")
	return r
}

// maxIdentity is longer than any elector's identity: a DNS name (253 bytes) and a UUID.
const maxIdentity = 512

// truncate shortens an identity that is too long: it goes on into log, history and Events.
func truncate(s string) string {
	if len(s) > maxIdentity {
		return strings.ToValidUTF8(s[:maxIdentity], "") + "..."
	}
	return s
}

// wait is how long the holder may go on answering after the record was written. client-go's
// electors write 1 s when they release, and kube-vip removes its address only after that write:
// hence a minimum of one second.
func (r record) wait(own time.Duration) time.Duration {
	seconds := r.seconds
	if r.noted && !r.note.Released {
		// The holder's own duration: the holder stops by it, whatever somebody has written into the
		// spec since.
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

// verdict is what a record means for this node.
type verdict uint8

const (
	absent   verdict = iota // there is no Lease
	vacant                  // no holder, and no mark of an orderly release
	unheld                  // vacant, and the first version that the store ever had of this Lease
	released                // no holder, and the mark: free at once
	mine                    // this machine, this boot
	rebooted                // this machine before its reboot
	namesake                // this node's name, from another machine
	foreign                 // another holder, or not a vipd
)

func (v verdict) String() string {
	return [...]string{"absent", "vacant", "unheld", "released", "mine", "rebooted", "namesake", "foreign"}[v]
}

func (r record) verdict(self Self) verdict {
	switch {
	case r.holder == "" && r.noted && r.note.Released:
		return released
	case r.holder == "":
		return vacant
	case r.holder != self.Node || !r.noted:
		return foreign
	case !r.note.fromMachine(self):
		return namesake
	case r.note.BootID != self.BootID:
		return rebooted
	}
	return mine
}

// fromMachine tells whether this machine wrote the note. The MAC may have changed, with another
// link or card. Cloned machines may share one id, so the id alone suffices only within one boot,
// whose BootID no other machine has: after a reboot, a record with another MAC may be the clone's.
// A record with another id may be the clone's whatever its MAC.
func (n note) fromMachine(self Self) bool {
	if n.Machine == "" || self.Machine == "" {
		return n.MAC == self.MAC
	}
	return n.Machine == self.Machine && (n.MAC == self.MAC || n.BootID != "" && n.BootID == self.BootID)
}

// maxTerm is the highest term that counts. A person wrote any term above it: at one election per
// second, the term gets there in 34 years. If such a term counted, terms would begin anew with each
// holder, because no higher term is left.
const maxTerm = math.MaxInt32 / 2

// next returns the term that follows t; the field is an int32.
func next(t int) int {
	if t < 0 || t >= math.MaxInt32 {
		return 1
	}
	return t + 1
}
