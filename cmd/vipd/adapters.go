package main

import (
	"context"
	"net"
	"net/netip"

	"github.com/vipd-io/vipd/pkg/arp"
	"github.com/vipd-io/vipd/pkg/election"
	"github.com/vipd-io/vipd/pkg/vip"
)

// toGrant says in the Manager's words where the election stands.
func toGrant(s election.Standing) vip.Grant {
	return vip.Grant{Held: s.Held, Term: s.Term, Until: s.Until, Ticket: s.Ticket, Holder: s.Holder, Known: s.Known, Why: s.Why, Confirmed: s.Confirmed}
}

// elector is the Lease as the Manager's Election.
type elector struct {
	*election.Elector
	campaigns func(vip.Campaign) // is told as well
}

func (e elector) Campaign(ctx context.Context, c vip.Campaign) {
	e.campaigns(c)
	e.SetCandidate(ctx, election.Candidate{Eligible: c.Eligible, MAC: c.MAC, HoldBack: c.HoldBack, Yield: c.Yield, NotBefore: c.NotBefore})
}

func (e elector) GiveBack(ctx context.Context, successor string) error {
	return e.Release(ctx, successor)
}

func (e elector) Refuse(ctx context.Context, why string) { e.Answer(ctx, why) }

// announcer announces a group of addresses.
type announcer struct {
	*arp.Announcer
	addresses []netip.Addr
}

func (a announcer) Announce(l vip.Link) {
	if t, ok := a.target(l); ok {
		a.Announcer.Announce(t)
	}
}

func (a announcer) Probe(l vip.Link) {
	if t, ok := a.target(l); ok {
		a.Announcer.Probe(t)
	}
}

// target is not ok for a link without a MAC, which is not usable, see network.Look.
func (a announcer) target(l vip.Link) (arp.Target, bool) {
	mac, err := net.ParseMAC(l.MAC)
	return arp.Target{Index: l.Index, MAC: mac, Addresses: a.addresses}, err == nil
}
