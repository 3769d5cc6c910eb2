package daemon

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/vipd-io/vipd/internal/bubble"
	"github.com/vipd-io/vipd/pkg/kubeapi"
)

// TestAlone: a holder without a known peer logs that once, after a delay: at level info if the
// cluster was asked, as a warning if not.
func TestAlone(t *testing.T) {
	nobody, unread := kubeapi.Membership{Read: true}, kubeapi.Membership{Reason: "EndpointSlices: Forbidden, Nodes: Forbidden"}
	both := kubeapi.Membership{Read: true, Peers: []kubeapi.Member{{Node: "n2"}, {Node: "n3"}}}
	const (
		info    = "info no other control-plane node is known"
		warning = "warn control-plane nodes not read"
		known   = "info other control-plane nodes are known"
	)
	type step struct {
		after   time.Duration
		holding bool
		members kubeapi.Membership
	}
	for _, tt := range []struct {
		name  string
		steps []step
		want  []string
	}{
		{"a standby", []step{{0, false, unread}, {time.Hour, false, unread}}, nil},
		{"a lone control plane", []step{{0, true, kubeapi.Membership{}}, {time.Second, true, nobody}, {time.Hour, true, nobody}}, []string{info}},
		{"one that cannot ask", []step{{0, true, kubeapi.Membership{}}, {time.Second, true, unread}, {time.Hour, true, unread}}, []string{warning}},
		{"one that can ask in time", []step{{0, true, unread}, {9 * time.Second, true, both}, {time.Hour, true, both}}, nil},
		{"one that can ask later", []step{{0, true, unread}, {time.Minute, true, both}, {time.Hour, true, both}}, []string{warning, known}},
		{"one that can ask later, and is alone", []step{{0, true, unread}, {time.Minute, true, nobody}, {time.Hour, true, nobody}}, []string{warning, info}},
		{"others come and go", []step{{0, true, nobody}, {time.Minute, true, both}, {time.Minute, true, nobody}, {time.Minute, true, both}}, []string{info, known, info, known}},
		{"for a moment", []step{{0, true, both}, {time.Minute, true, nobody}, {time.Second, true, both}, {9 * time.Second, true, nobody}, {time.Second, true, both}}, nil},
		{"it gives the address away", []step{{0, true, unread}, {time.Minute, false, unread}, {time.Minute, true, unread}, {time.Minute, true, unread}}, []string{warning, warning}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				core, logs := observer.New(zapcore.DebugLevel)
				a := newAlone(zap.New(core))
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- a.run(ctx) }()
				for _, s := range tt.steps {
					time.Sleep(s.after)
					a.setHolding(s.holding)
					a.setMembers(s.members)
					synctest.Wait()
				}
				cancel()
				must(t, <-done)
				var said []string
				for _, e := range logs.All() {
					said = append(said, e.Level.String()+" "+e.Message)
				}
				if d := cmp.Diff(tt.want, said); d != "" {
					t.Errorf("log (-want +got):\n%s", d)
				}
			})
		})
	}
}
