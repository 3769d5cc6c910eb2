package daemon

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vipd-io/vipd/internal/config"
	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/health"
	"github.com/vipd-io/vipd/pkg/kubeapi"
	"github.com/vipd-io/vipd/pkg/vip"
)

func TestServing(t *testing.T) {
	members := kubeapi.Membership{Leaving: "node n1 is cordoned", Peers: []kubeapi.Member{
		{Server: "b", Node: "n2"}, {Server: "c", Node: "n3", Leaving: "node n3 is cordoned"}, {Server: "d", Node: "n4"}}}
	state := health.State{Local: health.Server{Name: "a", Verdict: health.NotReady, Why: "nobody listens"}, Peers: []health.Server{
		{Name: "b", Verdict: health.NotReady, Why: "it does not answer"}, {Name: "c", Verdict: health.Ready, Better: true}}}
	want := vip.Serving{Local: vip.NotReady, Why: "nobody listens", Leaving: "node n1 is cordoned", Yields: true, Peers: []vip.Peer{
		{Node: "n4", Why: "not known yet"},
		{Node: "n2", Why: "it does not answer"},
		{Node: "n3", Ready: true, Better: true, Leaving: "node n3 is cordoned", Why: "not known yet"}}}
	if d := cmp.Diff(want, serving(config.Config{Node: "n1", Preferred: []string{"n9", "n4", "n2"}}, members, state)); d != "" {
		t.Errorf("serving (-want +got):\n%s", d)
	}
	for _, preferred := range [][]string{nil, {"n1"}, {"n2", "n1"}} {
		if serving(config.Config{Node: "n1", Preferred: preferred}, members, state).Yields {
			t.Errorf("yields with %v preferred", preferred)
		}
	}
}

// TestWayBeforeVerdict: the order of the servers is updated before their state is passed on.
func TestWayBeforeVerdict(t *testing.T) {
	var calls []string
	s := &servers{prefer: func(order []string) { calls = append(calls, order...) }, serves: func(vip.Serving) { calls = append(calls, "serves") },
		ready:  func(since map[string]boottime.Instant) { calls = append(calls, fmt.Sprint("ready ", since)) },
		report: func(kubeapi.Membership, health.State) { calls = append(calls, "report") }}
	s.healthChanged(health.State{Local: health.Server{Name: "a", Verdict: health.NotReady}, Peers: []health.Server{{Name: "b", Verdict: health.Ready, Since: 7}}})
	if d := cmp.Diff([]string{"b", "a", "ready map[b:7]", "serves", "report"}, calls); d != "" {
		t.Errorf("calls (-want +got):\n%s", d)
	}
}
