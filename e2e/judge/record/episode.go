package record

import (
	"slices"
	"time"
)

// A Promise is what a fault may do to the VIP at most.
type Promise struct {
	Name  string `json:"name"`  // for the command line
	Title string `json:"title"` // for people

	// Moves: another node has to take the VIP. MayMove: the VIP may be on any node afterwards.
	// Without either it stays on its node.
	Moves   bool `json:"moves,omitempty"`
	MayMove bool `json:"mayMove,omitempty"`
	// Flickers: the VIP stays, with a short interruption in which the holder may lose the address
	// and add it again.
	Flickers bool `json:"flickers,omitempty"`
	// MayFail: the VIP stays, and requests may fail for other reasons, because API servers or
	// clients are impaired.
	MayFail bool `json:"mayFail,omitempty"`
	// EndsIdle: the idle connection of a client has to be ended, so that the client notices.
	EndsIdle bool `json:"endsIdle,omitempty"`
	// Deafens: clients may miss announcements, because the fault cuts them off.
	Deafens bool `json:"deafens,omitempty"`
	// Crippled: a vipd is killed or stopped, so that only the kernel ends the holding.
	Crippled bool `json:"crippled,omitempty"`
	// Copies: another program has put the VIP on each node. The kernel accepts packets for it,
	// whatever vipd does (docs/guarantees.md, Not promised).
	Copies bool `json:"copies,omitempty"`
	// Within bounds the longest time in which the VIP is unreachable; 0 for no bound. The other
	// fields imply that no request fails.
	Within time.Duration `json:"within,omitempty"`
	// Dark bounds the longest time in which no node answers for the VIP, if Within is 0. A VIP that
	// stays without flickering has to be answered all the time.
	Dark time.Duration `json:"dark,omitempty"`
	// Heals is how often the holder may change because of the healing of the fault.
	Heals int `json:"heals,omitempty"`
	// AtLeast is for how long the VIP has to be unreachable, because another holder's lease has to
	// be respected.
	AtLeast time.Duration `json:"atLeast,omitempty"`
	// Faults is the number of faults of a compound, 0 for one.
	Faults int `json:"faults,omitempty"`
}

// compounded extends the outage of two faults beyond the sum of both: a lease of 3 s has to run
// out.
const compounded = 4500 * time.Millisecond

// hampered extends the time in which no node can take the VIP while API servers stop repeatedly: a
// read and a write, each of which waits for a stop of one second, and once more.
const hampered = 3 * time.Second

// Both returns the promise of two faults, of which the second starts a while after the first: the
// VIP may be on any node afterwards.
func Both(p, q Promise, later time.Duration) Promise {
	both := Promise{
		Name: p.Name + "+" + q.Name, Title: p.Title + ", and " + later.String() + " later " + q.Title,
		MayMove: true, Deafens: p.Deafens || q.Deafens, Crippled: p.Crippled || q.Crippled, Copies: p.Copies || q.Copies, Faults: max(1, p.Faults) + max(1, q.Faults),
		Heals: p.Heals + q.Heals,
	}
	bound := p.Within + q.Within + compounded
	if p.MayFail || q.MayFail {
		both.Dark = bound + hampered // requests may fail for longer
	} else {
		both.Within = bound
	}
	return both
}

// Stays tells whether the VIP has to stay where it was.
func (p Promise) Stays() bool { return !p.Moves && !p.MayMove }

// Changes returns how often the holder may change. If the VIP may move, a node that the fault keeps
// from holding may take it for a moment, too.
func (p Promise) Changes() int {
	switch {
	case p.MayMove:
		return 3 * max(1, p.Faults)
	case p.Moves:
		return 1
	}
	return 0
}

// A Cluster lists the machines on the lab's network.
type Cluster struct {
	// Nodes are the MACs that each node has or had.
	Nodes map[string][]string `json:"nodes"`
	// Strangers are the MACs of machines that claim the VIP on purpose.
	Strangers []string `json:"strangers,omitempty"`
}

// Node returns the node with the MAC, "" for none.
func (c Cluster) Node(mac string) string {
	for name, macs := range c.Nodes {
		if slices.Contains(macs, mac) {
			return name
		}
	}
	return ""
}

// Stranger tells whether the MAC belongs to a stranger.
func (c Cluster) Stranger(mac string) bool { return slices.Contains(c.Strangers, mac) }

// An Episode is one fault with its promise and all records. The judgement uses nothing else.
type Episode struct {
	Promise Promise `json:"promise"`
	Cluster Cluster `json:"cluster"`

	// Holder had the VIP before, Next has it afterwards: several names if several nodes have it, ""
	// for none. Wanted had to get it, "" for any node.
	Holder string `json:"holder"`
	Next   string `json:"next"`
	Wanted string `json:"wanted,omitempty"`
	// Stuck is what was awaited in vain, "" if it came.
	Stuck string `json:"stuck,omitempty"`
	// EtcdLeader: the holder's etcd member was the leader, so a fault of the whole node makes etcd
	// elect as well.
	EtcdLeader bool `json:"etcdLeader,omitempty"`

	// At is when the fault started, End when its effects were complete. The history ends after the
	// healing.
	At  Time `json:"at"`
	End Time `json:"end"`

	// Before and After are the foreign state of each node: everything that does not belong to vipd.
	Before map[string]string `json:"before,omitempty"`
	After  map[string]string `json:"after,omitempty"`

	History History `json:"-"` // as separate JSON lines
}
