package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vipd-io/vipd/pkg/config"
	"github.com/vipd-io/vipd/pkg/health"
	"github.com/vipd-io/vipd/pkg/kubeapi"
	"github.com/vipd-io/vipd/pkg/vip"
)

func TestServing(t *testing.T) {
	roll := kubeapi.Roll{Leaving: "node n1 is cordoned", Peers: []kubeapi.Member{
		{Server: "b", Node: "n2"}, {Server: "c", Node: "n3", Leaving: "node n3 is cordoned"}, {Server: "d", Node: "n4"}}}
	state := health.State{Local: health.Server{Name: "a", Verdict: health.NotReady, Why: "nobody listens"}, Peers: []health.Server{
		{Name: "b", Verdict: health.NotReady, Why: "it does not answer"}, {Name: "c", Verdict: health.Ready, Better: true}}}
	want := vip.Serving{Local: vip.NotReady, Why: "nobody listens", Leaving: "node n1 is cordoned", Yields: true, Peers: []vip.Peer{
		{Node: "n4", Why: "nothing is known of it yet"},
		{Node: "n2", Why: "it does not answer"},
		{Node: "n3", Ready: true, Better: true, Leaving: "node n3 is cordoned", Why: "nothing is known of it yet"}}}
	if d := cmp.Diff(want, serving(config.Config{Node: "n1", Preferred: []string{"n9", "n4", "n2"}}, roll, state)); d != "" {
		t.Errorf("serving (-want +got):\n%s", d)
	}
	for _, preferred := range [][]string{nil, {"n1"}, {"n2", "n1"}} {
		if serving(config.Config{Node: "n1", Preferred: preferred}, roll, state).Yields {
			t.Errorf("yields with %v preferred", preferred)
		}
	}
}

// TestWayBeforeVerdict: whoever acts on a verdict may need the way to a server
// that works.
func TestWayBeforeVerdict(t *testing.T) {
	var calls []string
	s := &servers{prefer: func(order []string) { calls = append(calls, order...) }, serves: func(vip.Serving) { calls = append(calls, "serves") },
		report: func(kubeapi.Roll, health.State) { calls = append(calls, "report") }}
	s.judged(health.State{Local: health.Server{Name: "a", Verdict: health.NotReady}, Peers: []health.Server{{Name: "b", Verdict: health.Ready}}})
	if d := cmp.Diff([]string{"b", "a", "serves", "report"}, calls); d != "" {
		t.Errorf("calls (-want +got):\n%s", d)
	}
}
