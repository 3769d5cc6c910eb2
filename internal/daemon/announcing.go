package daemon

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/vipd-io/vipd/pkg/announce"
	"github.com/vipd-io/vipd/pkg/arp"
	"github.com/vipd-io/vipd/pkg/ndp"
	"github.com/vipd-io/vipd/pkg/netif"
	"github.com/vipd-io/vipd/pkg/vip"
)

// announcing announces the addresses of a group, each family by its own protocol, and hears the
// claims of other machines. It is the vip.Announcer of the group.
type announcing struct {
	families []*family // those of the group's addresses
	inquiry  *inquiry
	snapshot func() (*netif.Snapshot, error)

	mu sync.Mutex // orders the reports of listening
}

// family is the addresses of one protocol.
type family struct {
	has       func(netip.Addr) bool
	announcer *announce.Announcer
	listener  *announce.Listener
	listens   bool // protected by announcing.mu
}

// announcingOptions configures announcing.
type announcingOptions struct {
	addresses []netip.Addr
	holds     func() bool
	repeatFor time.Duration
	observe   func(announce.Event)
	inquiry   *inquiry
	snapshot  func() (*netif.Snapshot, error)
	log       *zap.Logger
}

func newAnnouncing(o announcingOptions) *announcing {
	a := &announcing{inquiry: o.inquiry, snapshot: o.snapshot}
	for _, p := range []struct {
		name     string
		protocol announce.Protocol
		has      func(netip.Addr) bool
	}{{"arp", arp.Protocol{}, netip.Addr.Is4}, {"ndp", ndp.Protocol{}, netip.Addr.Is6}} {
		if !slices.ContainsFunc(o.addresses, p.has) {
			continue
		}
		f, log := &family{has: p.has}, o.log.Named(p.name)
		f.announcer = announce.NewAnnouncer(announce.Options{Protocol: p.protocol, Holds: o.holds, RepeatFor: o.repeatFor, Observe: o.observe, Log: log})
		f.listener = announce.NewListener(announce.ListenerOptions{Protocol: p.protocol, Addresses: o.addresses, Observe: a.heard(f, o.observe), Log: log})
		a.families = append(a.families, f)
	}
	return a
}

// heard returns the observer of a family's listener: claims of the group are heard while all of its
// families are listened to.
func (a *announcing) heard(f *family, observe func(announce.Event)) func(announce.Event) {
	return func(e announce.Event) {
		if l, ok := e.(announce.Listening); ok {
			a.mu.Lock()
			defer a.mu.Unlock()
			f.listens = l.Active
			e = announce.Listening{Active: !slices.ContainsFunc(a.families, func(f *family) bool { return !f.listens })}
		}
		observe(e)
	}
}

// parts returns what has to run until the Manager has ended.
func (a *announcing) parts() (out []func(context.Context) error) {
	for _, f := range a.families {
		out = append(out, f.announcer.Run, f.listener.Run)
	}
	return append(out, a.inquiry.run)
}

// watch sets the interface on which claims are heard.
func (a *announcing) watch(index int, mac net.HardwareAddr) {
	for _, f := range a.families {
		f.listener.Watch(index, mac)
	}
}

// Announce implements vip.Announcer.
func (a *announcing) Announce(p vip.Places) {
	for _, f := range a.families {
		if t, ok := f.target(p); ok {
			f.announcer.Announce(t)
		}
	}
}

// Silence implements vip.Announcer.
func (a *announcing) Silence() {
	for _, f := range a.families {
		f.announcer.Silence()
	}
}

// Defend implements vip.Announcer.
func (a *announcing) Defend() {
	for _, f := range a.families {
		f.announcer.Defend()
	}
}

// Probe implements vip.Announcer.
func (a *announcing) Probe(p vip.Places) {
	for _, f := range a.families {
		if t, ok := f.target(p); ok {
			if now, err := a.snapshot(); err == nil {
				t.Own = linkLocal(now, t.Index)
			}
			f.announcer.Probe(t)
		}
	}
}

// Inquire implements vip.Announcer.
func (a *announcing) Inquire(p vip.Places) { a.inquiry.start(p) }

// target returns what to announce. All places are on one link, see network.Look. ok is false for a
// link without a MAC, which is not usable.
func (f *family) target(p vip.Places) (t announce.Target, ok bool) {
	l := p.First()
	mac, err := net.ParseMAC(l.MAC)
	t = announce.Target{Index: l.Index, MAC: mac}
	for _, at := range p {
		if f.has(at.Addr) {
			t.Addresses = append(t.Addresses, at.Addr)
		}
	}
	return t, err == nil && len(t.Addresses) > 0
}

// linkLocal returns the link-local address of an interface, the zero address for none.
func linkLocal(now *netif.Snapshot, index int) netip.Addr {
	for _, a := range now.On(index) {
		if ip := a.Prefix.Addr(); ip.Is6() && ip.IsLinkLocalUnicast() && !a.Ours {
			return ip
		}
	}
	return netip.Addr{}
}
