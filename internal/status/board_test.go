package status

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// clock provides both clocks of a board; the boot was an hour before midnight.
type clock struct{ since time.Duration }

func (c *clock) now() boottime.Instant { return boottime.Instant(time.Hour + c.since) }
func (c *clock) wall() time.Time {
	return time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC).Add(c.since)
}

// ago returns the instant before d.
func (c *clock) ago(d time.Duration) boottime.Instant { return c.now().Add(-d) }

func newTestBoard(c *clock) *Board {
	return NewBoard(BoardOptions{Node: "n1", Version: "v0", VIPs: []VIP{{Address: "192.168.35.100", Port: 6443}}, Namespace: "kube-system",
		Name: "plndr-cp-lock", FenceKind: "nftables", Configuration: map[string]string{"port": "6443"}, Now: c.now, Wall: c.wall,
		Certificates: func() []Certificate {
			return []Certificate{{Kubeconfig: "/etc/kubernetes/vipd.conf", Expires: time.Date(2026, 12, 3, 0, 0, 0, 0, time.UTC)}}
		}})
}

// healthy sets the facts of a healthy holder.
func healthy(c *clock) func(*Facts) {
	return func(f *Facts) {
		*f = Facts{State: "holding", Since: c.ago(time.Minute), Cause: "n2 released the lease", Candidate: true, Present: true,
			Interface:  Interface{Name: "eth0", MAC: "02:00:00:00:00:01", Up: true},
			Lease:      LeaseFacts{Known: true, Holder: "n1", MAC: "02:00:00:00:00:01", HolderSince: c.ago(time.Minute), Term: 7, Duration: 3 * time.Second, Seen: c.ago(400 * time.Millisecond)},
			Until:      c.now().Add(2400 * time.Millisecond),
			APIServers: []APIServer{{Node: "n1", Server: "127.0.0.1:6443", Local: true, State: "ready"}, {Node: "n2", Server: "192.168.35.12:6443", State: "ready"}},
		}
	}
}

func TestStatusOfAHolder(t *testing.T) {
	c := &clock{}
	b := newTestBoard(c)
	c.since = time.Hour
	b.Update(healthy(c))
	s := b.Status()
	when := func(d time.Duration) time.Time { return c.wall().Add(-d) }
	want := Status{Schema: "v1", Time: c.wall(), Node: "n1", Version: "v0", Started: when(time.Hour), Health: Healthy, Problems: []string{},
		State: "holding", Since: when(time.Minute), Cause: "n2 released the lease", Candidate: true,
		VIPs:      []VIP{{Address: "192.168.35.100", Port: 6443, Present: true}},
		Interface: Interface{Name: "eth0", MAC: "02:00:00:00:00:01", Up: true},
		Lease: Lease{Namespace: "kube-system", Name: "plndr-cp-lock", Known: true, Holder: "n1", HolderMAC: "02:00:00:00:00:01", HolderSince: when(time.Minute),
			Term: 7, DurationSeconds: 3, RenewedMS: 400, DeadlineMS: 2400},
		Fence:         Fence{Kind: "nftables", Open: true, OpenMS: 2400},
		Heard:         Heard{Machines: []Machine{}},
		APIServers:    []APIServer{{Node: "n1", Server: "127.0.0.1:6443", Local: true, State: "ready"}, {Node: "n2", Server: "192.168.35.12:6443", State: "ready"}},
		Certificates:  []Certificate{{Kubeconfig: "/etc/kubernetes/vipd.conf", Expires: time.Date(2026, 12, 3, 0, 0, 0, 0, time.UTC)}},
		Configuration: map[string]string{"port": "6443"},
	}
	if d := cmp.Diff(want, s); d != "" {
		t.Errorf("status (-want +got):\n%s", d)
	}
	// No more updates, as from a process that hangs: the values follow the clock.
	c.since += 3 * time.Second
	if s := b.Status(); s.Fence.Open || s.Lease.DeadlineMS != 0 || s.Lease.RenewedMS != 3400 {
		t.Errorf("after the deadline: %+v", s)
	}
}

// TestProblems: the text of each problem, and the resulting health.
func TestProblems(t *testing.T) {
	for name, tt := range map[string]struct {
		health, says string
		change       func(*clock, *Facts)
	}{
		"not read yet":   {NoHolder, "was not read yet", func(_ *clock, f *Facts) { f.Lease = LeaseFacts{} }},
		"no holder":      {NoHolder, "names no holder", func(_ *clock, f *Facts) { f.Lease.Holder = "" }},
		"holder is gone": {NoHolder, "n2 has not renewed the lease for 4.1 s", func(c *clock, f *Facts) { standby(f); f.Lease.Seen = c.ago(4100 * time.Millisecond) }},
		"holder expires": {Healthy, "", func(c *clock, f *Facts) { standby(f); f.Lease.Seen = c.ago(3 * time.Second) }},
		"the node's own": {Degraded, "n1 would not take the VIP: the VIP is an address of n1 itself (192.168.35.100/24 on eth1)",
			func(_ *clock, f *Facts) { standby(f); f.Candidate, f.Own = false, "192.168.35.100/24 on eth1" }},
		"the node's own, holding": {Degraded, "the VIP is also an address of n1 itself (192.168.35.100/24 on eth1)", func(_ *clock, f *Facts) { f.Own = "192.168.35.100/24 on eth1" }},
		"no candidate":            {Degraded, "n1 would not take the VIP", func(_ *clock, f *Facts) { standby(f); f.Candidate = false }},
		"no candidate, its interface": {Degraded, "n1 would not take the VIP: eth0 is a port of br-ex", func(_ *clock, f *Facts) {
			standby(f)
			f.Candidate, f.Interface.Up, f.Interface.Reason = false, false, "eth0 is a port of br-ex, which has no subnet of the VIP"
		}},
		"cannot serve, holding": {Degraded, "n1 cannot serve the VIP, and gives it to another node within a second: eth0 has", func(_ *clock, f *Facts) {
			f.Interface.Reason = "eth0 has no address in a subnet of the VIP any more"
		}},
		"dark": {Degraded, "the VIP has not answered n1 for 5 s (no answer in time), and n2 holds the lease", func(c *clock, f *Facts) {
			standby(f)
			f.Outage = OutageFacts{Began: c.ago(5 * time.Second), Error: "no answer in time"}
		}},
		"dark for a moment": {Healthy, "", func(c *clock, f *Facts) {
			standby(f)
			f.Outage = OutageFacts{Began: c.ago(2 * time.Second), Error: "no answer in time"}
		}},
		"dark before": {Healthy, "", func(c *clock, f *Facts) {
			standby(f)
			f.Outage = OutageFacts{Began: c.ago(9 * time.Second), Ended: c.ago(time.Second)}
		}},
		"stuck":         {Degraded, "was not removed from n1", func(_ *clock, f *Facts) { f.State = "withdrawing" }},
		"not there":     {Degraded, "the VIP is not on eth0", func(_ *clock, f *Facts) { f.Present = false }},
		"not there yet": {Healthy, "", func(c *clock, f *Facts) { f.Present, f.Since = false, c.now() }},
		"peer":          {Degraded, "API server of n2 (192.168.35.12:6443) is not ready: refused", func(_ *clock, f *Facts) { f.APIServers[1].State, f.APIServers[1].Reason = "not ready", "refused" }},
		"alone":         {Healthy, "", func(_ *clock, f *Facts) { f.APIServers, f.ControlPlane.Read = f.APIServers[:1], true }},
		"alone, unread": {Degraded, "the cluster could not be asked (EndpointSlices: Forbidden, Nodes: Forbidden): if the API server of n1 fails", func(_ *clock, f *Facts) {
			f.APIServers, f.ControlPlane.Reason = f.APIServers[:1], "EndpointSlices: Forbidden, Nodes: Forbidden"
		}},
		"alone, not yet":  {Healthy, "", func(c *clock, f *Facts) { f.APIServers, f.Since = f.APIServers[:1], c.ago(discoveryTime) }},
		"alone, standby":  {Healthy, "", func(_ *clock, f *Facts) { standby(f); f.APIServers = f.APIServers[:1] }},
		"conflict":        {Degraded, "at 02:00:00:00:00:99", func(c *clock, f *Facts) { f.Conflicts = ConflictFacts{1, "02:00:00:00:00:99", c.ago(time.Second)} }},
		"conflict, old":   {Healthy, "", func(c *clock, f *Facts) { f.Conflicts = ConflictFacts{1, "02:00:00:00:00:99", c.ago(time.Hour)} }},
		"silent":          {Degraded, "gratuitous ARP was not sent: no buffer space", func(_ *clock, f *Facts) { f.Announcements.Error = "no buffer space" }},
		"certificate":     {Degraded, "the certificate in /etc/kubernetes/vipd.conf ends at 2026-12-03", func(c *clock, f *Facts) { c.since = 6*24*time.Hour + time.Hour; healthy(c)(f) }},
		"standby is well": {Healthy, "", func(_ *clock, f *Facts) { standby(f) }},
	} {
		t.Run(name, func(t *testing.T) {
			c := &clock{since: time.Hour}
			b := newTestBoard(c)
			b.Update(healthy(c))
			b.Update(func(f *Facts) { tt.change(c, f) })
			s := b.Status()
			if said := strings.Join(s.Problems, "\n"); s.Health != tt.health || !strings.Contains(said, tt.says) || tt.says == "" && said != "" {
				t.Errorf("%s: %q", s.Health, s.Problems)
			}
		})
	}
}

func standby(f *Facts) {
	f.State, f.Lease.Holder, f.Present, f.Until = "standby", "n2", false, 0
}

func TestHistory(t *testing.T) {
	c := &clock{since: time.Hour}
	b := newTestBoard(c)
	_, h := b.Documents()
	if h.Changes == nil || len(h.Changes) != 0 || h.Node != "n1" {
		t.Errorf("at first: %+v", h)
	}
	for i := range 120 {
		b.Add(Change{Time: b.At(c.now()), Kind: Taken, Term: i})
	}
	_, h = b.Documents()
	if len(h.Changes) != maxChanges || h.Changes[0].Term != 119 || h.Changes[maxChanges-1].Term != 20 || h.Changes[0].Phases == nil {
		t.Errorf("%d changes, from term %d to %d", len(h.Changes), h.Changes[0].Term, h.Changes[len(h.Changes)-1].Term)
	}
	got := b.Steps(Step{"never", 0}, Step{"sent", c.ago(2 * time.Second)}, Step{"written", c.ago(1997500 * time.Microsecond)})
	want := []Phase{{"sent", c.wall().Add(-2 * time.Second), 0}, {"written", c.wall().Add(-1997500 * time.Microsecond), 2.5}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("steps (-want +got):\n%s", d)
	}
}

// TestChanged: each change wakes the waiting callers, and nothing else does.
func TestChanged(t *testing.T) {
	b := newTestBoard(&clock{})
	for i, change := range []func(){func() { b.Update(func(*Facts) {}) }, func() { b.Add(Change{}) }} {
		c := b.Changed()
		select {
		case <-c:
			t.Errorf("%d: woken by nothing", i)
		default:
		}
		change()
		select {
		case <-c:
		default:
			t.Errorf("%d: not woken", i)
		}
	}
}
