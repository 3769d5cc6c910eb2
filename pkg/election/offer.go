package election

import (
	"context"
	"encoding/json"
	"time"

	"go.uber.org/zap"
	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// A holder that is about to end offers the Lease, and keeps the Lease until a candidate accepts
// (docs/adr/0020): nothing else tells the holder whether another node runs a vipd that can claim.

// AcceptedAnnotation on the Lease tells a holder that offers the Lease which candidate accepts. The
// holder removes the annotation with the next write.
const AcceptedAnnotation = "vipd.io/accepted"

// offer is what a holder offers: the Lease in one term. The zero offer is none.
type offer struct {
	holder string
	term   int
}

// acceptedBy returns the candidate that accepts the offer, "" for none.
func (o offer) acceptedBy(l *coordinationv1.Lease) string {
	return toldBy(l, AcceptedAnnotation, o.holder, o.term)
}

// offered returns what another holder offers, the zero offer for nothing.
func (v *view) offered() offer {
	if v.verdict != foreign || !v.record.noted || !v.record.note.Offered {
		return offer{}
	}
	return offer{holder: v.record.holder, term: v.record.term}
}

// bid is what a candidate knows of an offer.
type bid struct {
	seen offer            // the present offer
	at   boottime.Instant // when it was first observed
	// pledge is the offer that this node accepted, or may have accepted.
	pledge offer
	sent   boottime.Instant // when the last acceptance was sent that was or may have been written, 0 for none
}

// Offer writes into the Lease that this node, the holder, is about to end. This node goes on as the
// holder. The first candidate that accepts is reported as Accepted.
func (e *Elector) Offer(ctx context.Context) {
	e.command(ctx, func() {
		if e.status.Held && !e.offering {
			e.offering, e.writtenRV = true, "" // an empty version makes the next write due now
		}
	})
}

// observeOffer takes in the offer in a new version of the Lease. What this node accepted is open until
// another node holds the Lease: the watch may show this node's claim before the answer does.
func (e *Elector) observeOffer() {
	b, o := &e.bid, e.view.offered()
	if o != b.seen {
		b.seen, b.at = o, e.view.at
	}
	if o != b.pledge && !e.view.namedSuccessor() && e.view.verdict != mine {
		b.pledge = offer{}
	}
}

// observeAcceptance reports to the holder which candidate accepts its offer. The record is still as
// this node wrote it, so no write of this node has to come before the release.
func (e *Elector) observeAcceptance(l *coordinationv1.Lease) {
	by := offer{holder: e.view.self.Node, term: e.status.Term}.acceptedBy(l)
	if by == "" || !e.status.Held || !e.offering {
		return
	}
	if e.view.verdict == mine && e.view.record.note.Offered {
		e.writtenRV = l.ResourceVersion
	}
	e.opts.Observe(Accepted{By: by})
}

// acceptFrom returns when this candidate may accept the present offer: when the candidate would claim
// a Lease that became free at the moment at which the offer was first observed. A candidate does not
// write after another candidate or a person, before the holder has written again: each write makes
// all candidates wait anew.
//
// A candidate that is about to end repeats only an acceptance whose outcome it does not know. Nobody
// accepts from a holder that is silent: the acceptance would prolong the wait for the lease.
func (e *Elector) acceptFrom(now boottime.Instant) (from boottime.Instant, may bool) {
	c, b := e.candidate, e.bid
	silent := now.Sub(e.view.at) > 2*e.opts.Timing.Renew
	if b.seen == (offer{}) || !c.Eligible || c.Ending && b.pledge != b.seen || silent || requested(e.view.lease) {
		return 0, false
	}
	from = max(b.at.Add(c.HoldBack+c.Yield), c.NotBefore)
	if b.sent != 0 {
		from = max(from, b.sent.Add(e.opts.Timing.Renew))
	}
	return from, true
}

// pledgedRead is the time between two reads of a candidate that accepted: the holder answers at once, and
// while the watch is silent, no node has what the Lease is for.
const pledgedRead = 50 * time.Millisecond

// staleAfter returns after how long without news a candidate reads the Lease.
func (e *Elector) staleAfter() time.Duration {
	if e.bid.pledge != (offer{}) {
		return pledgedRead
	}
	return e.opts.Timing.Lease * 2 / 3
}

// accept returns the annotation that accepts the present offer. From now on, the holder may release the
// Lease for this node.
func (e *Elector) accept() map[string]string {
	b := &e.bid
	b.pledge, b.sent = b.seen, e.now()
	s := e.status
	s.Pledged = true
	e.notify(s)
	text, err := json.Marshal(told{By: e.view.self.Node, Holder: b.pledge.holder, Term: b.pledge.term})
	if err != nil {
		panic("encode annotation: " + err.Error()) // strings and ints
	}
	return map[string]string{AcceptedAnnotation: string(text)}
}

// handleAcceptance handles the outcome of an acceptance.
func (e *Elector) handleAcceptance(r result) {
	switch {
	case r.err == nil:
		e.failures = 0
		e.log.Info("accepted what the holder offers", zap.String("holder", e.bid.pledge.holder), zap.Duration("answered_after", e.now().Sub(r.sent)))
		if !e.view.older(r.lease) {
			e.observe(r.lease)
		}
	case overtaken(r.err): // by the holder, or by another candidate
		e.mustRead = true
		// The pledge stays until the offer is over: the newer version may be this node's acceptance, of
		// which a server lost the answer.
		e.bid.sent = 0
	default:
		e.mustRead = true
		e.failed(r.err)
	}
}
