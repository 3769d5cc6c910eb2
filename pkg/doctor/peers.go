package doctor

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// The checks that look with the eyes of other nodes: what a switch drops, its sender
// cannot see.

// Peers is what the nodes of the control plane tell of the VIP; only this one's view is in
// it where others cannot be asked. The zero Peers is for nothing known.
type Peers struct {
	// Holder is who holds the VIP by the lease, "" if that is not certain; MAC is that of
	// its interface, HolderAddress the node's own, invalid if it is this node.
	Holder, MAC   string
	HolderAddress netip.Addr
	// Holds is for how long this node has seen it hold, at least.
	Holds time.Duration
	// Announced is how long ago the holder announced the VIP, by its own word; 0 if that
	// is not known. Refresh is how often it does at least.
	Announced, Refresh time.Duration
	Views              []View
}

// View is what one node tells. Times are how long ago.
type View struct {
	Node string
	// Self: it is this node, and Address, that of the node, is invalid.
	Self    bool
	Address netip.Addr
	// Listens is since when it hears who claims the VIP, 0 if it does not.
	Listens time.Duration
	Heard   []Heard
	// Neighbour is the MAC to which its kernel sends what is for the VIP, "" if none was
	// confirmed.
	Neighbour string
	// Reaches: it asks the VIP as a client does, and is answered.
	Reaches bool
}

// Heard is a machine that claimed the VIP.
type Heard struct {
	MAC    string
	Frames int
	// Last is its last claim, Announced its last announcement, 0 if there was none.
	Last, Announced time.Duration
}

// Sighting is a claim that was overheard, by how long ago.
type Sighting struct {
	MAC string
	Ago time.Duration
}

const (
	// settled is what two nodes may take to see the same: a round of announcements that is
	// younger is not looked for, and a claim is not held against a holder that is.
	settled = 3 * time.Second
	// lately is for how long a claim is worth telling of: who has mended it wants to see that.
	lately = time.Minute
	// forgotten is after how long a kernel has asked again for a neighbour
	// (base_reachable_time, times 1.5), and somewhat more.
	forgotten = time.Minute
)

func (c *Case) peers(ctx context.Context) (Peers, error) {
	if c.Questions.Peers == nil {
		return Peers{}, nil
	}
	return c.Questions.Peers(ctx)
}

var deafPeer = Check{ID: "D24", Title: "announcements are heard", Modes: Node, Look: func(ctx context.Context, c *Case) ([]Finding, error) {
	p, err := c.peers(ctx)
	l, ok := c.Facts.vipLink()
	if err != nil || p.MAC == "" || !ok || !l.Up {
		return nil, err
	}
	var out []Finding
	for _, v := range p.Views {
		if v.Node == p.Holder || !p.together(v, func(a netip.Addr) bool { return c.Facts.onLink(a, l.Index) }) {
			continue
		}
		if seen := p.deaf(v); seen != "" {
			out = append(out, Finding{Severity: Error, Mark: "deaf", Seen: fmt.Sprintf("%s does not hear %s announce %s (%s): %s", v.Node, p.Holder, c.Facts.VIP, p.MAC, seen),
				Why: "the switch between them, or what stands for one, drops gratuitous ARP. Then clients there learn of a new holder only when they ask again, and the VIP is dark for them meanwhile",
				Mend: []string{fmt.Sprintf("does %s send? On it: vipd status -o json | grep -A4 '\"announcements\"'; tcpdump -ni %s arp and host %s", p.Holder, l.Name, c.Facts.VIP),
					"NSX: a segment with SpoofGuard, or a port profile with ARP snooping: allow the VIP in the address bindings of all control-plane VMs",
					"vSphere: do both VMs' adapters lie in one port group and VLAN, and are they connected? `Reject` for forged transmits and MAC changes does no harm: vipd uses the adapter's own MAC",
					"a switch with dynamic ARP inspection: trust the ports, or bind the VIP; a bridge of Linux: nft list ruleset; ebtables -L"}})
		}
	}
	return out, nil
}}

// together tells whether a node and the holder are both on this node's link of the VIP:
// nobody else needs to hear.
func (p Peers) together(v View, onLink func(netip.Addr) bool) bool {
	here := func(a netip.Addr, self bool) bool { return self || a.IsValid() && onLink(a) }
	return here(v.Address, v.Self) && here(p.HolderAddress, !p.HolderAddress.IsValid())
}

// deaf says what a node did not hear of the holder that it should have, "" if all is well
// or it is too early to tell. One round may get lost anywhere; several do not.
func (p Peers) deaf(v View) string {
	due := p.Announced // the last round that everybody should have heard
	if due < settled {
		due = p.Refresh // that one is too young
	}
	if p.Holds < due+settled {
		return ""
	}
	i := slices.IndexFunc(v.Heard, func(h Heard) bool { return h.MAC == p.MAC && h.Announced > 0 && h.Announced < p.Holds+settled })
	since := p.Holds // several rounds went out at the beginning
	if i >= 0 {
		since = v.Heard[i].Announced
	}
	since = min(since, v.Listens)
	if due += settled; i >= 0 || v.Listens < p.Holds {
		due += p.Refresh
	}
	switch {
	case since < due:
		return ""
	case i >= 0:
		return fmt.Sprintf("the last time was %s ago, and it announces every %s at least", brief(since), p.Refresh)
	}
	return fmt.Sprintf("not once in %s, and it announces every %s at least", brief(since), p.Refresh)
}

func brief(d time.Duration) string { return d.Round(time.Second).String() }

var twoMACs = Check{ID: "D23", Title: "one MAC for the VIP", Modes: everywhere, Look: func(ctx context.Context, c *Case) ([]Finding, error) {
	l, ok := c.Facts.vipLink()
	if !ok || !l.Up || c.Facts.special() != "" { // D06 and D08 tell
		return nil, nil
	}
	var sightings []Sighting
	if c.Questions.Overhear != nil {
		var err error
		if sightings, err = c.Questions.Overhear(ctx, l); err != nil {
			return nil, fmt.Errorf("listen on %s: %w", l.Name, err)
		}
	}
	p, err := c.peers(ctx) // afterwards: the holder may be another than before
	if err != nil {
		return nil, err
	}
	if p.MAC == "" {
		return c.inTurn(sightings), nil
	}
	p.Views = append(p.Views, View{Node: "the doctor on " + l.Name, Heard: heardOf(sightings)})
	return c.rivals(ctx, p, l)
}}

// rivals are the machines that are not the holder, and are taken for it somewhere.
func (c *Case) rivals(ctx context.Context, p Peers, l Link) ([]Finding, error) {
	by := p.claims(c)
	answers, err := c.whoHasVIP(ctx, l)
	if err != nil {
		return nil, err
	}
	switch told := c.Facts.Holder || len(answers) > 1; {
	case told: // by D09
		for _, m := range answers {
			delete(by, m.String())
		}
	case len(answers) == 1 && answers[0].String() != p.MAC && p.Holds > settled:
		by[answers[0].String()] = append(by[answers[0].String()], "it answers this node now, and the holder does not")
	}
	var out []Finding
	for _, mac := range slices.Sorted(maps.Keys(by)) {
		out = append(out, Finding{Severity: Error, Mark: "rival",
			Seen: fmt.Sprintf("two machines claim %s: %s (%s, which holds the lease) and %s: %s", c.Facts.VIP, p.MAC, p.Holder, mac, strings.Join(by[mac], "; ")),
			Why:  "whoever hears the other one sends there what is for the VIP, until the holder announces itself again: clients lose the VIP now and then",
			Mend: findByMAC})
	}
	return out, nil
}

// claims are, by MAC, what was seen of machines that are not the holder, since it holds.
func (p Peers) claims(c *Case) map[string][]string {
	by := make(map[string][]string)
	stranger := func(mac string) bool {
		m, err := net.ParseMAC(mac)
		return err == nil && mac != p.MAC && (!c.Facts.Holder || !c.Facts.own(m)) // it may have two adapters here
	}
	for _, v := range p.Views {
		for _, h := range v.Heard {
			if stranger(h.MAC) && h.Last < min(p.Holds-settled, lately) {
				by[h.MAC] = append(by[h.MAC], fmt.Sprintf("%s has heard it %s, the last time %s ago", v.Node, times(h.Frames), brief(h.Last)))
			}
		}
		if v.Neighbour != "" && stranger(v.Neighbour) && p.Holds > forgotten {
			by[v.Neighbour] = append(by[v.Neighbour], v.Node+" sends there what is for the VIP")
		}
	}
	return by
}

// inTurn looks for machines that claim the VIP in turn where nobody knows who holds it. A
// VIP that moves does not come back at once.
func (c *Case) inTurn(all []Sighting) []Finding {
	var turns []string
	for _, s := range all {
		if n := len(turns); n == 0 || turns[n-1] != s.MAC {
			turns = append(turns, s.MAC)
		}
	}
	if len(turns) < 3 {
		return nil
	}
	macs := slices.Compact(slices.Sorted(slices.Values(turns)))
	return []Finding{{Severity: Error, Mark: "in turn", Seen: fmt.Sprintf("%d machines claim %s in turn: %s (%s, %d changes)", len(macs), c.Facts.VIP, strings.Join(macs, ", "), times(len(all)), len(turns)-1),
		Why: "what is sent to the VIP goes to one and then to the other: clients lose the VIP now and then", Mend: findByMAC}}
}

var findByMAC = []string{"find the machine by its MAC: vipd doctor explain D09 has a command for vSphere; else the switch's table of MACs",
	"is it another adapter of the holder's? Compare with: ip link, on the holder",
	"take the address away there: a kube-vip that was left (D25), keepalived, another cluster with the same VIP (D15), a DHCP lease or an IPAM pool (D08)"}

// heardOf puts sightings together, the last one first.
func heardOf(all []Sighting) []Heard {
	var out []Heard
	for _, s := range all {
		i := slices.IndexFunc(out, func(h Heard) bool { return h.MAC == s.MAC })
		if i < 0 {
			i, out = len(out), append(out, Heard{MAC: s.MAC})
		}
		out[i].Frames, out[i].Last = out[i].Frames+1, s.Ago
	}
	return out
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}
