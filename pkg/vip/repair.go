package vip

import (
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// Fight counts the repairs in a row: another program may undo our work for ever.
type Fight struct {
	Repairs int
	// Since and Last are when the first and the last of them were.
	Since, Last boottime.Instant
}

const (
	// repairPause keeps two programs that undo each other's work from doing so
	// more than a few times a second.
	repairPause = 200 * time.Millisecond
	// quiet is how long nothing may have been repaired for a fight to be over.
	quiet = 3 * time.Second
	// maxRepairs ends a fight: 5 s of it at that pause.
	maxRepairs = 25
)

// broken tells in what way what was seen differs from what a holder put up.
func (s State) broken(e Looked) string {
	switch {
	case e.Unfenced:
		return "the fence in nftables was changed by somebody else"
	case e.Link.Index != s.Link.Index:
		return "the interface is another one"
	case e.Link.MAC != s.Link.MAC:
		return "the interface has another MAC"
	case e.Link.Up && !s.Link.Up:
		return "the interface came up again"
	case !e.Ours:
		return "the address was removed by somebody else"
	}
	return ""
}

// repair puts right what is broken, or gives the addresses away when that does
// not last.
func repair(s State, now boottime.Instant) (State, []Action) {
	if s.Fight.Repairs == 0 {
		s.Fight.Since = now
	}
	s.Fight.Repairs++
	s.Fight.Last = now
	if s.Fight.Repairs > maxRepairs {
		why := s.Broken
		s.Fight, s.ServeAt = Fight{}, now.Add(serveRetry)
		return giveAway(s, "it does not last: "+why+" again and again; the other program has won", s.Serving.successor())
	}
	what := s.Broken
	s.Broken, s.RepairAt = "", now.Add(repairPause)
	return s, []Action{Raise{Grant: s.Grant, Link: s.Link, Announce: true, Repair: what, Mend: s.Unfenced}, s.campaign(now)}
}

// over ends a fight after some quiet.
func (f Fight) over(now boottime.Instant) bool {
	return f.Repairs > 0 && now >= f.Last.Add(quiet)
}
