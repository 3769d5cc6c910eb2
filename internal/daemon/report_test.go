package daemon

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vipd-io/vipd/internal/config"
	"github.com/vipd-io/vipd/internal/reach"
	"github.com/vipd-io/vipd/internal/status"
	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/election"
	"github.com/vipd-io/vipd/pkg/health"
	"github.com/vipd-io/vipd/pkg/kubeapi"
	"github.com/vipd-io/vipd/pkg/vip"
)

// listener is a reporter on n1 with its recorded Events.
type listener struct {
	*reporter
	t    *testing.T
	said []string
}

// testReporter returns a reporter on n1.
func testReporter() *reporter {
	b := status.NewBoard(status.BoardOptions{Node: "n1", FenceKind: "nftables", Certificates: func() []status.Certificate { return []status.Certificate{{}} }})
	return &reporter{node: "n1", board: b, metrics: status.NewMetrics(b)}
}

func listen(t *testing.T) *listener {
	l := &listener{t: t, reporter: testReporter()}
	l.say = func(warning bool, reason, message string) {
		l.said = append(l.said, fmt.Sprintf("%v %s %s", warning, reason, message))
	}
	return l
}

// ms returns an instant n milliseconds after a fixed one.
func ms(n int) boottime.Instant { return boottime.Instant(time.Hour) + boottime.Instant(n)*1e6 }

func recordOperations(at int, what ...vip.OperationKind) []vip.Operation {
	var out []vip.Operation
	for i, w := range what {
		out = append(out, vip.Operation{Kind: w, At: ms(at + i)})
	}
	return out
}

// expect compares the history, oldest first, and the Events.
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

// TestTakeAndLeave: the holder ends silently, n1 takes the VIP and releases it.
func TestTakeAndLeave(t *testing.T) {
	l := listen(t)
	l.leaseObserved(election.Observation{Holder: "n2", Term: 4, At: ms(0), Wait: 3 * time.Second})
	l.leaseObserved(election.Observation{Holder: "n2", Term: 4, At: ms(1000), Wait: 3 * time.Second})
	l.managerReported(vip.Report{At: ms(1001), State: vip.State{Phase: vip.Standby, Places: vip.Places{{Link: vip.Link{Name: "eth0", MAC: "m1", Up: true}}}}})
	l.leaseObserved(election.Observation{Holder: "n1", MAC: "m1", Term: 5, At: ms(4010), Wait: 3 * time.Second})
	l.statusChanged(election.Status{Held: true, Term: 5, Claim: election.Claim{Replaced: "foreign", Seen: ms(1000), Free: ms(4000), Sent: ms(4001), Written: ms(4010)}})
	holding := vip.State{Phase: vip.Holding, Cause: "the lease of n2 expired", Grant: vip.Grant{Term: 5, Holder: "n1"}, Present: vip.Whole, Places: vip.Places{{Link: vip.Link{Name: "eth0", MAC: "m1", Up: true}}}}
	l.managerReported(vip.Report{At: ms(4015), State: holding, Until: ms(6850), Operations: recordOperations(4011, vip.Opened, vip.Added, vip.Announced)})
	s := l.board.Status()
	if s.State != "holding" || s.Cause != "the lease of n2 expired" || s.Interface.Name != "eth0" || s.Lease.Holder != "n1" || s.Lease.Term != 5 || s.Lease.DurationSeconds != 3 {
		t.Errorf("status %+v", s)
	}
	taken := `taken "n1" 5 3.013 the lease of n2 expired: last renewal seen +0 lease free +3000 claim sent +3001 claim written +3010 fence opened +3011 address added +3012 announced +3013`
	said := []string{"false VIPTaken n1 holds the VIP, term 5, 3.013s: the lease of n2 expired"}
	l.expect([]string{taken}, said...)

	// A renewal is not recorded.
	l.managerReported(vip.Report{At: ms(5000), State: holding, Until: ms(7850)})
	l.expect([]string{taken}, said...)

	leaving := vip.State{Phase: vip.Withdrawing, Cause: "asked to move to n3", Grant: holding.Grant}
	l.managerReported(vip.Report{At: ms(6000), State: leaving, Operations: recordOperations(5990, vip.Silenced, vip.Closed, vip.Removed)})
	leaving.Phase = vip.Standby
	l.managerReported(vip.Report{At: ms(6003), State: leaving, Operations: recordOperations(6002, vip.Released)})
	left := `left "" 5 0.012 asked to move to n3: announcing ended +0 fence closed +1 address removed +2 lease released +12`
	said = append(said, "false VIPReleased n1 released the VIP: asked to move to n3")
	l.expect([]string{taken, left}, said...)

	l.leaseObserved(election.Observation{Term: 5, At: ms(6003)})
	if again := l.leaseObserved(election.Observation{Term: 5, At: ms(6004)}); again {
		t.Error("no holder, again, is a change")
	}
	if !l.leaseObserved(election.Observation{Holder: "n3", Term: 6, At: ms(6020)}) {
		t.Error("another holder is no change")
	}
	moved := `moved "n3" 6 0.017 n1 released the lease: last seen of n1 +0 seen without a holder +1993 seen held by n3 +2010`
	l.expect([]string{taken, left, moved}, said...)
}

// TestLost: the fence of a holder closes, and there is nothing left to release.
func TestLost(t *testing.T) {
	l := listen(t)
	s := vip.State{Phase: vip.Withdrawing, Cause: "the lease went to n2", Grant: vip.Grant{Term: 6, Holder: "n2"}}
	l.managerReported(vip.Report{At: ms(1), State: s, Operations: recordOperations(0, vip.Silenced)}) // the address could not be removed at once
	l.managerReported(vip.Report{At: ms(50), State: s, Operations: recordOperations(50, vip.Silenced, vip.Closed, vip.Removed)})
	s.Phase = vip.Standby
	l.managerReported(vip.Report{At: ms(53), State: s})
	l.managerReported(vip.Report{At: ms(60), State: s, Operations: recordOperations(60, vip.Released)}) // nothing to release
	l.expect([]string{`left "n2" 6 0.052 the lease went to n2: announcing ended +0 announcing ended +50 fence closed +51 address removed +52`},
		"true VIPLost n1 no longer holds the VIP: the lease went to n2")
}

// TestRepairsAndClaimsAreReported: repairs, claims of others and refusals are recorded, within limits.
func TestRepairsAndClaimsAreReported(t *testing.T) {
	l := listen(t)
	s := vip.State{Phase: vip.Holding, Grant: vip.Grant{Term: 1, Holder: "n1"}}
	l.managerReported(vip.Report{At: ms(0), State: s, Operations: []vip.Operation{{Kind: vip.Added, At: ms(0)}, {Kind: vip.Announced, At: ms(1)}, {Kind: vip.Repaired, At: ms(2), Detail: "the address was removed"}}})
	for i := range 3 { // from one MAC, a second apart
		s.Rival = vip.Rival{Claims: i + 1, MAC: "m9"}
		l.managerReported(vip.Report{At: ms(1000 * i), State: s})
	}
	s.Phase, s.Rival = vip.Standby, vip.Rival{Claims: 9, MAC: "m2"} // the holder
	l.managerReported(vip.Report{At: ms(9000), State: s})
	s.Phase = vip.Holding
	l.managerReported(vip.Report{At: ms(9500), State: s, Operations: []vip.Operation{{Kind: vip.Refused, At: ms(9500), Detail: "no other node is ready"}}})
	l.expect([]string{
		`repaired "n1" 1 0.000 the address was removed: address added +0 announced +1 repaired +2`,
		`conflict "n1" 1 0.000 another machine claims the VIP, at m9:`,
		`refused "n1" 1 0.000 no other node is ready:`,
	},
		"true VIPRepaired the address was removed: repaired on n1",
		"true VIPConflict m9 claims the VIP, which n1 holds: find that machine and remove the address there")
	if st := l.board.Status(); st.Conflicts.Count != 3 || st.Conflicts.MAC != "m9" || st.Repairs != 1 {
		t.Errorf("status %+v, %d repairs", st.Conflicts, st.Repairs)
	}
}

// TestManyMACsClaim: claims from many MACs do not push other entries out of the history.
func TestManyMACsClaim(t *testing.T) {
	l := listen(t)
	s := vip.State{Phase: vip.Holding, Grant: vip.Grant{Term: 1, Holder: "n1"}}
	claim := func(at int, mac string) {
		s.Rival.Claims++
		s.Rival.MAC = mac
		l.managerReported(vip.Report{At: ms(at), State: s})
	}
	for i := range 1000 {
		claim(10*i, "m1")
		claim(10*i+5, "m2")
	}
	for i := range 1000 {
		claim(10000+10*i, fmt.Sprint("a", i))
	}
	claim(120_000, "m1")
	_, h := l.board.Documents()
	var macs []string
	for _, c := range h.Changes {
		macs = append(macs, strings.TrimPrefix(c.Cause, "another machine claims the VIP, at "))
	}
	if d := cmp.Diff([]string{"m1", "a2", "a1", "a0", "m2", "m1"}, macs); d != "" {
		t.Errorf("conflicts in the history, the last first (-want +got):\n%s", d)
	}
	if st := l.board.Status(); st.Conflicts.Count != 3001 {
		t.Errorf("%d claims were counted", st.Conflicts.Count)
	}
}

func TestOutageIsReported(t *testing.T) {
	l := listen(t)
	l.leaseObserved(election.Observation{Holder: "n2", Term: 4, At: ms(0)})
	o := reach.Outage{Began: ms(100), Err: errors.New("connection refused")}
	l.outageChanged(o)
	if s := l.board.Status(); s.Outage == nil || s.Outage.Ended != nil {
		t.Errorf("while it lasts: %+v", s.Outage)
	}
	o.Ended = ms(2100)
	l.outageChanged(o)
	l.expect([]string{`dark "n2" 4 2.000 the VIP did not answer n1: connection refused: first probe without an answer +0 answered +2000`})
	if s := l.board.Status(); s.Outage.Ended == nil || s.Outage.Seconds != 2 || s.Outage.Error != "connection refused" {
		t.Errorf("afterwards: %+v", s.Outage)
	}
}

func TestServersAreReported(t *testing.T) {
	l := listen(t)
	r := &nodeReporter{node: "n1", boards: []*status.Board{l.board}}
	r.serversChanged(kubeapi.Membership{Peers: []kubeapi.Member{{Node: "n2", Server: "b", Leaving: "node n2 is cordoned"}, {Node: "n3", Server: "c"}}},
		health.State{Local: health.Server{Name: "a", Verdict: health.NotReady, Why: "nobody listens"}, Peers: []health.Server{{Name: "b", Verdict: health.Ready}}})
	want := []status.APIServer{{Node: "n1", Server: "a", Local: true, State: "not ready", Reason: "nobody listens"},
		{Node: "n2", Server: "b", State: "ready", Leaving: "node n2 is cordoned"}, {Node: "n3", Server: "c", State: "unknown"}}
	if d := cmp.Diff(want, l.board.Status().APIServers); d != "" {
		t.Errorf("servers (-want +got):\n%s", d)
	}
}

// TestConfigurationInForce: every setting is listed under its name.
func TestConfigurationInForce(t *testing.T) {
	c, err := config.Parse(config.Values{"address": {"192.168.35.100"}, "kubeconfig": {"/a", "/b"}, "node-name": {"n1"}})
	must(t, err)
	timing, err := election.NewTiming(c.LeaseDuration, c.RenewInterval)
	must(t, err)
	got := inForce(c, timing)
	for _, s := range config.Settings {
		if _, ok := got[s.Name]; !ok && s.Name != "profile" { // part of lease-duration
			t.Errorf("--%s is not listed", s.Name)
		}
	}
	for name, want := range map[string]string{"address": "192.168.35.100", "kubeconfig": "/a:/b", "lease-duration": "3s", "renew-interval": "1s", "probe-interval": "1s"} {
		if got[name] != want {
			t.Errorf("--%s = %q, want %q", name, got[name], want)
		}
	}
}
