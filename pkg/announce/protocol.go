package announce

import (
	"net"
	"net/netip"
	"time"
)

// Protocol is how machines on a link learn the MAC of an address, such as ARP.
type Protocol interface {
	// Open opens a socket that sends on an interface, and receives nothing.
	Open(index int) (Conn, error)
	// Announcements returns what announces addr at mac, in the order in which it is sent.
	Announcements(addr netip.Addr, mac net.HardwareAddr) ([][]byte, error)
	// Question returns what asks who has addr, from the machine of the target, and claims nothing.
	Question(t Target, addr netip.Addr) ([]byte, error)
	// Listen opens a socket that reads the frames on an interface in which machines may claim the
	// addresses. Frames that this host sends are not read.
	Listen(index int, addresses []netip.Addr) (ReadConn, error)
	// Parse returns the claim in such a frame; ok is false for a frame without a claim. The claim
	// may refer to the frame's memory.
	Parse(frame []byte) (c Claim, ok bool)
}

// Conn sends on one interface.
type Conn interface {
	SetWriteDeadline(t time.Time) error
	Send(message []byte) error
	Close() error
}

// ReadConn reads frames on one interface. Close ends a ReadFrom that waits.
type ReadConn interface {
	ReadFrom(frame []byte) (int, net.Addr, error)
	Close() error
}

// Claim is a machine's claim to have an address.
type Claim struct {
	Addr netip.Addr
	MAC  net.HardwareAddr
	// Announces: the frame is an announcement, neither a question nor an answer.
	Announces bool
	// Answers: the frame answers a question. A machine with proxy ARP answers for addresses that it
	// does not have.
	Answers bool
	// To is the address of the machine whose question the frame answers.
	To netip.Addr
}
