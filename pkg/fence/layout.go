package fence

import (
	"net/netip"
	"strconv"
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
//	set fenced1  { type ipv4_addr; flags timeout; }  addresses that need a ticket
//	set armed1   { type ipv4_addr; flags timeout; }  the ticket whose time runs
//	set inforce1 { type ipv4_addr; }                 that ticket is in force
//	set fenced2, armed2, inforce2                    the same for the other ticket
//	chain answers {
//		type filter hook output priority filter; policy accept;
//		arp saddr ip @inforce1 arp saddr ip @armed1 accept
//		arp saddr ip @inforce2 arp saddr ip @armed2 accept
//		arp saddr ip @fenced1 drop
//		arp saddr ip @fenced2 drop
//	}
//
// A transaction is atomic, but a packet that looks up several sets may see one
// before and the next after it, and up to Linux 6.16 a lookup may find neither
// the old nor the new element in that moment. Hence: a change touches one slot,
// and what the other one says of the packet holds meanwhile.
//
// A map from address to ticket would need fewer sets, and makes nft 1.0.6 abort
// when it lists the ruleset. A change of this layout needs new set or chain
// names: make takes over a table in which it finds these.
type layout struct {
	familyName string
	table      *nftables.Table
	chain      *nftables.Chain
	slots      [slots]slot
	// offset of the address that a packet speaks of, in its network header.
	offset uint32
}

// slot is the sets of one ticket.
type slot struct{ fenced, armed, inForce *nftables.Set }

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
	l := layout{
		familyName: familyName,
		table:      t,
		chain: &nftables.Chain{Name: chain, Table: t, Type: nftables.ChainTypeFilter, Hooknum: hook,
			Priority: nftables.ChainPriorityFilter, Policy: &policy},
		offset: offset,
	}
	for i := range l.slots {
		n := strconv.Itoa(i + 1)
		l.slots[i] = slot{fenced: set("fenced"+n, true), armed: set("armed"+n, true), inForce: set("inforce"+n, false)}
	}
	return l
}

func (l layout) sets() (all []*nftables.Set) {
	for _, s := range l.slots {
		all = append(all, s.fenced, s.armed, s.inForce)
	}
	return all
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
	for _, s := range l.slots {
		l.addRule(c, expr.VerdictAccept, s.inForce, s.armed)
	}
	for _, s := range l.slots {
		l.addRule(c, expr.VerdictDrop, s.fenced)
	}
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
		return len(rules) == 2*slots && sameNames(sets, l.sets()), nil
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

// slotInForce reads which slot an earlier process left in force. If it left
// both, one is about to end; that one may be lost.
func (l layout) slotInForce(c *nftables.Conn) (int, error) {
	best, left := 0, time.Duration(-1)
	for i, s := range l.slots {
		inForce, err := c.GetSetElements(s.inForce)
		if err != nil {
			return 0, err
		}
		armed, err := c.GetSetElements(s.armed)
		if err != nil {
			return 0, err
		}
		if len(inForce) > 0 && len(armed) > 0 && armed[0].Expires > left {
			best, left = i, armed[0].Expires
		}
	}
	return best, nil
}

// arm queues the timer of a slot and the fence around the addresses, in place of
// whatever the slot was before.
//
// Flush and add renews a timeout on every kernel; adding alone does so only
// since Linux 6.12.
func (l layout) arm(c *nftables.Conn, addrs []netip.Addr, i int, d time.Duration) error {
	s := l.slots[i]
	c.FlushSet(s.inForce)
	c.FlushSet(s.armed)
	c.FlushSet(s.fenced)
	if err := c.SetAddElements(s.fenced, elements(addrs, d+linger)); err != nil {
		return err
	}
	return c.SetAddElements(s.armed, elements(addrs, d))
}

// permit queues a slot as in force. The other one, if it is, ends by itself.
func (l layout) permit(c *nftables.Conn, addrs []netip.Addr, i int) error {
	return c.SetAddElements(l.slots[i].inForce, elements(addrs, 0))
}

func (l layout) forbid(c *nftables.Conn) {
	for _, s := range l.slots {
		c.FlushSet(s.inForce)
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
