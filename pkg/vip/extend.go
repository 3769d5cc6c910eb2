package vip

import (
	"errors"
	"time"
)

// A renewal extends the permission of the fence, and nothing else. The lifetime of the addresses is
// refreshed less often: when it would end before the deadline, and when the deadline moved closer.

// extended handles the outcome of Extend. There is time to try again before the deadline. A timeout
// is not a known damage: the deadline decides.
func extended(s State, e Extended) State { return s.withFailure(e.Err) }

// refreshed handles the outcome of Refresh in the same way.
func refreshed(s State, e Refreshed) State {
	s.Clean = false // a failed Refresh may have added an address
	s.Lasts = 0     // the lifetime is not known then
	if e.Err == nil {
		s.Present, s.Lasts = Whole, e.Lasts
	}
	return s.withFailure(e.Err)
}

func (s State) withFailure(err error) State {
	if err != nil && s.Phase == Holding && !errors.Is(err, ErrTimeout) {
		s.Broken = "a renewal failed on this node: " + err.Error()
	}
	return s
}

// refresh returns the action that follows an extended grant.
func (s State) refresh(e Extended) []Action {
	const rounded = time.Second // see lifetime
	asLong := s.Lasts >= s.Grant.Until && s.Lasts <= s.Grant.Until.Add(minSpare+rounded)
	if e.Err != nil || s.Phase != Holding || asLong {
		return nil
	}
	return []Action{Refresh{Grant: s.Grant, Places: s.Places}}
}
