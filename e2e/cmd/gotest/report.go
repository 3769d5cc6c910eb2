package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// An event is a line of `go test -json` (go doc test2json).
type event struct {
	Action      string
	Package     string
	ImportPath  string // of a build's output
	Test        string
	Output      string
	Elapsed     float64
	FailedBuild string
}

// waiting is the prefix of a message of lab.Exclusive, which is shown at once.
const waiting = "lab: waiting for "

// A test is the state of a test; the test without a name is the package itself.
type test struct {
	output []string
	ended  bool
	failed bool
}

// A pkg is a package whose tests run.
type pkg struct {
	began time.Time
	tests map[string]*test
	names []string // of tests, in the order of their start
}

// A row is a row of the table.
type row struct {
	name    string
	seconds float64
	result  string
	failed  []string // tests
}

// report is the result of go test so far.
type report struct {
	out     io.Writer
	running map[string]*pkg
	builds  map[string][]string
	rows    []row
}

func newReport(out io.Writer) *report {
	return &report{out: out, running: make(map[string]*pkg), builds: make(map[string][]string)}
}

func (p *pkg) test(name string) *test {
	if p.tests[name] == nil {
		p.tests[name] = &test{}
		p.names = append(p.names, name)
	}
	return p.tests[name]
}

func (r *report) hear(e event) {
	switch {
	case e.Action == "build-output":
		r.builds[e.ImportPath] = append(r.builds[e.ImportPath], e.Output)
		return
	case e.Package == "":
		return
	}
	p := r.running[e.Package]
	if p == nil {
		p = &pkg{began: time.Now(), tests: make(map[string]*test)}
		r.running[e.Package] = p
	}
	t := p.test(e.Test)
	switch e.Action {
	case "output":
		t.output = append(t.output, e.Output)
		if strings.HasPrefix(e.Output, waiting) {
			fmt.Fprint(r.out, e.Output)
		}
	case "pass", "skip", "fail":
		t.ended, t.failed = true, e.Action == "fail"
		if e.Test == "" {
			r.end(e, p)
		}
	}
}

// end handles the end of a package.
func (r *report) end(e event, p *pkg) {
	delete(r.running, e.Package)
	result := row{name: e.Package, seconds: e.Elapsed, result: e.Action}
	if e.Action == "fail" {
		for _, line := range r.builds[e.FailedBuild] {
			fmt.Fprint(r.out, line)
		}
		for _, name := range p.names {
			if t := p.tests[name]; name != "" && (t.failed || !t.ended) {
				result.failed = append(result.failed, name)
				t.show(r.out)
			}
		}
		p.test("").show(r.out)
	} else if o := p.test("").output; len(o) > 0 {
		fmt.Fprint(r.out, o[len(o)-1]) // ok, and how long
	}
	r.rows = append(r.rows, result)
}

// show prints the output of a test, without the lines about its start.
func (t *test) show(out io.Writer) {
	for _, line := range t.output {
		if !strings.HasPrefix(line, "=== ") {
			fmt.Fprint(out, line)
		}
	}
}

// say prints the packages whose tests run.
func (r *report) say(what string) {
	for _, name := range slices.Sorted(maps.Keys(r.running)) {
		p := r.running[name]
		in := ""
		for _, test := range p.names {
			if t := p.tests[test]; test != "" && !t.ended {
				in = ", " + test // the last one is the innermost
			}
		}
		fmt.Fprintf(r.out, "gotest: %s %s%s, %.0f s\n", what, name, in, time.Since(p.began).Seconds())
	}
}

// save appends the rows to a file: seconds, result, name, and failed tests. A package without a
// result was ended.
func (r *report) save(path string) error {
	if path == "" {
		return nil
	}
	for name, p := range r.running {
		r.rows = append(r.rows, row{name: name, seconds: time.Since(p.began).Seconds(), result: "ended"})
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("save times: %w", err)
	}
	defer f.Close()
	for _, row := range r.rows {
		if _, err := fmt.Fprintf(f, "%.1f\t%s\t%s\t%s\n", row.seconds, row.result, row.name, strings.Join(row.failed, " ")); err != nil {
			return fmt.Errorf("save times: %w", err)
		}
	}
	return nil
}
