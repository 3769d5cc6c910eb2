package daemon

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vipd-io/vipd/internal/status"
)

// section returns the text of docs/observability.md under a heading.
func section(t *testing.T, heading string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(repository, "docs/observability.md"))
	must(t, err)
	_, rest, ok := strings.Cut(string(b), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("no section %q", heading)
	}
	text, _, _ := strings.Cut(rest, "\n## ")
	return text
}

// listed returns the names in the first column of a section's tables.
func listed(t *testing.T, heading string) []string {
	t.Helper()
	var out []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)`").FindAllStringSubmatch(section(t, heading), -1) {
		out = append(out, m[1])
	}
	return out
}

// fields returns the paths of the fields of a JSON document.
func fields(of reflect.Type, path string) []string {
	switch {
	case of == reflect.TypeFor[time.Time]() || of.Kind() == reflect.Map:
		return []string{path}
	case of.Kind() == reflect.Pointer:
		return fields(of.Elem(), path)
	case of.Kind() == reflect.Slice && of.Elem().Kind() == reflect.Struct:
		return fields(of.Elem(), path+"[]")
	case of.Kind() != reflect.Struct:
		return []string{path}
	}
	var out []string
	for f := range of.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		out = append(out, fields(f.Type, strings.TrimPrefix(path+"."+name, "."))...)
	}
	return out
}

func compare(t *testing.T, what string, code, docs []string) {
	t.Helper()
	if d := cmp.Diff(slices.Compact(slices.Sorted(slices.Values(code))), slices.Sorted(slices.Values(docs))); d != "" {
		t.Errorf("%s (-code +docs/observability.md):\n%s", what, d)
	}
}

// TestObservabilityListsAll: docs/observability.md lists every field, metric, Event and log key.
func TestObservabilityListsAll(t *testing.T) {
	compare(t, "fields of /status", fields(reflect.TypeFor[status.Status](), ""), listed(t, "Status"))
	kinds := []string{string(status.Taken), string(status.Left), string(status.Moved), string(status.Repaired), string(status.Conflict), string(status.Refused), string(status.Duration), string(status.Dark)}
	compare(t, "fields and kinds of /history", append(fields(reflect.TypeFor[status.History](), ""), kinds...), listed(t, "History"))
	compare(t, "metrics", metricNames(t), listed(t, "Metrics"))
	compare(t, "keys of the log", logKeys(t), listed(t, "The log"))
	for _, reason := range regexp.MustCompile(`"VIP[A-Z]\w+"`).FindAllString(source(t, "internal/daemon/report_vip.go"), -1) {
		if !strings.Contains(section(t, "Events"), "`"+strings.Trim(reason, `"`)+"`") {
			t.Errorf("the Event %s is not documented", reason)
		}
	}
}

// metricNames returns the names of all metrics.
func metricNames(t *testing.T) []string {
	t.Helper()
	return slices.Collect(maps.Keys(testReporter().metrics.Names()))
}

// logKeys returns the keys that the sources write.
func logKeys(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, pattern := range []string{"cmd/vipd/*.go", "pkg/*/*.go", "internal/*/*.go", "internal/*/*/*.go"} {
		paths, err := filepath.Glob(filepath.Join(repository, pattern))
		must(t, err)
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			b, err := os.ReadFile(path)
			must(t, err)
			for _, m := range regexp.MustCompile(`zap\.[A-Z]\w*\("([a-z_]+)",`).FindAllStringSubmatch(string(b), -1) {
				out = append(out, m[1])
			}
		}
	}
	return out
}

func source(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(repository, path))
	must(t, err)
	return string(b)
}
