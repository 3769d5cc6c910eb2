package firewall

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// ruleset reads the kernel's ruleset chain by chain, on demand: kube-proxy creates tens of
// thousands of rules that no connection to the VIP passes.
type ruleset struct {
	conn  *nftables.Conn
	raw   *netlink.Conn
	rules map[chainKey][]rule
	sets  map[chainKey]*set
	// devices are the interfaces whose frames pass a chain of the family netdev.
	devices map[chainKey][]string
}

// chainKey identifies a chain, or a set.
type chainKey struct {
	family      nftables.TableFamily
	table, name string
}

// rule is a rule as the kernel lists it. Expressions that package expr does not know are opaque.
type rule struct {
	handle uint64
	exprs  []any
}

// opaque is an expression of which only the name is known.
type opaque string

// set is a set; its elements are sorted if it has intervals.
type set struct {
	intervals bool
	elements  []nftables.SetElement
}

func openRuleset(netNS int) (*ruleset, error) {
	raw, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: netNS})
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	return &ruleset{conn: &nftables.Conn{NetNS: netNS}, raw: raw, rules: map[chainKey][]rule{}, sets: map[chainKey]*set{}, devices: map[chainKey][]string{}}, nil
}

func (r *ruleset) close() { _ = r.raw.Close() }

// dormant is NFT_TABLE_F_DORMANT: the kernel ignores such a table.
const dormant = 1

// families are those whose chains IPv4 packets and their ARP may pass.
var families = []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyINet, nftables.TableFamilyARP, nftables.TableFamilyNetdev}

// chains returns the chains of these families.
func (r *ruleset) chains() ([]*nftables.Chain, error) {
	tables, err := r.conn.ListTables()
	if err != nil {
		return nil, err
	}
	all, err := r.conn.ListChains()
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		if c.Table.Family == nftables.TableFamilyNetdev && c.Hooknum != nil {
			if r.devices[keyOf(c)], err = r.devicesOf(keyOf(c)); err != nil {
				return nil, err
			}
		}
	}
	return slices.DeleteFunc(all, func(c *nftables.Chain) bool {
		return !slices.Contains(families, c.Table.Family) ||
			slices.ContainsFunc(tables, func(t *nftables.Table) bool {
				return t.Name == c.Table.Name && t.Family == c.Table.Family && bigEndian(t.Flags)&dormant != 0
			})
	}), nil
}

// bigEndian corrects a number that Conn.ListTables decoded in native byte order.
func bigEndian(n uint32) uint32 {
	return binary.BigEndian.Uint32(binary.NativeEndian.AppendUint32(nil, n))
}

// of returns the rules of a chain. Conn.GetRules is not suitable: it omits unknown expressions, so
// that the rest of the rule seems to match always.
func (r *ruleset) of(k chainKey) ([]rule, error) {
	if got, ok := r.rules[k]; ok {
		return got, nil
	}
	data, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_RULE_TABLE, Data: []byte(k.table + "\x00")},
		{Type: unix.NFTA_RULE_CHAIN, Data: []byte(k.name + "\x00")},
	})
	if err != nil {
		return nil, err
	}
	msgs, err := r.raw.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETRULE, Flags: netlink.Request | netlink.Dump},
		Data:   append([]byte{byte(k.family), unix.NFNETLINK_V0, 0, 0}, data...),
	})
	if err != nil && !errors.Is(err, unix.ENOENT) { // the chain was deleted meanwhile
		return nil, fmt.Errorf("list rules of chain %s %s: %w", k.table, k.name, err)
	}
	var out []rule
	for _, m := range msgs {
		one, err := decodeRule(byte(k.family), m.Data)
		if err != nil {
			return nil, fmt.Errorf("read rule of chain %s %s: %w", k.table, k.name, err)
		}
		out = append(out, one)
	}
	r.rules[k] = out
	return out, nil
}

func decodeRule(family byte, data []byte) (out rule, err error) {
	if len(data) < 4 {
		return out, errors.New("no header")
	}
	ad, err := netlink.NewAttributeDecoder(data[4:])
	if err != nil {
		return out, err
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_RULE_HANDLE:
			out.handle = ad.Uint64()
		case unix.NFTA_RULE_EXPRESSIONS:
			ad.Nested(func(list *netlink.AttributeDecoder) error {
				for list.Next() {
					out.exprs = append(out.exprs, decodeExpr(family, list.Bytes()))
				}
				return nil
			})
		}
	}
	return out, ad.Err()
}

func decodeExpr(family byte, b []byte) any {
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return opaque("?")
	}
	var name string
	var data []byte
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_EXPR_NAME:
			name = ad.String()
		case unix.NFTA_EXPR_DATA:
			data = ad.Bytes()
		}
	}
	make, ok := known[name]
	if !ok || ad.Err() != nil {
		return opaque(name)
	}
	e := make()
	if imm, ok := e.(*expr.Immediate); ok && expr.Unmarshal(family, data, imm) == nil && imm.Register == unix.NFT_REG_VERDICT {
		e = &expr.Verdict{}
	}
	if expr.Unmarshal(family, data, e) != nil {
		return opaque(name)
	}
	return e
}

// known are the expressions that the judge evaluates. Others are opaque.
var known = map[string]func() expr.Any{
	"meta": func() expr.Any { return &expr.Meta{} }, "payload": func() expr.Any { return &expr.Payload{} }, "ct": func() expr.Any { return &expr.Ct{} },
	"fib": func() expr.Any { return &expr.Fib{} }, "cmp": func() expr.Any { return &expr.Cmp{} }, "range": func() expr.Any { return &expr.Range{} },
	"bitwise": func() expr.Any { return &expr.Bitwise{} }, "lookup": func() expr.Any { return &expr.Lookup{} }, "immediate": func() expr.Any { return &expr.Immediate{} },
	"match": func() expr.Any { return &expr.Match{} }, "target": func() expr.Any { return &expr.Target{} }, "nat": func() expr.Any { return &expr.NAT{} },
}

// set reads a set with its elements.
func (r *ruleset) set(k chainKey) (*set, error) {
	if got, ok := r.sets[k]; ok {
		return got, nil
	}
	s, err := r.conn.GetSetByName(&nftables.Table{Name: k.table, Family: k.family}, k.name)
	if err != nil {
		return nil, fmt.Errorf("read set %s %s: %w", k.table, k.name, err)
	}
	elements, err := r.conn.GetSetElements(s)
	if err != nil {
		return nil, fmt.Errorf("read elements of set %s %s: %w", k.table, k.name, err)
	}
	out := &set{intervals: s.Interval && !s.Concatenation, elements: elements}
	if slices.ContainsFunc(elements, func(e nftables.SetElement) bool { return len(e.KeyEnd) > 0 }) {
		out.intervals = false // each element has its own end
	}
	slices.SortStableFunc(out.elements, func(a, b nftables.SetElement) int {
		if n := bytes.Compare(a.Key, b.Key); n != 0 || a.IntervalEnd == b.IntervalEnd {
			return n
		}
		if a.IntervalEnd { // an interval ends where the next one begins
			return -1
		}
		return 1
	})
	r.sets[k] = out
	return out, nil
}

// verdictOf decodes the verdict of an element of a verdict map.
func verdictOf(e nftables.SetElement) (*expr.Verdict, bool) {
	ad, err := netlink.NewAttributeDecoder(e.Val)
	if err != nil {
		return nil, false
	}
	ad.ByteOrder = binary.BigEndian
	out, found := &expr.Verdict{}, false
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_VERDICT_CODE:
			out.Kind, found = expr.VerdictKind(int32(ad.Uint32())), true
		case unix.NFTA_VERDICT_CHAIN:
			out.Chain = ad.String()
		}
	}
	return out, found && ad.Err() == nil
}
