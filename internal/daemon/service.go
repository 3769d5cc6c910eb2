package daemon

import (
	"fmt"
	"net/netip"

	"go.uber.org/zap"

	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/netif"
)

// service is what network remembers to judge whether its interface can serve the addresses.
type service struct {
	inside  bool         // the interface had a subnet of the VIP
	subnet  netip.Prefix // the last one
	direct  bool         // this node reached that subnet without a gateway
	outside bool         // the VIP is in no subnet of the interface, which was logged
	follows string       // the interface in use in place of a port, which was logged
	unasked bool         // the last look-up of the route failed, which was logged
	renumbering
}

// serves returns the interface that serves the addresses, which for a port is its master, and why
// it cannot serve them, "" if it can. An interface whose network has never been the VIP's serves:
// routes may lead there.
func (n *network) serves(now *netif.Snapshot, link netif.Link) (in netif.Link, why string) {
	s := &n.service
	if master, is := now.PortOf(link); is {
		to, ok := now.Follow(link, n.addresses[0])
		if !ok {
			return link, fmt.Sprintf("%s is a port of %s, which has no subnet of the VIP", link.Name, master.Name)
		}
		if s.follows != to.Name {
			n.log.Info("using another interface", zap.String("interface", to.Name), zap.String("reason", link.Name+" is a port of "+master.Name))
		}
		s.follows, link = to.Name, to
	} else {
		s.follows = ""
	}
	if !link.Up {
		return link, link.Name + " is down or has no carrier"
	}
	subnet, inside := now.SubnetOn(link.Index, n.addresses[0])
	switch {
	case !inside && s.inside && n.leads(now, link):
		return link, "" // as in clouds: a single address, and a route to the subnet
	case !inside && s.inside && n.configured != "" && s.renumbered(now.On(link.Index), boottime.Now()):
		n.log.Warn("the interface has another network in place of the VIP's", zap.String("interface", link.Name), zap.String("reason", "for "+renumberedAfter.String()+", it had no address in "+s.subnet.String()),
			zap.String("consequence", "the VIP is held outside of its subnet, as after a restart of vipd"))
		n.service = service{}
		n.warnOutside(link)
		return link, ""
	case !inside && s.inside:
		return link, link.Name + " has no address in a subnet of the VIP any more"
	case !inside:
		n.warnOutside(link)
		return link, ""
	}
	s.inside, s.subnet, s.outside = true, subnet, false
	s.had(now.On(link.Index))
	return link, n.routed(now, link, subnet)
}

// leads tells whether the link leads to the last subnet of the VIP without an address in it.
func (n *network) leads(now *netif.Snapshot, link netif.Link) bool {
	direct, err := n.handle.Direct(now, n.service.subnet, link.Index)
	return err == nil && direct
}

// routed returns why this node cannot answer hosts in the VIP's subnet, "" if it can: the route to
// the subnet, which it had, is gone.
func (n *network) routed(now *netif.Snapshot, link netif.Link, subnet netip.Prefix) string {
	s := &n.service
	if link.Master != 0 {
		return "" // in a VRF, which has routes of its own
	}
	direct, err := n.handle.Direct(now, subnet, 0)
	if err != nil && !s.unasked {
		n.log.Warn("route to the VIP's subnet not read", zap.Error(err))
	}
	s.unasked = err != nil
	switch {
	case err != nil:
	case direct:
		s.direct = true
	case s.direct:
		return fmt.Sprintf("%s has no route to %s any more", link.Name, subnet)
	}
	return ""
}

// warnOutside logs once that the VIP is in no subnet of the interface.
func (n *network) warnOutside(link netif.Link) {
	if !n.service.outside {
		n.log.Warn("the VIP is in no subnet of its interface",
			zap.Stringer("vip", n.addresses[0]), zap.String("interface", link.Name),
			zap.String("consequence", "hosts on that network send no ARP requests for the VIP unless they have a route to the VIP"))
	}
	n.service.outside = true
}
