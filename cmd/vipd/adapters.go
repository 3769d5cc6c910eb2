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
	return vip.Grant{Held: s.Held, Term: s.Term, Until: s.Until, Ticket: s.Ticket, Holder: s.Holder, Known: s.Known, Why: s.Why}
}

// elector is the Lease as the Manager's Election.
type elector struct{ *election.Elector }

func (e elector) Campaign(ctx context.Context, c vip.Campaign) {
	e.SetCandidate(ctx, election.Candidate{Eligible: c.Eligible, MAC: c.MAC})
}

func (e elector) GiveBack(ctx context.Context) error { return e.Release(ctx) }

// announcer announces a group of addresses.
type announcer struct {
	*arp.Announcer
	addresses []netip.Addr
}

func (a announcer) Announce(l vip.Link) {
	mac, err := net.ParseMAC(l.MAC)
	if err != nil {
		return // a link without a MAC is not usable, see network.Look
	}
	a.Announcer.Announce(arp.Target{Index: l.Index, MAC: mac, Addresses: a.addresses})
}
