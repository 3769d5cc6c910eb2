package announce

import "time"

// opening are the pauses between the first frames of an announcement. The frames at 1.2 s come
// after Linux' locktime of 1 s, within which a neighbour may ignore a change (arp(7)).
var opening = []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 900 * time.Millisecond}

const (
	opened = 1200 * time.Millisecond // sum of opening

	// minRepeat is the minimum time for which frames are sent every second: a switch may still be
	// learning.
	minRepeat = 5 * time.Second

	// Refresh is the time between later frames: switches forget a MAC after 300 s by default, and
	// many routers keep an ARP entry for longer than that.
	Refresh = 30 * time.Second
)

// pause returns how long after the frames of a step the frames of the next step are due; the first
// step is 0. pause counts steps and reads no clock, so that a delayed announcer continues its
// schedule instead of sending the missed frames.
//
// The last frames at an interval of a second are those at or after repeatFor, so that a machine that
// begins to listen before repeatFor hears a frame within a second.
func pause(step int, repeatFor time.Duration) time.Duration {
	if step < len(opening) {
		return opening[step]
	}
	if opened+time.Duration(step-len(opening))*time.Second < max(minRepeat, repeatFor) {
		return time.Second
	}
	return Refresh
}
