package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/vipd-io/vipd/pkg/arp"
	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/doctor"
	"github.com/vipd-io/vipd/pkg/status"
)

const (
	// peersTimeout bounds the asking of all nodes.
	peersTimeout = 1500 * time.Millisecond
	// overhearFor is how long --slow listens.
	overhearFor = 30 * time.Second
)

// peers asks this node's vipd, and those of the other nodes where their statuses are open
// to it: by default they are told on loopback only. Who does not answer is left out.
func (c *consultation) peers(ctx context.Context) (doctor.Peers, error) {
	if c.asked == nil {
		return doctor.Peers{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, peersTimeout)
	defer cancel()
	own := answer{Address: c.listening}
	if own.get(ctx, statusPath); own.Err != nil {
		return doctor.Peers{}, own.Err
	}
	others := neighbours(own.Status, c.listening)
	open := openToOthers(own.Status.Configuration["status-address"])
	var asking sync.WaitGroup
	for i := range others {
		if others[i].Err = errUnasked; open {
			asking.Go(func() { others[i].get(ctx, statusPath) })
		}
	}
	asking.Wait()
	return peersOf(own.Status, others), nil
}

var errUnasked = errors.New("not asked")

// openToOthers tells whether other nodes can ask for a status that is told there.
func openToOthers(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil || host == "localhost" {
		return false
	}
	a, err := netip.ParseAddr(host)
	return err != nil || !a.IsLoopback() // without a host it is on all addresses
}

// peersOf puts together what was answered. Each status is compared with its own clock.
func peersOf(own status.Status, others []answer) doctor.Peers {
	p := doctor.Peers{Refresh: arp.Refresh, Views: []doctor.View{viewOf(own)}}
	p.Views[0].Self = true
	holding := own.State == "holding" && own.Fence.Open
	switch l := own.Lease; {
	case holding && l.Holder == own.Node:
		p.Holder, p.MAC, p.Holds, p.Announced = own.Node, own.Interface.MAC, ago(own, &own.Since), ago(own, own.Announcements.Last)
	case !holding && l.Known && l.Holder != "" && l.Holder != own.Node && float64(l.RenewedMS) < 1000*l.DurationSeconds:
		p.Holder, p.MAC, p.Holds = l.Holder, strings.ToLower(l.HolderMAC), ago(own, &l.HolderSince)
	default:
		return doctor.Peers{} // it is changing, or not known
	}
	for _, o := range others {
		where := hostOf(o.Seen.Server)
		if o.Seen.Node == p.Holder {
			p.HolderAddress = where
		}
		if o.Err != nil || o.Status.Node == own.Node {
			continue
		}
		if o.Status.Node == p.Holder {
			if o.Status.State != "holding" || o.Status.Interface.MAC != p.MAC {
				return doctor.Peers{} // it is changing
			}
			p.Holds, p.Announced = min(p.Holds, ago(o.Status, &o.Status.Since)), ago(o.Status, o.Status.Announcements.Last)
		}
		v := viewOf(o.Status)
		v.Address = where
		p.Views = append(p.Views, v)
	}
	if p.Holder != own.Node && !p.HolderAddress.IsValid() {
		return doctor.Peers{} // a machine that is none of the control plane: D18 tells
	}
	return p
}

func viewOf(s status.Status) doctor.View {
	v := doctor.View{Node: s.Node, Listens: ago(s, s.Heard.Since), Neighbour: s.Heard.Neighbour,
		Reaches: s.Configuration["probe-interval"] != "off" && s.State == "standby" && (s.Outage == nil || s.Outage.Ended != nil)}
	for _, m := range s.Heard.Machines {
		v.Heard = append(v.Heard, doctor.Heard{MAC: m.MAC, Frames: m.Frames, Last: ago(s, &m.Last), Announced: ago(s, m.LastAnnounced)})
	}
	return v
}

// ago is how long before a status something was, by the clock of the node that tells it; 0
// if it was not.
func ago(s status.Status, t *time.Time) time.Duration {
	if t == nil || t.IsZero() {
		return 0
	}
	return max(s.Time.Sub(*t), time.Nanosecond)
}

// hostOf is the address of a server; it may be a name, which is not asked for.
func hostOf(server string) netip.Addr {
	a, err := netip.ParseAddrPort(server)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}

// overhear listens, if there is the time.
func (c *consultation) overhear() func(context.Context, doctor.Link) ([]doctor.Sighting, error) {
	if !c.opts.Slow {
		return nil
	}
	return func(ctx context.Context, l doctor.Link) ([]doctor.Sighting, error) {
		all, err := arp.Overhear(ctx, l.Index, c.vip, overhearFor)
		now := boottime.Now()
		var out []doctor.Sighting
		for _, o := range all {
			out = append(out, doctor.Sighting{MAC: o.MAC.String(), Ago: now.Sub(o.At)})
		}
		return out, err
	}
}
