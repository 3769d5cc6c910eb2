package election

// Event is an event of an Elector, see Options.Observe.
//
//	Status       this node began or stopped holding the Lease, or renewed it
//	Observation  a version of the Lease was observed
//	Write        a claim or a renewal ended
//	MoveRequest  somebody asks this node, the holder, to hand over
//	Unreached    another node does not reach what this node, the holder, holds
//	Accepted     a candidate accepts what this node, the holder, offers
type Event interface{ isEvent() }

// MoveRequest is a request to the holder to hand the Lease over to a node, or to AnyNode. See
// MoveAnnotation.
type MoveRequest struct{ To string }

// Unreached is the report of the node By. See UnreachedAnnotation.
type Unreached struct{ By string }

// Accepted is the acceptance of an offer by the node By. See AcceptedAnnotation.
type Accepted struct{ By string }

func (Status) isEvent()      {}
func (Observation) isEvent() {}
func (Write) isEvent()       {}
func (MoveRequest) isEvent() {}
func (Unreached) isEvent()   {}
func (Accepted) isEvent()    {}
