package health

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/pkg/boottime"
)

const ms = boottime.Instant(time.Millisecond)

// probed passes findings to a judge, one per pause, each answered at once.
func probed(j *judge, now *boottime.Instant, pause time.Duration, findings ...finding) {
	for _, f := range findings {
		j.sent(*now)
		j.answered(*now, f, "because")
		j.evaluate(*now)
		*now = now.Add(pause)
	}
}

func TestJudge(t *testing.T) {
	many := func(n int, f ...finding) (out []finding) {
		for range n {
			out = append(out, f...)
		}
		return out
	}
	tests := []struct {
		name     string
		findings []finding
		want     Verdict
	}{
		{"nothing seen", nil, Unknown},
		{"first answer", many(1, good), Ready},
		{"could not be asked", many(50, notProbed), Unknown},
		{"refused once", []finding{good, refused}, NotReady},
		{"refused before it was ever ready", many(1, refused), NotReady},
		{"shutting down", []finding{good, leaving}, NotReady},
		{"a check fails once", []finding{good, failing, good}, Ready},
		{"a check fails", []finding{good, failing, failing}, NotReady},
		{"errors, for less than maxWait", append(many(1, good), many(15, unclear)...), Ready},
		{"errors for as long", append(many(1, good), many(16, unclear)...), NotReady},
		{"back, one good answer", []finding{good, refused, good}, NotReady},
		{"back, two good answers", []finding{good, refused, good, good}, Ready},
		{"back, and an error in between", []finding{good, refused, good, unclear, good}, NotReady},
		{"one in two fails, for ever", many(100, good, unclear), Ready},
		// A starting server refuses every request; errorInterval is 50 ms.
		{"will not tell, for less than a minute", many(1200, denied), Unknown},
		{"will not tell, for a minute", many(1202, denied), Ready},
		{"back, and will not tell", append(many(1, good, refused), many(1200, denied)...), NotReady},
		{"back, and does not tell for a minute", append(many(1, good, refused), many(1203, denied)...), Ready},
		{"ends while it does not tell", append(many(1200, denied), many(1, refused, denied, denied)...), NotReady},
		{"ready for less than a minute, and will not tell", many(1, good, denied, denied), Ready},
		{"ready for a minute, and will not tell", append(many(1201, good), many(1201, denied)...), Ready},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var j judge
			now := boottime.Instant(time.Hour)
			probed(&j, &now, errorInterval, tt.findings...)
			if j.verdict != tt.want {
				t.Errorf("verdict = %s (%s), want %s", j.verdict, j.why, tt.want)
			}
		})
	}
}

// TestHang: probes get no answer at all.
func TestHang(t *testing.T) {
	var j judge
	now := boottime.Instant(time.Hour)
	probed(&j, &now, holderOwn, good, good)
	last := now.Add(-holderOwn)
	for j.verdict == Ready {
		j.sent(now)
		now = now.Add(silentInterval)
		j.evaluate(now)
		if now.Sub(last) > 2*time.Second {
			t.Fatal("a server that hangs is thought ready")
		}
	}
	if after := now.Sub(last); after < maxWait || after > maxWait+300*time.Millisecond {
		t.Errorf("found out after %s", after)
	}
}

// TestPausedProbeIsNoHang: this process was stopped, and the server was not.
func TestPausedProbeIsNoHang(t *testing.T) {
	var j judge
	now := boottime.Instant(time.Hour)
	probed(&j, &now, holderOwn, good, good)
	j.sent(now)
	now = now.Add(time.Minute)
	j.evaluate(now)
	if j.verdict != Ready {
		t.Errorf("verdict = %s (%s) after a pause of our own", j.verdict, j.why)
	}
}

// TestFlakyIsReady: one answer in five is an error, for an hour.
func TestFlakyIsReady(t *testing.T) {
	var j judge
	now, r := boottime.Instant(time.Hour), rand.New(rand.NewPCG(1, 2))
	probed(&j, &now, errorInterval, good)
	for end := now.Add(time.Hour); now < end; {
		f := good
		if r.IntN(5) == 0 {
			f = unclear
		}
		pause := holderOwn
		if d := j.urgency(); d > 0 {
			pause = d
		}
		probed(&j, &now, pause, f)
		if j.verdict != Ready {
			t.Fatalf("%s (%s) after %s", j.verdict, j.why, now.Sub(end.Add(-time.Hour)))
		}
	}
}

// TestSlowIsReady: every answer takes longer than the interval of the probes.
func TestSlowIsReady(t *testing.T) {
	var j judge
	now := boottime.Instant(time.Hour)
	probed(&j, &now, errorInterval, good)
	var sent []boottime.Instant
	for range 600 {
		j.sent(now)
		sent = append(sent, now)
		now += 100 * ms
		if len(sent) == 5 { // half a second
			j.answered(sent[0], good, "")
			sent = sent[1:]
		}
		if j.evaluate(now); j.verdict != Ready {
			t.Fatalf("a server that takes 500 ms is %s: %s", j.verdict, j.why)
		}
	}
}

func TestRead(t *testing.T) {
	// As kube-apiserver 1.36 answers.
	list := func(bad ...string) string {
		out := "[+]ping ok\n[+]log ok\n"
		for _, b := range bad {
			out += fmt.Sprintf("[-]%s failed: reason withheld\n", b)
		}
		return out + "readyz check failed\n"
	}
	tests := []struct {
		name   string
		status int
		body   string
		err    error
		want   finding
		why    string
	}{
		{"ok", 200, "ok", nil, good, ""},
		{"refused", 0, "", fmt.Errorf("ask: %w", unix.ECONNREFUSED), refused, "nobody listens"},
		{"reset", 0, "", fmt.Errorf("ask: %w", unix.ECONNRESET), unclear, "ask: connection reset by peer"},
		{"timeout", 0, "", fmt.Errorf("ask: %w", context.DeadlineExceeded), silent, "it does not answer"},
		{"other", 0, "", errors.New("x"), unclear, "x"},
		{"shutdown", 500, list("shutdown"), nil, leaving, "it is shutting down"},
		{"shutdown among others", 500, list("etcd", "shutdown"), nil, leaving, "it is shutting down"},
		{"etcd", 500, list("etcd", "etcd-readiness"), nil, failing, "it says that it is not ready: etcd, etcd-readiness"},
		{"many", 500, list("a", "b", "c", "d", "e", "f", "g"), nil, failing, "it says that it is not ready: a, b, c, d, e"},
		{"500 of something else", 500, "oops", nil, unclear, "it answers 500 Internal Server Error"},
		{"overloaded", 429, "Too many requests, please try again later.", nil, busy, "it answers 429 Too Many Requests"},
		{"will not tell us", 401, `{"kind":"Status"}`, nil, denied, ""},
		{"will not tell this user", 403, `{"kind":"Status"}`, nil, denied, ""},
		{"a dash that is no check", 500, "[-]\n[-]x\n", nil, unclear, "it answers 500 Internal Server Error"},
	}
	for _, tt := range tests {
		if f, why := read(tt.status, tt.body, true, tt.err); f != tt.want || why != tt.why {
			t.Errorf("%s: %d %q, want %d %q", tt.name, f, why, tt.want, tt.why)
		}
	}
	if f, _ := read(0, "", false, errors.New("no kubeconfig")); f != notProbed {
		t.Errorf("what was not asked counts as %d", f)
	}
}

func FuzzFailedChecks(f *testing.F) {
	f.Add("[-]etcd failed: reason withheld\n")
	f.Fuzz(func(t *testing.T, body string) {
		for _, name := range failedChecks(body) {
			if len(name) >= 100 {
				t.Errorf("repeats %d bytes of a server's words", len(name))
			}
		}
	})
}
