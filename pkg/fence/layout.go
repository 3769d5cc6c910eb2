package fence

import (
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// layout is one table. `nft list table arp NAME` prints it as
//
//	set lease-fenced1  { type ipv4_addr; flags timeout; }  addresses that need a ticket
//	set lease-armed1   { type ipv4_addr; flags timeout; }  the ticket whose time runs
//	set lease-inforce1 { type ipv4_addr; }                 that ticket is in force
//	set lease-fenced2, lease-armed2, lease-inforce2        the same for another ticket
//	set lease-fenced3, lease-armed3, lease-inforce3        and for a third one
//	chain answers {                                        the guard
//		type filter hook output priority filter; policy accept;
//		jump answers-lease
//	}
//	chain answers-lease {                                  what the source says
//		arp saddr ip @lease-inforce1 arp saddr ip @lease-armed1 return
//		arp saddr ip @lease-inforce2 arp saddr ip @lease-armed2 return
//		arp saddr ip @lease-inforce3 arp saddr ip @lease-armed3 return
//		arp saddr ip @lease-fenced1 drop
//		arp saddr ip @lease-fenced2 drop
//		arp saddr ip @lease-fenced3 drop
//	}
//
// Each further source has its own sets, and its own chain that each guard jumps to next: a packet
// passes if no source drops it. Groups share the sets. A change touches the elements of one group
// only.
//
// A transaction is atomic. But a packet that looks up several sets may see one set before the
// transaction and the next set after it, and up to Linux 6.16 a lookup may find neither the old nor
// the new element at that instant. So a change touches one slot only, and the verdict of the other
// slots holds meanwhile.
//
// A map from address to ticket would need fewer sets, but nft 1.0.6 aborts when it lists such a
// ruleset. A new layout needs new set or chain names, because Prepare takes over a table in which
// it finds these names.
type layout struct {
	family
	table   *nftables.Table
	shared  bool // by several groups
	sources [][slots]slot
	chains  []chain // each guard's chain comes before the chains that it jumps to
	// listing is how the kernel lists the table.
	listing listing
}

// slot is the sets for one ticket.
type slot struct{ fenced, armed, inForce *nftables.Set }

type chain struct {
	*nftables.Chain
	rules [][]expr.Any
}

// scratchSuffix is the suffix of the tables that Learn makes.
const scratchSuffix = "-form"

// layouts returns the tables that guard the addresses of the groups.
func layouts(name string, groups [][]netip.Addr, sources []Source) (all []layout) {
	for _, f := range families() {
		for _, g := range groups {
			if len(f.of(g)) > 0 {
				l := newLayout(name, f, sources)
				l.shared = len(groups) > 1
				all = append(all, l)
				break
			}
		}
	}
	return all
}

func newLayout(name string, f family, sources []Source) layout {
	l := layout{family: f, table: &nftables.Table{Name: name, Family: f.nft}}
	for _, s := range sources {
		l.sources = append(l.sources, l.slotsOf(s))
	}
	for _, g := range f.guards {
		l.chains = append(l.chains, l.chainsOf(g, sources)...)
	}
	l.listing = l.expectedListing()
	return l
}

func (l layout) slotsOf(s Source) (all [slots]slot) {
	for i := range all {
		set := func(what string, timeout bool) *nftables.Set {
			return &nftables.Set{Table: l.table, Name: string(s) + "-" + what + strconv.Itoa(i+1), KeyType: l.key, HasTimeout: timeout}
		}
		all[i] = slot{fenced: set("fenced", true), armed: set("armed", true), inForce: set("inforce", false)}
	}
	return all
}

// chainsOf returns the chain of a guard, and one chain for each source.
func (l layout) chainsOf(g guard, sources []Source) []chain {
	policy := nftables.ChainPolicyAccept
	all := []chain{{Chain: &nftables.Chain{Name: g.chain, Table: l.table, Type: nftables.ChainTypeFilter, Hooknum: g.hook,
		Priority: nftables.ChainPriorityFilter, Policy: &policy}}}
	for i, s := range sources {
		c := chain{Chain: &nftables.Chain{Name: g.chain + "-" + string(s), Table: l.table}, rules: g.rules(l.sources[i])}
		all[0].rules = append(all[0].rules, g.jumps(c.Name)...)
		all = append(all, c)
	}
	return all
}

// rules returns the rules of a source.
func (g guard) rules(of [slots]slot) (all [][]expr.Any) {
	for _, s := range of {
		all = append(all, g.rule(expr.VerdictReturn, s.inForce, s.armed))
	}
	for _, s := range of {
		all = append(all, g.rule(expr.VerdictDrop, s.fenced))
	}
	return all
}

func (l layout) sets() (all []*nftables.Set) {
	for _, source := range l.sources {
		for _, s := range source {
			all = append(all, s.fenced, s.armed, s.inForce)
		}
	}
	return all
}

// create queues the table, without elements, in place of an existing one.
func (l layout) create(c *nftables.Conn) error {
	// Add before delete, as `nft` users do: deleting a table that does not exist is an error.
	c.AddTable(l.table)
	c.DelTable(l.table)
	c.AddTable(l.table)
	if err := l.addSets(c); err != nil {
		return err
	}
	for _, chain := range l.chains {
		c.AddChain(chain.Chain)
	}
	for _, chain := range l.chains {
		for _, exprs := range chain.rules {
			c.AddRule(&nftables.Rule{Table: l.table, Chain: chain.Chain, Exprs: exprs})
		}
	}
	return nil
}

// setIDs serializes AddSet: google/nftables counts set IDs in a package variable without a
// lock (set.go, allocSetID), and a process may have several fences.
var setIDs sync.Mutex

func (l layout) addSets(c *nftables.Conn) error {
	setIDs.Lock()
	defer setIDs.Unlock()
	for _, s := range l.sets() {
		if err := c.AddSet(s, nil); err != nil {
			return err
		}
	}
	return nil
}

// queue queues a change of the table for these addresses.
//
// Delete and add renews a timeout on every kernel; add alone renews it only since Linux 6.12.
func (l layout) queue(c *nftables.Conn, change Change, s slot, addrs []netip.Addr) error {
	switch change.Verb {
	case Make:
		return l.create(c)
	case Delete:
		// Add before delete, see create. A process that was killed during Learn left the second
		// table.
		for _, t := range []*nftables.Table{l.table, {Name: l.table.Name + scratchSuffix, Family: l.table.Family}} {
			c.AddTable(t)
			c.DelTable(t)
		}
	case Empty:
		return l.remove(c, addrs, s.inForce, s.armed, s.fenced)
	case Enclose:
		return add(c, s.fenced, addrs, change.For)
	case Start:
		return add(c, s.armed, addrs, change.For)
	case Permit:
		return c.SetAddElements(s.inForce, elements(addrs, 0))
	case Forbid:
		return l.remove(c, addrs, s.inForce)
	}
	return nil
}

// add queues elements with a timeout. The kernel counts milliseconds, and treats 0 ms as no
// timeout.
func add(c *nftables.Conn, s *nftables.Set, addrs []netip.Addr, timeout time.Duration) error {
	if timeout < time.Millisecond {
		return nil
	}
	return c.SetAddElements(s, elements(addrs, timeout))
}

// remove queues the removal of elements. Add before delete, because an element may have timed out;
// no packet sees the state within a transaction. Sets with one group only are flushed, which takes
// half as many messages.
func (l layout) remove(c *nftables.Conn, addrs []netip.Addr, sets ...*nftables.Set) error {
	all := elements(addrs, 0)
	for _, s := range sets {
		if !l.shared {
			c.FlushSet(s)
			continue
		}
		if err := c.SetAddElements(s, all); err != nil {
			return err
		}
		if err := c.SetDeleteElements(s, all); err != nil {
			return err
		}
	}
	return nil
}

func elements(addrs []netip.Addr, timeout time.Duration) []nftables.SetElement {
	var out []nftables.SetElement
	for _, a := range addrs {
		out = append(out, nftables.SetElement{Key: a.AsSlice(), Timeout: timeout})
	}
	return out
}
