package announce

// Event is an event of an Announcer or a Listener, see their Observe.
//
//	Announced  a round of announcements was sent, or failed
//	Claim      another machine claims an address
//	Listening  the Listener began to listen on an interface, or stopped
type Event interface{ isEvent() }

// Announced is the result of one round of announcements: Err is nil if all frames were sent.
type Announced struct{ Err error }

// Listening tells whether the Listener reports claims from now on.
type Listening struct{ Active bool }

func (Announced) isEvent() {}
func (Claim) isEvent()     {}
func (Listening) isEvent() {}
