package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vipd-io/vipd/internal/nstest"
	"github.com/vipd-io/vipd/internal/status"
	"github.com/vipd-io/vipd/internal/statustest"
	"github.com/vipd-io/vipd/pkg/announce"
	"github.com/vipd-io/vipd/pkg/arp"
)

// In these tests n2 is a real vipd, a standby without an API server, which listens for ARP. The
// node's own status is simulated; e2e/suites/doctor has a whole control plane.

// standby runs vipd as n2, and returns its status after it has listened for so long.
func (s *site) standby(long time.Duration) func() status.Status {
	s.t.Helper()
	h := &host{NS: s.holder, t: s.t}
	h.start("--node-name", "n2", "--status-address", ":2112")
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (c net.Conn, err error) {
		err = s.holder.Do(func() error {
			c, err = (&net.Dialer{}).DialContext(ctx, network, address)
			return err
		})
		return c, err
	}}}
	ask := func() (st status.Status) {
		answer, err := client.Get("http://127.0.0.1:2112/status")
		if err != nil {
			return st
		}
		defer func() { _ = answer.Body.Close() }()
		must(s.t, json.NewDecoder(answer.Body).Decode(&st))
		return st
	}
	s.listens(ask, long)
	return ask
}

// listens returns after n2 has listened for so long.
func (s *site) listens(ask func() status.Status, long time.Duration) {
	s.t.Helper()
	s.await("n2 has listened for "+long.String(), func() bool {
		st := ask()
		return st.Heard.Since != nil && st.Time.Sub(*st.Heard.Since) > long
	})
}

func (s *site) await(what string, is func() bool) {
	s.t.Helper()
	for end := time.Now().Add(2 * time.Minute); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("not so within 2 min: %s", what)
		}
	}
}

// arpIn is ARP in a network namespace.
type arpIn struct {
	arp.Protocol
	ns *nstest.NS
}

func (a arpIn) Open(index int) (c announce.Conn, err error) {
	err = a.ns.Do(func() error { c, err = a.Protocol.Open(index); return err })
	return c, err
}

// announce makes a machine announce the VIP once; it tries again if the send timed out on a busy
// machine.
func (s *site) announce(ns *nstest.NS) {
	s.t.Helper()
	l := ns.Link("eth0").Attrs()
	s.await("an announcement", func() (sent bool) {
		a := announce.NewAnnouncer(announce.Options{Protocol: arpIn{ns: ns}, Holds: func() bool { return true },
			Observe: func(e announce.Event) {
				err := e.(announce.Announced).Err
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					must(s.t, err)
				}
				sent = err == nil
			}})
		a.Announce(announce.Target{Index: l.Index, MAC: l.HardwareAddr, Addresses: []netip.Addr{s.vip}})
		a.Silence()
		return sent
	})
}

// holdFor makes the node hold the VIP for some time, as its status says; the last announcement was
// some time ago.
func (s *site) holdFor(long, announced time.Duration) {
	s.t.Helper()
	s.hold()
	s.tells = ":2112"
	s.status.Since, s.status.Lease.HolderSince = statustest.Noon.Add(-long), statustest.Noon.Add(-long)
	s.status.Interface.MAC = s.node.Link("eth0").Attrs().HardwareAddr.String()
	s.status.Announcements = status.Announcements{Sent: 9, Last: new(statustest.Noon.Add(-announced))}
}

// dropsARP makes the switch drop the node's ARP packets about the VIP to the other node.
func (s *site) dropsARP() {
	s.t.Helper()
	s.run(s.hub, "nft", "add table bridge filter; add chain bridge filter forward { type filter hook forward priority filter; }; "+
		"add rule bridge filter forward iifname port0 oifname port2 arp saddr ip "+testVIP+" counter drop")
}

func (s *site) mac(ns *nstest.NS) string { return ns.Link("eth0").Attrs().HardwareAddr.String() }

func TestDoctorAsksPeers(t *testing.T) {
	const dropped, rival, well = "The network between the nodes drops announcements", "Another machine claims the VIP at times", "All is well"
	diagnose(t, []diagnosis{
		{name: "the switch drops announcements", fault: func(s *site) {
			s.holdFor(7*time.Second, 4*time.Second)
			s.dropsARP()
			s.standby(7 * time.Second)
			s.announce(s.node)
		}, want: []found{{"D24", "error", "deaf", "n2 does not receive the announcements of n1 for " + testVIP + " (...): none in 7s"}}, verdict: []string{dropped}},
		{name: "announcements are heard", fault: func(s *site) {
			s.holdFor(7*time.Second, 4*time.Second)
			ask := s.standby(3 * time.Second)
			s.announce(s.node) // at most 10 s before the doctor runs; an earlier announcement would count as an earlier holder's
			s.listens(ask, 7*time.Second)
		}, verdict: []string{well}},
		{name: "too early to tell", fault: func(s *site) {
			s.holdFor(7*time.Second, 500*time.Millisecond)
			s.dropsARP()
			s.standby(0)
		}, verdict: []string{well}},
		{name: "peers that tell on loopback only", fault: func(s *site) {
			s.holdFor(7*time.Second, 4*time.Second)
			s.dropsARP()
			s.tells = "127.0.0.1:2112"
			s.standby(7 * time.Second)
		}, verdict: []string{well}},
		{name: "a stranger claims it at times", fault: func(s *site) {
			s.holdFor(time.Minute, 4*time.Second)
			ask := s.standby(0)
			s.announce(s.node)
			s.announce(s.stranger)
			s.await("n2 hears it", func() bool { return len(ask().Heard.Machines) == 2 })
		}, want: []found{{"D23", "error", "rival", "two machines claim " + testVIP + ": ... (n1, which holds the Lease) and ...: n2 received its claims "}}, verdict: []string{rival}},
		{name: "a stranger claimed it under an earlier holder", fault: func(s *site) {
			s.holdFor(7*time.Second, 4*time.Second)
			ask := s.standby(0)
			s.announce(s.stranger)
			s.listens(ask, 4*time.Second)
			s.announce(s.node)
			s.listens(ask, 8*time.Second)
		}, verdict: []string{well}},
		{name: "a stranger answers as well", fault: func(s *site) { // D09 reports it
			s.holdFor(time.Minute, 4*time.Second)
			ask := s.standby(0)
			s.stranger.AddAddr("eth0", testVIP+"/32")
			s.announce(s.node)
			s.announce(s.stranger)
			s.await("n2 hears it", func() bool { return len(ask().Heard.Machines) == 2 })
		}, want: []found{{"D09", "error", "stranger", "this node holds the VIP, and ... answers"}}, verdict: []string{"Another machine answers for the VIP."}},
		{name: "a peer's kernel sends elsewhere", fault: func(s *site) {
			s.holdFor(5*time.Minute, 4*time.Second)
			ask := s.standby(0)
			s.announce(s.node)
			s.holder.SetNeighbour("eth0", s.vip, s.stranger.Link("eth0").Attrs().HardwareAddr)
			s.await("n2 reports it", func() bool { return ask().Heard.Neighbour == s.mac(s.stranger) })
		}, want: []found{{"D23", "error", "rival", "n2 sends packets for the VIP to this machine"}}, verdict: []string{rival}},
		{name: "this standby hears nothing of the holder", fault: func(s *site) {
			s.status.Lease.HolderMAC = s.mac(s.holder)
			s.status.Heard = status.Heard{Since: new(statustest.Noon.Add(-time.Hour))}
		}, want: []found{{"D24", "error", "deaf", "n1 does not receive the announcements of n2 for " + testVIP + " (...): none in 1h0m0s"}}, verdict: []string{dropped}},
		{name: "this standby hears the holder", fault: func(s *site) {
			s.status.Lease.HolderMAC = s.mac(s.holder)
			s.status.Heard = status.Heard{Since: new(statustest.Noon.Add(-time.Hour)),
				Machines: []status.Machine{{MAC: s.mac(s.holder), Frames: 9, Announcements: 9, Last: statustest.Noon.Add(-time.Second), LastAnnounced: new(statustest.Noon.Add(-25 * time.Second))}}}
		}, verdict: []string{well}},
		{name: "this standby is answered by another machine", fault: func(s *site) {
			s.status.Lease.HolderMAC = s.mac(s.router) // the lease names another MAC for n2 than the one that answers
		}, want: []found{{"D23", "error", "rival", "this machine answers ARP now, and the holder does not"}}, verdict: []string{rival}},
	})
}

// TestDoctorListens: with --slow, a machine without a vipd detects two machines that claim the VIP
// in turn.
func TestDoctorListens(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.status, s.own, s.args = nil, server{}, []string{"--worker", "--address", testVIP, "--slow"}
	s.furnish()
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for _, ns := range []*nstest.NS{s.holder, s.stranger, s.holder, s.stranger} {
			select {
			case <-done:
				return
			case <-time.After(5 * time.Second):
				s.announce(ns)
			}
		}
	}()
	exit, got := s.examine()
	close(done)
	<-ended
	diagnosis{want: []found{{"D23", "error", "in turn", "2 machines claim " + testVIP + " in turn: "}}, verdict: []string{"Another machine claims the VIP at times"}}.compare(t, exit, got)
}
