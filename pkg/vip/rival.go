package vip

import (
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// Rival is what is known of other machines that claim the addresses.
type Rival struct {
	// Claims counts what was heard, MAC is the last one's.
	Claims int
	MAC    string
	// At is when the first claim was heard that is not answered yet, 0 if all are.
	At boottime.Instant
	// What is not done again before: to ask for a confirmation, to defend.
	ConfirmAt, DefendAt boottime.Instant

	// Probes counts those before the first claim, the next is due at ProbeAt,
	// and the answers are waited for until Until.
	Probes         int
	ProbeAt, Until boottime.Instant
	// Answered is when one was while nobody held the grant as far as is known, 0
	// if none was.
	Answered boottime.Instant
}

const (
	// probing is how long answers to the probes are waited for. RFC 5227 section
	// 2.1.1 has seconds, for networks of 2008; n-acd and others use this.
	probing = 200 * time.Millisecond
	// probeGap is the time between the two probes.
	probeGap = 80 * time.Millisecond
	probes   = 2
	// givesWay is how long a machine that answers while nobody holds the grant
	// is left alone. It may be a leftover that nobody looks after.
	givesWay = 3 * time.Second
	// confirmPause keeps a machine that goes on claiming from making us ask all
	// the time: each renewal is an answer as well.
	confirmPause = time.Second
	// defendPause is DEFEND_INTERVAL of RFC 5227 section 1.1.
	defendPause = 10 * time.Second
)

// heard takes in a claim by another machine. A holder asks at once whether it
// still is one: it may be a virtual machine that was paused for longer than its
// lease, and whose clocks did not notice. The claim may then be the next holder's.
func heard(s State, now boottime.Instant, e Heard) (State, []Action) {
	s.Rival.Claims++
	s.Rival.MAC = e.MAC
	switch {
	case s.Phase == Holding && s.Rival.At == 0:
		s.Rival.At = e.At
	case s.Phase == Standby && e.At < s.Rival.Until && s.Rival.Answered == 0 && !s.held():
		s.Rival.Answered = e.At
	}
	return settle(s, now)
}

// dispute is what a holder does about claims.
func dispute(s State, now boottime.Instant) (State, []Action) {
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

// probe asks the network, before the first claim and while others are waited for
// anyway, whether somebody has the addresses.
func probe(s State, now boottime.Instant) (State, []Action) {
	r := &s.Rival
	if r.Probes == probes || !s.Link.Up || now < r.ProbeAt {
		return s, nil
	}
	if r.Probes == 0 {
		r.Until = now.Add(probing)
	}
	r.Probes++
	r.ProbeAt = now.Add(probeGap)
	return s, []Action{Probe{Link: s.Link}}
}

// notBefore is when the probes have had their time. Whoever answered them is left
// alone for a while, unless it is the holder that is to answer.
func (s State) notBefore() boottime.Instant {
	if s.contested() {
		return s.Rival.Answered.Add(givesWay)
	}
	return s.Rival.Until
}

// held tells whether somebody is known to hold the grant.
func (s State) held() bool { return s.Grant.Known && s.Grant.Holder != "" }

// contested: a machine answered the probes, and nobody holds the grant.
func (s State) contested() bool { return s.Rival.Answered != 0 && s.Grant.Known }
