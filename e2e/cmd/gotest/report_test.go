package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// heard returns a report of events, with its output.
func heard(t *testing.T, events string) (*report, *strings.Builder) {
	t.Helper()
	var out strings.Builder
	r := newReport(&out)
	for line := range strings.Lines(events) {
		var e event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		r.hear(e)
	}
	return r, &out
}

func saved(t *testing.T, r *report) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "times")
	if err := r.save(path); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const passes = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:1: all is well\n"}
{"Action":"output","Package":"p","Output":"lab: waiting for a lock\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":1}
{"Action":"output","Package":"p","Output":"ok  \tp\t1.5s\n"}
{"Action":"pass","Package":"p","Elapsed":1.5}
`

func TestPasses(t *testing.T) {
	r, out := heard(t, passes)
	if want := "lab: waiting for a lock\nok  \tp\t1.5s\n"; out.String() != want {
		t.Errorf("shown:\n%s\nwant:\n%s", out, want)
	}
	if got, want := saved(t, r), "1.5\tpass\tp\t\n"; got != want {
		t.Errorf("saved %q, want %q", got, want)
	}
}

// Passed tests are not shown; failed ones are, and so are those that were running at the end.
func TestFails(t *testing.T) {
	r, out := heard(t, `{"Action":"start","Package":"p"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"passes\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB","Output":"=== RUN   TestB\n"}
{"Action":"output","Package":"p","Test":"TestB/c","Output":"is wrong\n"}
{"Action":"fail","Package":"p","Test":"TestB/c"}
{"Action":"fail","Package":"p","Test":"TestB"}
{"Action":"output","Package":"p","Test":"TestD","Output":"panic: out of time\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t2s\n"}
{"Action":"fail","Package":"p","Elapsed":2}
`)
	if want := "is wrong\npanic: out of time\nFAIL\tp\t2s\n"; out.String() != want {
		t.Errorf("shown:\n%s\nwant:\n%s", out, want)
	}
	if got, want := saved(t, r), "2.0\tfail\tp\tTestB TestB/c TestD\n"; got != want {
		t.Errorf("saved %q, want %q", got, want)
	}
}

func TestDoesNotBuild(t *testing.T) {
	_, out := heard(t, `{"ImportPath":"p [p.test]","Action":"build-output","Output":"a_test.go:1: undefined: x\n"}
{"ImportPath":"p [p.test]","Action":"build-fail"}
{"Action":"start","Package":"p"}
{"Action":"output","Package":"p","Output":"FAIL\tp [build failed]\n"}
{"Action":"fail","Package":"p","Elapsed":0,"FailedBuild":"p [p.test]"}
`)
	if want := "a_test.go:1: undefined: x\nFAIL\tp [build failed]\n"; out.String() != want {
		t.Errorf("shown:\n%s\nwant:\n%s", out, want)
	}
}

// When the tests are ended, the running ones are shown.
func TestEnded(t *testing.T) {
	r, out := heard(t, `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestA/b"}
`)
	r.say("ended while in")
	if want := "gotest: ended while in p, TestA/b, 0 s\n"; out.String() != want {
		t.Errorf("said %q, want %q", out, want)
	}
	if got := saved(t, r); !strings.Contains(got, "\tended\tp\t") {
		t.Errorf("saved %q", got)
	}
}
