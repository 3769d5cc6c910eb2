// Package manifests tests the files beside it that are for Prometheus and Grafana; those
// that vipd writes, internal/cli tests.
package manifests

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/vipd-io/vipd/internal/status"
	"github.com/vipd-io/vipd/pkg/boottime"
)

const (
	rulesFile     = "prometheus-rules.yaml"
	alertsFile    = "testdata/alerts.yaml"
	dashboardFile = "grafana-dashboard.json"
)

// groups is the file of rules, and the spec of a PrometheusRule.
type groups struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	} `json:"groups"`
}

type rule struct {
	Alert       string            `json:"alert,omitempty"`
	Record      string            `json:"record,omitempty"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

func read(t *testing.T, path string, into any) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(b, into); err != nil { // JSON is YAML
		t.Fatalf("%s: %v", path, err)
	}
	return string(b)
}

func rules(t *testing.T) []rule {
	t.Helper()
	var g groups
	read(t, rulesFile, &g)
	if len(g.Groups) != 1 || g.Groups[0].Name != "vipd" {
		t.Fatalf("groups: %+v", g.Groups)
	}
	return g.Groups[0].Rules
}

// promtool fails the test unless Prometheus' own tool is content.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("promtool", args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s (make deps installs it): %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestAlerts(t *testing.T) {
	promtool(t, "check", "rules", "--lint=all", "--lint-fatal", rulesFile)
	promtool(t, "test", "rules", alertsFile)
}

// TestAlertsSayWhatToDo: what each alert has to have, and metrics that there are.
func TestAlertsSayWhatToDo(t *testing.T) {
	known := metrics(t)
	for _, r := range rules(t) {
		summary, description := r.Annotations["summary"], r.Annotations["description"]
		if r.For == "" || r.Labels["severity"] == "" || summary == "" || strings.HasSuffix(summary, ".") {
			t.Errorf("%s: for %q, severity %q, summary %q", r.Alert, r.For, r.Labels["severity"], summary)
		}
		if len(description) < 100 || !strings.Contains(description, "`") {
			t.Errorf("%s: the description names no command: %s", r.Alert, description)
		}
		unknown(t, r.Alert, r.Expr, known)
		unknown(t, r.Alert, description, known)
	}
}

// TestAlertsAreTested: promtool knows a case in which each fires, and one in which it does not.
func TestAlertsAreTested(t *testing.T) {
	var file struct {
		Tests []struct {
			Name  string `json:"name"`
			Exprs []struct {
				Expr    string `json:"expr"`
				Samples []struct {
					Labels string `json:"labels"`
				} `json:"exp_samples"`
			} `json:"promql_expr_test"`
		} `json:"tests"`
	}
	b, err := os.ReadFile(alertsFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	fires, misses := make(map[string]bool), make(map[string]bool)
	named := regexp.MustCompile(`alertname="(\w+)"`)
	severity := regexp.MustCompile(`severity="(\w+)"`)
	for _, tt := range file.Tests {
		fired := make(map[string]bool)
		for _, e := range tt.Exprs {
			for _, s := range e.Samples {
				fired[named.FindStringSubmatch(s.Labels)[1]] = true
				fires[named.FindStringSubmatch(s.Labels)[1]+" "+severity.FindStringSubmatch(s.Labels)[1]] = true
			}
		}
		for _, e := range tt.Exprs {
			if m := named.FindStringSubmatch(e.Expr); m != nil && !fired[m[1]] {
				misses[m[1]] = true
			}
		}
	}
	for _, r := range rules(t) {
		if !fires[r.Alert+" "+r.Labels["severity"]] || !misses[r.Alert] {
			t.Errorf("%s, %s: fires in a test: %t; stays silent through one: %t",
				r.Alert, r.Labels["severity"], fires[r.Alert+" "+r.Labels["severity"]], misses[r.Alert])
		}
	}
}

// TestAlertsAreDocumented compares the table of docs/prometheus.md with the rules.
func TestAlertsAreDocumented(t *testing.T) {
	b, err := os.ReadFile("../docs/prometheus.md")
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(Vipd\\w+)` \\| (\\w+) \\| (\\w+) \\|").FindAllStringSubmatch(string(b), -1) {
		got = append(got, strings.Join(m[1:], " "))
	}
	for _, r := range rules(t) {
		want = append(want, r.Alert+" "+r.Labels["severity"]+" "+r.For)
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("docs/prometheus.md has (name, severity, for)\n%s\nthe rules\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestScrapeConfigs has Prometheus read those that docs/prometheus.md shows.
func TestScrapeConfigs(t *testing.T) {
	b, err := os.ReadFile("../docs/prometheus.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile("(?s)```yaml\n(scrape_configs:.*?)```").FindAllSubmatch(b, -1)
	if len(shown) != 3 {
		t.Errorf("%d are shown", len(shown))
	}
	discovery := regexp.MustCompile(`(?s)    kubernetes_sd_configs:\n.*?(    relabel_configs:)`) // which Debian's promtool is built without
	for _, s := range shown {
		path := filepath.Join(t.TempDir(), "prometheus.yaml")
		if err := os.WriteFile(path, discovery.ReplaceAll(s[1], []byte("$1")), 0o600); err != nil {
			t.Fatal(err)
		}
		promtool(t, "check", "config", path)
	}
}

// TestPrometheusRule: indented, as docs/prometheus.md does it, the file is the spec of
// a PrometheusRule.
func TestPrometheusRule(t *testing.T) {
	b, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	var object struct {
		Spec groups `json:"spec"`
	}
	text := "spec:\n" + regexp.MustCompile(`(?m)^`).ReplaceAllString(string(b), "  ")
	if err := yaml.UnmarshalStrict([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	if got := object.Spec.Groups[0].Rules; len(got) != len(rules(t)) || got[0].Annotations["description"] != rules(t)[0].Annotations["description"] {
		t.Errorf("rules: %+v", got)
	}
}

// dashboard is what a test looks at of a dashboard.
type dashboard struct {
	SchemaVersion int `json:"schemaVersion"`
	Templating    struct {
		List []struct {
			Name       string `json:"name"`
			Definition string `json:"definition"`
		} `json:"list"`
	} `json:"templating"`
	Panels []panel `json:"panels"`
}

type panel struct {
	ID          int    `json:"id"`
	Title       string `json:"title"`
	Description string `json:"description"`
	Datasource  struct {
		UID string `json:"uid"`
	} `json:"datasource"`
	GridPos struct{ X, Y, W, H int } `json:"gridPos"`
	Targets []struct {
		RefID string `json:"refId"`
		Expr  string `json:"expr"`
	} `json:"targets"`
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	b, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatalf("%s: %v", dashboardFile, err)
	}
	if len(d.Panels) < 15 || d.SchemaVersion == 0 {
		t.Fatalf("%d panels, schema %d", len(d.Panels), d.SchemaVersion)
	}
	return d
}

// TestDashboardPanels: each has its place, its number, and something to show.
func TestDashboardPanels(t *testing.T) {
	const columns = 24
	ids, taken := make(map[int]bool), make(map[[2]int]string)
	for _, p := range readDashboard(t).Panels {
		if ids[p.ID] || p.ID <= 0 {
			t.Errorf("%s: id %d is there twice", p.Title, p.ID)
		}
		ids[p.ID] = true
		if p.Title == "" || p.Description == "" || p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("panel %d: %+v", p.ID, p)
		}
		g := p.GridPos
		if g.X < 0 || g.W <= 0 || g.H <= 0 || g.X+g.W > columns {
			t.Errorf("%s: outside of the grid: %+v", p.Title, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" {
					t.Fatalf("%s lies on %s", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}

// TestDashboardExpressions: Prometheus can read each, and there is what it names.
func TestDashboardExpressions(t *testing.T) {
	known, shown := metrics(t), ""
	d := readDashboard(t)
	variables := regexp.MustCompile(`\$(job|vip|instance)\b`)
	var g groups
	g.Groups = append(g.Groups, struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	}{Name: "dashboard"})
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			expr := strings.ReplaceAll(target.Expr, "$__rate_interval", "5m")
			expr = variables.ReplaceAllString(expr, ".*")
			if strings.Contains(expr, "$") {
				t.Errorf("%s: a variable that there is not: %s", p.Title, target.Expr)
			}
			unknown(t, p.Title, expr, known)
			shown += expr + "\n"
			g.Groups[0].Rules = append(g.Groups[0].Rules, rule{Record: "panel:id:" + target.RefID, Expr: expr,
				Labels: map[string]string{"panel": p.Title}}) // so that no two are the same
		}
	}
	for _, v := range d.Templating.List {
		unknown(t, v.Name, v.Definition, known)
	}
	for _, name := range []string{"vipd_holding", "vipd_lease_term", "vipd_lease_remaining_seconds", "vipd_lease_margin_seconds", "vipd_lease_renewal_duration_seconds",
		"vipd_lease_renewals_total", "vipd_lease_requests_total", "vipd_failover_duration_seconds", "vipd_outage_duration_seconds", "vipd_announcements_total",
		"vipd_conflict_frames_total", "vipd_repairs_total", "vipd_apiserver_ready", "vipd_certificate_expiry_timestamp_seconds", "vipd_problems"} {
		if !strings.Contains(shown, name) {
			t.Errorf("no panel shows %s", name)
		}
	}
	b, err := yaml.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "dashboard.yaml")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", path)
}

// unknown fails the test for each metric in a text that vipd does not have.
func unknown(t *testing.T, where, text string, known map[string]bool) {
	t.Helper()
	for _, name := range regexp.MustCompile(`\bvipd_\w+`).FindAllString(text, -1) {
		if !known[name] {
			t.Errorf("%s: vipd has no metric %s", where, name)
		}
	}
}

// metrics are the names of all series that vipd has once everything has happened.
func metrics(t *testing.T) map[string]bool {
	t.Helper()
	b := status.NewBoard(status.BoardOptions{VIPs: []status.VIP{{Address: "192.0.2.9", Port: 6443}},
		Certificates: func() []status.Certificate { return []status.Certificate{{Kubeconfig: "/etc/vipd/kubeconfig"}} }})
	b.Update(func(f *status.Facts) {
		f.Lease = status.LeaseFacts{Known: true, Holder: "n1", Seen: boottime.Now()}
		f.APIServers = []status.APIServer{{Node: "n1", Server: "127.0.0.1:6443"}}
	})
	m := status.NewMetrics(b)
	m.LeaseRequest("127.0.0.1:6443", "200")
	m.Failover("expired", time.Second)
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	names := make(map[string]bool)
	for line := range bytes.Lines(w.Body.Bytes()) {
		if name := regexp.MustCompile(`^vipd_\w+`).Find(line); name != nil {
			names[string(name)] = true
		}
	}
	if len(names) < 20 {
		t.Fatalf("metrics: %v", names)
	}
	return names
}
