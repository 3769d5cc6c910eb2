package status

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// Facts is what vipd knows of itself, as its parts tell it. Instants in it become
// times of day, or lengths of time, in a Status.
type Facts struct {
	State     string
	Since     boottime.Instant
	Cause     string
	Candidate bool
	// Present: the addresses are on this node.
	Present   bool
	Interface Interface
	Lease     LeaseFacts
	// Until is until when this node answers, unless renewed.
	Until         boottime.Instant
	APIServers    []APIServer
	Announcements AnnouncementFacts
	Conflicts     ConflictFacts
	Heard         HeardFacts
	Repairs       int
	Outage        OutageFacts
	// Doctor is nil before the checks were made.
	Doctor *Doctor
}

// LeaseFacts is Lease, with instants.
type LeaseFacts struct {
	Known       bool
	Holder, MAC string
	HolderSince boottime.Instant
	Term        int
	Duration    time.Duration
	// Seen is when the newest version was.
	Seen boottime.Instant
}

// AnnouncementFacts is Announcements, with instants.
type AnnouncementFacts struct {
	Sent, Failed int
	Last         boottime.Instant
	Error        string
}

// ConflictFacts is Conflicts, with instants.
type ConflictFacts struct {
	Count int
	MAC   string
	Last  boottime.Instant
}

// HeardFacts is Heard, with instants. Since is 0 while this node does not listen.
type HeardFacts struct {
	Since    boottime.Instant
	Machines []MachineFacts
}

// MachineFacts is Machine, with instants. Announced is 0 if it did not.
type MachineFacts struct {
	MAC                   string
	Frames, Announcements int
	Last, Announced       boottime.Instant
}

// OutageFacts is Outage, with instants. Began is 0 if there was none, Ended is 0
// while it lasts.
type OutageFacts struct {
	Began, Ended boottime.Instant
	Error        string
}

// BoardOptions are what does not change while vipd runs.
type BoardOptions struct {
	Node, Version string
	// VIPs are the addresses; Present is not looked at.
	VIPs []VIP
	// Namespace and Name are the Lease's.
	Namespace, Name string
	// FenceKind is "nftables" or "lifetime".
	FenceKind     string
	Configuration map[string]string
	// Certificates tells of those in use; nil for none.
	Certificates func() []Certificate
	// Neighbour is Heard's; nil for none.
	Neighbour func() string
	// Now is the clock; nil is CLOCK_BOOTTIME. Wall is the time of day, for people.
	Now  boottime.Clock
	Wall func() time.Time
}

// keep is how many changes the history holds.
const keep = 100

// Board has the Facts and the history, and makes documents of them. It is safe for
// use by several goroutines; the zero Board is not usable.
type Board struct {
	opts    BoardOptions
	started time.Time

	mu      sync.Mutex
	facts   Facts
	history []Change // the oldest first
	changed chan struct{}
}

// NewBoard returns a board that knows nothing yet.
func NewBoard(opts BoardOptions) *Board {
	if opts.Now == nil {
		opts.Now = boottime.Now
	}
	if opts.Wall == nil {
		opts.Wall = time.Now //nolint:forbidigo // for people to read, and for nothing else
	}
	if opts.Certificates == nil {
		opts.Certificates = func() []Certificate { return nil }
	}
	if opts.Neighbour == nil {
		opts.Neighbour = func() string { return "" }
	}
	return &Board{opts: opts, started: opts.Wall(), facts: Facts{State: "standby", Since: opts.Now(), Cause: "started"}, changed: make(chan struct{})}
}

// Tell changes the facts. It does not block for longer than f does, which must not
// call the board, and must put new slices in the place of those that it changes.
func (b *Board) Tell(f func(*Facts)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(&b.facts)
	b.wake()
}

// Add adds a change to the history. Its times are those of At and Steps.
func (b *Board) Add(c Change) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.Phases == nil {
		c.Phases = []Phase{}
	}
	b.history = append(b.history, c)
	if n := len(b.history); n > keep {
		b.history = slices.Clone(b.history[n-keep:])
	}
	b.wake()
}

// wake wakes those that wait for Changed. It needs the lock.
func (b *Board) wake() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// Changed is closed at the next change.
func (b *Board) Changed() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changed
}

// At is the time of day of an instant.
func (b *Board) At(i boottime.Instant) time.Time {
	return at(i, b.opts.Now(), b.opts.Wall())
}

func at(i, now boottime.Instant, wall time.Time) time.Time {
	return wall.Add(i.Sub(now)).Round(time.Microsecond).UTC()
}

// Status is the present one.
func (b *Board) Status() Status {
	s, _ := b.Documents()
	return s
}

// Documents are the present Status and History, of one moment.
func (b *Board) Documents() (Status, History) {
	certificates, neighbour := b.opts.Certificates(), b.opts.Neighbour()
	b.mu.Lock()
	f, changes := b.facts, slices.Clone(b.history)
	b.mu.Unlock()
	slices.Reverse(changes)
	if changes == nil {
		changes = []Change{}
	}
	now, wall := b.opts.Now(), b.opts.Wall()
	s := b.status(f, now, wall)
	s.Certificates = append([]Certificate{}, certificates...)
	s.Heard.Neighbour = neighbour
	s.Problems = problems(s, f, now)
	s.Health = health(s)
	return s, History{Schema: Schema, Time: s.Time, Node: s.Node, Changes: changes}
}

// status says the facts in times of day and lengths of time.
func (b *Board) status(f Facts, now boottime.Instant, wall time.Time) Status {
	when := func(i boottime.Instant) *time.Time {
		if i == 0 {
			return nil
		}
		t := at(i, now, wall)
		return &t
	}
	left := max(0, f.Until.Sub(now))
	s := Status{
		Schema: Schema, Time: at(now, now, wall), Node: b.opts.Node, Version: b.opts.Version, Started: b.started.Round(time.Microsecond).UTC(),
		State: f.State, Since: at(f.Since, now, wall), Cause: f.Cause, Candidate: f.Candidate,
		Interface: f.Interface, Repairs: f.Repairs, Doctor: f.Doctor, Configuration: b.opts.Configuration,
		Lease: Lease{Namespace: b.opts.Namespace, Name: b.opts.Name, Known: f.Lease.Known, Holder: f.Lease.Holder, HolderMAC: f.Lease.MAC,
			Term: f.Lease.Term, DurationSeconds: f.Lease.Duration.Seconds(), DeadlineMS: left.Milliseconds()},
		Fence:         Fence{Kind: b.opts.FenceKind, Open: left > 0, OpenMS: left.Milliseconds()},
		APIServers:    append([]APIServer{}, f.APIServers...),
		Announcements: Announcements{Sent: f.Announcements.Sent, Failed: f.Announcements.Failed, Last: when(f.Announcements.Last), Error: f.Announcements.Error},
		Conflicts:     Conflicts{Count: f.Conflicts.Count, MAC: f.Conflicts.MAC, Last: when(f.Conflicts.Last)},
		Heard:         Heard{Since: when(f.Heard.Since), Machines: make([]Machine, 0, len(f.Heard.Machines))},
	}
	for _, m := range f.Heard.Machines {
		s.Heard.Machines = append(s.Heard.Machines, Machine{MAC: m.MAC, Frames: m.Frames, Announcements: m.Announcements,
			Last: at(m.Last, now, wall), LastAnnounced: when(m.Announced)})
	}
	if f.Lease.Known {
		s.Lease.HolderSince, s.Lease.RenewedMS = at(f.Lease.HolderSince, now, wall), now.Sub(f.Lease.Seen).Milliseconds()
	}
	for _, v := range b.opts.VIPs {
		v.Present = f.Present
		s.VIPs = append(s.VIPs, v)
	}
	if o := f.Outage; o.Began != 0 {
		end := o.Ended
		if end == 0 {
			end = now
		}
		s.Outage = &Outage{Began: at(o.Began, now, wall), Ended: when(o.Ended), Seconds: end.Sub(o.Began).Seconds(), Error: o.Error}
	}
	return s
}

const (
	// recent is how long a conflict is worth mentioning.
	recent = time.Minute
	// soon is before the end of a certificate that is not renewed any more.
	soon = 24 * time.Hour
	// settling is what an address may take to be there, and to be gone.
	settling = time.Second
)

// problems says what is not as it should be.
func problems(s Status, f Facts, now boottime.Instant) []string {
	out := []string{}
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	switch {
	case !s.Lease.Known:
		add("lease %s/%s was not read yet: no API server answers, or none lets the kubeconfig read it; vipd's log on %s says which", s.Lease.Namespace, s.Lease.Name, s.Node)
	case s.Lease.Holder == "":
		add("nobody holds the VIP: lease %s/%s names no holder; see whether vipd runs on the control-plane nodes", s.Lease.Namespace, s.Lease.Name)
	case overdue(s):
		add("nobody holds the VIP: %s does not renew the lease any more, for %.1f s", s.Lease.Holder, float64(s.Lease.RenewedMS)/1000)
	}
	if lasts := now.Sub(f.Since) > settling; lasts && s.State == "withdrawing" {
		add("the VIP could not be taken away from %s: see vipd's log there", s.Node)
	} else if lasts && s.State == "holding" && !f.Present {
		add("%s holds the lease, and the VIP is not on %s: see vipd's log there", s.Node, s.Interface.Name)
	}
	if s.State == "standby" && !s.Candidate {
		add("%s would not take the VIP: it has no interface for it, or stands back; vipd's log there says why", s.Node)
	}
	for _, a := range s.APIServers {
		if a.State == "not ready" {
			add("the API server of %s (%s) is not ready: %s", a.Node, a.Server, a.Reason)
		}
	}
	if f.Conflicts.Last != 0 && now.Sub(f.Conflicts.Last) < recent {
		add("another machine claims the VIP, at %s: find it and take the address away there", s.Conflicts.MAC)
	}
	if s.Announcements.Error != "" {
		add("gratuitous ARP is not sent: %s", s.Announcements.Error)
	}
	for _, c := range s.Certificates {
		if left := c.Expires.Sub(s.Time); left < soon {
			add("the certificate in %s ends at %s and was not renewed: see `kubeadm certs check-expiration`", c.Kubeconfig, c.Expires.Format(time.RFC3339))
		}
	}
	return out
}

// overdue tells whether the holder's lease has run out, with time for the next one
// to take it.
func overdue(s Status) bool {
	return s.State != "holding" && float64(s.Lease.RenewedMS)/1000 > s.Lease.DurationSeconds+settling.Seconds()
}

func health(s Status) string {
	switch {
	case !s.Lease.Known || s.Lease.Holder == "" || overdue(s):
		return NoHolder
	case len(s.Problems) > 0:
		return Degraded
	}
	return Healthy
}

// Steps makes phases of what was done when. What was never done is left out.
func (b *Board) Steps(steps ...Step) []Phase {
	now, wall := b.opts.Now(), b.opts.Wall()
	var out []Phase
	var first boottime.Instant
	for _, s := range steps {
		if s.At == 0 {
			continue
		}
		if first == 0 {
			first = s.At
		}
		out = append(out, Phase{What: s.What, Time: at(s.At, now, wall), AfterMS: float64(s.At.Sub(first).Microseconds()) / 1000})
	}
	return out
}

// Step is a Phase at an instant.
type Step struct {
	What string
	At   boottime.Instant
}
