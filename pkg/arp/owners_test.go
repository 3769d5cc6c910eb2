package arp

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/vipd-io/vipd/internal/nstest"
)

// proxyARP makes a machine answer requests for every address, as a router does.
func proxyARP(t *testing.T, ns *nstest.NS) {
	t.Helper()
	for name, value := range map[string]string{"ip_forward": "1", "conf/eth0/proxy_arp_pvlan": "1", "neigh/eth0/proxy_delay": "80"} {
		if err := ns.Do(func() error { return os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0o644) }); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOwners: a machine with Linux's proxy ARP is no owner unless it has the address, with the
// default delay of its answers.
func TestOwners(t *testing.T) {
	for _, c := range []struct {
		name            string
		make            func(a *asker)
		owners, proxies func(a *asker) []*nstest.NS
	}{
		{name: "nobody", make: func(*asker) {}},
		{name: "an owner", make: func(a *asker) { a.first.AddAddr("eth0", vip.String()+"/32") },
			owners: func(a *asker) []*nstest.NS { return []*nstest.NS{a.first} }},
		{name: "a proxy", make: func(a *asker) { proxyARP(t, a.first) },
			proxies: func(a *asker) []*nstest.NS { return []*nstest.NS{a.first} }},
		{name: "an owner and a proxy", make: func(a *asker) { proxyARP(t, a.first); a.second.AddAddr("eth0", vip.String()+"/32") },
			owners: func(a *asker) []*nstest.NS { return []*nstest.NS{a.second} }, proxies: func(a *asker) []*nstest.NS { return []*nstest.NS{a.first} }},
		{name: "an owner that is a proxy as well", make: func(a *asker) { proxyARP(t, a.first); a.first.AddAddr("eth0", vip.String()+"/32") },
			owners: func(a *asker) []*nstest.NS { return []*nstest.NS{a.first} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAsker(t)
			c.make(a)
			macs := func(of func(a *asker) []*nstest.NS) (out []string) {
				if of != nil {
					for _, ns := range of(a) {
						out = append(out, ns.Link("eth0").Attrs().HardwareAddr.String())
					}
				}
				return out
			}
			nobody, ok := Nobodys(netip.MustParsePrefix("192.168.35.0/24"), func(addr netip.Addr) bool { return addr == vip || addr.As4()[3] < 20 })
			if !ok {
				t.Fatal("no address")
			}
			l := a.Link("eth0").Attrs()
			own := netip.MustParseAddr("192.168.35.11")
			questions := questioner(func(form, addr netip.Addr) (macs []net.HardwareAddr, err error) {
				err = a.Do(func() error {
					macs, err = ask(t.Context(), l.Index, l.HardwareAddr, form, otherForm(form, own), addr, 0)
					return err
				})
				return macs, err
			})
			owners, proxies, err := questions.owners(own, vip, nobody)
			if err != nil || !slices.Equal(texts(owners), macs(c.owners)) || !slices.Equal(texts(proxies), macs(c.proxies)) {
				t.Errorf("owners %v, proxies %v, error %v; want %v and %v", owners, proxies, err, macs(c.owners), macs(c.proxies))
			}
		})
	}
}

func texts(macs []net.HardwareAddr) (out []string) {
	for _, m := range macs {
		out = append(out, m.String())
	}
	return out
}

// TestNobodys: the addresses are hosts of the subnet that are not used; a subnet that is too small or
// full has none.
func TestNobodys(t *testing.T) {
	for subnet, want := range map[string]bool{"192.168.35.0/24": true, "10.0.0.0/8": true, "192.168.35.8/29": true, "192.168.35.8/30": false, "192.168.35.8/32": false, "fd00::/64": false} {
		p := netip.MustParsePrefix(subnet)
		got, ok := Nobodys(p, func(a netip.Addr) bool { return a == p.Addr().Next() })
		if ok != want || ok != (len(got) == 2) {
			t.Errorf("%s: %v, %t", subnet, got, ok)
		}
		for i, a := range got {
			if !p.Contains(a) || a == p.Addr() || a == p.Addr().Next() || !p.Contains(a.Next()) || slices.Index(got, a) != i {
				t.Errorf("%s: %v", subnet, got)
			}
		}
	}
	if got, ok := Nobodys(netip.MustParsePrefix("192.168.35.0/24"), func(netip.Addr) bool { return true }); ok {
		t.Errorf("all are used: %v", got)
	}
}
