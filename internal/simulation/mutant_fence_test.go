package simulation

import (
	"sync"
	"time"
)

// fenceFromPermit gives the kernel the remaining time as the process computed it after the answer,
// which pkg/fence's tickets avoid.
func fenceFromPermit(p *process, s *dependencies) {
	s.fence = &lateFence{fence: s.fence, p: p}
}

type lateFence struct {
	fence
	p      *process
	mu     sync.Mutex
	ticket uint64
	d      time.Duration
}

func (l *lateFence) Arm(d time.Duration) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ticket, l.d = l.ticket+1, d
	return l.ticket, nil
}

func (l *lateFence) Permit(ticket uint64) error {
	l.mu.Lock()
	newest, d := l.ticket, l.d
	l.mu.Unlock()
	if ticket != newest {
		return nil
	}
	l.p.mayPause(drawArm)
	if err := l.p.pass(drawArm); err != nil {
		return err
	}
	t, err := l.fence.Arm(d)
	if err != nil {
		return err
	}
	return l.fence.Permit(t)
}

// fenceLonger opens the fence for longer than requested.
func fenceLonger(_ *process, s *dependencies) { s.fence = longer{s.fence} }

type longer struct{ fence }

func (l longer) Arm(d time.Duration) (uint64, error) { return l.fence.Arm(d + time.Second) }

// fenceNotRepaired never finds damage of the fence.
func fenceNotRepaired(_ *process, s *dependencies) { s.fence = neverDamaged{s.fence} }

type neverDamaged struct{ fence }

func (neverDamaged) Intact() (bool, error) { return true, nil }
