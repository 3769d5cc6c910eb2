package main

import (
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// neighbourFor is how long a look at the kernel's neighbours is good: whoever asks for
// the status must not keep the Manager from its netlink socket.
const neighbourFor = time.Second

// neighbour is where the kernel of this node finds the address.
type neighbour struct {
	mu   sync.Mutex
	at   boottime.Instant
	mac  string
	mute bool // it could not be looked at, which was logged
}

// neighbour is the MAC to which this node's kernel sends what is for the address, "" if
// it does not know.
func (n *network) neighbour() string {
	n.known.mu.Lock()
	defer n.known.mu.Unlock()
	now := boottime.Now()
	if n.known.at != 0 && now.Sub(n.known.at) < neighbourFor {
		return n.known.mac
	}
	mac, err := n.handle.Neighbour(n.addresses[0])
	if err != nil && !n.known.mute {
		n.log.Warn("could not look where the kernel finds the VIP", zap.Error(err))
	}
	n.known.at, n.known.mac, n.known.mute = now, mac.String(), err != nil
	return n.known.mac
}
