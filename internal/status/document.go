package status

import (
	"slices"
	"time"
)

// Schema is the version of Status and History. Within a version, fields are added, but not renamed
// or removed, and keep their meaning.
const Schema = "v1"

// Values of Health.
const (
	// Healthy means that this node sees no problem.
	Healthy = "healthy"
	// Degraded means that the VIP is held, but there are problems.
	Degraded = "degraded"
	// NoHolder means that no holder is known.
	NoHolder = "no holder"
)

// Status is one node's view at one moment, the answer to GET /status.
type Status struct {
	// Schema is "v1".
	Schema string `json:"schema"`
	// Time is when the view was made. All times are those of this node's clock.
	Time time.Time `json:"time"`
	// Node is this node's name.
	Node string `json:"node"`
	// Version is the version of vipd.
	Version string `json:"version"`
	// Started is when this process started.
	Started time.Time `json:"started"`
	// Health is "healthy", "degraded" or "no holder".
	Health string `json:"health"`
	// Problems says what is wrong and what to do, one sentence each.
	Problems []string `json:"problems"`
	// State is the state of this node: "holding", "standby" or "withdrawing".
	State string `json:"state"`
	// Since is when the node entered that state, and Cause why.
	Since time.Time `json:"since"`
	Cause string    `json:"cause"`
	// Candidate tells whether this node would take the VIP.
	Candidate bool `json:"candidate"`
	// VIPs are the addresses of the group, which are added and removed together.
	VIPs []VIP `json:"vips"`
	// Interface is where the addresses are, or would be, on this node.
	Interface Interface `json:"interface"`
	// Lease decides which node holds the addresses.
	Lease Lease `json:"lease"`
	// Fence is the fence of this node.
	Fence Fence `json:"fence"`
	// APIServers are the API servers behind the VIP, this node's own first.
	APIServers []APIServer `json:"apiServers"`
	// ControlPlane tells whether the members of the control plane were read.
	ControlPlane ControlPlane `json:"controlPlane"`
	// Announcements are the rounds of gratuitous ARP that this process sent.
	Announcements Announcements `json:"announcements"`
	// Conflicts are claims of the VIP by other machines while this node holds it.
	Conflicts Conflicts `json:"conflicts"`
	// Heard is what ARP tells this node about the holder.
	Heard Heard `json:"heard"`
	// Repairs counts the repairs after another program changed the VIP or the fence.
	Repairs int `json:"repairs"`
	// Outage is the last time in which the VIP did not answer this node, nil if there was none or
	// this node does not probe the VIP.
	Outage *Outage `json:"outage,omitempty"`
	// Doctor is the result of the self-check, nil before the first one.
	Doctor *Doctor `json:"doctor,omitempty"`
	// Certificates are the client certificates in use.
	Certificates []Certificate `json:"certificates"`
	// Configuration is the configuration in force, keyed by the names of the flags.
	Configuration map[string]string `json:"configuration"`
}

// VIP is one address.
type VIP struct {
	Address string `json:"address"`
	Port    uint16 `json:"port"`
	// Present tells whether the address is on this node.
	Present bool `json:"present"`
}

// Interface is a network interface.
type Interface struct {
	// Name and MAC are "" while no interface fits.
	Name string `json:"name"`
	MAC  string `json:"mac"`
	// Up tells whether the interface can serve the VIP: it is set up, has carrier, is no port of
	// another interface, and has not lost its subnet of the VIP. Reason is why it cannot.
	Up     bool   `json:"up"`
	Reason string `json:"reason,omitempty"`
}

// Lease is the coordination.k8s.io Lease as this node observes it.
type Lease struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Known is false until the Lease was read.
	Known bool `json:"known"`
	// Holder is the name in the Lease, "" for none; HolderMAC is the MAC of that machine, if known.
	Holder    string `json:"holder"`
	HolderMAC string `json:"holderMAC,omitempty"`
	// HolderSince is since when this node observes that holder.
	HolderSince time.Time `json:"holderSince"`
	// Term counts the changes of holder: leaseTransitions.
	Term int `json:"term"`
	// DurationSeconds is how long a holder may go on after a renewal.
	DurationSeconds float64 `json:"durationSeconds"`
	// DurationReason is why that is longer than the holder is configured: "alone", because no other
	// candidate is known, or "slow store"; "" if it is not longer.
	DurationReason string `json:"durationReason,omitempty"`
	// RenewedMS is how long ago the newest version was first observed, in milliseconds.
	RenewedMS int64 `json:"renewedMs"`
	// DeadlineMS is how much longer this node may answer for the VIP without another renewal, in
	// milliseconds; 0 if this node does not hold the VIP.
	DeadlineMS int64 `json:"deadlineMs"`
}

// Longer returns DurationReason as text to append to the duration, "" if there is no reason.
func (l Lease) Longer() string {
	switch l.DurationReason {
	case "":
		return ""
	case "alone":
		return " (no other candidate is known)"
	case "slow store":
		return " (renewals are slow)"
	}
	return " (" + l.DurationReason + ")"
}

// Fence ends the address on this node if this process cannot.
type Fence struct {
	// Kind is "nftables" or "lifetime".
	Kind string `json:"kind"`
	// Open tells whether the kernel lets this node answer for the VIP; OpenMS is for how many more
	// milliseconds, without another renewal.
	Open   bool  `json:"open"`
	OpenMS int64 `json:"openMs"`
}

// APIServer is the API server of a node of the control plane.
type APIServer struct {
	// Node is the name of the node, "" if not known.
	Node string `json:"node"`
	// Server is its host:port.
	Server string `json:"server"`
	// Local tells whether the API server is this node's own.
	Local bool `json:"local"`
	// State is "ready", "not ready" or "unknown".
	State string `json:"state"`
	// Reason is why the API server is not ready.
	Reason string `json:"reason,omitempty"`
	// Leaving is why the node is about to leave: cordoned, or being deleted.
	Leaving string `json:"leaving,omitempty"`
}

// Alone tells whether no other node is known that could take the VIP.
func (s Status) Alone() bool {
	return !slices.ContainsFunc(s.APIServers, func(a APIServer) bool { return !a.Local })
}

// ControlPlane is the state of the list of members.
type ControlPlane struct {
	// Read tells whether the list was read since this process started. If not, Alone means nothing.
	Read bool `json:"read"`
	// Reason is why the list was not read.
	Reason string `json:"reason,omitempty"`
}

// Announcements counts rounds of gratuitous ARP.
type Announcements struct {
	// Sent counts the rounds that were sent, of a request and a reply for each address; Failed
	// counts the rounds that failed.
	Sent   int `json:"sent"`
	Failed int `json:"failed"`
	// Last is when the last round was sent.
	Last *time.Time `json:"last,omitempty"`
	// Error is the error of the last round, "" if it was sent.
	Error string `json:"error,omitempty"`
}

// Conflicts counts claims by other machines.
type Conflicts struct {
	// Count is the number of frames that claimed the VIP.
	Count int `json:"count"`
	// MAC is the sender of the last frame, and Last when that frame was heard.
	MAC  string     `json:"mac,omitempty"`
	Last *time.Time `json:"last,omitempty"`
}

// Heard is what ARP on this node's link tells about the holder. Frames of this node are not
// counted.
type Heard struct {
	// Since is since when this node listens, nil if it does not.
	Since *time.Time `json:"since,omitempty"`
	// Neighbour is the MAC to which the kernel sends packets for the VIP, "" if there is none or
	// the entry was not confirmed recently.
	Neighbour string `json:"neighbour,omitempty"`
	// Machines are the machines that claimed the VIP, the most recent first; at most MaxMachines.
	Machines []Machine `json:"machines"`
}

// MaxMachines is the maximum length of Machines.
const MaxMachines = 8

// Machine is a machine that claimed the VIP.
type Machine struct {
	MAC string `json:"mac"`
	// Frames counts the claims, and Announcements the gratuitous ones; several frames within 50 ms
	// count as one.
	Frames        int `json:"frames"`
	Announcements int `json:"announcements"`
	// Last is when the last claim was heard, LastAnnounced when the last announcement was heard,
	// nil for none.
	Last          time.Time  `json:"last"`
	LastAnnounced *time.Time `json:"lastAnnounced,omitempty"`
}

// Outage is a time in which the VIP did not answer this node.
type Outage struct {
	// Began is when the first probe without an answer was sent, Ended when the first one with an
	// answer was sent; nil during an outage.
	Began time.Time  `json:"began"`
	Ended *time.Time `json:"ended,omitempty"`
	// Seconds is the time between the two.
	Seconds float64 `json:"seconds"`
	// Error is why the first probe had no answer.
	Error string `json:"error"`
}

// Doctor is the result of the self-check: those checks of `vipd doctor` that ask no other machine.
type Doctor struct {
	// Time is when the checks were made.
	Time time.Time `json:"time"`
	// Verdict summarizes the findings, one sentence each.
	Verdict []string `json:"verdict"`
	// Findings are sorted by severity, the worst first.
	Findings []Finding `json:"findings"`
}

// Finding is the finding of one check.
type Finding struct {
	// ID is the ID of the check, such as D01: `vipd doctor explain D01`.
	ID string `json:"id"`
	// Severity is "info", "warning" or "error".
	Severity string `json:"severity"`
	// Seen is the observation, Why its effect on the VIP.
	Seen string `json:"seen"`
	Why  string `json:"why"`
	// Mend is the remedy, one line for each step.
	Mend []string `json:"mend"`
}

// Certificate is a client certificate.
type Certificate struct {
	// Kubeconfig is the file with the certificate.
	Kubeconfig string `json:"kubeconfig"`
	// Expires is the end of the certificate's validity.
	Expires time.Time `json:"expires"`
}

// History is the answer to GET /history: the last changes, the newest first.
type History struct {
	Schema  string    `json:"schema"`
	Time    time.Time `json:"time"`
	Node    string    `json:"node"`
	Changes []Change  `json:"changes"`
}

// Kind is the kind of a Change.
type Kind string

const (
	// Taken: this node began to hold the VIP.
	Taken Kind = "taken"
	// Left: this node ended holding the VIP.
	Left Kind = "left"
	// Moved: the holder changed to another node.
	Moved Kind = "moved"
	// Repaired: this node repaired what another program had changed.
	Repaired Kind = "repaired"
	// Conflict: another machine claims the VIP.
	Conflict Kind = "conflict"
	// Refused: a requested move was refused.
	Refused Kind = "refused"
	// Duration: the holder changed the lease duration.
	Duration Kind = "duration"
	// Dark: the VIP did not answer this node for a while.
	Dark Kind = "dark"
)

// Change is one entry of the History.
type Change struct {
	// Time is when the change was complete.
	Time time.Time `json:"time"`
	Kind Kind      `json:"kind"`
	// Holder is the holder after the change, as far as this node knew, "" for none; Term is the
	// term of the Lease.
	Holder string `json:"holder"`
	Term   int    `json:"term"`
	// Cause is why, as text.
	Cause string `json:"cause"`
	// Seconds is how long the change took. For Taken and Moved, from the last observation of the
	// former holder, a renewal or a release; for Left, from the first step to the last; for Dark,
	// how long the VIP did not answer.
	Seconds float64 `json:"seconds"`
	// Phases are the steps, in order.
	Phases []Phase `json:"phases"`
}

// Phase is one step of a Change.
type Phase struct {
	// What was done or observed.
	What string    `json:"what"`
	Time time.Time `json:"time"`
	// AfterMS is the time since the first step, in milliseconds.
	AfterMS float64 `json:"afterMs"`
}
