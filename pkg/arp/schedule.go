package arp

import "time"

// opening is the time between the first frames of one announcement. Those at
// 1.2 s lie past Linux' locktime of 1 s, within which a neighbour may ignore a
// change (arp(7)).
var opening = []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 900 * time.Millisecond}

const (
	opened = 1200 * time.Millisecond // after the opening

	// settle is how long frames go out every second at least: a switch may still
	// be learning.
	settle = 5 * time.Second

	// Refresh is the time between frames afterwards: switches forget a MAC after
	// 300 s by default, many routers keep an ARP entry for longer than that.
	Refresh = 30 * time.Second
)

// pause tells how long after the frames of a step, the first being 0, those of
// the next one go out. It counts steps and reads no clock, so that an announcer
// that was held up goes on where it was instead of making up for what it missed.
//
// The frames of each second end with those at or after the time to insist, so
// that whoever begins to listen within it hears some within a second.
func pause(step int, insist time.Duration) time.Duration {
	if step < len(opening) {
		return opening[step]
	}
	if opened+time.Duration(step-len(opening))*time.Second < max(settle, insist) {
		return time.Second
	}
	return Refresh
}
