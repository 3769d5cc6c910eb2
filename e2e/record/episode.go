package record

import (
	"slices"
	"time"
)

// A Promise is what a fault may do to the VIP, and no more.
type Promise struct {
	Name  string `json:"name"`  // for the command line
	Title string `json:"title"` // for people

	// Moves: another node is to take the VIP. MayMove: wherever it is afterwards
	// is well. Without either it stays on its node.
	Moves   bool `json:"moves,omitempty"`
	MayMove bool `json:"mayMove,omitempty"`
	// Flickers: the VIP stays, with a short interruption, in which the holder may
	// lose the address and put it back.
	Flickers bool `json:"flickers,omitempty"`
	// MayFail: the VIP stays, and requests may fail for another reason than it,
	// as API servers or clients themselves are hampered.
	MayFail bool `json:"mayFail,omitempty"`
	// EndsIdle: the connection of a client that lies idle is to end, so that the
	// client notices.
	EndsIdle bool `json:"endsIdle,omitempty"`
	// Deafens: clients may miss announcements, as the fault cuts them off.
	Deafens bool `json:"deafens,omitempty"`
	// Crippled: a vipd itself is killed or stopped, so that the kernel alone ends
	// what it put up.
	Crippled bool `json:"crippled,omitempty"`
	// Within bounds the longest time in which the VIP cannot be reached. With 0
	// nothing is said of it; that no request fails is said by the rest.
	Within time.Duration `json:"within,omitempty"`
	// AtLeast is for how long it cannot be reached, as another one's lease is to be
	// respected.
	AtLeast time.Duration `json:"atLeast,omitempty"`
	// Faults is of how many it is a compound, 0 for one.
	Faults int `json:"faults,omitempty"`
}

// compounded bounds the time in which the VIP cannot be reached because two faults
// have more in common than the sum of them: a lease of 3 s has to run out.
const compounded = 4500 * time.Millisecond

// Both is what two faults may come to, of which the second begins a while after the
// first: wherever the VIP is afterwards is well.
func Both(p, q Promise, later time.Duration) Promise {
	both := Promise{
		Name: p.Name + "+" + q.Name, Title: p.Title + ", and " + later.String() + " later " + q.Title,
		MayMove: true, Deafens: p.Deafens || q.Deafens, Crippled: p.Crippled || q.Crippled, Faults: max(1, p.Faults) + max(1, q.Faults),
	}
	if !p.MayFail && !q.MayFail {
		both.Within = p.Within + q.Within + compounded
	}
	return both
}

// Stays tells whether the VIP is to be where it was.
func (p Promise) Stays() bool { return !p.Moves && !p.MayMove }

// Changes is how often the holder may change. Where it may move, it may be taken
// by one that the fault keeps from it, too.
func (p Promise) Changes() int {
	switch {
	case p.MayMove:
		return 3 * max(1, p.Faults)
	case p.Moves:
		return 1
	}
	return 0
}

// A Cluster is who is on the lab's network.
type Cluster struct {
	// Nodes are the MACs that each node has or had.
	Nodes map[string][]string `json:"nodes"`
	// Strangers are the MACs of those that claim the VIP on purpose.
	Strangers []string `json:"strangers,omitempty"`
}

// Node is whose MAC that is, "" for none of the nodes.
func (c Cluster) Node(mac string) string {
	for name, macs := range c.Nodes {
		if slices.Contains(macs, mac) {
			return name
		}
	}
	return ""
}

// Stranger tells whether the MAC is one of theirs.
func (c Cluster) Stranger(mac string) bool { return slices.Contains(c.Strangers, mac) }

// An Episode is one fault: what it may come to, and all that was seen. What is
// judged is judged from this alone.
type Episode struct {
	Promise Promise `json:"promise"`
	Cluster Cluster `json:"cluster"`

	// Holder had the VIP before, Next has it after, more than one name if several
	// have it, "" if none. Wanted was to have it, "" if any might.
	Holder string `json:"holder"`
	Next   string `json:"next"`
	Wanted string `json:"wanted,omitempty"`
	// Stuck is what was waited for in vain, "" if it came.
	Stuck string `json:"stuck,omitempty"`
	// EtcdLeader: the holder's etcd member led, so a fault that takes it along
	// makes etcd elect as well.
	EtcdLeader bool `json:"etcdLeader,omitempty"`

	// At is when the fault began, End when it had come to what it came to. The
	// history goes on until all is whole again.
	At  Time `json:"at"`
	End Time `json:"end"`

	// Before and After are each node's foreign state: what is not vipd's.
	Before map[string]string `json:"before,omitempty"`
	After  map[string]string `json:"after,omitempty"`

	History History `json:"-"` // as JSON lines of its own
}
