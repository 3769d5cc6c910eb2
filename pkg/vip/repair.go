package vip

import (
	"cmp"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// RepairSeries counts the repairs in a row: another program may undo the holder's work without end.
type RepairSeries struct {
	Count int
	// Since and Last are the instants of the first and of the last repair.
	Since, Last boottime.Instant
}

const (
	// repairPause limits the repairs to five a second, if two programs undo each other's work.
	repairPause = 200 * time.Millisecond
	// seriesEnd is how long after the last repair a series is over.
	seriesEnd = 3 * time.Second
	// maxRepairs ends a series: 5 s of repairs at that pause.
	maxRepairs = 25
)

// broken describes how the observed state differs from a holder's, "" for no difference.
func (s State) broken(e Observation) string {
	if e.Unfenced {
		return "another program changed the fence in nftables"
	}
	return cmp.Or(e.order(), e.Places.difference(s.Places), e.Present.missing())
}

// order describes a wrong order of the addresses, "" for none.
func (e Observation) order() string {
	if e.Ahead {
		return "the node's own address was added again, behind the VIP"
	}
	return ""
}

// repair repairs what is broken, or hands the addresses over when repairs do not last. A node that
// keeps the grant pauses instead.
func repair(s State, now boottime.Instant) (State, []Action) {
	if s.Repairs.Count == 0 {
		s.Repairs.Since = now
	}
	s.Repairs.Count++
	s.Repairs.Last = now
	if s.Repairs.Count > maxRepairs {
		why := s.Broken
		s.Repairs = RepairSeries{}
		if s.keeps() {
			s.RepairAt = now.Add(serveRetry)
			return s, nil
		}
		s.ServeAt = now.Add(s.retry())
		return handOver(s, "repairs do not last: "+why+", repeatedly", s.Serving.successor())
	}
	what := s.Broken
	s.Broken, s.RepairAt = "", now.Add(repairPause)
	return s, []Action{Raise{Grant: s.Grant, Places: s.Places, Repair: what, RepairFence: s.Unfenced}, s.campaign(now)}
}

// over tells whether a series is over.
func (r RepairSeries) over(now boottime.Instant) bool {
	return r.Count > 0 && now >= r.Last.Add(seriesEnd)
}
