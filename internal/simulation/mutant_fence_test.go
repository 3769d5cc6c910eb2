package simulation

import (
	"sync"
	"time"
)

// fenceFromPermit hands the kernel what time the process thought was left, when
// the answer has come: what pkg/fence's tickets are there to avoid.
func fenceFromPermit(p *process, s *seams) {
	s.fence = &lateFence{fence: s.fence}
}

type lateFence struct {
	fence
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
	t, err := l.fence.Arm(d)
	if err != nil {
		return err
	}
	return l.fence.Permit(t)
}

// fenceLonger opens it for longer than was asked for.
func fenceLonger(_ *process, s *seams) { s.fence = longer{s.fence} }

type longer struct{ fence }

func (l longer) Arm(d time.Duration) (uint64, error) { return l.fence.Arm(d + time.Second) }

// fenceNotMended never finds anything wrong with it.
func fenceNotMended(_ *process, s *seams) { s.fence = contented{s.fence} }

type contented struct{ fence }

func (contented) Intact() (bool, error) { return true, nil }

// fenceNotCut lets what is in force go on when a shorter ticket is armed.
func fenceNotCut(_ *process, s *seams) {
	if f, ok := s.fence.(*nftables); ok {
		f.uncut = true
	}
}
