// Package record defines the records of the lab's observers, as plain values on one clock. It does
// not depend on the observers (package observe) and the judge (package analyse).
package record

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Time is nanoseconds of CLOCK_MONOTONIC since the start of this process. Records are comparable
// because all observers use this clock, which never steps.
type Time int64

var base = monotonic()

// Now reads the clock.
func Now() Time { return Time(monotonic() - base) }

func monotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(fmt.Sprintf("read CLOCK_MONOTONIC: %v", err)) // vDSO: cannot fail
	}
	return ts.Nano()
}

// Of converts a time of the wall clock, which is valid until the wall clock is set.
func Of(wall time.Time) Time { return Now().Add(-time.Since(wall.Round(0))) }

// Sub returns t-u.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t - u) }

// Add returns t+d.
func (t Time) Add(d time.Duration) Time { return t + Time(d) }

// String prints the time as seconds since the base.
func (t Time) String() string { return fmt.Sprintf("%.6fs", time.Duration(t).Seconds()) }

// Intervals between two probes of all clients, between two requests, and between two knocks at one
// node.
const (
	ProbeInterval   = 5 * time.Millisecond
	RequestInterval = 10 * time.Millisecond
	KnockInterval   = 20 * time.Millisecond
)

// A Probe is an ARP request for the VIP, broadcast by a client.
type Probe struct {
	Seq  uint32 `json:"seq"`
	At   Time   `json:"at"`             // just before the send
	From string `json:"from,omitempty"` // the sending client
	// Ordinary: the request of a host that wants to send, with a sender address. Otherwise it is
	// RFC 5227's probe with the sender 0.0.0.0: the kernel answers the two on different paths
	// (net/ipv4/arp.c, arp_process).
	Ordinary bool `json:"ordinary,omitempty"`
}

// An Answer is an ARP reply to a probe. Seq is the number of the probe: the probe's sender hardware
// address contains the number and the reply repeats it, so that a reply that is read late cannot
// count for the next probe.
type Answer struct {
	Seq uint32 `json:"seq"`
	At  Time   `json:"at"`
	MAC string `json:"mac"`
}

// A Knock is a packet for the VIP that was sent to one node, whether or not it has the VIP: a SYN
// for the API server, or an echo request.
type Knock struct {
	Seq  uint32 `json:"seq"`
	At   Time   `json:"at"` // just before the send
	Node string `json:"node"`
	How  string `json:"how"` // "tcp" or "icmp"
}

// An Acceptance is the first packet that a node sent in reply to a knock as if it had the VIP.
type Acceptance struct {
	Seq uint32 `json:"seq"` // of the knock
	At  Time   `json:"at"`
	MAC string `json:"mac"` // of the sender
}

// A Loss is a time in which the kernel dropped frames because an observer did not read fast enough
// (packet(7), PACKET_STATISTICS).
type Loss struct {
	Since  Time   `json:"since"`
	At     Time   `json:"at"`
	Host   string `json:"host"`
	Frames int    `json:"frames"`
}

// An Announcement is a gratuitous ARP frame for the VIP on the wire.
type Announcement struct {
	At  Time   `json:"at"`
	MAC string `json:"mac"`
	Op  string `json:"op"` // "request" or "reply"
}

// An AddressEvent is the addition or removal of the VIP on a node's interface.
type AddressEvent struct {
	At    Time   `json:"at"`
	Node  string `json:"node"`
	Added bool   `json:"added"`
}

// A Request is an HTTPS request to the VIP over a new connection.
type Request struct {
	Start Time   `json:"start"`
	End   Time   `json:"end"`
	Node  string `json:"node,omitempty"` // from the served certificate
	Err   string `json:"err,omitempty"`
}

// OK tells whether the request was answered.
func (r Request) OK() bool { return r.Err == "" }

// A Reconnect is the recovery of a client with an idle connection to the VIP: it noticed the end of
// that connection, and got an answer over another one.
type Reconnect struct {
	Noticed Time `json:"noticed"`
	Done    Time `json:"done,omitempty"` // 0: not before the end of the record
}

// A LeaseVersion is a version of the Lease, as a watch delivered it.
type LeaseVersion struct {
	At      Time   `json:"at"`      // when it was delivered, possibly late
	Version string `json:"version"` // of the store, unique
	Deleted bool   `json:"deleted,omitempty"`
	Holder  string `json:"holder,omitempty"`
	Term    int    `json:"term"`
	// Sent is the renew time in the version, on this clock: not later than the send of the write.
	Sent    Time `json:"sent"`
	Seconds int  `json:"seconds"` // the lease duration
	// Lengthened: the holder made the lease longer than configured, according to its note.
	Lengthened bool `json:"lengthened,omitempty"`
	// Released is the node that released the lease, "" for none.
	Released string `json:"released,omitempty"`
}

// A Neighbour is a change of the MAC for the VIP in a host's ARP table, "" for no entry.
type Neighbour struct {
	At   Time   `json:"at"`
	Host string `json:"host"`
	MAC  string `json:"mac,omitempty"`
}

// A Mark is an action of the lab, such as sending a signal.
type Mark struct {
	At   Time   `json:"at"`
	Text string `json:"text"`
}

// History is all records, each list in the order of recording.
type History struct {
	Probes        []Probe
	Answers       []Answer
	Knocks        []Knock
	Acceptances   []Acceptance
	Losses        []Loss
	Announcements []Announcement
	Addresses     []AddressEvent
	Requests      []Request
	Reconnects    []Reconnect
	Leases        []LeaseVersion
	Neighbours    []Neighbour
	Marks         []Mark
	// Dropped counts records beyond the limit. A history with dropped records proves nothing.
	Dropped int
}

// DefaultLimit is enough for an hour and a half of probes at one per 5 ms, and of knocks.
const DefaultLimit = 1 << 20

// A Recorder collects records from any number of goroutines. The zero value is ready to use.
type Recorder struct {
	// Limit bounds each list of the history; 0 means DefaultLimit.
	Limit int

	mu      sync.Mutex
	history History
}

// Probe records p.
func (r *Recorder) Probe(p Probe) { add(r, &r.history.Probes, p) }

// Answer records a.
func (r *Recorder) Answer(a Answer) { add(r, &r.history.Answers, a) }

// Knock records k.
func (r *Recorder) Knock(k Knock) { add(r, &r.history.Knocks, k) }

// Acceptance records a.
func (r *Recorder) Acceptance(a Acceptance) { add(r, &r.history.Acceptances, a) }

// Loss records l.
func (r *Recorder) Loss(l Loss) { add(r, &r.history.Losses, l) }

// Announcement records a.
func (r *Recorder) Announcement(a Announcement) { add(r, &r.history.Announcements, a) }

// Address records e.
func (r *Recorder) Address(e AddressEvent) { add(r, &r.history.Addresses, e) }

// Request records q.
func (r *Recorder) Request(q Request) { add(r, &r.history.Requests, q) }

// Reconnect records c.
func (r *Recorder) Reconnect(c Reconnect) { add(r, &r.history.Reconnects, c) }

// Lease records v.
func (r *Recorder) Lease(v LeaseVersion) { add(r, &r.history.Leases, v) }

// SawLeaseOf tells whether a version that was sent at t or later was recorded.
func (r *Recorder) SawLeaseOf(t Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.history.Leases, func(v LeaseVersion) bool { return v.Sent >= t })
}

// SawAnnouncementOf tells whether an announcement of one of these MACs was recorded.
func (r *Recorder) SawAnnouncementOf(macs []string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.history.Announcements, func(a Announcement) bool { return slices.Contains(macs, a.MAC) })
}

// Neighbour records n.
func (r *Recorder) Neighbour(n Neighbour) { add(r, &r.history.Neighbours, n) }

// Mark records an action of the lab at the given time.
func (r *Recorder) Mark(at Time, format string, args ...any) {
	add(r, &r.history.Marks, Mark{At: at, Text: fmt.Sprintf(format, args...)})
}

func add[T any](r *Recorder, list *[]T, v T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	limit := r.Limit
	if limit == 0 {
		limit = DefaultLimit
	}
	if len(*list) >= limit {
		r.history.Dropped++
		return
	}
	*list = append(*list, v)
}

// History returns a copy of all records so far.
func (r *Recorder) History() History {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.history
	h.Probes = slices.Clone(h.Probes)
	h.Answers = slices.Clone(h.Answers)
	h.Knocks = slices.Clone(h.Knocks)
	h.Acceptances = slices.Clone(h.Acceptances)
	h.Losses = slices.Clone(h.Losses)
	h.Announcements = slices.Clone(h.Announcements)
	h.Addresses = slices.Clone(h.Addresses)
	h.Requests = slices.Clone(h.Requests)
	h.Reconnects = slices.Clone(h.Reconnects)
	h.Leases = slices.Clone(h.Leases)
	h.Neighbours = slices.Clone(h.Neighbours)
	h.Marks = slices.Clone(h.Marks)
	return h
}
