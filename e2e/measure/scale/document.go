package scale

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template"

	_ "embed"
)

//go:embed document.md.tmpl
var documentText string

var documentTemplate = template.Must(template.New("document").Funcs(template.FuncMap{
	"at": func(r Report, curve string) []Figures { return r.at(curves[curve]) },
	"f0": func(n float64) string { return fmt.Sprintf("%.0f", n) },
	"f1": func(n float64) string { return fmt.Sprintf("%.1f", n) },
	"f2": func(n float64) string { return fmt.Sprintf("%.2f", n) },
	// CPU is in percent of one processor.
	"percent": func(n float64) string { return fmt.Sprintf("%.1f %%", 100*n) },
	// mesh is the number of /readyz requests per second (pkg/health).
	"mesh":    func(n int) string { return fmt.Sprintf("%.0f", float64(5+2*(n-1))+float64((n-1)*(n-1))/5) },
	"kinds":   kinds,
	"signals": func() []string { return []string{"SIGTERM", "SIGKILL"} },
	"by":      bySignal,
	"seconds": func(list []Takeover) string { return spreadOf(list, Takeover.seconds, "%.2f s") },
	"refused": func(list []Takeover) string { return spreadOf(list, Takeover.refused, "%.0f") },
	"reads": func(list []Takeover) string {
		return spreadOf(list, func(t Takeover) float64 { return float64(t.Reads) }, "%.0f")
	},
	"twice": twice,
}).Parse(documentText))

// curves are the curves with a table.
var curves = map[string]which{"shared": shared, "own": own, "vips": vips}

// at returns the figures of the points on a curve, the smallest first, without those that failed
// before there were any.
func (r Report) at(on which) (out []Figures) {
	for _, f := range r.Figures {
		if on(f.Point) && f.Seconds > 0 {
			out = append(out, f)
		}
	}
	slices.SortFunc(out, func(a, b Figures) int {
		return cmp.Or(cmp.Compare(a.Point.Nodes, b.Point.Nodes), cmp.Compare(a.Point.VIPs, b.Point.VIPs))
	})
	return out
}

// document returns the report as Markdown, with the plots in a folder beside it.
func document(r Report, folder string) (string, error) {
	var out strings.Builder
	err := documentTemplate.Execute(&out, map[string]any{"Report": r, "Folder": folder})
	if err != nil {
		return "", fmt.Errorf("write document: %w", err)
	}
	return out.String(), nil
}

// kinds lists rates, the highest first.
func kinds(r Rates) string {
	names := slices.SortedFunc(maps.Keys(r), func(a, b string) int { return cmp.Or(cmp.Compare(r[b], r[a]), cmp.Compare(a, b)) })
	var out []string
	for _, name := range names {
		out = append(out, fmt.Sprintf("%.1f %s", r[name], name))
	}
	return strings.Join(out, ", ")
}

func bySignal(signal string, list []Takeover) (out []Takeover) {
	for _, t := range list {
		if t.Signal == signal {
			out = append(out, t)
		}
	}
	return out
}

// spreadOf returns the median, the minimum and the maximum.
func spreadOf(list []Takeover, of func(Takeover) float64, format string) string {
	var values []float64
	for _, t := range list {
		values = append(values, of(t))
	}
	return spread(values, format)
}

func spread(values []float64, format string) string {
	if len(values) == 0 {
		return "-"
	}
	least, most := fmt.Sprintf(format, slices.Min(values)), fmt.Sprintf(format, slices.Max(values))
	middle := fmt.Sprintf(format, median(values))
	if least == most {
		return middle
	}
	return fmt.Sprintf("%s (%s to %s)", middle, least, most)
}

// twice counts the takeovers in which two machines answered at once.
func twice(list []Takeover) (n int) {
	for _, t := range list {
		if t.Twice > 0 {
			n++
		}
	}
	return n
}
