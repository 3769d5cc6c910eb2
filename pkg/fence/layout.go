package fence

import (
	"net/netip"
	"reflect"
	"slices"
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
// names: Prepare takes over a table in which it finds these.
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

// create queues the table, without elements, in place of whatever is there.
func (l layout) create(c *nftables.Conn) error {
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
	for _, exprs := range l.rules() {
		c.AddRule(&nftables.Rule{Table: l.table, Chain: l.chain, Exprs: exprs})
	}
	return nil
}

// rules are the rules of the chain, as the kernel lists them.
func (l layout) rules() (all [][]expr.Any) {
	for _, s := range l.slots {
		all = append(all, l.rule(expr.VerdictAccept, s.inForce, s.armed))
	}
	for _, s := range l.slots {
		all = append(all, l.rule(expr.VerdictDrop, s.fenced))
	}
	return all
}

// rule is for packets whose address is in all of the sets.
func (l layout) rule(verdict expr.VerdictKind, sets ...*nftables.Set) (exprs []expr.Any) {
	for _, s := range sets {
		exprs = append(exprs,
			&expr.Payload{DestRegister: unix.NFT_REG_1, Base: expr.PayloadBaseNetworkHeader, Offset: l.offset, Len: 4},
			&expr.Lookup{SourceRegister: unix.NFT_REG_1, SetName: s.Name})
	}
	return append(exprs, &expr.Verdict{Kind: verdict})
}

// whole tells whether the table is there as create makes it, with whatever
// elements. What the table has beyond that is somebody else's, too.
func (l layout) whole(c *nftables.Conn) (bool, error) {
	for _, look := range []func(*nftables.Conn) (bool, error){l.wholeTable, l.wholeSets, l.wholeRules, l.wholeChain} {
		if ok, err := look(c); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

func (l layout) wholeTable(c *nftables.Conn) (bool, error) {
	tables, err := c.ListTablesOfFamily(l.table.Family)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(tables, func(t *nftables.Table) bool {
		return t.Name == l.table.Name && t.Flags == 0 // a flag is "dormant"
	}), nil
}

func (l layout) wholeSets(c *nftables.Conn) (bool, error) {
	sets, err := c.GetSets(l.table)
	if err != nil {
		return false, err
	}
	wanted := make(map[string]*nftables.Set)
	for _, s := range l.sets() {
		wanted[s.Name] = s
	}
	for _, s := range sets {
		if w := wanted[s.Name]; w == nil || w.HasTimeout != s.HasTimeout || w.KeyType.Bytes != s.KeyType.Bytes {
			return false, nil
		}
	}
	return len(sets) == len(wanted), nil
}

// wholeRules takes a chain that is missing for one without rules, as the kernel
// lists it.
func (l layout) wholeRules(c *nftables.Conn) (bool, error) {
	rules, err := c.GetRules(l.table, l.chain)
	if err != nil {
		return false, err
	}
	return slices.EqualFunc(rules, l.rules(), func(r *nftables.Rule, want []expr.Any) bool {
		return reflect.DeepEqual(r.Exprs, want)
	}), nil
}

// wholeChain is for a chain that is there; one that is not is an error.
func (l layout) wholeChain(c *nftables.Conn) (bool, error) {
	got, err := c.ListChain(l.table, l.chain.Name)
	if err != nil {
		return false, err
	}
	return got.Type == l.chain.Type && same(got.Hooknum, l.chain.Hooknum) && same(got.Priority, l.chain.Priority) &&
		same(got.Policy, l.chain.Policy), nil
}

func same[T comparable](a, b *T) bool { return a != nil && b != nil && *a == *b }

// content is the elements of a slot.
type content struct{ fenced, armed, inForce []nftables.SetElement }

func (s slot) read(c *nftables.Conn) (got content, err error) {
	if got.fenced, err = c.GetSetElements(s.fenced); err != nil {
		return got, err
	}
	if got.armed, err = c.GetSetElements(s.armed); err != nil {
		return got, err
	}
	got.inForce, err = c.GetSetElements(s.inForce)
	return got, err
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
	if err := l.enclose(c, addrs, i, d); err != nil {
		return err
	}
	return l.start(c, addrs, i, d)
}

// enclose queues the fence around the addresses for an empty slot. A ticket that
// ended a while ago is still fenced for the rest of linger. The kernel counts in
// milliseconds, and takes 0 of them for no timeout.
func (l layout) enclose(c *nftables.Conn, addrs []netip.Addr, i int, d time.Duration) error {
	if d+linger < time.Millisecond {
		return nil
	}
	return c.SetAddElements(l.slots[i].fenced, elements(addrs, d+linger))
}

// start queues the timer of an empty slot.
func (l layout) start(c *nftables.Conn, addrs []netip.Addr, i int, d time.Duration) error {
	if d < time.Millisecond {
		return nil
	}
	return c.SetAddElements(l.slots[i].armed, elements(addrs, d))
}

// shorten queues a new timer for a slot that has one.
func (l layout) shorten(c *nftables.Conn, addrs []netip.Addr, i int, d time.Duration) error {
	c.FlushSet(l.slots[i].armed)
	return l.start(c, addrs, i, d)
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
