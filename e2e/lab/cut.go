package lab

import (
	"fmt"
	"maps"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// netSwitch is the bridge, and who may not talk over it.
type netSwitch struct {
	ns *Namespace

	mu   sync.Mutex
	cuts map[cut]bool
}

// A cut is a pair of ports that exchange no frames. With an empty second
// name, the first exchanges none with anybody.
type cut struct{ a, b string }

// Cut stops all frames between the host and its peers, in both directions,
// without peers those between the host and everybody. Unlike LinkDown, no
// host can tell from its carrier.
func (h *Host) Cut(peers ...*Host) error {
	return h.sw.change(func(cuts map[cut]bool) {
		if len(peers) == 0 {
			cuts[cut{h.Name, ""}] = true
		}
		for _, p := range peers {
			cuts[cut{h.Name, p.Name}] = true
		}
	})
}

// Heal undoes all cuts between the host and others.
func (h *Host) Heal() error {
	return h.sw.change(func(cuts map[cut]bool) {
		maps.DeleteFunc(cuts, func(c cut, _ bool) bool { return c.a == h.Name || c.b == h.Name })
	})
}

// change changes the cuts, and replaces the bridge's rules by what follows
// from them in one step.
func (s *netSwitch) change(edit func(map[cut]bool)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	edit(s.cuts)
	nft, err := nftables.New(nftables.WithNetNSFd(int(s.ns.handle)))
	if err != nil {
		return fmt.Errorf("open nftables in %s: %w", s.ns.Name, err)
	}
	table := nft.AddTable(&nftables.Table{Name: "cuts", Family: nftables.TableFamilyBridge})
	nft.FlushTable(table)
	chain := nft.AddChain(&nftables.Chain{
		Name: "forward", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	for c := range s.cuts {
		for _, match := range c.rules() {
			nft.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(match, &expr.Verdict{Kind: expr.VerdictDrop})})
		}
	}
	if err := nft.Flush(); err != nil {
		return fmt.Errorf("change cuts in %s: %w", s.ns.Name, err)
	}
	return nil
}

// rules returns the two matches, one per direction.
func (c cut) rules() [][]expr.Any {
	from, to := expr.MetaKeyIIFNAME, expr.MetaKeyOIFNAME
	if c.b == "" {
		return [][]expr.Any{port(from, c.a), port(to, c.a)}
	}
	return [][]expr.Any{
		append(port(from, c.a), port(to, c.b)...),
		append(port(from, c.b), port(to, c.a)...),
	}
}

func port(key expr.MetaKey, name string) []expr.Any {
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: padded},
	}
}
