package daemon

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"

	"go.uber.org/zap"

	"github.com/vipd-io/vipd/internal/nstest"
	"github.com/vipd-io/vipd/pkg/netif"
	"github.com/vipd-io/vipd/pkg/vip"
)

// TestInquiry: every doubt counts as a machine that has the VIP. e2e/suites/lone has real machines
// with proxy ARP, and behind it.
func TestInquiry(t *testing.T) {
	proxy := []net.HardwareAddr{{2, 0, 0, 0, 1, 1}}
	for name, c := range map[string]struct {
		on              func(ns *nstest.NS)
		owners, proxies []net.HardwareAddr
		err             error
		behind, want    bool
	}{
		"a proxy":                       {proxies: proxy, want: true},
		"a proxy, and an owner":         {proxies: proxy, owners: []net.HardwareAddr{{2, 0, 0, 0, 1, 2}}},
		"a proxy, and one behind it":    {proxies: proxy, behind: true},
		"nobody answers any more":       {},
		"the questions are not sent":    {proxies: proxy, err: errors.New("network is down")},
		"the VIP is on this node":       {proxies: proxy, on: func(ns *nstest.NS) { ns.AddAddr("eth0", testVIP+"/32") }},
		"too small a subnet of the VIP": {proxies: proxy, on: func(ns *nstest.NS) { ns.AddAddr("eth0", "192.168.35.101/31") }},
	} {
		t.Run(name, func(t *testing.T) {
			ns, n, _ := observedNetwork(t)
			if c.on != nil {
				c.on(ns)
			}
			got := make(chan bool, 1)
			i := newInquiry(n.observer.Fresh, 6443, func(proxy bool) { got <- proxy }, zap.NewNop())
			i.owners = func(_ context.Context, index int, mac net.HardwareAddr, sender, addr netip.Addr, nobody []netip.Addr) ([]net.HardwareAddr, []net.HardwareAddr, error) {
				l := ns.Link("eth0").Attrs()
				if index != l.Index || mac.String() != l.HardwareAddr.String() || sender.String() != "192.168.35.11" || addr.String() != testVIP || len(nobody) != 2 {
					t.Errorf("asks on %d at %s as %s for %s and %v", index, mac, sender, addr, nobody)
				}
				return c.owners, c.proxies, c.err
			}
			i.reached = func(_ context.Context, to netip.AddrPort) bool {
				if to.String() != testVIP+":6443" {
					t.Errorf("connects to %s", to)
				}
				return c.behind
			}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- i.run(ctx) }()
			i.start(vip.Places{{Addr: n.addresses[0], Link: vip.Link{Index: ns.Link("eth0").Attrs().Index}}})
			if proxy := <-got; proxy != c.want {
				t.Errorf("proxy: %t", proxy)
			}
			stop()
			must(t, <-ended)
		})
	}
	i := newInquiry(func() (*netif.Snapshot, error) { return nil, errors.New("netlink socket lost") }, 6443, nil, zap.NewNop())
	if i.proxies(t.Context(), vip.Places{{}}) || i.proxies(t.Context(), nil) {
		t.Error("nothing was asked")
	}
}
