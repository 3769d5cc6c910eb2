package daemon

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/vipd-io/vipd/internal/reach"
	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/election"
	"github.com/vipd-io/vipd/pkg/vip"
)

// TestWhenTheHolderIsReported: each condition is necessary.
func TestWhenTheHolderIsReported(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(u *unreached, now *boottime.Instant)
		want   string // the holder that is reported
	}{
		{"all conditions", func(*unreached, *boottime.Instant) {}, "n2"},
		{"no outage", func(u *unreached, now *boottime.Instant) { u.outageChanged(reach.Outage{Began: 1, Ended: *now}) }, ""},
		{"a short outage", func(u *unreached, now *boottime.Instant) {
			u.outageChanged(reach.Outage{Began: now.Add(-unreachedAfter + 1)})
		}, ""},
		{"one failed probe, and this process was stopped", func(u *unreached, now *boottime.Instant) {
			u.lastFailed = func() boottime.Instant { return now.Add(-unreachedAfter) }
		}, ""},
		{"the holder's server is in another network", func(u *unreached, _ *boottime.Instant) { u.sameWay = func(string) bool { return false } }, ""},
		{"a new holder", func(u *unreached, now *boottime.Instant) {
			u.leaseObserved(election.Observation{Holder: "n3", Term: 8, At: now.Add(-unreachedAfter + 1)})
		}, ""},
		{"no holder", func(u *unreached, now *boottime.Instant) { u.leaseObserved(election.Observation{Term: 7, At: *now}) }, ""},
		{"this node holds", func(u *unreached, _ *boottime.Instant) { u.node = "n2" }, ""},
		{"this node's interface cannot serve", func(u *unreached, _ *boottime.Instant) {
			u.managerReported(vip.Report{State: vip.State{Places: vip.Places{{}}}})
		}, ""},
		{"the holder's server is not known", func(u *unreached, _ *boottime.Instant) { u.serverOf = func(string) string { return "" } }, ""},
		{"the holder's server does not answer", func(u *unreached, _ *boottime.Instant) {
			u.ready = func(context.Context, string) (int, string, bool, error) { return 0, "", true, errors.New("timeout") }
		}, ""},
		{"the holder's server is not ready", func(u *unreached, _ *boottime.Instant) {
			u.ready = func(context.Context, string) (int, string, bool, error) {
				return http.StatusInternalServerError, "", true, nil
			}
		}, ""},
		{"reported a moment ago", func(u *unreached, now *boottime.Instant) { u.last = now.Add(-reportEvery + 1) }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now, reported, wrote := boottime.Instant(time.Hour), "", ""
			u := &unreached{node: "n1", serverOf: func(string) string { return "192.168.35.12:6443" }, due: make(chan struct{}, 1), log: zap.NewNop(),
				now:   func() boottime.Instant { return now },
				ready: func(context.Context, string) (int, string, bool, error) { return http.StatusOK, "", true, nil },
				write: func(_ context.Context, holder string, _ int, by string) (bool, error) {
					reported = holder
					return by == "n1", nil
				},
				wrote:      func(by string) { wrote = by },
				sameWay:    func(server string) bool { return server == "192.168.35.12:6443" },
				lastFailed: func() boottime.Instant { return now.Add(-time.Second) }}
			u.managerReported(vip.Report{State: vip.State{Places: vip.Places{{Link: vip.Link{Index: 2, MAC: "a", Up: true}}}}})
			u.leaseObserved(election.Observation{Holder: "n2", Term: 7, At: now.Add(-unreachedAfter)})
			u.outageChanged(reach.Outage{Began: now.Add(-unreachedAfter), Err: errors.New("no route to host")})
			tt.change(u, &now)
			u.report(t.Context())
			if reported != tt.want || (wrote == "n1") != (tt.want != "") {
				t.Errorf("reported %q, noted by %q, want %q", reported, wrote, tt.want)
			}
		})
	}
}
