package status

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/labtest"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

var (
	flagRate   = flag.Int("rate", 1000, "requests a second to one node in TestUnderLoad")
	flagRounds = flag.Int("rounds", 1, "rounds of TestUnderLoad")
)

// shared is a lab with vipd on all nodes; each test leaves the lab in this state.
var shared *lab.Lab

func TestMain(m *testing.M) { labtest.Main(m, &shared) }

var must = labtest.Must

// fault injects a fault and returns the outcome.
func fault(t *testing.T, name string) failover.Outcome {
	t.Helper()
	f, err := failover.ByName(name)
	must(t, err)
	o, err := failover.Prove(t.Context(), shared, f, 3, t.Logf)
	must(t, err)
	for _, v := range o.Violations {
		t.Errorf("%s: %v", name, v)
	}
	if o.Unproven != "" {
		t.Errorf("%s: nothing is proven: %s", name, o.Unproven)
	}
	return o
}

// agree waits until all nodes report the same, real holder.
func agree(t *testing.T) map[string]Document {
	t.Helper()
	all := make(map[string]Document)
	holder, err := failover.Ready(t.Context(), shared)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err = wait.Until(ctx, 100*time.Millisecond, func() (bool, error) {
		for _, n := range shared.Nodes {
			d, err := Read[Document](ctx, n, "/status")
			if err != nil {
				return false, nil //nolint:nilerr // one that was started anew is not there yet
			}
			all[n.Name] = d
			if d.Lease.Holder != holder.Name || d.Health != "healthy" {
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		t.Fatalf("%v; they say %+v", err, all)
	}
	lease, err := holder.Lease(t.Context())
	must(t, err)
	for _, n := range shared.Nodes {
		d, own := all[n.Name], n == holder
		state := map[bool]string{true: "holding", false: "standby"}[own]
		if d.Node != n.Name || d.State != state || d.Fence.Open != own || d.VIPs[0].Present != own || own != (d.Lease.DeadlineMS > 0) || !d.Candidate ||
			d.Lease.Term != int(*lease.Spec.LeaseTransitions) || d.Lease.HolderMAC != holder.MAC.String() || d.Interface.MAC != n.MAC.String() || len(d.APIServers) != 3 {
			t.Errorf("%s says %+v; %s holds it", n.Name, d, holder.Name)
		}
	}
	return all
}

// TestStatusIsCorrect: the status of each node matches the state of the lab, and the history
// contains what happened.
func TestStatusIsCorrect(t *testing.T) {
	agree(t)
	moved := fault(t, "move")
	agree(t)
	before, next := history(t, moved.Holder), history(t, moved.Next)
	if n := before.Kinds(); n["left"] == 0 || !strings.HasPrefix(before.Changes[latest(before, "left")].Cause, "asked to move to ") {
		t.Errorf("%s reports %v: %+v", moved.Holder, n, before)
	}
	want := []string{"release seen", "lease free", "claim sent", "claim written", "fence opened", "address added", "announced"}
	if got := phases(next, latest(next, "taken")); !slices.Equal(got, want) {
		t.Errorf("%s took it by %q, want %q", moved.Next, got, want)
	}

	killed := fault(t, "sigkill")
	agree(t)
	next = history(t, killed.Next)
	want[0] = "last renewal seen"
	if i := latest(next, "taken"); next.Changes[i].Cause != "the lease of "+killed.Holder+" expired" || !slices.Equal(phases(next, i), want) {
		t.Errorf("%s reports %+v", killed.Next, next.Changes[i])
	}

	repaired := fault(t, "addrdel")
	if n := history(t, repaired.Holder).Kinds(); n["repaired"] == 0 {
		t.Errorf("%s reports %v", repaired.Holder, n)
	}
	agree(t)
	events(t, "VIPTaken", "VIPReleased", "VIPRepaired")
}

func history(t *testing.T, name string) History {
	t.Helper()
	h, err := Read[History](t.Context(), named(name), "/history")
	must(t, err)
	return h
}

func named(name string) *lab.Node {
	return shared.Nodes[slices.IndexFunc(shared.Nodes, func(n *lab.Node) bool { return n.Name == name })]
}

// latest returns the newest change of a kind.
func latest(h History, kind string) int {
	for i, c := range h.Changes {
		if c.Kind == kind {
			return i
		}
	}
	return 0
}

func phases(h History, i int) []string {
	var out []string
	for _, p := range h.Changes[i].Phases {
		out = append(out, p.What)
	}
	return out
}

// events waits for Events on the Lease with these reasons.
func events(t *testing.T, reasons ...string) {
	t.Helper()
	n := shared.Nodes[0]
	c, err := n.RESTConfig("admin.conf")
	must(t, err)
	core, err := coreclient.NewForConfig(c)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	seen := make(map[string]string)
	err = wait.Until(ctx, 200*time.Millisecond, func() (bool, error) {
		list, err := core.Events("kube-system").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=Lease,involvedObject.name=plndr-cp-lock"})
		if err != nil {
			return false, err
		}
		for _, e := range list.Items {
			seen[e.Reason] = e.Message
		}
		return !slices.ContainsFunc(reasons, func(r string) bool { return seen[r] == "" }), nil
	})
	if err != nil {
		t.Errorf("events: %v; there are %v", err, seen)
	}
}

// TestUnderLoad: a high rate of requests delays no renewal and no failover. The test prints the
// durations with and without the load, from one run.
func TestUnderLoad(t *testing.T) {
	for range *flagRounds {
		for _, rate := range []int{0, *flagRate} {
			holder, err := failover.Ready(t.Context(), shared)
			must(t, err)
			stop := func() Loaded { return Loaded{} }
			if rate > 0 {
				stop = Load(t.Context(), holder, rate) // the fault moves the address away, and this node may be the next holder
			}
			began := time.Now()
			renewals := steady(t)
			move, power := fault(t, "move"), fault(t, "poweroff")
			seconds := time.Since(began).Seconds()
			load := stop()
			loaded(t, load, rate, seconds, power.Holder == holder.Name)
			outage(t, power)
			t.Logf("%4d requests/s (%.0f answered, %d failed): %s; unreachable for %d ms at a move, %d ms at a power-off",
				rate, float64(load.Answered)/seconds, load.Failed, renewals, move.Unreachable.Milliseconds(), power.Unreachable.Milliseconds())
		}
	}
}

// loaded checks that there was a load of at least a tenth of the rate: the speed of the machine is
// not part of the promise. All requests were answered, except by a node that was powered off.
func loaded(t *testing.T, load Loaded, rate int, seconds float64, off bool) {
	t.Helper()
	if least := int64(float64(rate) * seconds / 10); load.Answered < least {
		t.Errorf("%d requests were answered in %.0f s, at a rate of %d: want %d at least", load.Answered, seconds, rate, least)
	}
	if !off && 20*load.Failed > load.Answered {
		t.Errorf("%d requests failed, %d were answered", load.Failed, load.Answered)
	}
}

// outage checks the duration of the outage in the status of the node that took the address. The
// outage starts at one of that node's probes, which are one per second.
func outage(t *testing.T, o failover.Outcome) {
	t.Helper()
	h := history(t, o.Next)
	if h.Kinds()["dark"] == 0 {
		t.Fatalf("%s saw no outage; clients saw one of %v: %+v", o.Next, o.Unreachable, h)
	}
	seen := h.Changes[latest(h, "dark")].Seconds
	late := o.Blind().Seconds() // because the machine is busy
	if short := o.Unreachable.Seconds() - seen; short > 1.5+late || short < -1-late {
		t.Errorf("%s saw an outage of %.2f s, clients one of %v", o.Next, seen, o.Unreachable)
	}
}

// steady measures renewals for some seconds in which nothing else happens.
func steady(t *testing.T) string {
	t.Helper()
	n, err := failover.Ready(t.Context(), shared)
	must(t, err)
	before := metrics(t, n)
	must(t, wait.For(t.Context(), 5*time.Second))
	after := metrics(t, n)
	delta := func(name string) float64 { return after[name] - before[name] }
	renewals := delta(`vipd_lease_renewals_total{result="ok"}`)
	if renewals < 4 || delta(`vipd_lease_renewals_total{result="failed"}`)+delta(`vipd_lease_renewals_total{result="late"}`) > 0 || after["vipd_lease_term"] != before["vipd_lease_term"] {
		t.Errorf("%s renewed %.0f times in 5 s; before %v, after %v", n.Name, renewals, before, after)
	}
	return fmt.Sprintf("%.0f renewals of %.1f ms, %.2f s of the lease left at each", renewals,
		1000*delta("vipd_lease_renewal_duration_seconds_sum")/renewals, delta("vipd_lease_margin_seconds_sum")/renewals)
}

// metrics are the values of a scrape, by name and labels.
func metrics(t *testing.T, n *lab.Node) map[string]float64 {
	t.Helper()
	text, err := n.Status(t.Context(), "/metrics")
	must(t, err)
	out := make(map[string]float64)
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		name, value, ok := strings.Cut(s.Text(), " ")
		if v, err := strconv.ParseFloat(value, 64); ok && err == nil && !strings.HasPrefix(name, "#") {
			out[name] = v
		}
	}
	return out
}
