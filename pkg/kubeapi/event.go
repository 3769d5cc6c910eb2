package kubeapi

// Event is an event of a Client or a Directory, see their Observe.
//
//	Request       a request ended, or was cancelled
//	Disconnected  a connection to a server ended
//	Membership          the known members of the control plane changed
type Event interface{ isEvent() }

// Disconnected is the end of a connection to a server, by either end.
type Disconnected struct{ Server string }

func (Request) isEvent()      {}
func (Disconnected) isEvent() {}
func (Membership) isEvent()   {}
