package main

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/config"
	"github.com/vipd-io/vipd/pkg/election"
	"github.com/vipd-io/vipd/pkg/health"
	"github.com/vipd-io/vipd/pkg/kubeapi"
	"github.com/vipd-io/vipd/pkg/reach"
	"github.com/vipd-io/vipd/pkg/status"
	"github.com/vipd-io/vipd/pkg/vip"
)

// listener is a reporter on n1, with what it says.
type listener struct {
	*reporter
	t    *testing.T
	said []string
}

func listen(t *testing.T) *listener {
	timing, err := election.NewTiming(3*time.Second, 0)
	must(t, err)
	l := &listener{t: t, reporter: newReporter(config.Config{Node: "n1"}, timing, "nftables", nil, nil)}
	l.say = func(warning bool, reason, message string) {
		l.said = append(l.said, fmt.Sprintf("%v %s %s", warning, reason, message))
	}
	return l
}

// ms is an instant.
func ms(n int) boottime.Instant { return boottime.Instant(time.Hour) + boottime.Instant(n)*1e6 }

func deeds(at int, what ...vip.What) []vip.Deed {
	var out []vip.Deed
	for i, w := range what {
		out = append(out, vip.Deed{What: w, At: ms(at + i)})
	}
	return out
}

// expect compares the history, the oldest first, and the Events.
func (l *listener) expect(changes []string, said ...string) {
	l.t.Helper()
	_, h := l.board.Documents()
	var got []string
	for _, c := range h.Changes {
		line := fmt.Sprintf("%s %q %d %.3f %s:", c.Kind, c.Holder, c.Term, c.Seconds, c.Cause)
		for _, p := range c.Phases {
			line += fmt.Sprintf(" %s +%g", p.What, p.AfterMS)
		}
		got = append([]string{line}, got...)
	}
	if d := cmp.Diff(changes, got); d != "" {
		l.t.Errorf("history (-want +got):\n%s", d)
	}
	if d := cmp.Diff(said, l.said); d != "" {
		l.t.Errorf("events (-want +got):\n%s", d)
	}
}

// TestTakeAndLeave: the holder goes silent, n1 takes the address and gives it away.
func TestTakeAndLeave(t *testing.T) {
	l := listen(t)
	l.saw(election.Sight{Holder: "n2", Term: 4, At: ms(0), Wait: 3 * time.Second})
	l.saw(election.Sight{Holder: "n2", Term: 4, At: ms(1000), Wait: 3 * time.Second})
	l.managed(vip.News{At: ms(1001), State: vip.State{Phase: vip.Standby, Link: vip.Link{Name: "eth0", MAC: "m1", Up: true}}})
	l.saw(election.Sight{Holder: "n1", MAC: "m1", Term: 5, At: ms(4010), Wait: 3 * time.Second})
	l.stands(election.Standing{Held: true, Term: 5, Claim: election.Claim{Over: "foreign", Seen: ms(1000), Free: ms(4000), Sent: ms(4001), Written: ms(4010)}})
	holding := vip.State{Phase: vip.Holding, Cause: "the lease of n2 expired", Grant: vip.Grant{Term: 5, Holder: "n1"}, Ours: true, Link: vip.Link{Name: "eth0", MAC: "m1", Up: true}}
	l.managed(vip.News{At: ms(4015), State: holding, Until: ms(6850), Deeds: deeds(4011, vip.Opened, vip.Added, vip.Announced)})
	s := l.board.Status()
	if s.State != "holding" || s.Cause != "the lease of n2 expired" || s.Interface.Name != "eth0" || s.Lease.Holder != "n1" || s.Lease.Term != 5 || s.Lease.DurationSeconds != 3 {
		t.Errorf("status %+v", s)
	}
	taken := `taken "n1" 5 3.013 the lease of n2 expired: last renewal seen +0 lease free +3000 claim sent +3001 claim written +3010 fence opened +3011 address added +3012 announced +3013`
	said := []string{"false VIPTaken n1 holds the VIP, term 5, 3.013s: the lease of n2 expired"}
	l.expect([]string{taken}, said...)

	// A renewal is no change.
	l.managed(vip.News{At: ms(5000), State: holding, Until: ms(7850)})
	l.expect([]string{taken}, said...)

	leaving := vip.State{Phase: vip.Withdrawing, Cause: "asked to move to n3", Grant: holding.Grant}
	l.managed(vip.News{At: ms(6000), State: leaving, Deeds: deeds(5990, vip.Silenced, vip.Closed, vip.Removed)})
	leaving.Phase = vip.Standby
	l.managed(vip.News{At: ms(6003), State: leaving, Deeds: deeds(6002, vip.Released)})
	left := `left "" 5 0.012 asked to move to n3: announcing ended +0 fence closed +1 address removed +2 lease released +12`
	said = append(said, "false VIPReleased n1 gave the VIP away: asked to move to n3")
	l.expect([]string{taken, left}, said...)

	l.saw(election.Sight{Term: 5, At: ms(6003)})
	if again := l.saw(election.Sight{Term: 5, At: ms(6004)}); again {
		t.Error("no holder, again, is a change")
	}
	if !l.saw(election.Sight{Holder: "n3", Term: 6, At: ms(6020)}) {
		t.Error("another holder is no change")
	}
	moved := `moved "n3" 6 0.017 n1 released the lease: last seen of n1 +0 seen without a holder +1993 seen held by n3 +2010`
	l.expect([]string{taken, left, moved}, said...)
}

// TestLost: the fence of a holder closes, and nothing is left to release.
func TestLost(t *testing.T) {
	l := listen(t)
	s := vip.State{Phase: vip.Withdrawing, Cause: "the lease went to n2", Grant: vip.Grant{Term: 6, Holder: "n2"}}
	l.managed(vip.News{At: ms(1), State: s, Deeds: deeds(0, vip.Silenced)}) // the address could not be removed at once
	l.managed(vip.News{At: ms(50), State: s, Deeds: deeds(50, vip.Silenced, vip.Closed, vip.Removed)})
	s.Phase = vip.Standby
	l.managed(vip.News{At: ms(53), State: s})
	l.managed(vip.News{At: ms(60), State: s, Deeds: deeds(60, vip.Released)}) // an end without anything to release
	l.expect([]string{`left "n2" 6 0.052 the lease went to n2: announcing ended +0 announcing ended +50 fence closed +51 address removed +52`},
		"true VIPLost n1 holds the VIP no more: the lease went to n2")
}

// TestTroubles: repairs, claims by others, refusals; each as often as is of use.
func TestTroubles(t *testing.T) {
	l := listen(t)
	s := vip.State{Phase: vip.Holding, Grant: vip.Grant{Term: 1, Holder: "n1"}}
	l.managed(vip.News{At: ms(0), State: s, Deeds: []vip.Deed{{What: vip.Added, At: ms(0)}, {What: vip.Announced, At: ms(1)}, {What: vip.Repaired, At: ms(2), Detail: "the address was removed"}}})
	for i := range 3 { // at one MAC, a second apart
		s.Rival = vip.Rival{Claims: i + 1, MAC: "m9"}
		l.managed(vip.News{At: ms(1000 * i), State: s})
	}
	s.Phase, s.Rival = vip.Standby, vip.Rival{Claims: 9, MAC: "m2"} // that is the holder
	l.managed(vip.News{At: ms(9000), State: s})
	s.Phase = vip.Holding
	l.managed(vip.News{At: ms(9500), State: s, Deeds: []vip.Deed{{What: vip.Refused, At: ms(9500), Detail: "no other node is ready"}}})
	l.expect([]string{
		`repaired "n1" 1 0.000 the address was removed: address added +0 announced +1 put right +2`,
		`conflict "n1" 1 0.000 another machine claims the VIP, at m9:`,
		`refused "n1" 1 0.000 no other node is ready:`,
	},
		"true VIPRepaired the address was removed: put right on n1",
		"true VIPConflict m9 claims the VIP, which n1 holds: find that machine and take the address away there")
	if st := l.board.Status(); st.Conflicts.Count != 3 || st.Conflicts.MAC != "m9" || st.Repairs != 1 {
		t.Errorf("status %+v, %d repairs", st.Conflicts, st.Repairs)
	}
}

func TestOutageIsReported(t *testing.T) {
	l := listen(t)
	l.saw(election.Sight{Holder: "n2", Term: 4, At: ms(0)})
	o := reach.Outage{Began: ms(100), Err: errors.New("connection refused")}
	l.dark(o)
	if s := l.board.Status(); s.Outage == nil || s.Outage.Ended != nil {
		t.Errorf("while it lasts: %+v", s.Outage)
	}
	o.Ended = ms(2100)
	l.dark(o)
	l.expect([]string{`dark "n2" 4 2.000 the VIP did not answer n1: connection refused: first question without an answer +0 answered +2000`})
	if s := l.board.Status(); s.Outage.Ended == nil || s.Outage.Seconds != 2 || s.Outage.Error != "connection refused" {
		t.Errorf("afterwards: %+v", s.Outage)
	}
}

func TestServersAreReported(t *testing.T) {
	l := listen(t)
	l.serversAre(kubeapi.Roll{Peers: []kubeapi.Member{{Node: "n2", Server: "b", Leaving: "node n2 is cordoned"}, {Node: "n3", Server: "c"}}},
		health.State{Local: health.Server{Name: "a", Verdict: health.NotReady, Why: "nobody listens"}, Peers: []health.Server{{Name: "b", Verdict: health.Ready}}})
	want := []status.APIServer{{Node: "n1", Server: "a", Local: true, State: "not ready", Reason: "nobody listens"},
		{Node: "n2", Server: "b", State: "ready", Leaving: "node n2 is cordoned"}, {Node: "n3", Server: "c", State: "unknown"}}
	if d := cmp.Diff(want, l.board.Status().APIServers); d != "" {
		t.Errorf("servers (-want +got):\n%s", d)
	}
}

// TestConfigurationInForce: every setting is told, under its name.
func TestConfigurationInForce(t *testing.T) {
	c, err := config.Parse(config.Values{"address": {"192.168.35.100"}, "kubeconfig": {"/a", "/b"}, "node-name": {"n1"}})
	must(t, err)
	timing, err := election.NewTiming(c.LeaseDuration, c.RenewInterval)
	must(t, err)
	got := inForce(c, timing)
	for _, s := range config.Settings {
		if _, ok := got[s.Name]; !ok && s.Name != "profile" { // which lease-duration tells
			t.Errorf("--%s is not told", s.Name)
		}
	}
	for name, want := range map[string]string{"address": "192.168.35.100", "kubeconfig": "/a:/b", "lease-duration": "3s", "renew-interval": "1s", "probe-interval": "1s"} {
		if got[name] != want {
			t.Errorf("--%s = %q, want %q", name, got[name], want)
		}
	}
}
