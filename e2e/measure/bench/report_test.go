package bench

import (
	"bytes"
	"compress/gzip"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gonum.org/v1/plot/plotter"

	"github.com/vipd-io/vipd/internal/goldentest"
)

// sample is a report with a fault of all contenders, one of vipd, one that a contender does not
// recover from, and two nodes that answer.
func sample() *Report {
	const ms = time.Millisecond
	r := &Report{About: About{
		Date: "2026-01-02", Runs: 3, Rest: time.Minute, Wait: 45 * time.Second, Discarded: 1,
		Machine:    Machine{CPU: "CPU", Cores: 2, MemoryGiB: 8, Kernel: "Linux 6.1.0 x86_64", Go: "1.26.0", Kubernetes: "v1.36.3", Etcd: "3.6.8", Keepalived: "v2.2.7", Commit: "abcdef"},
		Contenders: []Named{{Name: "vipd", Title: "as it comes"}, {Name: "other", Title: "`other --fast`"}},
		Faults:     []Named{{Name: "none", Title: "none, for 20s"}, {Name: "sigkill", Title: "manager: SIGKILL"}, {Name: "apikill", Title: "API server: SIGKILL"}, {Name: "move", Title: "planned move", Vipd: true}},
	}}
	add := func(fault, contender, next string, unreachable time.Duration, change func(*Result)) {
		result := Result{Run: 1, Fault: fault, Contender: contender, Holder: "n1", Next: next, Unreachable: unreachable, Requests: 300, Failed: int(unreachable / (10 * ms))}
		if change != nil {
			change(&result)
		}
		r.Results = append(r.Results, result)
	}
	add("none", "vipd", "", 4*ms, nil)
	add("none", "other", "", 6*ms, nil)
	for i := range 3 {
		add("sigkill", "vipd", "n2", time.Duration(170+i)*ms, nil)
		add("sigkill", "other", "n2", 0, func(r *Result) { r.Together, r.Still = 2*time.Second+time.Duration(i)*5*ms, true })
		add("apikill", "vipd", "n3", time.Duration(110+i)*ms, nil)
		add("move", "vipd", "n2", time.Duration(20+i)*ms, nil)
	}
	add("apikill", "other", "n2", 30*time.Second, nil)
	add("apikill", "other", "", 47*time.Second, func(r *Result) { r.Open = true })
	for _, node := range []string{"n1", "n2", "n3"} {
		r.Costs = append(r.Costs,
			Cost{Contender: "vipd", Node: node, Holder: node == "n1", CPU: 0.007, Resident: 34 << 10, Processes: 1, Packets: 2, Requests: 500, Writes: 60},
			Cost{Contender: "other", Node: node, Holder: node == "n1", CPU: 0.01, Resident: 15 << 10, Processes: 2, Packets: 60})
	}
	return r
}

func TestDocument(t *testing.T) {
	r := sample()
	goldentest.Fresh(t, filepath.Join("testdata", "document.md"), r.Document())
	goldentest.Fresh(t, filepath.Join("testdata", "excerpt.md"), r.Excerpt())
	var out bytes.Buffer
	if err := r.Print(&out); err != nil {
		t.Fatal(err)
	}
	goldentest.Fresh(t, filepath.Join("testdata", "terminal.txt"), out.String())
}

// The report of an interrupted benchmark can be printed.
func TestDocumentOfNothing(t *testing.T) {
	var r Report
	if got := r.Document() + r.Excerpt(); !strings.Contains(got, "| fault on the holder |") {
		t.Errorf("document:\n%s", got)
	}
	if err := r.Print(io.Discard); err != nil {
		t.Error(err)
	}
	if err := r.Plot(io.Discard); err == nil {
		t.Error("a plot of nothing")
	}
}

func TestCell(t *testing.T) {
	r := sample()
	none := Cell{}
	if got := r.Cell("sigkill", "nobody"); got != none {
		t.Errorf("cell of nobody: %+v", got)
	}
	if got := r.Cell("apikill", "other"); got.N != 2 || got.Median != (Value{D: 30 * time.Second}) || got.Max != (Value{47 * time.Second, true}) || got.Stayed != 1 {
		t.Errorf("cell of one that did not recover: %+v", got)
	}
	if got := r.Cell("sigkill", "other"); got.Together != (Value{2010 * time.Millisecond, true}) || got.InRuns != 3 || got.Requests != 900 {
		t.Errorf("cell of two that answer: %+v", got)
	}
}

func TestRank(t *testing.T) {
	var values []Value
	for i := 20; i > 0; i-- {
		values = append(values, Value{D: time.Duration(i)})
	}
	for p, want := range map[int]time.Duration{1: 1, 50: 10, 95: 19, 100: 20} {
		if got := rank(values, p, compare); got.D != want {
			t.Errorf("rank %d is %d, want %d", p, got.D, want)
		}
	}
	if got := rank(values[:1], 50, compare); got.D != 20 {
		t.Errorf("median of one is %d", got.D)
	}
	// A lower bound counts as longer than the same duration.
	if got := rank([]Value{{5, true}, {5, false}}, 100, compare); !got.Open {
		t.Errorf("longest is %+v", got)
	}
}

func TestReadWritten(t *testing.T) {
	want := sample()
	want.Results[0].Answering = []Stretch{{"n1", -5, 10}}
	want.Results[0].Broken = []string{"a rule"}
	var buf bytes.Buffer
	if err := want.Write(&buf); err != nil {
		t.Fatal(err)
	}
	got, err := Read(&buf)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
}

func TestReadBad(t *testing.T) {
	if r, err := Read(strings.NewReader("{}")); err == nil {
		t.Errorf("read what is not compressed: %+v", r)
	}
	for _, text := range []string{"{}", "x", `{"abuot":{}}`, `{"result":{"run":"one"}}`} {
		var buf bytes.Buffer
		zip := gzip.NewWriter(&buf)
		io.WriteString(zip, text)
		zip.Close()
		if r, err := Read(&buf); err == nil {
			t.Errorf("%s: read %+v", text, r)
		}
	}
	if _, err := ReadFile(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("read a file that there is not")
	}
}

func TestSteps(t *testing.T) {
	run := func(d time.Duration, open bool) Result { return Result{Unreachable: d, Open: open} }
	tests := []struct {
		name    string
		results []Result
		want    plotter.XYs
	}{
		{"one", []Result{run(time.Second, false)}, plotter.XYs{{X: 1, Y: 0}, {X: 1, Y: 100}}},
		{"two, the later first", []Result{run(2*time.Second, false), run(time.Second, false)},
			plotter.XYs{{X: 1, Y: 0}, {X: 1, Y: 50}, {X: 2, Y: 50}, {X: 2, Y: 100}}},
		{"none at all, and longer than the axis", []Result{run(0, false), run(time.Hour, false)},
			plotter.XYs{{X: 0.01, Y: 0}, {X: 0.01, Y: 50}, {X: 100, Y: 50}, {X: 100, Y: 100}}},
		{"one not reachable again", []Result{run(time.Second, false), run(45*time.Second, true)},
			plotter.XYs{{X: 1, Y: 0}, {X: 1, Y: 50}, {X: 100, Y: 50}}},
		{"never reachable again", []Result{run(45*time.Second, true)}, plotter.XYs{{X: axisBegin.Seconds(), Y: 0}, {X: 100, Y: 0}}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, steps(tt.results)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// The plot contains all names, and only curves of runs in which two nodes answered are dashed.
func TestPlot(t *testing.T) {
	var buf bytes.Buffer
	if err := sample().Plot(&buf); err != nil {
		t.Fatal(err)
	}
	svg := buf.String()
	for dec := xml.NewDecoder(strings.NewReader(svg)); ; {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range []string{"vipd", "other", "manager: SIGKILL", "API server: SIGKILL", "planned move", "100 ms", "50 %"} {
		if !strings.Contains(svg, ">"+text+"</text>") {
			t.Errorf("%q is not in the plot", text)
		}
	}
	if strings.Contains(svg, "none, for") {
		t.Error("no fault has a plot")
	}
	if got := strings.Count(svg, "stroke-dasharray"); got != 2 { // of one curve, and of the legend
		t.Errorf("%d dashed lines, want 2", got)
	}
}

func TestPutInto(t *testing.T) {
	path := filepath.Join(t.TempDir(), "README.md")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r := sample()
	write("before\n" + begins + "old\n" + ends + "after\n")
	for range 2 { // the second call changes nothing
		if err := r.PutInto(path); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if want := "before\n" + begins + r.Excerpt() + ends + "after\n"; err != nil || string(got) != want {
			t.Errorf("README (-want +got), %v:\n%s", err, cmp.Diff(want, string(got)))
		}
	}
	for _, text := range []string{"", begins, ends, ends + begins} {
		write(text)
		if err := r.PutInto(path); err == nil {
			t.Errorf("put into %q", text)
		}
	}
}

func TestWriteFiles(t *testing.T) {
	dir := t.TempDir()
	r := sample()
	if err := r.WriteFiles(dir); err != nil {
		t.Fatal(err)
	}
	if again, err := ReadFile(filepath.Join(dir, r.Date, recordsFile)); err != nil || !cmp.Equal(r, again) {
		t.Errorf("records %v: %s", err, cmp.Diff(r, again))
	}
	for _, name := range []string{r.Date + ".md", r.Date + "/" + plotFile} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}
