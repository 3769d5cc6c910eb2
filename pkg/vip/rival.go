package vip

import (
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// Rival is what is known of other machines that claim the addresses.
type Rival struct {
	// Claims counts the claims that were heard, MAC is of the last one.
	Claims int
	MAC    string
	// At is when the first unanswered claim was heard, 0 for none.
	At boottime.Instant
	// Earliest instants of the next confirmation and of the next defence.
	ConfirmAt, DefendAt boottime.Instant

	// Probes counts the probes before the first claim; the next one is due at ProbeAt; Until is the
	// end of the wait for answers.
	Probes         int
	ProbeAt, Until boottime.Instant
	// Answered is when a machine answered a probe while no holder was known, 0 for never.
	Answered boottime.Instant
	// Sure: a machine announced the addresses, or sent requests from them, which proxy ARP never does.
	Sure bool
	// Inquiry is the state of the inquiry about the machine that answered.
	Inquiry Inquiry
}

// Inquiry is the state of the inquiry about a machine that answered the probes (docs/adr/0018).
type Inquiry uint8

const (
	// NotInquired: no machine answered, or it is not yet known whether the machine is the holder.
	NotInquired Inquiry = iota
	// Inquiring: the outcome is to come.
	Inquiring
	// AnswersOurs: as far as known, the machine has the addresses.
	AnswersOurs
	// AnswersAll: the machine answers for every address.
	AnswersAll
)

const (
	// probing is the wait for answers to the probes. RFC 5227 section 2.1.1 has seconds, for the
	// networks of 2008; n-acd and others use 200 ms.
	probing = 200 * time.Millisecond
	// probeGap is the time between the two probes.
	probeGap = 80 * time.Millisecond
	probes   = 2
	// contestedDelay is the minimum time for which a candidate does not claim, if a machine answers
	// while no node holds the grant. The address may be a forgotten leftover.
	contestedDelay = 3 * time.Second
	// confirmPause limits the confirmations while a machine keeps claiming: each renewal is a
	// confirmation as well.
	confirmPause = time.Second
	// defendPause is DEFEND_INTERVAL of RFC 5227 section 1.1.
	defendPause = 10 * time.Second
)

// foreignClaimed handles a claim by another machine. A holder asks at once whether it still holds the
// grant: the holder may be a virtual machine that was paused for longer than the lease, and whose
// clocks did not notice. The claim may then be the next holder's.
func foreignClaimed(s State, now boottime.Instant, e ForeignClaim) (State, []Action) {
	s.Rival.Claims++
	s.Rival.MAC = e.MAC
	switch {
	case s.Phase == Holding && s.Rival.At == 0:
		s.Rival.At = e.At
	case e.Answers && s.Rival.Inquiry == AnswersAll:
	case s.Phase == Standby && e.At < s.Rival.Until && s.Rival.Answered == 0 && !s.held():
		s.Rival.Answered, s.Rival.Sure = e.At, !e.Answers
	case s.Rival.Answered != 0:
		s.Rival.Sure = s.Rival.Sure || !e.Answers
	}
	return reconcile(s, now)
}

// answerClaims returns a holder's actions against claims.
func answerClaims(s State, now boottime.Instant) (State, []Action) {
	r := &s.Rival
	switch {
	case r.At == 0:
	case s.Grant.Confirmed > r.At:
		r.At = 0
		if now >= r.DefendAt {
			r.DefendAt = now.Add(defendPause)
			return s, []Action{Defend{MAC: r.MAC}}
		}
	case now >= r.ConfirmAt:
		r.ConfirmAt = now.Add(confirmPause)
		return s, []Action{Confirm{}}
	}
	return s, nil
}

// probe asks the network whether another machine has the addresses, before the first claim and
// while the candidate waits anyway.
func probe(s State, now boottime.Instant) (State, []Action) {
	r := &s.Rival
	if r.Probes == probes || !s.Places.Up() || now < r.ProbeAt {
		return s, nil
	}
	if r.Probes == 0 {
		r.Until = now.Add(probing)
	}
	r.Probes++
	r.ProbeAt = now.Add(probeGap)
	return s, []Action{Probe{Places: s.Places}}
}

// inquire asks once about the machine that answered the probes, unless it may still turn out to be
// the holder within a moment.
func inquire(s State, now boottime.Instant) (State, []Action) {
	r := &s.Rival
	if r.Inquiry != NotInquired || r.Answered == 0 || r.Sure || !s.Grant.Known && now < r.Until {
		return s, nil
	}
	r.Inquiry = Inquiring
	return s, []Action{Inquire{Places: s.Places}}
}

// inquired handles the outcome of Inquire. A machine that answers for every address does not delay
// the claim, unless a machine has claimed the addresses in another way.
func inquired(s State, now boottime.Instant, e Inquired) (State, []Action) {
	r := &s.Rival
	r.Inquiry = AnswersOurs
	if e.Proxy && !r.Sure {
		r.Inquiry, r.Answered = AnswersAll, 0
	}
	return reconcile(s, now)
}

// notBefore returns the end of the wait for answers. If a machine answered and is not the holder,
// the candidate waits for longer.
func (s State) notBefore() boottime.Instant {
	if s.contested() {
		return s.Rival.Answered.Add(max(contestedDelay, s.Longest))
	}
	return s.Rival.Until
}

// held tells whether a holder of the grant is known.
func (s State) held() bool { return s.Grant.Known && s.Grant.Holder != "" }

// rival tells whether the machine that answered counts as a rival.
func (s State) rival() bool {
	return s.contested() && (s.Rival.Sure || s.Rival.Inquiry == AnswersOurs)
}

// contested tells whether a machine answered the probes while no node holds the grant.
func (s State) contested() bool { return s.Rival.Answered != 0 && s.Grant.Known }
