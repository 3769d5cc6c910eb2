package scale

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vipd-io/vipd/e2e/judge/record"
)

var update = flag.Bool("update", false, "rewrite testdata")

func TestPoints(t *testing.T) {
	got, err := Points([]int{9, 3}, []int{1, 2, 2}, []int{3, 5})
	if err != nil {
		t.Fatal(err)
	}
	want := []Point{{3, 1, 3}, {9, 1, 3}, {3, 2, 3}, {5, 1, 5}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Points (-want +got):\n%s", d)
	}
	for _, bad := range [][3]int{{2, 1, 3}, {101, 1, 3}, {3, 0, 3}, {3, 17, 3}, {3, 1, 2}, {3, 1, 39}} {
		if got, err := Points(bad[:1], bad[1:2], bad[2:]); err == nil {
			t.Errorf("Points(%v) = %v, want an error", bad, got)
		}
	}
}

const someMetrics = `# TYPE apiserver_request_total counter
apiserver_request_total{code="200",resource="",scope="",subresource="/readyz",verb="GET"} 20
apiserver_request_total{code="500",resource="",scope="",subresource="/readyz",verb="GET"} 1
apiserver_request_total{code="200",resource="",scope="",subresource="/metrics",verb="GET"} 5
apiserver_request_total{code="200",resource="leases",scope="resource",subresource="",verb="PUT"} 7
apiserver_request_total{code="409",resource="leases",scope="resource",subresource="",verb="PUT"} 2
apiserver_request_total{code="200",resource="nodes",scope="cluster",subresource="",verb="LIST"} 3
apiserver_request_total{code="200",resource="nodes",scope="resource",subresource="status",verb="PUT"} 3
apiserver_request_total{code="200",resource="pods",scope="cluster",subresource="",verb="LIST"} 3
# TYPE apiserver_watch_events_total counter
apiserver_watch_events_total{resource="leases"} 11
apiserver_watch_events_total{resource="pods"} 1
# TYPE apiserver_longrunning_requests gauge
apiserver_longrunning_requests{resource="leases",scope="resource",verb="WATCH"} 2
apiserver_longrunning_requests{resource="leases",scope="namespace",verb="WATCH"} 1
`

func TestCounters(t *testing.T) {
	c := counters{requests: make(Rates)}
	for range 2 { // of two API servers
		if err := c.add([]byte(someMetrics)); err != nil {
			t.Fatal(err)
		}
	}
	want := Rates{"GET /readyz": 42, "PUT leases": 18, "LIST nodes": 6}
	if d := cmp.Diff(want, c.requests); d != "" {
		t.Errorf("requests (-want +got):\n%s", d)
	}
	if c.refused != 4 || c.events != 22 || c.watches != 4 {
		t.Errorf("%v refused, %v events, %v watches, want 4, 22, 4", c.refused, c.events, c.watches)
	}
	for _, bad := range []string{"", "{", "Unauthorized", strings.ReplaceAll(someMetrics, "apiserver_watch_events_total", "other")} {
		if err := c.add([]byte(bad)); err == nil {
			t.Errorf("took in %q", bad)
		}
	}
}

func TestRates(t *testing.T) {
	before := Rates{"a": 10, "b": 5}
	got := Rates{"a": 18, "b": 5, "c": 2}.since(before, 4)
	if d := cmp.Diff(Rates{"a": 2, "c": 0.5}, got); d != "" {
		t.Errorf("since (-want +got):\n%s", d)
	}
	if d := cmp.Diff(Rates{"a": 1.5}, got.over(Rates{"a": 0.5, "c": 0.6, "d": 1})); d != "" {
		t.Errorf("over (-want +got):\n%s", d)
	}
	if got.Total() != 2.5 || Rates(nil).Total() != 0 {
		t.Errorf("totals %v and %v, want 2.5 and 0", got.Total(), Rates(nil).Total())
	}
}

func TestKindOfRequest(t *testing.T) {
	const leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
	for _, tt := range []struct{ method, url, want string }{
		{"GET", "/readyz", "GET /readyz"},
		{"GET", leases + "/plndr-cp-lock", "GET leases"},
		{"PUT", leases + "/plndr-cp-lock?timeout=5s", "PUT leases"},
		{"POST", leases, "POST leases"},
		{"GET", leases + "?watch=true", "WATCH leases"},
		{"GET", leases + "?watch=1", "WATCH leases"},
		{"GET", "/api/v1/nodes?labelSelector=x", "LIST nodes"},
		{"GET", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", "LIST endpointslices"},
		{"GET", "/version", ""},
	} {
		if got := kindOfRequest(httptest.NewRequest(tt.method, "https://n1:6443"+tt.url, nil)); got != tt.want {
			t.Errorf("%s %s is %q, want %q", tt.method, tt.url, got, tt.want)
		}
	}
}

func TestSums(t *testing.T) {
	list := []Process{{0.3, 30, 7}, {0.1, 35, 8}, {0.2, 32, 9}}
	total := sum(list)
	if total.Count != 3 || math.Abs(total.CPU-0.6) > 1e-9 || total.Resident != 97 || total.Anonymous != 24 {
		t.Errorf("sum = %+v", total)
	}
	if got, want := medians(list), (Process{0.2, 32, 8}); got != want {
		t.Errorf("medians = %+v, want %+v", got, want)
	}
	if got := medians(nil); got != (Process{}) {
		t.Errorf("medians of none = %+v", got)
	}
	if got := median([]float64{4, 1, 3, 2}); got != 2.5 {
		t.Errorf("median = %v, want 2.5", got)
	}
}

func TestBusy(t *testing.T) {
	got, err := busy([]byte("cpu  100 1 50 9999 77 2 3 4 50 0\ncpu0 1\n"))
	if err != nil || got != 160*10*time.Millisecond {
		t.Errorf("busy = %v, %v, want 1.6s", got, err)
	}
	for _, bad := range []string{"", "cpu 1 2 3", "intr 1 2 3 4 5 6 7 8 9", "cpu  a 1 50 9999 77 2 3 4 0 0"} {
		if got, err := busy([]byte(bad)); err == nil {
			t.Errorf("busy(%q) = %v, want an error", bad, got)
		}
	}
}

func TestFirstOther(t *testing.T) {
	answers := []record.Answer{{At: 1, MAC: "b"}, {At: 5, MAC: "a"}, {At: 7, MAC: "b"}, {At: 9, MAC: "c"}}
	if got, ok := firstOther(answers, "a", 2); !ok || got.At != 7 {
		t.Errorf("first = %+v, %t, want that at 7", got, ok)
	}
	if got, ok := firstOther(answers[:2], "a", 2); ok {
		t.Errorf("first = %+v, want none", got)
	}
}

func TestProblems(t *testing.T) {
	r := sample(t)
	if err := r.Problems(); err != nil {
		t.Error(err)
	}
	r.Figures[0].Failed = "no rest"
	if err := r.Problems(); err == nil || !strings.Contains(err.Error(), "no rest") {
		t.Errorf("error %v, want that a point has no figures", err)
	}
	if text, err := document(r, "x"); err != nil || !strings.Contains(text, "**9 nodes, 3 API servers, 1 VIPs: measured in part**: no rest.") {
		t.Errorf("the document does not report that: %v", err)
	}
	r.Figures[1].Takeovers[0].Twice = 2
	if err := r.Problems(); err == nil || !strings.Contains(err.Error(), "answered at once") {
		t.Errorf("error %v, want that two nodes answered at once", err)
	}
}

func sample(t *testing.T) Report {
	t.Helper()
	r, err := Load("testdata/figures.json")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestSave compares the output with files that a person has reviewed.
func TestSave(t *testing.T) {
	dir := t.TempDir()
	if *update {
		dir = "testdata"
	}
	path, err := Save(sample(t), dir)
	if err != nil {
		t.Fatal(err)
	}
	if path != filepath.Join(dir, "2026-01-02-scale.md") {
		t.Errorf("written to %s", path)
	}
	golden, err := filepath.Glob("testdata/2026-01-02-scale*")
	if err != nil || len(golden) != 2 {
		t.Fatalf("golden files %v, %v", golden, err)
	}
	inside, err := filepath.Glob("testdata/2026-01-02-scale/*")
	if err != nil || len(inside) != len(charts())+1 {
		t.Errorf("%d golden files, %v, want %d", len(inside), err, len(charts())+1)
	}
	for _, file := range append(inside, "testdata/2026-01-02-scale.md") {
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, strings.TrimPrefix(file, "testdata")))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want, got) {
			t.Errorf("%s is outdated; review the difference, and use -update", file)
		}
	}
}

func TestLoad(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.json")
	if err := os.WriteFile(bad, []byte(`{"figures":3}`), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{bad, "testdata/none.json"} {
		if r, err := Load(path); err == nil {
			t.Errorf("Load(%s) = %+v, want an error", path, r)
		}
	}
	b, err := json.Marshal(sample(t))
	if err != nil || !json.Valid(b) {
		t.Errorf("%s, %v", b, err)
	}
}

// TestChartsOfNothing: after a run of a few points, the other plots are empty.
func TestChartsOfNothing(t *testing.T) {
	for _, c := range charts() {
		if svg, err := c.svg(Report{}); err != nil || !bytes.Contains(svg, []byte("</svg>")) {
			t.Errorf("%s: %d bytes, %v", c.file, len(svg), err)
		}
	}
}
