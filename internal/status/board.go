package status

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// Facts is what vipd knows of one group of addresses and of its node, as the parts of vipd report
// it. Status has times of day, or durations, in place of the instants.
type Facts struct {
	State     string
	Since     boottime.Instant
	Cause     string
	Candidate bool
	// Present tells whether an address of the group is on this node.
	Present bool
	// Own names the interface if an address of the group is an address of this node itself, "" if
	// none is.
	Own       string
	Interface Interface
	Lease     LeaseFacts
	// Until is when this node stops answering without another renewal.
	Until         boottime.Instant
	APIServers    []APIServer
	ControlPlane  ControlPlane
	Announcements AnnouncementFacts
	Conflicts     ConflictFacts
	Heard         HeardFacts
	Repairs       int
	Outage        OutageFacts
	// Doctor is nil before the first self-check.
	Doctor *Doctor
}

// LeaseFacts is Lease with instants.
type LeaseFacts struct {
	Known       bool
	Holder, MAC string
	HolderSince boottime.Instant
	Term        int
	Duration    time.Duration
	// Lengthened is the DurationReason.
	Lengthened string
	// Seen is when the newest version was first observed.
	Seen boottime.Instant
}

// AnnouncementFacts is Announcements with instants.
type AnnouncementFacts struct {
	Sent, Failed int
	Last         boottime.Instant
	Error        string
}

// ConflictFacts is Conflicts with instants.
type ConflictFacts struct {
	Count int
	MAC   string
	Last  boottime.Instant
}

// HeardFacts is Heard with instants. Since is 0 while this node does not listen.
type HeardFacts struct {
	Since    boottime.Instant
	Machines []MachineFacts
}

// MachineFacts is Machine with instants. Announced is 0 if the machine sent no announcement.
type MachineFacts struct {
	MAC                   string
	Frames, Announcements int
	Last, Announced       boottime.Instant
}

// OutageFacts is Outage with instants. Began is 0 without an outage, Ended is 0 during an outage.
type OutageFacts struct {
	Began, Ended boottime.Instant
	Error        string
}

// BoardOptions configures a Board with what does not change while vipd runs.
type BoardOptions struct {
	Node, Version string
	// VIPs are the addresses; Present is ignored.
	VIPs []VIP
	// Namespace and Name identify the Lease.
	Namespace, Name string
	// FenceKind is "nftables" or "lifetime".
	FenceKind     string
	Configuration map[string]string
	// Certificates returns the certificates in use; nil for none.
	Certificates func() []Certificate
	// Neighbour returns Heard.Neighbour; nil for none.
	Neighbour func() string
	// Now is the clock of the instants, nil for CLOCK_BOOTTIME. Wall is the time of day, for
	// people.
	Now  boottime.Clock
	Wall func() time.Time
}

// maxChanges is the maximum length of the history.
const maxChanges = 100

// Board keeps the Facts and the history, and makes documents of them. A Board is safe for
// concurrent use; the zero Board is not usable.
type Board struct {
	opts    BoardOptions
	started time.Time

	mu      sync.Mutex
	facts   Facts
	history []Change // oldest first
	changed chan struct{}
}

// NewBoard returns a board without facts: the state is "standby", the cause "started".
func NewBoard(opts BoardOptions) *Board {
	if opts.Now == nil {
		opts.Now = boottime.Now
	}
	if opts.Wall == nil {
		opts.Wall = time.Now //nolint:forbidigo // for people only
	}
	if opts.Certificates == nil {
		opts.Certificates = func() []Certificate { return nil }
	}
	if opts.Neighbour == nil {
		opts.Neighbour = func() string { return "" }
	}
	return &Board{opts: opts, started: opts.Wall(), facts: Facts{State: "standby", Since: opts.Now(), Cause: "started"}, changed: make(chan struct{})}
}

// has tells whether vip is an address of the board's group.
func (b *Board) has(vip string) bool {
	return slices.ContainsFunc(b.opts.VIPs, func(v VIP) bool { return v.Address == vip })
}

// Update changes the facts. f must not block, must not call the board, and must replace the slices
// that it changes, because documents share them.
func (b *Board) Update(f func(*Facts)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(&b.facts)
	b.wake()
}

// Add adds a change to the history. Make its times with At and Steps.
func (b *Board) Add(c Change) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.Phases == nil {
		c.Phases = []Phase{}
	}
	b.history = append(b.history, c)
	if n := len(b.history); n > maxChanges {
		b.history = slices.Clone(b.history[n-maxChanges:])
	}
	b.wake()
}

// wake wakes the callers that wait for Changed. The caller holds the lock.
func (b *Board) wake() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// Changed returns a channel that is closed at the next change.
func (b *Board) Changed() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changed
}

// At returns the time of day of an instant.
func (b *Board) At(i boottime.Instant) time.Time {
	return at(i, b.opts.Now(), b.opts.Wall())
}

func at(i, now boottime.Instant, wall time.Time) time.Time {
	return wall.Add(i.Sub(now)).Round(time.Microsecond).UTC()
}

// Status returns the current Status.
func (b *Board) Status() Status {
	s, _ := b.Documents()
	return s
}

// Documents returns the current Status and History, of the same moment.
func (b *Board) Documents() (Status, History) {
	neighbour := b.opts.Neighbour()
	s, h := b.documents()
	s.Heard.Neighbour = neighbour
	return s, h
}

// Problems returns the Problems of the current Status. Unlike Status, Problems does not ask for the
// neighbour, which needs a list of all neighbours from the kernel.
func (b *Board) Problems() []string {
	s, _ := b.documents()
	return s.Problems
}

// documents returns the documents without the neighbour.
func (b *Board) documents() (Status, History) {
	certificates := b.opts.Certificates()
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
	s.Problems = problems(s, f, now)
	s.Health = health(s)
	return s, History{Schema: Schema, Time: s.Time, Node: s.Node, Changes: changes}
}

// status converts the facts to times of day and durations.
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
			Term: f.Lease.Term, DurationSeconds: f.Lease.Duration.Seconds(), DurationReason: f.Lease.Lengthened, DeadlineMS: left.Milliseconds()},
		Fence:         Fence{Kind: b.opts.FenceKind, Open: left > 0, OpenMS: left.Milliseconds()},
		APIServers:    append([]APIServer{}, f.APIServers...),
		ControlPlane:  f.ControlPlane,
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
	// conflictWarning is how long a conflict counts as a problem.
	conflictWarning = time.Minute
	// expiryWarning is the time before the expiry of a certificate from which on a missing renewal
	// counts as a problem.
	expiryWarning = 24 * time.Hour
	// settleTime is how long the addition or the removal of an address may take.
	settleTime = time.Second
	// outageTime is how long an outage counts as part of a move of the VIP.
	outageTime = 3 * time.Second
	// discoveryTime is how long a new holder may take to learn the other nodes.
	discoveryTime = 10 * time.Second
)

// problems returns what is wrong and what to do, one sentence each.
func problems(s Status, f Facts, now boottime.Instant) []string {
	out := []string{}
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	switch {
	case !s.Lease.Known:
		add("lease %s/%s was not read yet: no API server answers, or none permits the kubeconfig to read it; vipd's log on %s says which", s.Lease.Namespace, s.Lease.Name, s.Node)
	case s.Lease.Holder == "":
		add("nobody holds the VIP: lease %s/%s names no holder; check that vipd runs on the control-plane nodes", s.Lease.Namespace, s.Lease.Name)
	case overdue(s):
		add("nobody holds the VIP: %s has not renewed the lease for %.1f s", s.Lease.Holder, float64(s.Lease.RenewedMS)/1000)
	}
	if lasts := now.Sub(f.Since) > settleTime; lasts && s.State == "withdrawing" {
		add("the VIP was not removed from %s: see vipd's log there", s.Node)
	} else if lasts && s.State == "holding" && !f.Present {
		add("%s holds the lease, but the VIP is not on %s: see vipd's log there", s.Node, s.Interface.Name)
	}
	switch {
	case f.Own != "" && s.State == "holding":
		add("the VIP is also an address of %s itself (%s), which vipd does not change: remove that address, or choose a VIP that no host has", s.Node, f.Own)
	case f.Own != "":
		add("%s would not take the VIP: the VIP is an address of %s itself (%s); remove that address, or choose a VIP that no host has", s.Node, s.Node, f.Own)
	case s.Interface.Reason != "" && s.State == "holding":
		add("%s cannot serve the VIP, and gives it to another node within a second: %s", s.Node, s.Interface.Reason)
	case s.State == "standby" && !s.Candidate && s.Interface.Reason != "":
		add("%s would not take the VIP: %s; repair the interface, or select another one with --interface", s.Node, s.Interface.Reason)
	case s.State == "standby" && !s.Candidate:
		add("%s would not take the VIP: the node has no interface for the VIP, or defers to others; vipd's log there says why", s.Node)
	}
	if o := f.Outage; o.Began != 0 && o.Ended == 0 && s.Lease.Holder != "" && now.Sub(o.Began) >= outageTime {
		where := s.Node
		if s.Lease.Holder != s.Node {
			where += ", and on " + s.Lease.Holder
		}
		add("the VIP has not answered %s for %.0f s (%s), and %s holds the lease: see `vipd doctor` on %s", s.Node, now.Sub(o.Began).Seconds(), o.Error, s.Lease.Holder, where)
	}
	for _, a := range s.APIServers {
		if a.State == "not ready" {
			add("the API server of %s (%s) is not ready: %s", a.Node, a.Server, a.Reason)
		}
	}
	if s.State == "holding" && s.Alone() && !s.ControlPlane.Read && now.Sub(f.Since) > discoveryTime {
		add("no other control-plane node is known, because the cluster could not be asked (%s): if the API server of %s fails, the VIP cannot be handed over; check that the kubeconfig may list Nodes and EndpointSlices",
			cmp.Or(s.ControlPlane.Reason, "no answer yet"), s.Node)
	}
	if f.Conflicts.Last != 0 && now.Sub(f.Conflicts.Last) < conflictWarning {
		add("another machine claims the VIP, at %s: find that machine and remove the address there", s.Conflicts.MAC)
	}
	if s.Announcements.Error != "" {
		add("gratuitous ARP was not sent: %s", s.Announcements.Error)
	}
	for _, c := range s.Certificates {
		if left := c.Expires.Sub(s.Time); left < expiryWarning {
			add("the certificate in %s ends at %s and was not renewed: see `kubeadm certs check-expiration`", c.Kubeconfig, c.Expires.Format(time.RFC3339))
		}
	}
	return out
}

// overdue tells whether the holder's lease expired so long ago that another node should have
// claimed it.
func overdue(s Status) bool {
	return s.State != "holding" && float64(s.Lease.RenewedMS)/1000 > s.Lease.DurationSeconds+settleTime.Seconds()
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

// Steps returns the phases of the steps. A step that was not done (At is 0) is left out.
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

// Step is a Phase with an instant.
type Step struct {
	What string
	At   boottime.Instant
}
