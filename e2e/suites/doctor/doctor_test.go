package doctor

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/labtest"
)

// shared is a healthy site; each test leaves the site in this state.
var shared *Site

func TestMain(m *testing.M) {
	labtest.MainBeside(m, func(l *lab.Lab) (err error) {
		shared, err = New(context.Background(), l)
		return err
	})
}

var must = labtest.Must

// TestHealthy: on a healthy cluster, the doctor finds nothing on any machine.
func TestHealthy(t *testing.T) {
	for _, n := range shared.Nodes {
		healthy(t, n.Host)
	}
	healthy(t, shared.Worker, shared.AsWorker()...)
}

func healthy(t *testing.T, h *lab.Host, args ...string) {
	t.Helper()
	r, exit, err := shared.Examine(t.Context(), h, args...)
	must(t, err)
	if len(r.Findings()) > 0 || exit != 0 || !strings.HasPrefix(r.Verdict[0], "All is well") {
		t.Errorf("%s: exit status %d, %q, %+v", h.Name, exit, r.Verdict, r)
	}
}

// TestFaults injects each fault, runs the doctor, and repairs the fault.
func TestFaults(t *testing.T) {
	for _, f := range Faults {
		t.Run(f.Name, func(t *testing.T) {
			undo, on, args, err := f.Make(t.Context(), shared)
			if undo != nil {
				defer func() {
					must(t, undo(context.WithoutCancel(t.Context())))
					must(t, shared.settle(context.WithoutCancel(t.Context())))
				}()
			}
			must(t, err)
			r, exit, err := shared.Examine(t.Context(), on, args...)
			must(t, err)
			f.compare(t, r, exit)
		})
	}
	t.Run("repaired", TestHealthy)
}

func (f Fault) compare(t *testing.T, r Report, exit int) {
	t.Helper()
	found := r.Findings()
	for _, want := range f.Want {
		if !slices.ContainsFunc(found, func(g Found) bool { return g.ID == want.ID && g.Mark == want.Mark && g.Severity != "info" }) {
			t.Errorf("no finding %s %s; there are %+v", want.ID, want.Mark, found)
		}
	}
	if !strings.Contains(r.Verdict[0], f.Verdict) {
		t.Errorf("verdict %q, want %q", r.Verdict, f.Verdict)
	}
	if exit == 0 {
		t.Error("exit status 0")
	}
	t.Logf("%s: %+v", r.Verdict[0], found)
}
