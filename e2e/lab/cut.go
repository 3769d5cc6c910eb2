package lab

import (
	"fmt"
	"maps"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// netSwitch is the bridge, with its cuts.
type netSwitch struct {
	ns *Namespace

	mu   sync.Mutex
	cuts map[cut]bool
}

// A cut is a direction in which frames do not pass, from one port to another; "" is any port.
type cut struct {
	from, to string
	arp      bool // only ARP
}

// Cut drops all frames between the host and its peers in both directions; without peers, those
// between the host and all others. Unlike LinkDown, no host loses its carrier.
func (h *Host) Cut(peers ...*Host) error { return h.cut(cut.both, false, peers) }

// CutTo drops the frames from the host to its peers, or to all others; frames in the other
// direction arrive.
func (h *Host) CutTo(peers ...*Host) error { return h.cut(cut.there, false, peers) }

// CutFrom drops the frames to the host from its peers, or from all others; frames in the other
// direction arrive.
func (h *Host) CutFrom(peers ...*Host) error { return h.cut(cut.back, false, peers) }

// CutARP drops ARP only, between the host and its peers, or all others.
func (h *Host) CutARP(peers ...*Host) error { return h.cut(cut.both, true, peers) }

func (c cut) there() []cut { return []cut{c} }
func (c cut) back() []cut  { return []cut{{from: c.to, to: c.from, arp: c.arp}} }
func (c cut) both() []cut  { return append(c.there(), c.back()...) }

func (h *Host) cut(directions func(cut) []cut, arp bool, peers []*Host) error {
	names := []string{""}
	if len(peers) > 0 {
		names = nil
	}
	for _, p := range peers {
		names = append(names, p.Name)
	}
	return h.sw.change(func(cuts map[cut]bool) {
		for _, name := range names {
			for _, c := range directions(cut{from: h.Name, to: name, arp: arp}) {
				cuts[c] = true
			}
		}
	})
}

// Heal removes all cuts between the host and others.
func (h *Host) Heal() error {
	return h.sw.change(func(cuts map[cut]bool) {
		maps.DeleteFunc(cuts, func(c cut, _ bool) bool { return c.from == h.Name || c.to == h.Name })
	})
}

// change changes the cuts, and replaces the bridge's rules in one transaction.
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
		nft.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(c.match(), &expr.Verdict{Kind: expr.VerdictDrop})})
	}
	if err := nft.Flush(); err != nil {
		return fmt.Errorf("change cuts in %s: %w", s.ns.Name, err)
	}
	return nil
}

func (c cut) match() (match []expr.Any) {
	if c.from != "" {
		match = port(expr.MetaKeyIIFNAME, c.from)
	}
	if c.to != "" {
		match = append(match, port(expr.MetaKeyOIFNAME, c.to)...)
	}
	if c.arp {
		match = append(match, protocol(unix.ETH_P_ARP)...)
	}
	return match
}

func port(key expr.MetaKey, name string) []expr.Any {
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: padded},
	}
}
