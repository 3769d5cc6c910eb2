package netif

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/vipd-io/vipd/internal/nstest"
)

// copies lists how the VIP may be present on a node that is not the holder, or beside the holder's
// own copy.
var copies = []struct {
	name string
	make func(*testing.T, *nstest.NS)
	ours bool // vipd's own, and to be removed
	// refused means that a holder's own address has the same form, so the kernel refuses to add the
	// copy beside it.
	refused bool
}{
	{"marked on another link", func(t *testing.T, ns *nstest.NS) { marked(t, ns, "eth1") }, true, false},
	{"marked on the loopback", func(t *testing.T, ns *nstest.NS) { marked(t, ns, "lo") }, true, false},
	{"lone /32 on the chosen link", func(_ *testing.T, ns *nstest.NS) { ns.AddAddr("eth0", "192.168.35.100/32") }, true, false},
	{"/24 on the chosen link", func(_ *testing.T, ns *nstest.NS) { ns.AddAddr("eth0", "192.168.35.100/24") }, true, false},
	{"/27 beside the node's own /24", func(_ *testing.T, ns *nstest.NS) { ns.AddAddr("eth0", "192.168.35.100/27") }, true, false},
	{"/16 beside the node's own /24", func(_ *testing.T, ns *nstest.NS) { ns.AddAddr("eth0", "192.168.35.100/16") }, true, false},
	{"/27 before the node's own /24", func(t *testing.T, ns *nstest.NS) {
		run(t, ns, "ip", "address", "delete", "192.168.35.11/24", "dev", "eth0")
		ns.AddAddr("eth0", "192.168.35.100/27")
		ns.AddAddr("eth0", "192.168.35.11/24")
	}, false, false},
	{"/27 to which another address is secondary", func(_ *testing.T, ns *nstest.NS) {
		ns.AddAddr("eth0", "192.168.35.100/27")
		ns.AddAddr("eth0", "192.168.35.101/27")
	}, false, false},
	{"/27 from DHCP beside the node's own /24", func(t *testing.T, ns *nstest.NS) {
		run(t, ns, "ip", "address", "add", "192.168.35.100/27", "dev", "eth0", "valid_lft", "3600", "preferred_lft", "3600")
	}, false, false},
	{"/27 beside a network without the VIP", func(t *testing.T, ns *nstest.NS) {
		run(t, ns, "ip", "address", "delete", "192.168.35.11/24", "dev", "eth0")
		ns.AddAddr("eth0", "10.9.0.1/24")
		ns.AddAddr("eth0", "192.168.35.100/27")
	}, false, false},
	{"the only /24, beside the /32 of a Service", func(t *testing.T, ns *nstest.NS) {
		run(t, ns, "ip", "address", "delete", "192.168.35.11/24", "dev", "eth0")
		ns.AddAddr("eth0", "192.168.35.100/24")
		ns.AddAddr("eth0", "192.168.35.200/32")
	}, false, false},
	{"the only /24, within a /16", func(t *testing.T, ns *nstest.NS) {
		run(t, ns, "ip", "address", "delete", "192.168.35.11/24", "dev", "eth0")
		ns.AddAddr("eth0", "192.168.35.100/24")
		ns.AddAddr("eth0", "192.168.5.5/16")
	}, false, false},
	{"/24 from DHCP on the chosen link", func(t *testing.T, ns *nstest.NS) {
		run(t, ns, "ip", "address", "add", "192.168.35.100/24", "dev", "eth0", "valid_lft", "3600", "preferred_lft", "3600")
	}, false, false},
	{"/24 as the first of its subnet", func(t *testing.T, ns *nstest.NS) {
		run(t, ns, "ip", "address", "delete", "192.168.35.11/24", "dev", "eth0")
		ns.AddAddr("eth0", "192.168.35.100/24")
		ns.AddAddr("eth0", "192.168.35.11/24")
	}, false, false},
	{"/24 as the only one of its subnet", func(t *testing.T, ns *nstest.NS) {
		run(t, ns, "ip", "address", "delete", "192.168.35.11/24", "dev", "eth0")
		ns.AddAddr("eth0", "192.168.36.11/24")
		ns.AddAddr("eth0", "192.168.35.100/24")
	}, false, false},
	{"/24 on another link", func(_ *testing.T, ns *nstest.NS) { ns.AddAddr("eth1", "192.168.35.100/24") }, false, false},
	{"/32 on another link", func(_ *testing.T, ns *nstest.NS) { ns.AddAddr("eth1", "192.168.35.100/32") }, false, false},
	{"/32 on kube-ipvs0", func(_ *testing.T, ns *nstest.NS) { ns.AddAddr("kube-ipvs0", "192.168.35.100/32") }, false, false},
	{"/32 on the loopback", func(_ *testing.T, ns *nstest.NS) { ns.AddAddr("lo", "192.168.35.100/32") }, false, false},
	{"/32 as all that the chosen link has", func(t *testing.T, ns *nstest.NS) {
		run(t, ns, "ip", "address", "delete", "192.168.35.11/24", "dev", "eth0")
		ns.AddAddr("eth0", "192.168.35.100/32")
	}, false, true},
}

func marked(t *testing.T, ns *nstest.NS, name string) {
	t.Helper()
	must(t, ns.Links.AddrReplace(nil, toNetlink(ns.Link(name).Attrs().Index, vip, time.Minute)))
}

// crowded is a node with more links: eth1, and kube-ipvs0 like kube-proxy's.
func crowded(t *testing.T) (*nstest.NS, *Handle) {
	t.Helper()
	ns, h := node(t)
	ns.Spare("eth1")
	ns.Dummy("kube-ipvs0")
	return ns, h
}

// configured returns all state that Put, Divert and Remove could change.
func configured(t *testing.T, ns *nstest.NS) string {
	t.Helper()
	out := run(t, ns, "sh", "-c", "ip -4 -oneline address | sed 's/[0-9]*sec/sec/g'; ip -4 route show table all; ip -4 neigh")
	return strings.ReplaceAll(out, " linkdown", "") // the flag is set until the kernel has noticed the carrier
}

// leave makes all calls that remove an address.
func leave(t *testing.T, h *Handle) Retired {
	t.Helper()
	now, err := h.Snapshot()
	must(t, err)
	_, shared := now.Presence(Place{Addr: vip, Link: index(t, h)}).foreign(0)
	if err := h.Divert(now, Place{Addr: vip, Link: index(t, h)}); errors.Is(err, ErrShared) != shared {
		t.Errorf("Divert = %v; the address is somebody else's, too: %t", err, shared)
	}
	r, err := h.Retire(now, Place{Addr: vip, Link: index(t, h)})
	must(t, err)
	return r
}

// TestStandbyRemovesOnlyItsOwn: a standby removes the addresses with vipd's mark, or with the form
// of an address that another VIP manager left on the chosen link.
func TestStandbyRemovesOnlyItsOwn(t *testing.T) {
	for _, c := range copies {
		t.Run(c.name, func(t *testing.T) {
			ns, h := crowded(t)
			before := configured(t, ns)
			c.make(t, ns)
			if !c.ours {
				before = configured(t, ns)
			}
			leave(t, h)
			if after := configured(t, ns); after != before {
				t.Errorf("before\n%s\nafter\n%s", before, after)
			}
		})
	}
}

// TestHolderLeavesCopiesAlone: a copy appears beside the holder's address, and stays from the next
// renewal to the end.
func TestHolderLeavesCopiesAlone(t *testing.T) {
	for _, c := range copies {
		if c.ours || c.refused {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			ns, h := crowded(t)
			c.make(t, ns)
			before := configured(t, ns)
			must(t, put(t, h, index(t, h), time.Minute))
			var changes atomic.Int64
			o := observed(t, h, ObserverOptions{Changed: func(c Change) {
				if slices.ContainsFunc(c.Addresses, func(a Address) bool { return a.Prefix.Addr() == vip }) {
					changes.Add(1)
				}
			}})
			for range 3 { // renewals
				must(t, put(t, h, index(t, h), time.Minute))
			}
			now, err := o.Fresh()
			must(t, err)
			if n := changes.Load(); n > 0 {
				t.Errorf("3 renewals took the address away and put it up again: %d changes", n)
			}
			if p := now.Presence(Place{Addr: vip, Link: index(t, h)}); len(p.Ours) != 1 || len(p.Own)+len(p.OnLocal) != 1 {
				t.Errorf("present = %+v, want the holder's beside the copy", p)
			}
			listen(t, ns, ":6443")
			client := connect(t, ns, "192.168.35.100:6443")
			if r := leave(t, h); r.Connections != 0 || !errors.Is(r.Err, ErrShared) {
				t.Errorf("retired = %+v, want the connections left to whose the copy is", r)
			}
			must(t, alive(client))
			if after := configured(t, ns); after != before {
				t.Errorf("before\n%s\nafter\n%s", before, after)
			}
		})
	}
}

// TestPutRemovesItsOwnElsewhere: vipd's address on another link would answer there.
func TestPutRemovesItsOwnElsewhere(t *testing.T) {
	for _, c := range copies {
		if !c.ours {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			ns, h := crowded(t)
			c.make(t, ns)
			must(t, put(t, h, index(t, h), time.Minute))
			if got := vipAddress(t, h); !got.Ours || got.Index != index(t, h) || got.Prefix.Bits() != 32 {
				t.Errorf("address = %+v, want a marked /32 on eth0", got)
			}
		})
	}
}

// TestPutRefuses: Put refuses to change an address of the node itself, or to add an address to no
// interface, before it changes anything.
func TestPutRefuses(t *testing.T) {
	for _, c := range copies {
		t.Run(c.name, func(t *testing.T) {
			ns, h := crowded(t)
			c.make(t, ns)
			before := configured(t, ns)
			for _, none := range []int{0, -1} {
				if err := put(t, h, none, time.Minute); !errors.Is(err, ErrNoInterface) {
					t.Errorf("Put on interface %d: %v", none, err)
				}
			}
			if c.refused {
				if err := put(t, h, index(t, h), time.Minute); !errors.Is(err, ErrNodesOwn) {
					t.Errorf("Put: %v", err)
				}
			}
			if after := configured(t, ns); after != before {
				t.Errorf("before\n%s\nafter\n%s", before, after)
			}
		})
	}
}

func TestPresence(t *testing.T) {
	want := map[string]string{
		"marked on another link":                    "ours on eth1",
		"marked on the loopback":                    "ours on lo",
		"lone /32 on the chosen link":               "ours on eth0",
		"/24 on the chosen link":                    "ours on eth0",
		"/27 beside the node's own /24":             "ours on eth0",
		"/16 beside the node's own /24":             "ours on eth0",
		"/27 before the node's own /24":             "own on eth0",
		"/27 to which another address is secondary": "own on eth0",
		"/27 from DHCP beside the node's own /24":   "own on eth0",
		"/27 beside a network without the VIP":      "own on eth0",
		"the only /24, beside the /32 of a Service": "own on eth0",
		"the only /24, within a /16":                "own on eth0",
		"/24 from DHCP on the chosen link":          "own on eth0",
		"/24 as the first of its subnet":            "own on eth0",
		"/24 as the only one of its subnet":         "own on eth0",
		"/24 on another link":                       "own on eth1",
		"/32 on another link":                       "own on eth1",
		"/32 on kube-ipvs0":                         "local on kube-ipvs0",
		"/32 on the loopback":                       "local on lo",
		"/32 as all that the chosen link has":       "own on eth0",
	}
	for _, c := range copies {
		t.Run(c.name, func(t *testing.T) {
			ns, h := crowded(t)
			c.make(t, ns)
			now, err := h.Snapshot()
			must(t, err)
			p := now.Presence(Place{Addr: vip, Link: index(t, h)})
			var got []string
			for _, list := range []struct {
				whose string
				addrs []Address
			}{{"ours", p.Ours}, {"own", p.Own}, {"local", p.OnLocal}} {
				for _, a := range list.addrs {
					l, _ := now.LinkAt(a.Index)
					got = append(got, fmt.Sprintf("%s on %s", list.whose, l.Name))
				}
			}
			if s := strings.Join(got, ", "); s != want[c.name] {
				t.Errorf("got %q, want %q", s, want[c.name])
			}
		})
	}
}

// TestRemoveAsksTheKernel: Remove asks the kernel, and does not rely on an older snapshot.
func TestRemoveAsksTheKernel(t *testing.T) {
	ns, h := node(t)
	old, err := h.Snapshot()
	must(t, err)
	marked(t, ns, "eth0")
	if err := h.Remove(old, Place{Addr: vip, Link: index(t, h)}); !errors.Is(err, ErrStillPresent) {
		t.Errorf("Remove = %v, want ErrStillPresent", err)
	}
	must(t, remove(t, h))
}

// TestRemoveListsOneInterface: the cost of the confirmation does not grow with the number of
// interfaces.
func TestRemoveListsOneInterface(t *testing.T) {
	ns, h := crowded(t)
	marked(t, ns, "eth0")
	ns.AddAddr("eth1", "10.0.0.1/24")
	list, err := h.strict.AddrList(nil, netlink.FAMILY_V4)
	must(t, err)
	if len(list) < 3 {
		t.Fatalf("the node has %v only", list)
	}
	on, err := h.on(index(t, h), vip)
	must(t, err)
	if len(on) != 2 {
		t.Errorf("on eth0: %v, want its own and the VIP", on)
	}
	before := h.Dumps()
	now, err := h.Snapshot()
	must(t, err)
	must(t, h.Remove(now, Place{Addr: vip, Link: index(t, h)}))
	if n := h.Dumps() - before; n != 1 {
		t.Errorf("the kernel was asked for everything %d times, want once, by this test", n)
	}
}
