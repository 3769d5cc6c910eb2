package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/vipd-io/vipd/pkg/netif"
	"github.com/vipd-io/vipd/pkg/vip"
)

// network implements vip.Network with the interfaces of this node, for one group.
type network struct {
	handle     *netif.Handle
	observer   *netif.Observer // of the node
	addresses  []netip.Addr
	configured string // "": the interface whose subnet holds the address
	log        *zap.Logger

	// nudge requests a Look from the Manager.
	nudge func()

	// listen sets the interface on which claims of other machines are heard.
	listen func(index int, mac net.HardwareAddr)

	known neighbour

	place         atomic.Pointer[place]      // what the last Look found
	chosen        string                     // the last chosen interface, used when its subnet is gone
	left          map[netip.Addr]netif.Place // see remember
	undestroyable bool                       // the kernel cannot destroy sockets, which was logged
	service       service
}

// place is the interface of the addresses.
type place struct {
	name  string // of the interface, which may be missing; "" while none is chosen
	index int    // of the interface, 0 for none
}

// newNetworks returns a network for each group, and the observer that they share. Run the observer.
func newNetworks(handle *netif.Handle, groups []GroupSpec, log *zap.Logger) (observer *netif.Observer, all []*network) {
	observer = handle.Observe(netif.ObserverOptions{Changed: func(c netif.Change) {
		for _, n := range all {
			n.changed(c)
		}
	}, Log: log})
	for _, g := range groups {
		all = append(all, &network{handle: handle, observer: observer, addresses: g.Addresses, configured: g.Interface, log: log, nudge: func() {}})
	}
	return observer, all
}

// changed nudges the Manager if the change can matter for the group. A pod that comes or goes does
// not.
func (n *network) changed(c netif.Change) {
	at := n.at()
	matters := c.All
	for _, l := range c.Links {
		// The interface in use, or the one that has another in its place because it is a port.
		matters = matters || l.Index == at.index || l.Name == at.name || slices.Contains(l.AltNames, at.name)
	}
	for _, a := range c.Addresses {
		// The address, a subnet by which the interface or its master is chosen, or another address
		// of the interface.
		matters = matters || a.Index == at.index || slices.ContainsFunc(n.addresses, a.Prefix.Contains)
	}
	if matters {
		n.nudge()
	}
}

// at returns the place that the last Look found.
func (n *network) at() place {
	if p := n.place.Load(); p != nil {
		return *p
	}
	return place{name: n.configured}
}

// Look reads the interface and the addresses. The error is vip.ErrNoLink, with the reason, if there
// is no usable interface; the rest of the result is valid then.
func (n *network) Look() (vip.Observation, error) {
	now, err := n.observer.Fresh()
	if err != nil {
		return vip.Observation{}, err
	}
	link, err := n.link(now)
	why := ""
	if err == nil {
		link, why = n.serves(now, link)
	}
	n.place.Store(&place{name: cmp.Or(n.configured, n.chosen), index: link.Index})
	if n.listen != nil {
		n.listen(link.Index, link.MAC)
	}
	seen, orderErr := n.seen(now, link)
	switch {
	case err != nil:
		why = err.Error()
	case why != "":
		err = fmt.Errorf("%w: %s", vip.ErrNoLink, why)
	default:
		err = orderErr
	}
	for i := range seen.Places {
		seen.Places[i].Link.Up, seen.Places[i].Link.Why = why == "", why
	}
	return seen, err
}

// seen returns the state of the addresses on this node.
func (n *network) seen(now *netif.Snapshot, link netif.Link) (seen vip.Observation, err error) {
	here := 0
	where := func(text *string, list []netif.Address) {
		if *text == "" && len(list) > 0 {
			*text = now.Where(list[0])
		}
	}
	for _, a := range n.addresses {
		seen.Places = append(seen.Places, vip.Place{Addr: a, Link: vip.Link{Index: link.Index, MAC: link.MAC.String(), Name: link.Name}})
		at := n.remember(now, a, link.Index)
		present, ours := now.Presence(at), 0
		for _, p := range present.Ours {
			seen.Marked = seen.Marked || p.Ours
			if p.Ours && p.Index == link.Index && p.Prefix.IsSingleIP() {
				ours = 1
			} else {
				seen.Removable = true
			}
		}
		here += ours
		ahead, failed := n.handle.Ahead(now, at)
		seen.Ahead, err = seen.Ahead || ahead, cmp.Or(err, failed)
		where(&seen.Own, present.Own)
		where(&seen.OnLocal, present.OnLocal)
	}
	switch {
	case here == len(n.addresses):
		seen.Present = vip.Whole
	case here > 0:
		seen.Present = vip.Partial
	}
	return seen, err
}

// placeOf returns a place, with what another VIP manager is known to have left there.
func (n *network) placeOf(a netip.Addr, link int) netif.Place {
	at := netif.Place{Addr: a, Link: link}
	if left := n.left[a]; left.Link == link {
		at.Left = left.Left
	}
	return at
}

// remember is placeOf, and remembers for later looks what another VIP manager left there, as long as
// each look finds it: the kernel may promote the address meanwhile.
func (n *network) remember(now *netif.Snapshot, a netip.Addr, link int) netif.Place {
	at := n.placeOf(a, link)
	at.Left = now.Left(at)
	if n.left == nil {
		n.left = make(map[netip.Addr]netif.Place)
	}
	n.left[a] = at
	return at
}

// link returns the interface to use. The error is vip.ErrNoLink if there is none.
func (n *network) link(now *netif.Snapshot) (netif.Link, error) {
	name := n.configured
	if name == "" {
		chosen, err := now.Choose(n.addresses[0])
		switch {
		case err == nil && chosen != n.chosen:
			n.log.Info("interface chosen by its subnet", zap.String("interface", chosen))
			n.chosen = chosen
		case err != nil && n.chosen == "":
			return netif.Link{}, fmt.Errorf("%w: %w; name one with --interface, or give it an address", vip.ErrNoLink, err)
		}
		name = n.chosen
	}
	link, err := now.Link(name)
	if errors.Is(err, netif.ErrLinkNotFound) {
		return netif.Link{}, fmt.Errorf("%w: %w; there are: %s", vip.ErrNoLink, err, linkNames(now.Links()))
	}
	if err != nil {
		return netif.Link{}, fmt.Errorf("%w: %w", vip.ErrNoLink, err)
	}
	return link, nil
}

func linkNames(links []netif.Link) string {
	var out []string
	for _, l := range links {
		out = append(out, l.Name)
	}
	return strings.Join(out, ", ")
}

// sameWay tells whether this node's packets for a server (host:port) and for the addresses leave
// through the same interface, to the same gateway if any. The result is false if that is not known.
func (n *network) sameWay(server string) bool {
	to, err := netip.ParseAddrPort(server)
	if err != nil {
		return false // a name
	}
	same, err := n.handle.SameWay(to.Addr(), n.addresses[0])
	return err == nil && same
}

// Put adds all addresses, or extends their lifetime.
func (n *network) Put(places vip.Places, valid time.Duration) error {
	now, err := n.observer.Fresh()
	if err != nil {
		return err
	}
	for _, p := range places {
		at := n.placeOf(p.Addr, p.Link.Index)
		if err := n.handle.Put(now, at, valid); err != nil {
			return err
		}
		n.logLeftOver(now, at)
	}
	return nil
}

// Divert makes the kernel forward packets for the addresses.
func (n *network) Divert() error {
	now, err := n.observer.Fresh()
	if err == nil {
		var failed []error
		for _, a := range n.addresses {
			failed = append(failed, n.handle.Divert(now, n.placeOf(a, n.at().index)))
		}
		err = errors.Join(failed...)
	}
	if err != nil {
		n.log.Warn("packets for the VIP not diverted", zap.Error(err),
			zap.String("consequence", "clients may take a second to find the next holder"))
	}
	return err
}

// sweep ends the connections of addresses that are missing on this node: an earlier process was
// killed, and the lifetime of its address ended. Errors are logged only.
func (n *network) sweep() {
	now, err := n.observer.Fresh()
	if err != nil {
		n.log.Warn("connections of an earlier process not read", zap.Error(err))
		return
	}
	for _, a := range n.addresses {
		if len(now.At(a)) > 0 {
			continue // kept or removed once the Lease is known; or not vipd's
		}
		ended, destroyErr := n.handle.DestroySockets(a)
		n.logRetired(a, netif.Retired{Connections: ended, Err: destroyErr})
	}
}

// Remove removes vipd's addresses and confirms the removal. After an error it goes on with the
// other addresses. The connections end first, and an error there does not keep an address.
func (n *network) Remove() error {
	now, err := n.observer.Fresh()
	if err != nil {
		return err
	}
	var errs []error
	for _, a := range n.addresses {
		at := n.placeOf(a, n.at().index)
		retired, err := n.handle.Retire(now, at)
		errs = append(errs, err)
		if err == nil {
			n.logLeftOver(now, at)
		}
		n.logRetired(a, retired)
	}
	return errors.Join(errs...)
}

// logLeftOver logs the addresses without vipd's mark that were removed: whoever added them may miss them. A
// log that blocks must not keep an address, so the removal comes first.
func (n *network) logLeftOver(before *netif.Snapshot, at netif.Place) {
	for _, a := range before.Presence(at).Ours {
		if !a.Ours {
			n.log.Info("removed an address that another VIP manager left", zap.String("address", before.Where(a)))
		}
	}
}

func (n *network) logRetired(a netip.Addr, r netif.Retired) {
	if r.Connections > 0 {
		n.log.Info("connections ended for clients to reconnect", zap.Stringer("vip", a), zap.Int("connections", r.Connections))
	}
	undestroyable := errors.Is(r.Err, netif.ErrDestroyUnsupported)
	if r.Err != nil && (!undestroyable || !n.undestroyable) {
		n.log.Warn("connections not ended", zap.Error(r.Err),
			zap.String("consequence", "clients with idle connections may notice the move of the VIP late"))
	}
	n.undestroyable = undestroyable
}
