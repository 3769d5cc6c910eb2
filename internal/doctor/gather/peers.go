package gather

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/vipd-io/vipd/internal/ask"
	"github.com/vipd-io/vipd/internal/doctor"
	"github.com/vipd-io/vipd/internal/status"
	"github.com/vipd-io/vipd/pkg/announce"
	"github.com/vipd-io/vipd/pkg/arp"
	"github.com/vipd-io/vipd/pkg/boottime"
)

const (
	// peersTimeout bounds the queries to all nodes.
	peersTimeout = 1500 * time.Millisecond
	// ListenFor is the listening time of --slow.
	ListenFor = 30 * time.Second
)

// peers queries the vipd of this node, and the vipds of other nodes if their status servers do
// not listen on loopback only, as they do by default. Nodes without an answer are omitted.
func (r *Request) peers(ctx context.Context) (doctor.Peers, error) {
	if r.Status == nil {
		return doctor.Peers{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.Scale(peersTimeout))
	defer cancel()
	own := ask.Answer{Address: r.StatusAddress}
	if own.Get(ctx, ask.StatusPath); own.Err != nil {
		return doctor.Peers{}, own.Err
	}
	others := ask.Neighbours(own.Status, r.StatusAddress)
	open := openToOthers(own.Status.Configuration["status-address"])
	var queries sync.WaitGroup
	for i := range others {
		if others[i].Err = errNotAsked; open {
			queries.Go(func() { others[i].Get(ctx, ask.StatusPath) })
		}
	}
	queries.Wait()
	return peersOf(own.Status, others), nil
}

var errNotAsked = errors.New("not asked")

// openToOthers reports whether other nodes can reach a status server at an address.
func openToOthers(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil || host == "localhost" {
		return false
	}
	a, err := netip.ParseAddr(host)
	return err != nil || !a.IsLoopback() // an empty host listens on all addresses
}

// peersOf combines the answers. Ages in a status are relative to that status's own clock.
func peersOf(own status.Status, others []ask.Answer) doctor.Peers {
	p := doctor.Peers{Refresh: announce.Refresh, Views: []doctor.View{viewOf(own)}}
	p.Views[0].Self = true
	holding := own.State == "holding" && own.Fence.Open
	switch l := own.Lease; {
	case holding && l.Holder == own.Node:
		p.Holder, p.MAC, p.HeldFor, p.Announced = own.Node, own.Interface.MAC, ago(own, &own.Since), ago(own, own.Announcements.Last)
	case !holding && l.Known && l.Holder != "" && l.Holder != own.Node && float64(l.RenewedMS) < 1000*l.DurationSeconds:
		p.Holder, p.MAC, p.HeldFor = l.Holder, strings.ToLower(l.HolderMAC), ago(own, &l.HolderSince)
	default:
		return doctor.Peers{} // the holder is unknown, or changing
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
				return doctor.Peers{} // the holder is changing
			}
			p.HeldFor, p.Announced = min(p.HeldFor, ago(o.Status, &o.Status.Since)), ago(o.Status, o.Status.Announcements.Last)
		}
		v := viewOf(o.Status)
		v.Address = where
		p.Views = append(p.Views, v)
	}
	if p.Holder != own.Node && !p.HolderAddress.IsValid() {
		return doctor.Peers{} // no control-plane node: D18 reports it
	}
	return p
}

func viewOf(s status.Status) doctor.View {
	v := doctor.View{Node: s.Node, ListeningFor: ago(s, s.Heard.Since), Neighbour: s.Heard.Neighbour,
		ReachesVIP: s.Configuration["probe-interval"] != "off" && s.State == "standby" && (s.Outage == nil || s.Outage.Ended != nil)}
	for _, m := range s.Heard.Machines {
		v.Claimants = append(v.Claimants, doctor.Claimant{MAC: m.MAC, Frames: m.Frames, Last: ago(s, &m.Last), Announced: ago(s, m.LastAnnounced)})
	}
	return v
}

// ago returns the age of a time in a status, by the clock of the reporting node, or 0 without a
// time.
func ago(s status.Status, t *time.Time) time.Duration {
	if t == nil || t.IsZero() {
		return 0
	}
	return max(s.Time.Sub(*t), time.Nanosecond)
}

// hostOf returns the IP address of a server, invalid for a DNS name.
func hostOf(server string) netip.Addr {
	a, err := netip.ParseAddrPort(server)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}

// listenForClaims returns the query that records claims, or nil without --slow.
func (r *Request) listenForClaims() func(context.Context, doctor.Link) ([]doctor.Claim, error) {
	if !r.Slow {
		return nil
	}
	return func(ctx context.Context, l doctor.Link) ([]doctor.Claim, error) {
		all, err := arp.CollectClaims(ctx, l.Index, r.VIP, ListenFor)
		now := boottime.Now()
		var out []doctor.Claim
		for _, o := range all {
			out = append(out, doctor.Claim{MAC: o.MAC.String(), Ago: now.Sub(o.At)})
		}
		return out, err
	}
}
