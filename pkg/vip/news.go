package vip

import (
	"go.uber.org/zap"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// News is what the Manager did about one event, and where it stands after it.
type News struct {
	At    boottime.Instant
	State State
	// Until is until when this node answers for the addresses, unless renewed; it
	// lies in the past or is 0 if it does not.
	Until boottime.Instant
	// Deeds are in order, seldom any.
	Deeds []Deed
}

// Deed is one thing that was done, and is done at that time.
type Deed struct {
	What What
	At   boottime.Instant
	// Detail is the reason, or the other machine's MAC.
	Detail string
}

// What was done. On the way to holding the addresses these are Opened, Added and
// Announced, on the way back Silenced, Closed, Removed and Released.
type What string

// The names are read by people, in the status.
const (
	Opened    What = "fence opened"
	Added     What = "address added"
	Announced What = "announced"
	Silenced  What = "announcing ended"
	Closed    What = "fence closed"
	Removed   What = "address removed"
	Released  What = "lease released"
	Repaired  What = "put right"
	Defended  What = "defended"
	Refused   What = "move refused"
)

// did notes a deed, for those who want to know.
func (m *Manager) did(what What, detail string) {
	if m.opts.Tell != nil {
		m.deeds = append(m.deeds, Deed{What: what, At: m.now(), Detail: detail})
	}
}

// news tells of what was noted.
func (m *Manager) news() {
	if m.opts.Tell != nil {
		m.opts.Tell(News{At: m.now(), State: m.state, Until: boottime.Instant(m.until.Load()), Deeds: m.deeds})
		m.deeds = nil
	}
}

// report logs what changed, once.
func (m *Manager) report(before State) {
	s := m.state
	if f := before.Fight; f.Repairs > 1 && s.Fight.Repairs == 0 && s.Phase == Holding {
		m.log.Info("the VIP has stayed since: whoever changed it has stopped", zap.Int("repairs", f.Repairs),
			zap.Duration("over", f.Last.Sub(f.Since)))
	}
	if s.contested() && !before.contested() {
		m.log.Warn("another machine answers for the VIP while nobody holds the lease; waiting a little, then claiming it: find that machine and take the address away there",
			zap.String("mac", s.Rival.MAC), zap.Duration("for", givesWay))
	}
	if s.Phase == before.Phase {
		return
	}
	switch s.Phase {
	case Withdrawing:
		m.log.Info("withdrawing the VIP", zap.String("reason", s.Cause), zap.Int("term", before.Grant.Term), zap.String("successor", s.Successor))
	case Standby:
		m.log.Info("standing by", zap.String("reason", s.Cause), zap.String("holder", s.Grant.Holder))
	case Holding:
	}
}
