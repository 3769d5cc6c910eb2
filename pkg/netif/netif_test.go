package netif

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/internal/nstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var vip = netip.MustParseAddr("192.168.35.100")

// node is a namespace with eth0 at 192.168.35.11/24 and a handle on it.
func node(t *testing.T) (*nstest.NS, *Handle) {
	t.Helper()
	ns, peer := nstest.New(t), nstest.New(t)
	nstest.Pair(t, ns, peer, "192.168.35.11/24", "192.168.35.50/24")
	h, err := Open(ns.Fd())
	must(t, err)
	t.Cleanup(h.Close)
	return ns, h
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func index(t *testing.T, h *Handle) int {
	t.Helper()
	l, err := h.Link("eth0")
	must(t, err)
	return l.Index
}

// put, remove and find use a new snapshot of the kernel's state.
func put(t *testing.T, h *Handle, index int, valid time.Duration) error {
	t.Helper()
	now, err := h.Snapshot()
	must(t, err)
	return h.Put(now, Place{Addr: vip, Link: index}, valid)
}

func remove(t *testing.T, h *Handle) error {
	t.Helper()
	now, err := h.Snapshot()
	must(t, err)
	return h.Remove(now, Place{Addr: vip, Link: index(t, h)})
}

func find(h *Handle, addr netip.Addr) ([]Address, error) {
	now, err := h.Snapshot()
	if err != nil {
		return nil, err
	}
	return now.At(addr), nil
}

func TestPutAndRemove(t *testing.T) {
	ns, h := node(t)
	before := ns.Addrs("eth0")
	i := index(t, h)
	must(t, put(t, h, i, 2500*time.Millisecond))
	got := vipAddress(t, h)
	if got.Prefix.Bits() != 32 || !got.Ours || got.Index != i || got.Valid != 3*time.Second {
		t.Errorf("address = %+v, want a marked /32 on %d for 3s", got, i)
	}
	if routes := prefixRoutes(t, ns); routes != 0 {
		t.Errorf("%d routes to the VIP outside the local table", routes)
	}
	must(t, put(t, h, i, 10*time.Second))
	if got = vipAddress(t, h); got.Valid < 9*time.Second {
		t.Errorf("lifetime after a refresh = %v, want 10s", got.Valid)
	}
	must(t, remove(t, h))
	must(t, remove(t, h)) // an address that is not there counts as removed
	if after := ns.Addrs("eth0"); !slices.Equal(after, before) {
		t.Errorf("addresses = %v, before = %v", after, before)
	}
}

func vipAddress(t *testing.T, h *Handle) Address {
	t.Helper()
	found, err := find(h, vip)
	must(t, err)
	if len(found) != 1 {
		t.Fatalf("the VIP is there %d times: %v", len(found), found)
	}
	return found[0]
}

func prefixRoutes(t *testing.T, ns *nstest.NS) (n int) {
	t.Helper()
	routes, err := ns.Links.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	must(t, err)
	for _, r := range routes {
		if r.Dst != nil && r.Dst.IP.Equal(vip.AsSlice()) {
			n++
		}
	}
	return n
}

func TestKernelRemovesTheAddressByItself(t *testing.T) {
	for _, addr := range []netip.Addr{vip, vip6} {
		t.Run(addr.String(), func(t *testing.T) {
			_, h := node(t)
			changed := watch(t, h)
			now, err := h.Snapshot()
			must(t, err)
			start := time.Now()
			must(t, h.Put(now, Place{Addr: addr, Link: index(t, h)}, time.Second))
			for {
				found, err := find(h, addr)
				must(t, err)
				if len(found) == 0 {
					break
				}
				select {
				case <-changed:
				case <-time.After(10 * time.Second):
					t.Fatal("the address outlived its lifetime by 9s")
				}
			}
			if d := time.Since(start); d < 900*time.Millisecond {
				t.Errorf("removed after %v, before its time", d)
			}
		})
	}
}

func TestPutTakesOverWhatAnotherManagerLeft(t *testing.T) {
	ns, h := node(t)
	ns.AddAddr("eth0", "192.168.35.100/32")
	must(t, put(t, h, index(t, h), 3*time.Second))
	if got := vipAddress(t, h); !got.Ours || got.Valid > 3*time.Second {
		t.Errorf("address = %+v, want it marked and limited", got)
	}
}

// TestOlderKernelDropsTheMark simulates the kernel of Ubuntu 22.04 (5.15) by an address without the
// mark.
func TestOlderKernelDropsTheMark(t *testing.T) {
	ns, h := node(t)
	h.keepsMark = false
	i := index(t, h)
	unmarked := toNetlink(i, vip, 5*time.Second)
	unmarked.Protocol = 0
	must(t, ns.Links.AddrReplace(nil, unmarked))
	if got := vipAddress(t, h); !got.Ours {
		t.Errorf("address = %+v, want it told by its shape", got)
	}
	changes := make(chan netlink.AddrUpdate, 16)
	done := make(chan struct{})
	fd := netns.NsHandle(ns.Fd())
	must(t, netlink.AddrSubscribeAt(fd, changes, done))
	must(t, put(t, h, i, 9*time.Second))
	must(t, remove(t, h))
	for c := range changes {
		if !c.NewAddr { // the removal at the end: the refresh before it removed nothing
			break
		}
		if c.ValidLft != 9 {
			t.Errorf("change %+v, want the refresh", c)
		}
	}
	close(done)
	for range changes {
	}
	for _, foreign := range []string{"192.168.35.12/32", "192.168.35.13/24"} {
		ns.AddAddr("eth0", foreign)
	}
	all, err := h.Addresses()
	must(t, err)
	for _, a := range all {
		if a.Ours {
			t.Errorf("%+v was taken for vipd's", a)
		}
	}
}

func TestLinkErrors(t *testing.T) {
	_, h := node(t)
	if _, err := h.Link("eth7"); !errors.Is(err, ErrLinkNotFound) {
		t.Errorf("Link of a missing interface: %v", err)
	}
	if err := put(t, h, 4711, time.Second); err == nil {
		t.Error("an address was put on an interface that does not exist")
	}
}

// watch returns a channel that receives after a change.
func watch(t *testing.T, h *Handle) <-chan struct{} {
	t.Helper()
	changed := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- h.Observe(ObserverOptions{Changed: func(Change) {
			select {
			case changed <- struct{}{}:
			default:
			}
		}}).Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return changed
}

func TestObserverReportsLinksAndAddresses(t *testing.T) {
	ns, h := node(t)
	changed := watch(t, h)
	until := func(what string, seen func() bool) {
		t.Helper()
		for !seen() {
			select {
			case <-changed:
			case <-time.After(10 * time.Second):
				t.Fatalf("was not told of: %s", what)
			}
		}
	}
	up := func() bool {
		l, err := h.Link("eth0")
		must(t, err)
		return l.Up
	}
	until("link up", up)
	ns.Down("eth0")
	until("link down", func() bool { return !up() })
	ns.Up("eth0")
	until("link up again", up)
	ns.AddAddr("eth0", "192.168.35.12/32")
	until("address added", func() bool {
		found, err := find(h, netip.MustParseAddr("192.168.35.12"))
		must(t, err)
		return len(found) == 1
	})
}

func TestChoose(t *testing.T) {
	links := []Link{{Name: "lo", Index: 1}, {Name: "ens192", Index: 2}, {Name: "ens224", Index: 3}}
	addr := func(prefix string, index int) Address {
		return Address{Prefix: netip.MustParsePrefix(prefix), Index: index, Global: true}
	}
	tests := []struct {
		name  string
		addrs []Address
		want  string
	}{
		{"one", []Address{addr("10.0.0.5/24", 2), addr("192.168.35.11/24", 3)}, "ens224"},
		{"longest prefix", []Address{addr("192.168.0.5/16", 2), addr("192.168.35.11/24", 3)}, "ens224"},
		{"longest prefix, other order", []Address{addr("192.168.35.11/24", 2), addr("192.168.0.5/16", 3)}, "ens192"},
		{"the VIP itself does not count", []Address{addr("192.168.35.100/32", 2), addr("192.168.35.11/24", 3)}, "ens224"},
		{"bad: none", []Address{addr("10.0.0.5/24", 2)}, ""},
		{"bad: no address", nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := newSnapshot(links, tt.addrs).Choose(vip)
			if got != tt.want || (err == nil) != (tt.want != "") {
				t.Fatalf("Choose = %q, %v, want %q", got, err, tt.want)
			}
			if err != nil && (!errors.Is(err, ErrNoSubnet) || len(tt.addrs) > 0 && !strings.Contains(err.Error(), "10.0.0.0/24 (ens192)")) {
				t.Errorf("error = %v: want the subnets that there are", err)
			}
		})
	}
}
