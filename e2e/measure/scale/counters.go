package scale

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// Rates are numbers, mostly per second, by kind of request, such as "PUT leases".
type Rates map[string]float64

// Total returns the sum.
func (r Rates) Total() (sum float64) {
	for _, kind := range slices.Sorted(maps.Keys(r)) {
		sum += r[kind]
	}
	return sum
}

// counters are the counters of all API servers since their start, added up.
type counters struct {
	at       record.Time
	requests Rates   // a watch counts when it ends
	refused  float64 // writes of a Lease that met a newer version
	events   float64 // of Leases, sent to watchers
	watches  float64 // of a single Lease, open now
}

// scrape reads the counters of all API servers.
func scrape(ctx context.Context, l *lab.Lab) (counters, error) {
	sum := counters{at: record.Now(), requests: make(Rates)}
	for _, n := range l.Nodes {
		text, err := n.Metrics(ctx)
		if err != nil {
			return sum, err
		}
		if err := sum.add(text); err != nil {
			return sum, fmt.Errorf("read metrics of %s: %w", n.Name, err)
		}
	}
	return sum, nil
}

// scrapeLater calls scrape with retries, for servers that may be too busy to answer.
func scrapeLater(ctx context.Context, l *lab.Lab) (c counters, err error) {
	short, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	busy := wait.Until(short, settlePoll, func() (bool, error) {
		c, err = scrape(short, l)
		return err == nil, nil
	})
	if busy != nil {
		return c, errors.Join(busy, err)
	}
	return c, nil
}

// add adds one API server's metrics.
func (c *counters) add(text []byte) error {
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(only(text, wanted)))
	if err != nil {
		return err
	}
	for _, name := range wanted {
		if families[name] == nil {
			return fmt.Errorf("no metric %s", name)
		}
	}
	for _, m := range families["apiserver_request_total"].Metric {
		kind, n := kindOf(label(m, "verb"), label(m, "resource"), label(m, "subresource")), m.GetCounter().GetValue()
		if kind == "" {
			continue
		}
		c.requests[kind] += n
		if label(m, "resource") == "leases" && label(m, "verb") == http.MethodPut && label(m, "code") == "409" {
			c.refused += n
		}
	}
	for _, m := range families["apiserver_watch_events_total"].Metric {
		if label(m, "resource") == "leases" {
			c.events += m.GetCounter().GetValue()
		}
	}
	for _, m := range families["apiserver_longrunning_requests"].Metric {
		if label(m, "resource") == "leases" && label(m, "scope") == "resource" {
			c.watches += m.GetGauge().GetValue()
		}
	}
	return nil
}

// wanted are the metrics that are read.
var wanted = []string{"apiserver_request_total", "apiserver_watch_events_total", "apiserver_longrunning_requests"}

// only keeps the lines of some metrics: parsing all of them takes longer than the API server takes
// to answer.
func only(text []byte, names []string) (kept []byte) {
	for line := range bytes.Lines(text) {
		name := bytes.TrimPrefix(line, []byte("# TYPE "))
		if slices.ContainsFunc(names, func(n string) bool { return bytes.HasPrefix(name, []byte(n)) }) {
			kept = append(kept, line...)
		}
	}
	return kept
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.Label {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// asked are the resources that vipd requests.
var asked = []string{"leases", "endpointslices", "nodes"}

// kindOf returns the kind of a request, "" for kinds that vipd does not use.
func kindOf(verb, resource, path string) string {
	switch {
	case path == "/readyz":
		return "GET /readyz"
	case path == "" && slices.Contains(asked, resource):
		return verb + " " + resource
	}
	return ""
}

// kindOfRequest returns the kind of a request to an API server.
func kindOfRequest(r *http.Request) string {
	if r.URL.Path == "/readyz" {
		return kindOf("", "", r.URL.Path)
	}
	parts := strings.Split(r.URL.Path, "/")
	resource, verb := "", r.Method
	if i := slices.IndexFunc(parts, func(s string) bool { return slices.Contains(asked, s) }); i >= 0 {
		resource = parts[i]
		if verb == http.MethodGet && i == len(parts)-1 {
			verb = "LIST"
		}
	}
	if watch := r.URL.Query().Get("watch"); watch == "true" || watch == "1" {
		verb = "WATCH"
	}
	return kindOf(verb, resource, "")
}

// since returns the increase since then, per second.
func (r Rates) since(before Rates, seconds float64) Rates {
	out := make(Rates)
	for kind, n := range r {
		if d := n - before[kind]; d > 0 {
			out[kind] = d / seconds
		}
	}
	return out
}

// over returns the rates without those of a cluster at rest, and without negative differences.
func (r Rates) over(rest Rates) Rates {
	out := make(Rates)
	for kind, n := range r {
		if d := n - rest[kind]; d > 0 {
			out[kind] = d
		}
	}
	return out
}
