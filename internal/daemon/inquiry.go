package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/vipd-io/vipd/pkg/arp"
	"github.com/vipd-io/vipd/pkg/netif"
	"github.com/vipd-io/vipd/pkg/vip"
)

// inquiry finds out whether a machine that answered ARP for the VIP while nobody holds the Lease has
// the VIP, or answers for every address (docs/adr/0018). Every doubt counts as a machine that has the
// VIP.
type inquiry struct {
	snapshot func() (*netif.Snapshot, error)
	// owners is arp.Owners, reached tells whether a machine answers at an address and port.
	owners  func(ctx context.Context, index int, mac net.HardwareAddr, sender, addr netip.Addr, nobody []netip.Addr) (owners, proxies []net.HardwareAddr, err error)
	reached func(ctx context.Context, to netip.AddrPort) bool
	port    uint16
	outcome func(proxy bool)
	log     *zap.Logger

	asked  atomic.Pointer[vip.Places] // newest, nil once taken
	wakeUp chan struct{}              // one slot
}

func newInquiry(snapshot func() (*netif.Snapshot, error), port uint16, outcome func(proxy bool), log *zap.Logger) *inquiry {
	return &inquiry{snapshot: snapshot, owners: arp.Owners, reached: reached, port: port, outcome: outcome, log: log, wakeUp: make(chan struct{}, 1)}
}

// start begins an inquiry, and does not block.
func (i *inquiry) start(p vip.Places) {
	i.asked.Store(&p)
	select {
	case i.wakeUp <- struct{}{}:
	default:
	}
}

// run inquires until ctx ends.
func (i *inquiry) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-i.wakeUp:
		}
		if p := i.asked.Swap(nil); p != nil {
			i.outcome(i.proxies(ctx, *p))
		}
	}
}

// proxies tells whether only machines that answer for every address answer for each of the
// addresses.
func (i *inquiry) proxies(ctx context.Context, places vip.Places) bool {
	for _, p := range places {
		proxy, err := i.proxy(ctx, p)
		if err != nil {
			i.log.Info("proxy ARP not told from another machine with the VIP", zap.Error(err))
		}
		if !proxy {
			return false
		}
	}
	return len(places) > 0
}

// proxy is proxies for one address. The machine with the address may be behind the proxy, where no
// question by ARP finds it, so proxy also tries to connect.
func (i *inquiry) proxy(ctx context.Context, p vip.Place) (bool, error) {
	now, err := i.snapshot()
	if err != nil {
		return false, err
	}
	if here := now.At(p.Addr); len(here) > 0 {
		return false, fmt.Errorf("%s: a connection would not leave this node", now.Where(here[0]))
	}
	own, nobody, err := questions(now, p)
	if err != nil {
		return false, err
	}
	behind := make(chan bool, 1)
	go func() { behind <- i.reached(ctx, netip.AddrPortFrom(p.Addr, i.port)) }()
	link, _ := now.LinkAt(p.Link.Index)
	owners, proxies, err := i.owners(ctx, link.Index, link.MAC, own, p.Addr, nobody)
	if <-behind {
		return false, nil // mostly the holder, which a new node cannot read from the Lease yet
	}
	owners = slices.DeleteFunc(owners, func(m net.HardwareAddr) bool { return now.HasMAC(m) })
	return err == nil && len(owners) == 0 && len(proxies) > 0, err
}

// questions returns this node's address in the subnet of the VIP, and addresses there that nobody
// has, as far as this node knows.
func questions(now *netif.Snapshot, p vip.Place) (own netip.Addr, nobody []netip.Addr, err error) {
	subnet, ok := now.SubnetOn(p.Link.Index, p.Addr)
	i := slices.IndexFunc(now.On(p.Link.Index), func(a netif.Address) bool { return !a.Ours && a.Prefix.Masked() == subnet && a.Prefix.Addr() != p.Addr })
	if !ok || i < 0 {
		return own, nil, errors.New("this node has no address in a subnet of the VIP")
	}
	nobody, ok = arp.Nobodys(subnet, func(a netip.Addr) bool { return a == p.Addr || len(now.At(a)) > 0 })
	if !ok {
		return own, nil, fmt.Errorf("%s has no address that nobody has", subnet)
	}
	return now.On(p.Link.Index)[i].Prefix.Addr(), nobody, nil
}

// reachTimeout is for the way there and back, after an answer by ARP that may come 0.8 s late
// (arp(7), proxy_delay).
const reachTimeout = time.Second

// reached tells whether a machine accepts or refuses a connection. A machine without the address
// does neither.
func reached(ctx context.Context, to netip.AddrPort) bool {
	conn, err := (&net.Dialer{Timeout: reachTimeout}).DialContext(ctx, "tcp", to.String())
	if err == nil {
		_ = conn.Close()
	}
	return err == nil || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET)
}
