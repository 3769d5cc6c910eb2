package fence

import (
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// slots is how many tickets the tables can tell apart: the one in force and the
// one that the next lease write is armed with.
const slots = 2

// layout is one table. `nft list table arp NAME` prints it as
//
//	set fenced   { type ipv4_addr; flags timeout; }  addresses that need a ticket
//	set armed1   { type ipv4_addr; flags timeout; }  a ticket whose time runs
//	set inforce1 { type ipv4_addr; }                 that ticket is the one in force
//	set armed2, inforce2                             the same for the other ticket
//	chain answers {
//		type filter hook output priority filter; policy accept;
//		arp saddr ip @inforce1 arp saddr ip @armed1 accept
//		arp saddr ip @inforce2 arp saddr ip @armed2 accept
//		arp saddr ip @fenced drop
//	}
//
// A map from address to ticket would need one rule less, and makes nft 1.0.6
// abort when it lists the ruleset. A change of this layout needs new set or
// chain names: make takes over a table in which it finds these.
type layout struct {
	familyName string
	table      *nftables.Table
	chain      *nftables.Chain
	fenced     *nftables.Set
	armed      [slots]*nftables.Set
	inForce    [slots]*nftables.Set
	// offset of the address that a packet speaks of, in its network header.
	offset uint32
}

// arpOut is NF_ARP_OUT (include/uapi/linux/netfilter_arp.h), which the kernel's
// own replies pass (net/ipv4/arp.c, arp_xmit).
const arpOut = 1

func layouts(name string) []layout {
	return []layout{
		// ar$spa, behind 8 bytes of header and a 6 byte hardware address (RFC 826).
		newLayout(name, "arp", nftables.TableFamilyARP, nftables.ChainHookRef(arpOut), "answers", 14),
		// The destination address of an IPv4 header (RFC 791).
		newLayout(name, "ip", nftables.TableFamilyIPv4, nftables.ChainHookInput, "receives", 16),
	}
}

func newLayout(name, familyName string, family nftables.TableFamily, hook *nftables.ChainHook, chain string, offset uint32) layout {
	t := &nftables.Table{Name: name, Family: family}
	set := func(name string, timeout bool) *nftables.Set {
		return &nftables.Set{Table: t, Name: name, KeyType: nftables.TypeIPAddr, HasTimeout: timeout}
	}
	policy := nftables.ChainPolicyAccept
	return layout{
		familyName: familyName,
		table:      t,
		chain: &nftables.Chain{Name: chain, Table: t, Type: nftables.ChainTypeFilter, Hooknum: hook,
			Priority: nftables.ChainPriorityFilter, Policy: &policy},
		fenced:  set("fenced", true),
		armed:   [slots]*nftables.Set{set("armed1", true), set("armed2", true)},
		inForce: [slots]*nftables.Set{set("inforce1", false), set("inforce2", false)},
		offset:  offset,
	}
}

func (l layout) sets() []*nftables.Set {
	return []*nftables.Set{l.fenced, l.armed[0], l.inForce[0], l.armed[1], l.inForce[1]}
}

// make makes the table in one transaction, unless it is there already.
func (f *Fence) make(l layout) error {
	c, err := f.conn()
	if err != nil {
		return err
	}
	found, err := l.find(c)
	if err != nil || found {
		return err
	}
	// Adding before deleting makes the deletion good for a table that is not
	// there, as `nft` users write it.
	c.AddTable(l.table)
	c.DelTable(l.table)
	c.AddTable(l.table)
	for _, s := range l.sets() {
		if err := c.AddSet(s, nil); err != nil {
			return err
		}
	}
	c.AddChain(l.chain)
	for i := range slots {
		l.addRule(c, expr.VerdictAccept, l.inForce[i], l.armed[i])
	}
	l.addRule(c, expr.VerdictDrop, l.fenced)
	return c.Flush()
}

// find tells whether the table is there in this layout.
func (l layout) find(c *nftables.Conn) (bool, error) {
	tables, err := c.ListTablesOfFamily(l.table.Family)
	if err != nil {
		return false, err
	}
	for _, t := range tables {
		if t.Name != l.table.Name {
			continue
		}
		sets, err := c.GetSets(l.table)
		if err != nil {
			return false, err
		}
		// A chain that is missing reads as one without rules.
		rules, err := c.GetRules(l.table, l.chain)
		if err != nil {
			return false, err
		}
		return len(rules) == slots+1 && sameNames(sets, l.sets()), nil
	}
	return false, nil
}

func sameNames(got, want []*nftables.Set) bool {
	names := make(map[string]bool)
	for _, s := range got {
		names[s.Name] = true
	}
	for _, s := range want {
		if !names[s.Name] {
			return false
		}
	}
	return len(got) == len(want)
}

// addRule queues a rule for packets whose address is in all of the sets.
func (l layout) addRule(c *nftables.Conn, verdict expr.VerdictKind, sets ...*nftables.Set) {
	var exprs []expr.Any
	for _, s := range sets {
		exprs = append(exprs,
			&expr.Payload{DestRegister: unix.NFT_REG_1, Base: expr.PayloadBaseNetworkHeader, Offset: l.offset, Len: 4},
			&expr.Lookup{SourceRegister: unix.NFT_REG_1, SetName: s.Name, SetID: s.ID})
	}
	exprs = append(exprs, &expr.Verdict{Kind: verdict})
	c.AddRule(&nftables.Rule{Table: l.table, Chain: l.chain, Exprs: exprs})
}

// slotInForce reads which slot an earlier process left in force.
func (l layout) slotInForce(c *nftables.Conn) (int, error) {
	for i, s := range l.inForce {
		elements, err := c.GetSetElements(s)
		if err != nil {
			return 0, err
		}
		if len(elements) > 0 {
			return i, nil
		}
	}
	return 0, nil
}

// arm queues the timer of a slot and renews the fence around the addresses.
//
// Flush and add renews a timeout on every kernel; adding alone does so only
// since Linux 6.12. It is one transaction: a packet sees before or after.
func (l layout) arm(c *nftables.Conn, addrs []netip.Addr, slot int, d time.Duration) error {
	c.FlushSet(l.fenced)
	if err := c.SetAddElements(l.fenced, elements(addrs, d+linger)); err != nil {
		return err
	}
	c.FlushSet(l.armed[slot])
	return c.SetAddElements(l.armed[slot], elements(addrs, d))
}

// permit queues a slot as the one in force.
func (l layout) permit(c *nftables.Conn, addrs []netip.Addr, slot int) error {
	l.forbid(c)
	return c.SetAddElements(l.inForce[slot], elements(addrs, 0))
}

func (l layout) forbid(c *nftables.Conn) {
	for _, s := range l.inForce {
		c.FlushSet(s)
	}
}

func (l layout) rest(c *nftables.Conn) {
	for _, s := range l.sets() {
		c.FlushSet(s)
	}
}

func elements(addrs []netip.Addr, timeout time.Duration) []nftables.SetElement {
	var out []nftables.SetElement
	for _, a := range addrs {
		out = append(out, nftables.SetElement{Key: a.AsSlice(), Timeout: timeout})
	}
	return out
}
