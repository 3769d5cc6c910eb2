// Package record holds what the lab's observers saw, as plain values on one
// clock. It knows nothing of who fills it (package observe) or judges it
// (package analyse).
package record

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Time is nanoseconds of CLOCK_MONOTONIC since this process started. One
// clock for all observers is what makes two records comparable; a wall clock
// that is stepped would not.
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

// Of is a time of the wall clock on this one, for as long as nobody sets that.
func Of(wall time.Time) Time { return Now().Add(-time.Since(wall.Round(0))) }

// Sub returns t-u.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t - u) }

// Add returns t+d.
func (t Time) Add(d time.Duration) Time { return t + Time(d) }

// String prints the time as seconds since the base.
func (t Time) String() string { return fmt.Sprintf("%.6fs", time.Duration(t).Seconds()) }

// Intervals between two probes and between two requests.
const (
	ProbeInterval   = 5 * time.Millisecond
	RequestInterval = 10 * time.Millisecond
)

// A Probe is one who-has for the VIP, broadcast by the prober.
type Probe struct {
	Seq uint32 `json:"seq"`
	At  Time   `json:"at"`
}

// An Answer is one ARP reply to a probe. Seq names the probe that it answers:
// the probe's sender hardware address carries the number and a reply repeats
// it, so that a reply read late is not taken for the next probe's.
type Answer struct {
	Seq uint32 `json:"seq"`
	At  Time   `json:"at"`
	MAC string `json:"mac"`
}

// An Announcement is a gratuitous ARP frame for the VIP seen on the wire.
type Announcement struct {
	At  Time   `json:"at"`
	MAC string `json:"mac"`
	Op  string `json:"op"` // "request" or "reply"
}

// An AddressEvent tells that the VIP came to or went from a node's interface.
type AddressEvent struct {
	At    Time   `json:"at"`
	Node  string `json:"node"`
	Added bool   `json:"added"`
}

// A Request is one HTTPS request to the VIP over a connection of its own.
type Request struct {
	Start Time   `json:"start"`
	End   Time   `json:"end"`
	Node  string `json:"node,omitempty"` // from the certificate that was served
	Err   string `json:"err,omitempty"`
}

// OK reports whether the request was answered.
func (r Request) OK() bool { return r.Err == "" }

// A Reconnect is how a client fared whose connection to the VIP lay idle: it
// noticed the end of that, and had an answer over another one.
type Reconnect struct {
	Noticed Time `json:"noticed"`
	Done    Time `json:"done,omitempty"` // 0: not before the record ended
}

// A LeaseVersion is one version of the Lease, as a watch delivered it.
type LeaseVersion struct {
	At      Time   `json:"at"`      // when it was delivered, which may be late
	Version string `json:"version"` // the store's, unique
	Deleted bool   `json:"deleted,omitempty"`
	Holder  string `json:"holder,omitempty"`
	Term    int    `json:"term"`
	// Sent is the renew time that the holder wrote, on this clock: not later than
	// when it sent the write.
	Sent    Time `json:"sent"`
	Seconds int  `json:"seconds"` // the lease's duration
	// Released is who gave it back in order, "" for nobody.
	Released string `json:"released,omitempty"`
}

// A Neighbour tells that a host's ARP table holds another MAC for the VIP from
// now on, "" for none that it knows of.
type Neighbour struct {
	At   Time   `json:"at"`
	Host string `json:"host"`
	MAC  string `json:"mac,omitempty"`
}

// A Mark is something the lab did, such as sending a signal.
type Mark struct {
	At   Time   `json:"at"`
	Text string `json:"text"`
}

// History is everything that was seen, each list ordered by the time of
// recording.
type History struct {
	Probes        []Probe
	Answers       []Answer
	Announcements []Announcement
	Addresses     []AddressEvent
	Requests      []Request
	Reconnects    []Reconnect
	Leases        []LeaseVersion
	Neighbours    []Neighbour
	Marks         []Mark
	// Dropped counts records that no longer fitted. A history with any
	// proves nothing.
	Dropped int
}

// DefaultLimit is an hour and a half of probes at one per 5 ms.
const DefaultLimit = 1 << 20

// A Recorder collects records from any number of goroutines. The zero value
// is ready to use.
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

// SawLeaseOf tells whether a version was recorded that was sent at t or later.
func (r *Recorder) SawLeaseOf(t Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.history.Leases, func(v LeaseVersion) bool { return v.Sent >= t })
}

// SawAnnouncementOf tells whether one of these MACs was heard to announce.
func (r *Recorder) SawAnnouncementOf(macs []string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.history.Announcements, func(a Announcement) bool { return slices.Contains(macs, a.MAC) })
}

// Neighbour records n.
func (r *Recorder) Neighbour(n Neighbour) { add(r, &r.history.Neighbours, n) }

// Mark records that something happened at the given time.
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

// History returns a copy of what has been recorded so far.
func (r *Recorder) History() History {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.history
	h.Probes = slices.Clone(h.Probes)
	h.Answers = slices.Clone(h.Answers)
	h.Announcements = slices.Clone(h.Announcements)
	h.Addresses = slices.Clone(h.Addresses)
	h.Requests = slices.Clone(h.Requests)
	h.Reconnects = slices.Clone(h.Reconnects)
	h.Leases = slices.Clone(h.Leases)
	h.Neighbours = slices.Clone(h.Neighbours)
	h.Marks = slices.Clone(h.Marks)
	return h
}
