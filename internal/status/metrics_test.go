package status

import (
	"bytes"
	"errors"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/vipd-io/vipd/pkg/boottime"
)

var update = flag.Bool("update", false, "rewrite testdata/")

// exercised returns metrics with at least one event of each kind.
func exercised() *Metrics {
	c := &clock{}
	b := newTestBoard(c)
	c.since = time.Hour
	b.Update(healthy(c))
	m := NewMetrics(b)
	m.Renewal("ok", 3*time.Millisecond, 0) // the claim: no lease was held
	m.Renewal("ok", 4*time.Millisecond, 1800*time.Millisecond)
	m.Renewal("failed", 930*time.Millisecond, 900*time.Millisecond)
	m.LeaseRequest("127.0.0.1:6443", "200")
	m.LeaseRequest("127.0.0.1:6443", "200")
	m.LeaseRequest("192.168.35.12:6443", "error")
	m.Announced(nil)
	m.Announced(errors.New("no buffer space"))
	m.Conflict()
	m.Repair()
	m.Outage(3400 * time.Millisecond)
	m.Failover("expired", 3200*time.Millisecond)
	return m
}

// scrape returns the answer to a scrape.
func scrape(tb testing.TB, m *Metrics) []byte {
	tb.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		tb.Fatalf("scrape: status %d: %s", w.Code, w.Body)
	}
	return w.Body.Bytes()
}

// TestScrape compares all of vipd's own metrics, with help and values.
func TestScrape(t *testing.T) {
	const golden = "testdata/metrics.txt"
	var own bytes.Buffer
	for line := range bytes.Lines(scrape(t, exercised())) {
		if regexp.MustCompile(`^(# \w+ )?vipd_`).Match(line) { // not go_ and process_
			own.Write(line)
		}
	}
	got := regexp.MustCompile(`goversion="[^"]+"`).ReplaceAllString(own.String(), `goversion="go"`)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("not %s (go test ./internal/status -run TestScrape -update):\n%s", golden, d)
	}
}

// TestPromtool lints a scrape with Prometheus' linter.
func TestPromtool(t *testing.T) {
	cmd := exec.Command("promtool", "check", "metrics")
	cmd.Stdin = bytes.NewReader(scrape(t, exercised()))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics (make deps installs it): %v: %s", err, out)
	}
}

// gathered returns the values of a metric, keyed by its label values in the order of the label
// names.
func gathered(t *testing.T, b *Board, name string) map[string]float64 {
	t.Helper()
	families, err := NewMetrics(b).registry.Gather()
	if err != nil {
		t.Fatalf("gather: %v", err)
	}
	out := make(map[string]float64)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() { // by name
				labels = append(labels, l.GetValue())
			}
			out[strings.Join(labels, " ")] = m.GetGauge().GetValue()
		}
	}
	return out
}

// TestGather: the metrics of boards.
func TestGather(t *testing.T) {
	long := strings.Repeat("n", longest-1)
	for name, tt := range map[string]struct {
		change func(*Facts)
		metric string
		want   map[string]float64
	}{
		"empty":              {func(f *Facts) { *f = Facts{} }, "vipd_lease_known", map[string]float64{"": 0}},
		"empty, no state":    {func(f *Facts) { *f = Facts{} }, "vipd_state", map[string]float64{"holding": 0, "standby": 0, "withdrawing": 0}},
		"empty, no term":     {func(f *Facts) { *f = Facts{} }, "vipd_lease_term", map[string]float64{}},
		"empty, no servers":  {func(f *Facts) { *f = Facts{} }, "vipd_apiserver_ready", map[string]float64{}},
		"holding":            {func(*Facts) {}, "vipd_holding", map[string]float64{"192.168.35.100": 1}},
		"holding, too late":  {func(f *Facts) { f.Until = 0 }, "vipd_holding", map[string]float64{"192.168.35.100": 0}},
		"nobody":             {func(f *Facts) { f.Lease.Holder = "" }, "vipd_lease_holder_info", map[string]float64{}},
		"a holder":           {func(*Facts) {}, "vipd_lease_holder_info", map[string]float64{"n1": 1}},
		"a holder of quotes": {func(f *Facts) { f.Lease.Holder = "n\"1\\\n}" }, "vipd_lease_holder_info", map[string]float64{"n\"1\\\n}": 1}},
		"a holder not UTF-8": {func(f *Facts) { f.Lease.Holder = "n\xff1" }, "vipd_lease_holder_info", map[string]float64{"n\uFFFD1": 1}},
		"a long holder":      {func(f *Facts) { f.Lease.Holder = strings.Repeat("n", 1<<20) }, "vipd_lease_holder_info", map[string]float64{long + "n": 1}},
		"cut between runes":  {func(f *Facts) { f.Lease.Holder = long + "é" }, "vipd_lease_holder_info", map[string]float64{long: 1}},
		"several servers": {func(*Facts) {}, "vipd_apiserver_ready",
			map[string]float64{"n1 true 127.0.0.1:6443": 1, "n2 false 192.168.35.12:6443": 1}},
		"a server twice": {func(f *Facts) {
			f.APIServers = append(f.APIServers, f.APIServers[1])
			f.APIServers[2].State = "not ready"
		}, "vipd_apiserver_ready", map[string]float64{"n1 true 127.0.0.1:6443": 1, "n2 false 192.168.35.12:6443": 1}},
		"two servers, one label": {func(f *Facts) {
			f.APIServers[0].Node, f.APIServers[1] = "\xfe", f.APIServers[0]
			f.APIServers[1].Node = "\xff"
		},
			"vipd_apiserver_ready", map[string]float64{"\uFFFD true 127.0.0.1:6443": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			c := &clock{since: time.Hour}
			b := newTestBoard(c)
			b.Update(healthy(c))
			b.Update(tt.change)
			if d := cmp.Diff(tt.want, gathered(t, b, tt.metric)); d != "" {
				t.Errorf("%s (-want +got):\n%s", tt.metric, d)
			}
		})
	}
}

// TestHostileCounts: label values of counters may come from outside, too.
func TestHostileCounts(t *testing.T) {
	m := NewMetrics(newTestBoard(&clock{}))
	m.LeaseRequest("\xff", "2\n0\"0")
	m.Failover("\xff", time.Second)
	if s := scrape(t, m); !bytes.Contains(s, []byte(`vipd_lease_requests_total{code="2\n0\"0",server="`+"\uFFFD"+`"} 1`)) {
		t.Errorf("scrape:\n%s", s)
	}
}

// BenchmarkAnswers measures the cost of one request with a full history. Issue 6 wants less than 2
// ms for /metrics.
func BenchmarkAnswers(b *testing.B) {
	c := &clock{since: time.Hour}
	board := newTestBoard(c)
	board.Update(healthy(c))
	for i := range maxChanges {
		board.Add(Change{Time: c.wall(), Kind: Taken, Holder: "n1", Term: i, Cause: "n2 released the lease", Phases: board.Steps(
			Step{"release seen", c.ago(5 * time.Millisecond)}, Step{"claim sent", c.ago(4 * time.Millisecond)}, Step{"claim written", c.ago(2 * time.Millisecond)},
			Step{"fence opened", c.ago(time.Millisecond)}, Step{"address added", c.ago(time.Millisecond)}, Step{"announced", c.now()})})
	}
	s := New(Options{Boards: []*Board{board}, Metrics: NewMetrics(board)})
	for _, path := range []string{"/metrics", "/status", "/history"} {
		b.Run(path[1:], func(b *testing.B) {
			h := s.Handler()
			b.ReportAllocs()
			for b.Loop() {
				w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil)
				r.Header.Set("Accept-Encoding", "gzip") // as Prometheus does
				h.ServeHTTP(w, r)
				if w.Code != http.StatusOK {
					b.Fatalf("status %d", w.Code)
				}
			}
		})
	}
	b.Run("events", func(b *testing.B) { // one view, not the stream
		b.ReportAllocs()
		for b.Loop() {
			if err := send(discard{httptest.NewRecorder()}, viewOf(board)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// discard is a response writer with deadlines.
type discard struct{ *httptest.ResponseRecorder }

func (discard) SetWriteDeadline(time.Time) error { return nil }

// TestThrifty: a second scrape gets the cached result.
func TestThrifty(t *testing.T) {
	gathered := 0
	th := &cached{from: prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { gathered++; return nil, nil })}
	_, _ = th.Gather()
	th.at = boottime.Now().Add(time.Hour) // keeps the result fresh however slow this machine is
	for range 100 {
		_, _ = th.Gather()
	}
	if gathered != 1 {
		t.Errorf("gathered %d times", gathered)
	}
	th.at = boottime.Now().Add(-fresh)
	before := gathered
	_, _ = th.Gather()
	if gathered != before+1 {
		t.Error("an old result was not gathered again")
	}
}
