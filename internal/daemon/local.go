package daemon

import (
	"net"
	"net/netip"
	"slices"

	"go.uber.org/zap"

	"github.com/vipd-io/vipd/pkg/netif"
)

// local knows the addresses and MACs of this node.
type local struct {
	observer *netif.Observer
	virtual  []netip.Addr // of all groups; these belong to no node
	log      *zap.Logger
}

// ownOrVirtual tells whether a is an address of this node or a virtual one: neither is a peer's.
func (l local) ownOrVirtual(a netip.Addr) bool { return slices.Contains(l.virtual, a) || l.own(a) }

func (l local) own(a netip.Addr) bool {
	now, err := l.observer.Snapshot()
	if err != nil {
		l.log.Warn("addresses of this node not read", zap.Stringer("address", a), zap.Error(err))
		return false
	}
	return len(now.At(a)) > 0
}

// ownHost tells whether host, which may be a name, is an address of this node and not a virtual
// one.
func (l local) ownHost(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && !slices.Contains(l.virtual, a) && l.own(a)
}

// ownMAC tells whether an interface of this node has the MAC: a node with two interfaces in one
// network answers ARP on both.
func (l local) ownMAC(mac net.HardwareAddr) bool {
	now, err := l.observer.Snapshot()
	if err != nil {
		l.log.Warn("MACs of this node not read", zap.Stringer("mac", mac), zap.Error(err))
		return false
	}
	return now.HasMAC(mac)
}
