package vip

import (
	"go.uber.org/zap"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// Report is what the Manager did about one event, and the state after that event.
type Report struct {
	At    boottime.Instant
	State State
	// Until is the deadline until which this node answers for the addresses, unless renewed. Until
	// is in the past or 0 if this node does not answer.
	Until boottime.Instant
	// Operations are the completed operations, in order; usually there are none.
	Operations []Operation
}

// Operation is a completed operation, At the instant of its completion.
type Operation struct {
	Kind OperationKind
	At   boottime.Instant
	// Detail is the reason, or the other machine's MAC.
	Detail string
}

// OperationKind is the kind of an operation. A node that starts to hold the addresses has Opened, Added and
// Announced; a node that stops has Silenced, Closed, Removed and Released.
type OperationKind string

// The status shows these names to people.
const (
	Opened    OperationKind = "fence opened"
	Added     OperationKind = "address added"
	Announced OperationKind = "announced"
	Silenced  OperationKind = "announcing ended"
	Closed    OperationKind = "fence closed"
	Removed   OperationKind = "address removed"
	Released  OperationKind = "lease released"
	Repaired  OperationKind = "repaired"
	Defended  OperationKind = "defended"
	Refused   OperationKind = "move refused"
)

// Remedies in the log.
const (
	removeThere   = "find that machine and remove the address there"
	chooseAnother = "remove the address from the interface, or choose a VIP that no host has"
)

// record appends a completed operation, if somebody listens.
func (m *Manager) record(kind OperationKind, detail string) {
	if m.opts.Observe != nil {
		m.operations = append(m.operations, Operation{Kind: kind, At: m.now(), Detail: detail})
	}
}

// publish passes the recorded operations and the state to Observe.
func (m *Manager) publish() {
	if m.opts.Observe != nil {
		m.opts.Observe(Report{At: m.now(), State: m.state, Until: boottime.Instant(m.until.Load()), Operations: m.operations})
		m.operations = nil
	}
}

// report logs what changed, once.
func (m *Manager) report(before State) {
	s := m.state
	if r := before.Repairs; r.Count > 1 && s.Repairs.Count == 0 && s.Phase == Holding {
		m.log.Info("VIP repairs ended", zap.Int("repairs", r.Count),
			zap.Duration("over", r.Last.Sub(r.Since)))
	}
	if s.Rival.Inquiry == AnswersAll && before.Rival.Inquiry != AnswersAll {
		m.log.Warn("the network answers every ARP question (proxy ARP, or a cloud): no machine is known to have the VIP", zap.String("mac", s.Rival.MAC),
			zap.String("consequence", "hosts may send packets for the VIP to that machine, and notice a move of the VIP late"), zap.String("remedy", "run vipd doctor explain D09"))
	}
	if s.rival() && !before.rival() {
		m.log.Warn("another machine answers for the VIP, and nobody holds the lease: claim delayed", zap.String("mac", s.Rival.MAC),
			zap.Duration("delay", max(contestedDelay, s.Longest)), zap.String("remedy", removeThere))
	}
	m.reportForeign(before)
	if by := s.Reports.By; by != "" && before.Reports.By == "" && s.Phase == Holding {
		m.log.Warn("another node does not reach the VIP on this node", zap.String("by", by), zap.String("remedy", "run vipd doctor there"))
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

// reportForeign logs a change of foreign copies of the addresses on this node, once.
func (m *Manager) reportForeign(before State) {
	s := m.state
	switch {
	case s.Own == before.Own:
	case s.Own == "":
		m.log.Info("the VIP is no longer an address of this node itself")
	case s.Phase == Holding:
		m.log.Warn("the VIP became an address of this node itself", zap.String("address", s.Own), zap.String("remedy", chooseAnother))
	default:
		m.log.Warn("not campaigning: the VIP is an address of this node itself", zap.String("address", s.Own), zap.String("remedy", chooseAnother))
	}
	if s.OnLocal != before.OnLocal && s.OnLocal != "" {
		m.log.Warn("another program has the VIP on an interface that leads nowhere", zap.String("address", s.OnLocal),
			zap.String("consequence", "with arp_ignore 0 this node answers for the VIP at any time"),
			zap.String("remedy", "run vipd doctor explain D08"))
	}
}
