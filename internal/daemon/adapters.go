package daemon

import (
	"context"

	"github.com/vipd-io/vipd/pkg/election"
	"github.com/vipd-io/vipd/pkg/vip"
)

// toGrant converts the state of the election into the grant that the Manager works with.
func toGrant(s election.Status) vip.Grant {
	return vip.Grant{Held: s.Held, Term: s.Term, Until: s.Until, Ticket: s.Ticket, Holder: s.Holder, Known: s.Known, Why: s.Why, Confirmed: s.Confirmed, Reported: s.Claim.Reported, Pledged: s.Pledged}
}

// elector implements vip.Election with the Lease.
type elector struct {
	*election.Elector
	campaigns func(vip.Campaign) // also observes each campaign
}

func (e elector) Campaign(ctx context.Context, c vip.Campaign) {
	e.campaigns(c)
	e.SetCandidate(ctx, election.Candidate{Eligible: c.Eligible, MAC: c.MAC, HoldBack: c.HoldBack, Yield: c.Yield, NotBefore: c.NotBefore, Ending: c.Ending})
}

func (e elector) GiveBack(ctx context.Context, a vip.GiveBack) error {
	return e.Release(ctx, election.Handover{Successor: a.Successor, Reported: a.Reported})
}

func (e elector) Refuse(ctx context.Context, why string) { e.Answer(ctx, why) }
