package status

import "time"

// Schema is the version of Status and History. Within it fields are added, never
// renamed or removed, and keep their meaning.
const Schema = "v1"

// What Health may be.
const (
	// Healthy: all is as it should be, as far as this node sees.
	Healthy = "healthy"
	// Degraded: the address is held, and something should be looked at.
	Degraded = "degraded"
	// NoHolder: nobody is known to hold the address.
	NoHolder = "no holder"
)

// Status is one node's view at one moment: what GET /status answers.
type Status struct {
	// Schema is "v1".
	Schema string `json:"schema"`
	// Time is when it was so, by this node's clock, as are all times.
	Time time.Time `json:"time"`
	// Node is this node's name.
	Node string `json:"node"`
	// Version is vipd's.
	Version string `json:"version"`
	// Started is when this process began.
	Started time.Time `json:"started"`
	// Health is "healthy", "degraded" or "no holder".
	Health string `json:"health"`
	// Problems says what is not as it should be and what to do, a sentence each.
	Problems []string `json:"problems"`
	// State is what this node does: "holding", "standby" or "withdrawing".
	State string `json:"state"`
	// Since is when it came to that state, and Cause why.
	Since time.Time `json:"since"`
	Cause string    `json:"cause"`
	// Candidate tells whether this node would take the address.
	Candidate bool `json:"candidate"`
	// VIPs are the addresses, which go up and down together.
	VIPs []VIP `json:"vips"`
	// Interface is where they are, or would be, on this node.
	Interface Interface `json:"interface"`
	// Lease is what decides who holds them.
	Lease Lease `json:"lease"`
	// Fence is what the kernel enforces on this node.
	Fence Fence `json:"fence"`
	// APIServers are those behind the address, this node's own first.
	APIServers []APIServer `json:"apiServers"`
	// Announcements are the gratuitous ARP frames of this process.
	Announcements Announcements `json:"announcements"`
	// Conflicts are claims of the address by machines that are not this one.
	Conflicts Conflicts `json:"conflicts"`
	// Heard is what this node hears of who has the address.
	Heard Heard `json:"heard"`
	// Repairs counts what was put right after somebody else changed it.
	Repairs int `json:"repairs"`
	// Outage is the last time this node could not reach the address, if it asks.
	Outage *Outage `json:"outage,omitempty"`
	// Doctor is what the doctor's cheap checks came to, nil before they were made.
	Doctor *Doctor `json:"doctor,omitempty"`
	// Certificates are the client certificates in use.
	Certificates []Certificate `json:"certificates"`
	// Configuration is what is in force, by the names of the flags.
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
	// Name and MAC are "" while there is none that fits.
	Name string `json:"name"`
	MAC  string `json:"mac"`
	// Up: it is set up and has carrier.
	Up bool `json:"up"`
}

// Lease is the coordination.k8s.io Lease as this node sees it.
type Lease struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Known is false until it was read.
	Known bool `json:"known"`
	// Holder is the name in it, "" for nobody; HolderMAC its machine's, if known.
	Holder    string `json:"holder"`
	HolderMAC string `json:"holderMAC,omitempty"`
	// HolderSince is since when this node has seen that holder.
	HolderSince time.Time `json:"holderSince"`
	// Term counts the changes of holder: leaseTransitions.
	Term int `json:"term"`
	// DurationSeconds is how long a holder may go on after a renewal.
	DurationSeconds float64 `json:"durationSeconds"`
	// RenewedMS is how long ago the newest version was seen, in milliseconds.
	RenewedMS int64 `json:"renewedMs"`
	// DeadlineMS is how much longer this node may answer for the address without
	// another renewal, in milliseconds; 0 if it does not hold.
	DeadlineMS int64 `json:"deadlineMs"`
}

// Fence is what ends the address on this node if this process cannot.
type Fence struct {
	// Kind is "nftables" or "lifetime".
	Kind string `json:"kind"`
	// Open: the kernel lets this node answer for the address, for OpenMS more
	// milliseconds unless the lease is renewed.
	Open   bool  `json:"open"`
	OpenMS int64 `json:"openMs"`
}

// APIServer is the API server of a node of the control plane.
type APIServer struct {
	// Node is its node's name, "" if it is not known.
	Node string `json:"node"`
	// Server is its host:port.
	Server string `json:"server"`
	// Local: it is this node's own.
	Local bool `json:"local"`
	// State is "ready", "not ready" or "unknown".
	State string `json:"state"`
	// Reason says why it is not ready.
	Reason string `json:"reason,omitempty"`
	// Leaving says why its node is on its way out: cordoned, or being deleted.
	Leaving string `json:"leaving,omitempty"`
}

// Announcements are gratuitous ARP frames.
type Announcements struct {
	// Sent counts rounds that were sent, of a request and a reply for each address;
	// Failed those that were not.
	Sent   int `json:"sent"`
	Failed int `json:"failed"`
	// Last is when the last one was sent.
	Last *time.Time `json:"last,omitempty"`
	// Error is that of the last round, if it failed.
	Error string `json:"error,omitempty"`
}

// Conflicts are claims by others.
type Conflicts struct {
	// Count is how many frames were heard that claim the address.
	Count int `json:"count"`
	// MAC is the last one's, and Last when it was heard.
	MAC  string     `json:"mac,omitempty"`
	Last *time.Time `json:"last,omitempty"`
}

// Heard is what ARP on this node's link says of who has the address. What this node
// says itself is not in it.
type Heard struct {
	// Since is since when this node listens, missing if it does not.
	Since *time.Time `json:"since,omitempty"`
	// Neighbour is the MAC to which the kernel sends what is for the address, "" if it
	// does not or was not confirmed of late.
	Neighbour string `json:"neighbour,omitempty"`
	// Machines are those that claimed the address, the last one first; no more than MaxMachines.
	Machines []Machine `json:"machines"`
}

// MaxMachines is how many a Heard has.
const MaxMachines = 8

// Machine is one that claimed the address.
type Machine struct {
	MAC string `json:"mac"`
	// Frames counts its claims, and Announcements those that are gratuitous; of several
	// within 50 ms it counts one.
	Frames        int `json:"frames"`
	Announcements int `json:"announcements"`
	// Last is when the last claim was heard, and LastAnnounced the last announcement,
	// missing if there was none.
	Last          time.Time  `json:"last"`
	LastAnnounced *time.Time `json:"lastAnnounced,omitempty"`
}

// Outage is a time in which the address did not answer this node.
type Outage struct {
	// Began is when the first question was sent that was not answered, Ended when
	// the first was that was; missing while it lasts.
	Began time.Time  `json:"began"`
	Ended *time.Time `json:"ended,omitempty"`
	// Seconds is the time between them.
	Seconds float64 `json:"seconds"`
	// Error is what came of the first question.
	Error string `json:"error"`
}

// Doctor is what `vipd doctor` says of this machine, by those of its checks that ask
// nobody.
type Doctor struct {
	// Time is when they were made.
	Time time.Time `json:"time"`
	// Verdict puts them together, a sentence each.
	Verdict []string `json:"verdict"`
	// Findings are the worst first.
	Findings []Finding `json:"findings"`
}

// Finding is what one check says.
type Finding struct {
	// ID is the check's, such as D01: `vipd doctor explain D01`.
	ID string `json:"id"`
	// Severity is "info", "warning" or "error".
	Severity string `json:"severity"`
	// Seen is what was seen, Why why it matters.
	Seen string `json:"seen"`
	Why  string `json:"why"`
	// Mend is what to do, a line each.
	Mend []string `json:"mend"`
}

// Certificate is a client certificate.
type Certificate struct {
	// Kubeconfig is the file that has it.
	Kubeconfig string `json:"kubeconfig"`
	// Expires is when it ends.
	Expires time.Time `json:"expires"`
}

// History is what GET /history answers: the last changes, the newest first.
type History struct {
	Schema  string    `json:"schema"`
	Time    time.Time `json:"time"`
	Node    string    `json:"node"`
	Changes []Change  `json:"changes"`
}

// Kind is what a Change is.
type Kind string

const (
	// Taken: this node began to hold the address.
	Taken Kind = "taken"
	// Left: this node ended holding it.
	Left Kind = "left"
	// Moved: another node holds it than before.
	Moved Kind = "moved"
	// Repaired: this node put right what somebody else had changed.
	Repaired Kind = "repaired"
	// Conflict: another machine claims the address.
	Conflict Kind = "conflict"
	// Refused: a person asked for a move that was not made.
	Refused Kind = "refused"
	// Dark: the address did not answer this node for a while.
	Dark Kind = "dark"
)

// Change is one entry of the History.
type Change struct {
	// Time is when it was complete.
	Time time.Time `json:"time"`
	Kind Kind      `json:"kind"`
	// Holder is who held the address after it, as far as this node knew, "" for
	// nobody, and Term the lease's.
	Holder string `json:"holder"`
	Term   int    `json:"term"`
	// Cause says why, in words.
	Cause string `json:"cause"`
	// Seconds is how long it took. If Taken or Moved, from the last sign of the holder
	// before, be it a renewal or a release; if Left, from the first step to the last;
	// if Dark, how long the address did not answer.
	Seconds float64 `json:"seconds"`
	// Phases are the steps, in order.
	Phases []Phase `json:"phases"`
}

// Phase is one step of a Change.
type Phase struct {
	// What was done or seen.
	What string    `json:"what"`
	Time time.Time `json:"time"`
	// AfterMS is the time since the first step, in milliseconds.
	AfterMS float64 `json:"afterMs"`
}
