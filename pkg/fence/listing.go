package fence

import (
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// listing is a table as the kernel lists it, without elements.
type listing struct {
	flags  uint32 // for example "dormant"
	sets   map[string]listedSet
	chains map[string]listedChain
}

type listedSet struct {
	timeout bool
	bytes   uint32 // length of a key
}

type listedChain struct {
	kind     nftables.ChainType
	hook     *nftables.ChainHook
	priority *nftables.ChainPriority
	policy   *nftables.ChainPolicy
	rules    [][]expr.Any
}

func (l listing) equal(other listing) bool { return reflect.DeepEqual(l, other) }

// difference returns a rule that differs from the other listing, else the whole listing, for the
// log.
func (l listing) difference(other listing) any {
	for name, c := range l.chains {
		rules := other.chains[name].rules
		for i := 0; i < len(c.rules) && len(c.rules) == len(rules); i++ {
			if !reflect.DeepEqual(c.rules[i], rules[i]) {
				return c.rules[i]
			}
		}
	}
	return l
}

// expectedListing returns the listing of a kernel that lists the parts of a table as they were
// sent.
func (l layout) expectedListing() listing {
	out := listing{sets: listSets(l.sets()), chains: make(map[string]listedChain)}
	for _, c := range l.chains {
		out.chains[c.Name] = listChain(c.Chain, c.rules)
	}
	return out
}

func listSets(sets []*nftables.Set) map[string]listedSet {
	out := make(map[string]listedSet)
	for _, s := range sets {
		out[s.Name] = listedSet{timeout: s.HasTimeout, bytes: s.KeyType.Bytes}
	}
	return out
}

func listChain(c *nftables.Chain, rules [][]expr.Any) listedChain {
	return listedChain{kind: c.Type, hook: c.Hooknum, priority: c.Priority, policy: c.Policy, rules: rules}
}

// list reads the table. The listing includes what other programs added, except further chains,
// which do not see the packets that this table accepts.
func (l layout) list(c *nftables.Conn) (got listing, found bool, err error) {
	tables, err := c.ListTablesOfFamily(l.table.Family)
	if err != nil {
		return got, false, err
	}
	i := slices.IndexFunc(tables, func(t *nftables.Table) bool { return t.Name == l.table.Name })
	if i < 0 {
		return got, false, nil
	}
	got.flags = tables[i].Flags
	sets, err := c.GetSets(l.table)
	if err != nil {
		return got, true, err
	}
	got.sets = listSets(sets)
	got.chains = make(map[string]listedChain)
	for _, want := range l.chains {
		rules, err := l.listRules(c, want.Chain)
		if err != nil {
			return got, true, err
		}
		if len(rules) == 0 {
			return got, true, nil // the kernel lists a missing chain as a chain without rules
		}
		chain, err := c.ListChain(l.table, want.Name)
		if err != nil {
			return got, true, err
		}
		got.chains[want.Name] = listChain(chain, rules)
	}
	return got, true, nil
}

func (l layout) listRules(c *nftables.Conn, of *nftables.Chain) (out [][]expr.Any, err error) {
	rules, err := c.GetRules(l.table, of)
	for _, r := range rules {
		out = append(out, r.Exprs)
	}
	return out, err
}

// listed is the elements of a table, by set and address: the time until each one ends, or endless.
type listed map[string]map[string]time.Duration

// endless is an element without a timeout in a set with timeouts: another program added the
// element.
const endless time.Duration = -1

func (l layout) elements(c *nftables.Conn) (listed, error) {
	all := make(listed)
	for _, s := range l.sets() {
		got, err := c.GetSetElements(s)
		if err != nil {
			return nil, err
		}
		all[s.Name] = make(map[string]time.Duration)
		for _, e := range got {
			left := e.Expires
			if s.HasTimeout && e.Timeout == 0 && left == 0 { // an element that is about to end has a timeout
				left = endless
			}
			all[s.Name][string(e.Key)] = left
		}
	}
	return all, nil
}

// take removes the elements of some addresses in a source's sets from the list, and returns them.
// Endless elements stay in the list: they are no gate's.
func (l listed) take(from [slots]slot, addrs []netip.Addr) (out Contents) {
	for i, s := range from {
		out[i] = Content{Fenced: l.takeSet(s.fenced, addrs), Armed: l.takeSet(s.armed, addrs), InForce: l.takeSet(s.inForce, addrs)}
	}
	return out
}

func (l listed) takeSet(s *nftables.Set, addrs []netip.Addr) Elements {
	out := Elements{Ours: true}
	for _, a := range addrs {
		key := string(a.AsSlice())
		left, ok := l[s.Name][key]
		if ok = ok && left != endless; ok {
			delete(l[s.Name], key)
		}
		out.Any, out.Ours, out.Left = out.Any || ok, out.Ours && ok, max(out.Left, left)
	}
	return out
}

// empty tells whether no element is left.
func (l listed) empty() bool {
	for _, set := range l {
		if len(set) > 0 {
			return false
		}
	}
	return true
}
