package vip

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// minSpare is how much longer than the grant the addresses last at least, so that not every renewal
// has to refresh them. It is short: the addresses that a killed vipd leaves are behind a closed
// fence, and there they keep the programs of this node from reaching the next holder.
const minSpare = time.Second

// lifetime returns the lifetime of the addresses for a grant with that time left. The kernel counts
// whole seconds. Without slack the lifetime ends after the grant, else slack before the grant.
func lifetime(left, slack time.Duration) time.Duration {
	if slack > 0 {
		return (left - slack).Truncate(time.Second)
	}
	return (left + minSpare + time.Second - 1).Truncate(time.Second)
}

// raise opens the fence, adds the addresses and announces them, in this order.
func (m *Manager) raise(a Raise) (out Raised) {
	if a.RepairFence {
		m.repairFence()
	}
	if out.Err = m.permit(a.Grant); out.Err != nil {
		return out
	}
	m.record(Opened, "")
	if out.Lasts, out.Err = m.put(a.Grant, a.Places); out.Err != nil {
		return out
	}
	if out.Lasts == 0 {
		out.Err = fmt.Errorf("too little of the lease is left: %s", a.Grant.Until.Sub(m.now()))
		return out
	}
	m.until.Store(int64(a.Grant.Until))
	m.record(Added, "")
	m.opts.Announcer.Announce(a.Places)
	m.record(Announced, "")
	if a.Repair != "" {
		m.record(Repaired, a.Repair)
		m.log.Warn("VIP repaired", zap.String("reason", a.Repair), zap.Int("repairs", m.state.Repairs.Count))
		return out
	}
	m.log.Info("holding the VIP", zap.String("reason", m.state.Cause), zap.Int("term", a.Grant.Term),
		zap.String("mac", a.Places.First().MAC), zap.Duration("deadline_in", a.Grant.Until.Sub(m.now())))
	return out
}

// extend extends the permission of the fence.
func (m *Manager) extend(g Grant) error {
	err := m.permit(g)
	if err = cmp.Or(err, m.passed(g)); err == nil {
		m.until.Store(int64(g.Until))
	}
	return err
}

// refresh writes the lifetime anew. If too little of the lease is left for a whole second, the
// addresses keep their lifetime.
func (m *Manager) refresh(a Refresh) (out Refreshed) {
	if out.Err = m.passed(a.Grant); out.Err != nil {
		return out
	}
	lasts, err := m.put(a.Grant, a.Places)
	return Refreshed{Lasts: cmp.Or(lasts, m.state.Lasts), Err: err}
}

// permit opens the fence until the deadline of the grant.
//
// The machine may have been suspended since step read the clock. The kernel's timers stood still
// meanwhile: ticket and lifetime still have time left although the grant is over. So check again.
func (m *Manager) permit(g Grant) error {
	err := m.passed(g)
	if err == nil {
		err = m.boundedRun(m.fence, func() error { return m.opts.Fence.Permit(g.Ticket) })
		m.warnHung(err)
	}
	return err
}

// put adds the addresses in their places for the duration of the grant, and returns when their
// lifetime ends; 0 if too little of the grant is left.
func (m *Manager) put(g Grant, p Places) (lasts boottime.Instant, err error) {
	now := m.now()
	valid := lifetime(g.Until.Sub(now), m.opts.Slack)
	if valid > 0 {
		lasts = now.Add(valid)
		err = m.boundedRun(m.network, func() error { return m.opts.Network.Put(p, valid) })
		m.warnHung(err)
	}
	return lasts, cmp.Or(err, m.passed(g))
}

// errPassed means that the grant ended before it was carried out.
var errPassed = errors.New("the deadline passed meanwhile")

func (m *Manager) passed(g Grant) error {
	if m.now() >= g.Until {
		return errPassed
	}
	return nil
}

// warnHung logs a call that timed out: step may do nothing about it.
func (m *Manager) warnHung(err error) {
	if errors.Is(err, ErrTimeout) {
		m.log.Warn("kernel call not answered in time", zap.Error(err),
			zap.String("consequence", "without an answer, the VIP is withdrawn at the deadline"))
	}
}
