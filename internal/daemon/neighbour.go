package daemon

import (
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// neighbourFor is how long the result of a neighbour lookup is cached: status requests must not
// keep the netlink socket from the Manager.
const neighbourFor = time.Second

// neighbour is the cached neighbour entry for the VIP in the kernel of this node.
type neighbour struct {
	mu   sync.Mutex
	at   boottime.Instant
	mac  string
	mute bool // the last lookup failed, which was logged
}

// neighbour returns the MAC to which the kernel of this node sends packets for the VIP, "" if not
// known.
func (n *network) neighbour() string {
	n.known.mu.Lock()
	defer n.known.mu.Unlock()
	now := boottime.Now()
	if n.known.at != 0 && now.Sub(n.known.at) < neighbourFor {
		return n.known.mac
	}
	mac, err := n.handle.Neighbour(n.addresses[0])
	if err != nil && !n.known.mute {
		n.log.Warn("neighbour entry of the VIP not read", zap.Error(err))
	}
	n.known.at, n.known.mac, n.known.mute = now, mac.String(), err != nil
	return n.known.mac
}
