package netif

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// observed returns a complete observer of a node.
func observed(t testing.TB, h *Handle, opts ObserverOptions) *Observer {
	t.Helper()
	whole := make(chan struct{}, 1)
	changed := opts.Changed
	opts.Changed = func(c Change) {
		if c.All {
			select {
			case whole <- struct{}{}:
			default:
			}
		}
		if changed != nil {
			changed(c)
		}
	}
	o := h.Observe(opts)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- o.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-whole:
	case <-time.After(10 * time.Second):
		t.Fatal("the observer has not seen everything in 10 s")
	}
	return o
}

// tell prints a snapshot without lifetimes, which change, and without link-local IPv6 addresses:
// the kernel adds these by itself, and notifies of them after duplicate address detection, a second
// later than it lists them.
func tell(s *Snapshot) string {
	var out []string
	for _, l := range s.Links() {
		out = append(out, fmt.Sprintf("%d %s %v %s up %t local %t", l.Index, l.Name, l.AltNames, l.MAC, l.Up, l.Local))
		found, err := s.Link(l.Name)
		if !s.HasMAC(l.MAC) || err == nil && found.Index != l.Index || errors.Is(err, ErrLinkNotFound) {
			out = append(out, "cannot be looked up")
		}
	}
	all := s.Addresses()
	slices.SortFunc(all, func(a, b Address) int {
		return cmp.Or(a.Index-b.Index, strings.Compare(a.Prefix.String()+a.Peer.String(), b.Prefix.String()+b.Peer.String()))
	})
	for _, a := range all {
		if a.Prefix.Addr().IsLinkLocalUnicast() {
			continue
		}
		out = append(out, fmt.Sprintf("%s peer %s on %d ours %t global %t", a.Prefix, a.Peer, a.Index, a.Ours, a.Global))
		if !slices.ContainsFunc(s.At(a.Prefix.Addr()), a.same) || !slices.ContainsFunc(s.On(a.Index), a.same) {
			out = append(out, "cannot be looked up")
		}
	}
	return strings.Join(out, "\n") + "\n"
}

// expectTrue compares the observer's state with the kernel's.
func expectTrue(t *testing.T, o *Observer, h *Handle) {
	t.Helper()
	for range 100 { // a carrier may change by itself in between
		dumps := o.h.Dumps()
		got, err := o.Fresh()
		must(t, err)
		if o.h.Dumps() != dumps {
			t.Log("the observer did not catch up in time, and asked the kernel")
		}
		want, err := h.Snapshot()
		must(t, err)
		again, err := o.Fresh()
		must(t, err)
		if tell(got) != tell(again) {
			continue
		}
		if d := gocmp.Diff(tell(want), tell(got)); d != "" {
			t.Fatalf("observed (-kernel +observer):\n%s", d)
		}
		return
	}
	t.Fatal("the node does not come to rest")
}

// TestObserverMatchesTheKernel: the snapshot equals the state of the kernel after any change of
// interfaces and addresses.
func TestObserverMatchesTheKernel(t *testing.T) {
	ns, h := node(t)
	o := observed(t, h, ObserverOptions{})
	expectTrue(t, o, h)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	must(t, ns.Links.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "master"}}))
	names := []string{"a0", "a1", "a2"}
	for range 150 {
		name := names[rng.IntN(len(names))]
		l, err := ns.Links.LinkByName(name)
		if err != nil {
			var made netlink.Link = &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "p"}
			if rng.IntN(3) == 0 {
				made = &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}
			}
			must(t, ns.Links.LinkAdd(made))
			continue
		}
		address := &netlink.Addr{IPNet: nl4(rng.IntN(3), []int{24, 32}[rng.IntN(2)])}
		if rng.IntN(4) == 0 {
			address = toNetlink(l.Attrs().Index, vip, time.Minute)
		}
		switch rng.IntN(11) {
		case 0:
			must(t, ns.Links.LinkDel(l))
		case 1:
			must(t, ns.Links.LinkSetUp(l))
		case 2:
			must(t, ns.Links.LinkSetDown(l))
		case 3:
			must(t, errors.Join(ns.Links.LinkSetDown(l), ns.Links.LinkSetName(l, name+"x"), ns.Links.LinkAddAltName(l, name)))
			must(t, errors.Join(ns.Links.LinkDelAltName(l, name), ns.Links.LinkSetName(l, name)))
		case 4:
			must(t, ns.Links.LinkSetHardwareAddr(l, []byte{2, 0, 0, 0, 0, byte(rng.IntN(3))}))
		case 5, 6, 7:
			must(t, ns.Links.AddrReplace(l, address))
		case 8, 9: // a bridge reports its ports like links, in messages of its own family
			if l.Type() == "veth" {
				must(t, errors.Join(ns.Links.LinkSetMaster(l, ns.Link("master")), ns.Links.LinkSetNoMaster(l)))
			}
		case 10:
			if err := ns.Links.AddrDel(l, address); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
				t.Fatal(err)
			}
		}
		if rng.IntN(5) == 0 {
			expectTrue(t, o, h)
		}
	}
	expectTrue(t, o, h)
}

// nl4 returns one of a few addresses.
func nl4(i, bits int) *net.IPNet {
	a, err := netlink.ParseIPNet(fmt.Sprintf("10.0.0.%d/%d", i+1, bits))
	if err != nil {
		panic(err)
	}
	return a
}

// TestFreshContainsOwnChanges: a look right after this process's own change must contain the
// change.
func TestFreshContainsOwnChanges(t *testing.T) {
	_, h := node(t)
	i := index(t, h)
	o := observed(t, h, ObserverOptions{})
	before := o.h.Dumps()
	for range 500 {
		now, err := o.Fresh()
		must(t, err)
		must(t, h.Put(now, Place{Addr: vip, Link: i}, time.Minute))
		now, err = o.Fresh()
		must(t, err)
		if p := now.Presence(Place{Addr: vip, Link: i}); len(p.Ours) != 1 {
			t.Fatalf("the VIP was just put up, and %+v is seen", p)
		}
		must(t, h.Remove(now, Place{Addr: vip, Link: i}))
		now, err = o.Fresh()
		must(t, err)
		if p := now.Presence(Place{Addr: vip, Link: i}); len(p.Ours) != 0 {
			t.Fatalf("the VIP was just removed, and %+v is seen", p)
		}
	}
	if n := o.h.Dumps() - before; n > 100 {
		t.Errorf("the kernel was asked for everything %d times in 1500 looks", n) // a few on a busy machine
	}
}

// TestObserverSurvivesLoss: the observer loses its socket while the state changes.
func TestObserverSurvivesLoss(t *testing.T) {
	ns, h := node(t)
	o := observed(t, h, ObserverOptions{})
	for i := range 3 {
		lost := o.live.Load()
		lost.end()
		must(t, ns.Links.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprintf("br%d", i)}}))
		expectTrue(t, o, h) // by a request to the kernel
		for o.live.Load() == nil || o.live.Load() == lost {
			select {
			case <-t.Context().Done():
				t.Fatal(t.Context().Err())
			case <-time.After(time.Millisecond):
			}
		}
		dumps := o.h.Dumps()
		now, err := o.Fresh()
		must(t, err)
		if _, err := now.Link(fmt.Sprintf("br%d", i)); errors.Is(err, ErrLinkNotFound) {
			t.Errorf("what was made while nobody listened is not known")
		}
		if o.h.Dumps() != dumps {
			t.Log("the observer did not catch up in time, and asked the kernel")
		}
	}
}

// TestObserverOverflows: there are more notifications than the socket's buffer holds. The snapshot
// is wrong until the observer has read everything again.
func TestObserverOverflows(t *testing.T) {
	ns, h := node(t)
	hold, held := make(chan struct{}), make(chan struct{}, 100)
	address := netip.MustParsePrefix("192.168.35.12/32")
	o := observed(t, h, ObserverOptions{Changed: func(c Change) {
		if slices.ContainsFunc(c.Addresses, func(a Address) bool { return a.Prefix == address }) {
			held <- struct{}{}
			<-hold // the reader is blocked
		}
	}})
	must(t, o.live.Load().socket.SetReceiveBufferSize(4096, true))
	ns.AddAddr("eth0", address.String())
	<-held
	for i := range 100 {
		must(t, ns.Links.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprintf("br%d", i)}}))
	}
	close(hold)
	expectTrue(t, o, h)
	for now, err := o.Snapshot(); ; now, err = o.Snapshot() {
		must(t, err)
		if _, err := now.Link("br99"); !errors.Is(err, ErrLinkNotFound) {
			break
		}
		select {
		case <-t.Context().Done():
			t.Fatal("lost changes were never made up for")
		case <-time.After(time.Millisecond):
		}
	}
}

// TestObserverReadsAnew: the observer reads everything at each interval, while changes go on.
func TestObserverReadsAnew(t *testing.T) {
	ns, h := node(t)
	anew := make(chan struct{}, 100)
	o := observed(t, h, ObserverOptions{Every: 20 * time.Millisecond, Changed: func(c Change) {
		if c.All {
			anew <- struct{}{}
		}
	}})
	a, err := netlink.ParseAddr("192.168.35.12/32")
	must(t, err)
	tooLong := time.After(10 * time.Second)
	for seen := 0; seen < 5; {
		must(t, ns.Links.AddrReplace(ns.Link("eth0"), a))
		must(t, ns.Links.AddrDel(ns.Link("eth0"), a))
		select {
		case <-anew:
			seen++
		case <-tooLong:
			t.Fatalf("read anew %d times, every 20 ms, in 10 s", seen)
		default:
		}
	}
	expectTrue(t, o, h)
}

// TestObserverReportsWhatChanged: the observer reports the changed links and addresses, and nothing
// else.
func TestObserverReportsWhatChanged(t *testing.T) {
	ns, h := node(t)
	i := index(t, h)
	changes := make(chan Change, 1000)
	o := observed(t, h, ObserverOptions{Changed: func(c Change) { changes <- c }})
	settled := func() (links, addresses []string) {
		_, err := o.Fresh() // all notifications have been reported
		must(t, err)
		for {
			select {
			case c := <-changes:
				for _, l := range c.Links {
					links = append(links, l.Name)
				}
				for _, a := range c.Addresses {
					if a.Prefix.Addr().Is4() {
						addresses = append(addresses, a.Prefix.String())
					}
				}
			default:
				return links, addresses
			}
		}
	}
	settled()
	must(t, put(t, h, i, time.Minute))
	if _, got := settled(); !slices.Equal(got, []string{"192.168.35.100/32"}) {
		t.Errorf("put up: told of %v", got)
	}
	for range 10 {
		must(t, put(t, h, i, time.Minute))
	}
	if _, got := settled(); len(got) > 0 {
		t.Errorf("renewed: told of %v", got)
	}
	must(t, ns.Links.LinkSetAlias(ns.Link("eth0"), "something"))
	if got, _ := settled(); slices.Contains(got, "eth0") {
		t.Errorf("an alias was set: told of %v", got)
	}
	must(t, remove(t, h))
	if _, got := settled(); !slices.Equal(got, []string{"192.168.35.100/32"}) {
		t.Errorf("removed: told of %v", got)
	}
	ns.Dummy("pod0")
	if got, _ := settled(); !slices.Contains(got, "pod0") {
		t.Errorf("made: told of %v", got)
	}
}

// TestMessagesOfOtherProcesses: messages that a process sends to the kernel's groups are ignored.
func TestMessagesOfOtherProcesses(t *testing.T) {
	ns, h := node(t)
	o := observed(t, h, ObserverOptions{})
	must(t, ns.Do(func() error {
		s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK) // this socket also sends to the groups
		if err != nil {
			return err
		}
		defer func() { _ = s.Close() }()
		m := nl.NewNetlinkRequest(unix.RTM_DELLINK, 0) // the kernel refuses the request: there is no such link
		head := nl.NewIfInfomsg(unix.AF_UNSPEC)
		head.Index = int32(index(t, h))
		head.Change = 0
		m.Flags = 0 // not a request: the kernel does nothing
		m.AddData(head)
		return s.Send(m)
	}))
	now, err := o.Fresh()
	must(t, err)
	if _, err := now.Link("eth0"); err != nil {
		t.Errorf("a process was taken for the kernel: %v", err)
	}
	expectTrue(t, o, h)
}

func TestSnapshotDoesNotChange(t *testing.T) {
	s := newSnapshot([]Link{{Name: "lo", Index: 1}, {Name: "eth0", Index: 2, MAC: []byte{2, 0, 0, 0, 0, 1}}},
		[]Address{{Prefix: netip.MustParsePrefix("192.168.35.11/24"), Index: 2, Global: true}})
	before, copied := tell(s), *s
	for i := range 300 {
		copied.setLink(Link{Name: fmt.Sprintf("veth%d", i), Index: 10 + i, MAC: []byte{2, 0, 0, 0, 1, byte(i)}})
		copied.setAddress(Address{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, 35, byte(i)}), 24), Index: 2, Global: true})
	}
	copied.dropLink(2)
	copied.dropLink(1)
	if d := gocmp.Diff(before, tell(s)); d != "" {
		t.Errorf("a snapshot changed with its copy:\n%s", d)
	}
	if got := len(copied.Links()); got != 300 {
		t.Errorf("%d links in the copy, want 300", got)
	}
	if got := copied.Addresses(); len(got) != 0 {
		t.Errorf("addresses of a link that went: %v", got)
	}
}

// TestNotificationIsNewerThanTheDump: the kernel may have read an address for a dump, then deleted
// the address and sent the notification, and only then sent that part of the dump.
func TestNotificationIsNewerThanTheDump(t *testing.T) {
	_, h := node(t)
	s := &subscription{h: h, port: 7, reading: &reading{sequence: 3, kind: unix.RTM_NEWADDR, notified: make(map[any]bool)}}
	message := func(kind uint16, port, sequence uint32, addr string) syscall.NetlinkMessage {
		head := nl.NewIfAddrmsg(unix.AF_INET)
		head.Prefixlen, head.Index = 32, 2
		ip := netip.MustParseAddr(addr).AsSlice()
		data := append(slices.Clone(head.Serialize()), nl.NewRtAttr(unix.IFA_LOCAL, ip).Serialize()...)
		data = append(data, nl.NewRtAttr(unix.IFA_ADDRESS, ip).Serialize()...)
		return syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: kind, Pid: port, Seq: sequence}, Data: data}
	}
	var c Change
	for _, m := range []syscall.NetlinkMessage{
		message(unix.RTM_NEWADDR, 7, 3, "10.0.0.1"),
		message(unix.RTM_DELADDR, 0, 0, "10.0.0.2"), // the notification comes before that part of the dump
		message(unix.RTM_NEWADDR, 7, 3, "10.0.0.2"),
		message(unix.RTM_NEWADDR, 7, 3, "10.0.0.3"),
		message(unix.RTM_DELADDR, 0, 0, "10.0.0.3"), // and after it
		message(unix.RTM_NEWADDR, 0, 0, "10.0.0.4"), // was added during the dump
		{Header: syscall.NlMsghdr{Type: unix.NLMSG_DONE, Pid: 7, Seq: 3}, Data: make([]byte, 4)},
	} {
		must(t, s.take(m, &c))
	}
	var got []string
	for _, a := range s.now.Addresses() {
		got = append(got, a.Prefix.Addr().String())
	}
	if want := []string{"10.0.0.1", "10.0.0.4"}; !slices.Equal(got, want) || !c.All || !s.whole {
		t.Errorf("addresses = %v, want %v; change %+v", got, want, c)
	}
}

// TestWirelessEvent: an event of a Wi-Fi interface, for example after each scan, contains neither
// the MAC nor the carrier of the interface.
func TestWirelessEvent(t *testing.T) {
	_, h := node(t)
	wifi := Link{Name: "wlan0", Index: 2, MAC: []byte{2, 0, 0, 0, 0, 1}, Up: true}
	s := &subscription{h: h, now: *newSnapshot([]Link{wifi}, nil), whole: true}
	head := nl.NewIfInfomsg(unix.AF_UNSPEC)
	head.Index, head.Flags = 2, unix.IFF_UP
	data := append(head.Serialize(), nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated("wlan0")).Serialize()...)
	data = append(data, nl.NewRtAttr(unix.IFLA_WIRELESS, make([]byte, 8)).Serialize()...)
	var c Change
	must(t, s.take(syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: unix.RTM_NEWLINK}, Data: data}, &c))
	if got, err := s.now.Link("wlan0"); err != nil || !got.equal(wifi) || len(c.Links) > 0 {
		t.Errorf("the interface is %+v, %v; change %+v", got, err, c)
	}
}
