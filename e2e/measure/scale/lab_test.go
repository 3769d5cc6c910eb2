package scale_test

import (
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/measure/scale"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestOnePoint measures one small cluster, to test the measurement itself.
func TestOnePoint(t *testing.T) {
	report, err := onePoint(t, scale.Point{Nodes: 4, VIPs: 1, Servers: 3})
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Problems(); err != nil {
		t.Error(err)
	}
	f := report.Figures[0]
	for _, kind := range []string{"GET /readyz", "PUT leases", "LIST nodes"} {
		if f.Requests[kind] == 0 || f.Holder[kind] == 0 || f.Standby[kind] == 0 != (kind == "PUT leases") {
			t.Errorf("%s: %v in all, %v by the holder, %v by a standby", kind, f.Requests, f.Holder, f.Standby)
		}
	}
	if f.WatchEvents == 0 || f.APIFrames == 0 || f.Busy == 0 || report.After.APIFrames != 0 {
		t.Errorf("counted %+v, and afterwards %+v", f, report.After)
	}
	if f.Vipd.Count != 4 || f.Vipd.Resident < f.OfHolder.Resident+3*f.OfStandby.Resident/2 || f.APIServer.Count != 3 || f.Etcd.Resident == 0 {
		t.Errorf("processes: %+v, of which a holder %+v and a standby %+v; %+v; %+v", f.Vipd, f.OfHolder, f.OfStandby, f.APIServer, f.Etcd)
	}
	var signals []string
	for _, o := range f.Takeovers {
		signals = append(signals, o.Signal)
		if o.To == "" || o.To == o.From || o.Seconds <= 0 {
			t.Errorf("takeover %+v", o)
		}
	}
	if !slices.Equal(signals, []string{"SIGTERM", "SIGKILL"}) {
		t.Errorf("takeovers %+v", f.Takeovers)
	}
}

func onePoint(t *testing.T, p scale.Point) (report scale.Report, err error) {
	t.Helper()
	err = lab.With(t.Context(), scale.LabOptions, func(l *lab.Lab) (err error) {
		report, err = scale.Run(t.Context(), l, scale.Options{
			Points: []scale.Point{p}, Window: 4 * time.Second, Calm: time.Second, Runs: 1, Say: t.Logf,
		})
		return err
	})
	return report, err
}
