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

// The checks that use observations of other nodes: a sender cannot see that a switch drops its
// frames.

// Peers holds the observations of the VIP by the control-plane nodes, or by this node alone if
// the others cannot be asked. The zero Peers means that nothing is known.
type Peers struct {
	// Holder is the holder by the Lease, or "" if that is uncertain. MAC is the MAC of the
	// holder's interface. HolderAddress is the node address of the holder, invalid if this node
	// is the holder.
	Holder, MAC   string
	HolderAddress netip.Addr
	// HeldFor is the least time for which the holder has held the VIP, by this node's
	// observation.
	HeldFor time.Duration
	// Announced is the time since the holder's last announcement by the holder's own status, or
	// 0 if unknown. Refresh is the greatest interval between announcements.
	Announced, Refresh time.Duration
	Views              []View
}

// View holds the observations of one node. Times are ages.
type View struct {
	Node string
	// Self: the node is this node. Address, the node's address, is then invalid.
	Self    bool
	Address netip.Addr
	// ListeningFor is the time since the node began to record claims of the VIP, or 0.
	ListeningFor time.Duration
	Claimants    []Claimant
	// Neighbour is the MAC of the VIP in the kernel's neighbour table, or "" if unconfirmed.
	Neighbour string
	// ReachesVIP: the node's own probes of the VIP, as a client, succeed.
	ReachesVIP bool
}

// Claimant is a machine that claimed the VIP.
type Claimant struct {
	MAC    string
	Frames int
	// Last is the age of the last claim. Announced is the age of the last announcement, or 0
	// without one.
	Last, Announced time.Duration
}

// Claim is an ARP claim of the VIP. Ago is its age.
type Claim struct {
	MAC string
	Ago time.Duration
}

const (
	// settleTime is the time for two nodes to observe the same state: younger announcements are
	// not expected yet, and claims during a younger tenure are ignored.
	settleTime = 3 * time.Second
	// recentClaim is the greatest age of a claim that D23 reports, so that a fix shows soon.
	recentClaim = time.Minute
	// neighbourExpiry is the time after which a kernel has confirmed a neighbour again
	// (base_reachable_time, times 1.5), rounded up.
	neighbourExpiry = time.Minute
)

func (in *Input) peers(ctx context.Context) (Peers, error) {
	if in.Queries.Peers == nil {
		return Peers{}, nil
	}
	return in.Queries.Peers(ctx)
}

var announcementsUnheard = Check{ID: "D24", Title: "announcements received", Modes: Node, Run: func(ctx context.Context, in *Input) ([]Finding, error) {
	p, err := in.peers(ctx)
	l, ok := in.Facts.vipLink()
	if err != nil || p.MAC == "" || !ok || !l.Up {
		return nil, err
	}
	var out []Finding
	for _, v := range p.Views {
		if v.Node == p.Holder || !p.onHolderLink(v, func(a netip.Addr) bool { return in.Facts.onLink(a, l.Index) }) {
			continue
		}
		if seen := p.missedAnnouncements(v); seen != "" {
			out = append(out, Finding{Severity: Error, Kind: "deaf", Seen: fmt.Sprintf("%s does not receive the announcements of %s for %s (%s): %s", v.Node, p.Holder, in.Facts.VIP, p.MAC, seen),
				Why: "the switch or virtual switch between the nodes drops gratuitous ARP. Clients there find a new holder only with their next ARP request, and cannot reach the VIP meanwhile",
				Remedy: []string{fmt.Sprintf("check that %s sends; there: vipd status -o json | grep -A4 '\"announcements\"'; tcpdump -ni %s arp and host %s", p.Holder, l.Name, in.Facts.VIP),
					"NSX, on a segment with SpoofGuard or a port profile with ARP snooping: allow the VIP in the address bindings of all control-plane VMs",
					"vSphere: check that the adapters of both VMs are connected to one port group and VLAN. `Reject` for forged transmits and MAC changes is harmless: vipd uses the adapter's own MAC",
					"a switch with dynamic ARP inspection: trust the ports, or bind the VIP; a Linux bridge: nft list ruleset; ebtables -L"}})
		}
	}
	return out, nil
}}

// onHolderLink reports whether a node and the holder are both on this node's link of the VIP.
// Other nodes do not need the announcements.
func (p Peers) onHolderLink(v View, onLink func(netip.Addr) bool) bool {
	here := func(a netip.Addr, self bool) bool { return self || a.IsValid() && onLink(a) }
	return here(v.Address, v.Self) && here(p.HolderAddress, !p.HolderAddress.IsValid())
}

// missedAnnouncements describes announcements that a node should have received and did not. The
// result is "" if none are missing or if it is too early. A single announcement may get lost
// anywhere.
func (p Peers) missedAnnouncements(v View) string {
	due := p.Announced // the last announcement that all nodes should have received
	if due < settleTime {
		due = p.Refresh // the last announcement is too recent
	}
	if p.HeldFor < due+settleTime {
		return ""
	}
	i := slices.IndexFunc(v.Claimants, func(h Claimant) bool { return h.MAC == p.MAC && h.Announced > 0 && h.Announced < p.HeldFor+settleTime })
	since := p.HeldFor // the holder sent several announcements at the beginning
	if i >= 0 {
		since = v.Claimants[i].Announced
	}
	since = min(since, v.ListeningFor)
	if due += settleTime; i >= 0 || v.ListeningFor < p.HeldFor {
		due += p.Refresh
	}
	switch {
	case since < due:
		return ""
	case i >= 0:
		return fmt.Sprintf("the last one was %s ago, and the holder announces at least every %s", seconds(since), p.Refresh)
	}
	return fmt.Sprintf("none in %s, and the holder announces at least every %s", seconds(since), p.Refresh)
}

func seconds(d time.Duration) string { return d.Round(time.Second).String() }

var twoMACs = Check{ID: "D23", Title: "one MAC for the VIP", Modes: everywhere, Run: func(ctx context.Context, in *Input) ([]Finding, error) {
	l, ok := in.Facts.vipLink()
	if !ok || !l.Up || in.Facts.reservedAs() != "" { // D06 and D08 report it
		return nil, nil
	}
	var sightings []Claim
	if in.Queries.ListenForClaims != nil {
		var err error
		if sightings, err = in.Queries.ListenForClaims(ctx, l); err != nil {
			return nil, fmt.Errorf("listen on %s: %w", l.Name, err)
		}
	}
	p, err := in.peers(ctx) // after listening: the holder may have changed
	if err != nil {
		return nil, err
	}
	if p.MAC == "" {
		return in.alternatingClaims(sightings), nil
	}
	p.Views = append(p.Views, View{Node: "the doctor on " + l.Name, Claimants: claimants(sightings)})
	return in.otherClaimants(ctx, p, l)
}}

// otherClaimants reports machines other than the holder that claim the VIP, or that a node takes
// for the holder.
func (in *Input) otherClaimants(ctx context.Context, p Peers, l Link) ([]Finding, error) {
	by := p.foreignClaims(in)
	answers, err := in.vipResponders(ctx, l)
	if err != nil {
		return nil, err
	}
	switch reported := in.Facts.Holder || len(answers) > 1; {
	case reported: // by D09
		for _, m := range answers {
			delete(by, m.String())
		}
	case len(answers) == 1 && answers[0].String() != p.MAC && p.HeldFor > settleTime:
		by[answers[0].String()] = append(by[answers[0].String()], "this machine answers ARP now, and the holder does not")
	}
	if len(by) == 0 {
		return nil, nil
	}
	proxies, err := in.proxies(ctx, l)
	for _, m := range proxies {
		delete(by, m.String()) // answers for every address; D09 reports it
	}
	var out []Finding
	for _, mac := range slices.Sorted(maps.Keys(by)) {
		out = append(out, Finding{Severity: Error, Kind: "rival",
			Seen:   fmt.Sprintf("two machines claim %s: %s (%s, which holds the Lease) and %s: %s", in.Facts.VIP, p.MAC, p.Holder, mac, strings.Join(by[mac], "; ")),
			Why:    "hosts that receive a claim of the other machine send to that machine until the holder's next announcement: clients lose the VIP at times",
			Remedy: findByMAC})
	}
	return out, err
}

// foreignClaims collects, by MAC, the claims of machines other than the holder since the holder
// took the VIP.
func (p Peers) foreignClaims(in *Input) map[string][]string {
	by := make(map[string][]string)
	foreign := func(mac string) bool {
		m, err := net.ParseMAC(mac)
		return err == nil && mac != p.MAC && (!in.Facts.Holder || !in.Facts.hasMAC(m)) // the holder may have two adapters on the link
	}
	for _, v := range p.Views {
		for _, h := range v.Claimants {
			if foreign(h.MAC) && h.Last < min(p.HeldFor-settleTime, recentClaim) {
				by[h.MAC] = append(by[h.MAC], fmt.Sprintf("%s received its claims %s, the last time %s ago", v.Node, countTimes(h.Frames), seconds(h.Last)))
			}
		}
		if v.Neighbour != "" && foreign(v.Neighbour) && p.HeldFor > neighbourExpiry {
			by[v.Neighbour] = append(by[v.Neighbour], v.Node+" sends packets for the VIP to this machine")
		}
	}
	return by
}

// alternatingClaims reports machines that claim the VIP in turn, if the holder is unknown. A VIP
// that moves does not return at once.
func (in *Input) alternatingClaims(all []Claim) []Finding {
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
	return []Finding{{Severity: Error, Kind: "in turn", Seen: fmt.Sprintf("%d machines claim %s in turn: %s (%s, %d changes)", len(macs), in.Facts.VIP, strings.Join(macs, ", "), countTimes(len(all)), len(turns)-1),
		Why: "packets to the VIP reach one machine and then another: clients lose the VIP at times", Remedy: findByMAC}}
}

var findByMAC = []string{"find the machine by its MAC: vipd doctor explain D09 has a command for vSphere; otherwise see the switch's MAC table",
	"is the MAC another adapter of the holder? Compare with: ip link, on the holder",
	"remove the address there: a remaining kube-vip (D25), keepalived, another cluster with the same VIP (D15), a DHCP lease or an IPAM pool (D08)"}

// claimants groups claims by MAC. The last claim of a MAC determines its age.
func claimants(all []Claim) []Claimant {
	var out []Claimant
	for _, s := range all {
		i := slices.IndexFunc(out, func(h Claimant) bool { return h.MAC == s.MAC })
		if i < 0 {
			i, out = len(out), append(out, Claimant{MAC: s.MAC})
		}
		out[i].Frames, out[i].Last = out[i].Frames+1, s.Ago
	}
	return out
}

func countTimes(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}
