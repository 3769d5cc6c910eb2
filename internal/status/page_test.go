package status

import (
	"html"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
)

var (
	inline = regexp.MustCompile(`(?s)<(style|script)>(.*?)</(?:style|script)>`)
	mute   = regexp.MustCompile(`(?s)<svg.*?</svg>`)
	within = regexp.MustCompile(`</?(a|b|i|span|time)\b[^>]*>`) // inside a line of text
	others = regexp.MustCompile(`<[^>]*>`)
	spaces = regexp.MustCompile(`\s+`)
)

// source returns the source of the page, and words its text.
func source(t *testing.T, b *Board) string {
	t.Helper()
	w := get(t, New(Options{Boards: []*Board{b}}), "/")
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "text/html; charset=utf-8" || w.Header().Get("Cache-Control") != "no-store" {
		t.Fatalf("page: %d, %v", w.Code, w.Header())
	}
	return w.Body.String()
}

func words(source string) string {
	text := mute.ReplaceAllString(inline.ReplaceAllString(source, ""), "")
	text = others.ReplaceAllString(within.ReplaceAllString(text, ""), " ")
	return strings.TrimSpace(spaces.ReplaceAllString(html.UnescapeString(text), " "))
}

// failover is the history of a node that took the VIP after the end of another node.
func failover(c *clock, b *Board) {
	at := func(ms time.Duration) boottime.Instant { return c.ago(time.Minute - ms*time.Millisecond) }
	b.Add(Change{Time: b.At(at(3012)), Kind: Taken, Holder: "n1", Term: 7, Cause: "the lease of n2 expired", Seconds: 3.012, Phases: b.Steps(
		Step{"last renewal seen", at(0)}, Step{"lease free", at(3000)}, Step{"claim sent", at(3001)},
		Step{"claim written", at(3010)}, Step{"address added", at(3011)}, Step{"announced", at(3012)})})
}

// TestPage: what the page says, and does not say, for different facts.
func TestPage(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*clock, *Board)
		says   []string
		not    []string
	}{
		"holder": {
			says: []string{"n1 holds the VIP, healthy - vipd on n1", "n1 holds the VIP healthy", "192.168.35.100:6443", "Held since 00:59:00 UTC (60 s ago)",
				"Term 7", "At MAC 02:00:00:00:00:01", "Lease runs out in 2.4 s, of 3 s", "This node, n1 holds the VIP since 00:59:00 UTC (60 s ago): n2 released the lease",
				"n1 this node holds the VIP 127.0.0.1:6443 ready", "nftables, open for 2.4 s more", "Address here yes", "Conflicts none", "Repairs none",
				"/etc/kubernetes/vipd.conf 2026-12-03 00:00:00 UTC (in 6 days)", "Configuration in force Flag Value port 6443",
				"Nothing changed since vipd started here, 01:00:00 UTC (just now)", "As of 01:00:00 UTC. Reload the page"},
			not: []string{"older", "Outage", "outage"},
		},
		"standby": {
			change: func(_ *clock, b *Board) { b.Update(standby) },
			says:   []string{"n2 holds the VIP healthy", "This node, n1 standby, would take over since", "Lease runs out in 2.6 s, of 3 s", "n2 holds the VIP 192.168.35.12:6443", "nftables, closed", "Address here no"},
		},
		"no candidate": {
			change: func(_ *clock, b *Board) { b.Update(func(f *Facts) { standby(f); f.Candidate = false }) },
			says:   []string{"n2 holds the VIP degraded n1 would not take the VIP: the node has no interface", "standby, would not take over"},
		},
		"no holder": {
			change: func(_ *clock, b *Board) {
				b.Update(func(f *Facts) { standby(f); f.Lease.Holder, f.Lease.MAC = "", "" })
			},
			says: []string{"Nobody holds the VIP no holder nobody holds the VIP: lease kube-system/plndr-cp-lock names no holder", "Without a holder since 00:59:00 UTC"},
			not:  []string{"Held since", "Lease runs"},
		},
		"holder is gone": {
			change: func(c *clock, b *Board) {
				b.Update(func(f *Facts) { standby(f); f.Lease.Seen = c.ago(4100 * time.Millisecond) })
			},
			says: []string{"Nobody holds the VIP no holder nobody holds the VIP: n2 has not renewed", "Lease ran out", "Last held by n2"},
			not:  []string{"n2 holds"},
		},
		"not read yet": {
			change: func(_ *clock, b *Board) { b.Update(func(f *Facts) { *f = Facts{State: "standby", Cause: "started"} }) },
			says:   []string{"The holder of the VIP is not known no holder lease kube-system/plndr-cp-lock was not read yet", "Not probed yet", "Interface no suitable one"},
			not:    []string{"Held since", "Term", "0001-01-01"},
		},
		"failover": {
			change: failover,
			says: []string{"n1 took the VIP 3.01 s 00:59:03.012 UTC (56 s ago), term 7 the lease of n2 expired",
				"last renewal seen 0.0 ms lease free 3000.0 ms claim sent 3001.0 ms claim written 3010.0 ms address added 3011.0 ms announced 3012.0 ms"},
			not: []string{"Nothing changed", "older"},
		},
		"each kind": {
			change: func(c *clock, b *Board) {
				for _, k := range []Kind{Left, Moved, Repaired, Conflict, Refused, Dark} {
					b.Add(Change{Time: b.At(c.ago(24 * time.Hour)), Kind: k, Holder: "n3", Term: 8, Seconds: 0.25})
				}
			},
			says: []string{"n1 no longer holds the VIP 250 ms 2026-11-25 01:00:00.000 UTC (24 h ago), term 8", "The VIP moved to n3", "Repaired on n1",
				"Another machine claimed the VIP", "A move was refused", "The VIP did not answer"},
		},
		"a long history": {
			change: func(c *clock, b *Board) {
				for i := range 30 {
					b.Add(Change{Time: b.At(c.now()), Kind: Moved, Holder: "n3", Term: i, Cause: "it is so"})
				}
			},
			says: []string{"term 29", "22 older Time Change Took 01:00:00 UTC The VIP moved to n3 it is so"},
			not:  []string{"term 21"},
		},
		"outages": {
			change: func(c *clock, b *Board) {
				b.Update(func(f *Facts) {
					f.Outage = OutageFacts{Began: c.ago(time.Minute), Ended: c.ago(57200 * time.Millisecond)}
				})
			},
			says: []string{"Last outage, seen from here 2.8 s from 00:59:00 UTC (60 s ago)"},
		},
		"an outage now": {
			change: func(c *clock, b *Board) {
				b.Update(func(f *Facts) { f.Outage = OutageFacts{Began: c.ago(time.Second), Error: "refused"} })
			},
			says: []string{"Outage, seen from here for 1 s now"},
		},
		"what went wrong": {
			change: func(c *clock, b *Board) {
				b.Update(func(f *Facts) {
					f.Conflicts, f.Repairs = ConflictFacts{3, "02:00:00:00:00:99", c.ago(50 * time.Minute)}, 2
					f.Announcements = AnnouncementFacts{Sent: 5, Failed: 1, Last: c.ago(time.Second), Error: "no buffer space"}
					f.APIServers[1].State, f.APIServers[1].Reason, f.APIServers[1].Leaving = "not ready", "refused", "cordoned"
				})
			},
			says: []string{"n1 holds the VIP degraded", "Conflicts 3, last at 02:00:00:00:00:99 00:10:00 UTC (50 min ago)", "Repairs 2",
				"5 sent, 1 failed last 00:59:59 UTC (1 s ago) no buffer space", "not ready refused leaving: cordoned"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := &clock{since: time.Hour}
			b := newTestBoard(c)
			b.Update(healthy(c))
			if tt.change != nil {
				tt.change(c, b)
			}
			got := words(source(t, b))
			for _, s := range tt.says {
				if !strings.Contains(got, s) {
					t.Errorf("does not say %q", s)
				}
			}
			for _, s := range tt.not {
				if strings.Contains(got, s) {
					t.Errorf("says %q", s)
				}
			}
			if t.Failed() {
				t.Log(got)
			}
		})
	}
}

// TestPageEscapes: names and errors come from outside, and must appear as text only.
func TestPageEscapes(t *testing.T) {
	const evil = `"'><script>alert(1)</script><img src=x onerror=alert(1)>`
	c := &clock{since: time.Hour}
	b := NewBoard(BoardOptions{Node: evil, Version: evil, VIPs: []VIP{{Address: evil}}, FenceKind: evil, Now: c.now, Wall: c.wall,
		Configuration: map[string]string{evil: evil}, Certificates: func() []Certificate { return []Certificate{{Kubeconfig: evil}} }})
	b.Update(func(f *Facts) {
		healthy(c)(f)
		f.State, f.Cause, f.Lease.Holder, f.Lease.MAC, f.Interface = evil, evil, evil, evil, Interface{Name: evil, MAC: evil}
		f.APIServers = []APIServer{{Node: evil, Server: evil, State: evil, Reason: evil, Leaving: evil}}
		f.Announcements.Error, f.Conflicts = evil, ConflictFacts{1, evil, c.now()}
	})
	for range shown + 1 {
		b.Add(Change{Kind: evil, Holder: evil, Cause: evil, Phases: []Phase{{What: evil}, {What: evil, AfterMS: 1}}})
	}
	got := source(t, b)
	if n := strings.Count(got, "<script>"); n != 1 || strings.Contains(got, "<img") {
		t.Errorf("%d scripts", n)
	}
	if n := strings.Count(words(got), evil); n < 30 {
		t.Errorf("shown %d times", n)
	}
}

// TestPagePolicy: the policy permits exactly what is in the page.
func TestPagePolicy(t *testing.T) {
	c := &clock{since: time.Hour}
	b := newTestBoard(c)
	b.Update(healthy(c))
	failover(c, b)
	w := get(t, New(Options{Boards: []*Board{b}}), "/")
	got := map[string]string{}
	for _, m := range inline.FindAllStringSubmatch(w.Body.String(), -1) {
		got[m[1]] += hash(m[2])
	}
	want := "default-src 'none'; script-src " + got["script"] + "; style-src " + got["style"] +
		"; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	if policy := w.Header().Get("Content-Security-Policy"); policy != want || len(got) != 2 {
		t.Errorf("policy %s\n  want %s", policy, want)
	}
	markup := inline.ReplaceAllString(w.Body.String(), "")
	if found := regexp.MustCompile(`(?i)\s(style|on[a-z]+)=|(src|href)="(https?:|//)`).FindString(markup); found != "" {
		t.Errorf("the page has %q", found)
	}
}

// TestSegments: segments fill the bar in proportion, and each is wide enough to see.
func TestSegments(t *testing.T) {
	for _, tt := range []struct {
		after []float64
		bar   bool
		x, w  []float64
	}{
		{nil, false, nil, nil},
		{[]float64{0}, false, []float64{0}, []float64{0}},
		{[]float64{0, 0}, false, []float64{0, 0}, []float64{0, 0}},
		{[]float64{0, 30, 40}, true, []float64{0, 0, 750}, []float64{0, 748, 248}},
		{[]float64{0, 3000, 3000}, true, []float64{0, 0, 994}, []float64{0, 992, 4}},
	} {
		var c Change
		for _, a := range tt.after {
			c.Phases = append(c.Phases, Phase{AfterMS: a})
		}
		if (pageView{}).Bar(c) != tt.bar {
			t.Errorf("%v: bar %t", tt.after, !tt.bar)
		}
		for i, s := range (pageView{}).Segments(c) {
			if s.X != tt.x[i] || s.W != tt.w[i] {
				t.Errorf("%v: %d at %v, %v wide", tt.after, i, s.X, s.W)
			}
		}
	}
}
