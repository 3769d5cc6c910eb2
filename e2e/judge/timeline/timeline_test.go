package timeline

import (
	"fmt"
	"html"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/analyse"
	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/internal/goldentest"
)

const (
	a     = "02:00:00:23:00:0b"
	b     = "02:00:00:23:00:0c"
	c     = "02:00:00:23:00:0d"
	other = "02:00:00:23:00:34"
)

var cluster = record.Cluster{Nodes: map[string][]string{"n1": {a}, "n2": {b}, "n3": {c}}}

// ms returns the time n milliseconds after the fault.
func ms(n int) record.Time {
	return 20*record.Time(time.Second) + record.Time(n)*record.Time(time.Millisecond)
}

// ask adds probes in [from, to) that the owners of MACs answer.
func ask(h *record.History, from, to int, macs ...string) {
	for t := from; t < to; t += 5 {
		seq := uint32(t+2000) / 5
		h.Probes = append(h.Probes, record.Probe{Seq: seq, At: ms(t)})
		for i, mac := range macs {
			h.Answers = append(h.Answers, record.Answer{Seq: seq, At: ms(t) + record.Time(i+1)*90_000, MAC: mac})
		}
	}
}

// request adds requests in [from, to).
func request(h *record.History, from, to int, node, err string) {
	for t := from; t < to; t += 10 {
		h.Requests = append(h.Requests, record.Request{Start: ms(t), End: ms(t + 3), Node: node, Err: err})
	}
}

// hold adds versions of the Lease, one per second.
func hold(h *record.History, holder string, term, from, to int) {
	for t := from; t < to; t += 1000 {
		v := record.LeaseVersion{At: ms(t + 4), Version: fmt.Sprint(t), Holder: holder, Term: term, Sent: ms(t), Seconds: 3}
		h.Leases = append(h.Leases, v, v)
	}
}

// sigkill is an episode of 12 s in which n1 answers for too long.
func sigkill() record.Episode {
	e := record.Episode{
		Promise: record.Promise{Name: "sigkill", Title: "SIGKILL, not restarted", Moves: true, EndsIdle: true, Within: 3500 * time.Millisecond},
		Cluster: cluster, Holder: "n1", Next: "n2", At: ms(0), End: ms(9000),
	}
	h := &e.History
	ask(h, -1500, 2620, a)
	ask(h, 2620, 2655, a, b)
	ask(h, 2655, 10500, b)
	request(h, -1500, 2000, "n1", "")
	request(h, 2000, 2640, "", "dial tcp 10.23.0.100:6443: connect: no route to host")
	request(h, 2640, 10500, "n2", "")
	hold(h, "n1", 4, -2400, 0)
	hold(h, "n2", 5, 2610, 10500)
	h.Addresses = []record.AddressEvent{{At: ms(2615), Node: "n2", Added: true}, {At: ms(4000), Node: "n1"}}
	for _, t := range []int{2616, 2666, 2766, 3116, 4116, 5116} {
		h.Announcements = append(h.Announcements, record.Announcement{At: ms(t), MAC: b, Op: "request"}, record.Announcement{At: ms(t + 1), MAC: b, Op: "reply"})
	}
	h.Neighbours = []record.Neighbour{{At: ms(-1490), Host: "client", MAC: a}, {At: ms(-1480), Host: "n3", MAC: a}, {At: ms(2617), Host: "client", MAC: b}, {At: ms(2618), Host: "n3", MAC: b}}
	h.Reconnects = []record.Reconnect{{Noticed: ms(2010), Done: ms(2650)}}
	h.Marks = []record.Mark{{At: ms(0), Text: "SIGKILL, not restarted on n1"}, {At: ms(9100), Text: "vipd started on n1"}}
	return e
}

// knock adds knocks at n1 in [from, to), which the owner of a MAC accepts.
func knock(h *record.History, from, to int, mac string) {
	for t := from; t < to; t += 20 {
		seq := uint32(t+2000) / 20
		h.Knocks = append(h.Knocks, record.Knock{Seq: seq, At: ms(t), Node: "n1", How: "tcp"})
		if mac != "" {
			h.Acceptances = append(h.Acceptances, record.Acceptance{Seq: seq, At: ms(t) + 90_000, MAC: mac})
		}
	}
}

// small is an episode of 100 ms in which n1 hands over to n2.
func small() record.Episode {
	e := record.Episode{
		Promise: record.Promise{Name: "sigterm", Title: "SIGTERM", Moves: true, Within: 500 * time.Millisecond},
		Cluster: cluster, Holder: "n1", Next: "n2", Wanted: "n2", At: ms(0), End: ms(70),
	}
	h := &e.History
	ask(h, -30, 0, a)
	ask(h, 0, 20)
	ask(h, 20, 80, b)
	knock(h, -20, 0, a)
	knock(h, 0, 20, "")
	knock(h, 20, 80, b)
	request(h, -30, 0, "n1", "")
	request(h, 0, 20, "", "refused")
	request(h, 20, 80, "n2", "")
	hold(h, "n1", 4, -530, 0)
	h.Leases = append(h.Leases, record.LeaseVersion{At: ms(6), Version: "released", Term: 4, Sent: ms(3)})
	hold(h, "n2", 5, 15, 80)
	h.Addresses = []record.AddressEvent{{At: ms(1), Node: "n1"}, {At: ms(18), Node: "n2", Added: true}}
	h.Announcements = []record.Announcement{{At: ms(19), MAC: b, Op: "reply"}}
	h.Neighbours = []record.Neighbour{{At: ms(-29), Host: "client", MAC: a}, {At: ms(19), Host: "client", MAC: b}}
	h.Marks = []record.Mark{{At: ms(0), Text: "SIGTERM on n1"}}
	return e
}

// draw returns the page of an episode, with the verdict of Judge.
func draw(t *testing.T, e record.Episode) string {
	t.Helper()
	verdict, err := analyse.Judge(e)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := Write(&out, e, verdict); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// contains checks for text as a browser shows it.
func contains(t *testing.T, page, want string) {
	t.Helper()
	if !strings.Contains(html.UnescapeString(page), want) {
		t.Errorf("the page does not have %q", want)
	}
}

func TestGolden(t *testing.T) {
	goldentest.Fresh(t, filepath.Join("testdata", "small.html"), draw(t, small()))
}

// One answer among thousands is drawn, even if it breaks no rule.
func TestStrayAnswer(t *testing.T) {
	for mac, who := range map[string]string{c: "n3", other: other} {
		e := sigkill()
		e.Cluster.Strangers = []string{other}
		e.History.Answers = append(e.History.Answers, record.Answer{Seq: 1, At: ms(7001), MAC: mac})
		var out strings.Builder
		if err := Write(&out, e, analyse.Verdict{}); err != nil {
			t.Fatal(err)
		}
		contains(t, out.String(), `<title>`+who+" answers ARP: +7.001 s</title></rect>")
	}
}

// Evidence is red on both nodes that answer.
func TestEvidence(t *testing.T) {
	page := draw(t, sigkill())
	for _, who := range []string{"n1", "n2"} {
		contains(t, page, `class="bad"><title>`+who+" answers ARP, against a rule")
	}
}

// Input from outside appears as text.
func TestEscaped(t *testing.T) {
	const evil = `</title></style></svg><script>alert("1")</script>`
	e := small()
	e.Promise.Name, e.Promise.Title, e.Holder, e.Next, e.Wanted = evil, evil, evil, evil, evil
	e.Cluster.Nodes[evil] = []string{evil}
	defer delete(e.Cluster.Nodes, evil)
	h := &e.History
	h.Marks[0].Text, h.Requests[4].Err, h.Requests[8].Node = evil, evil, evil
	h.Addresses[0].Node, h.Neighbours[0].Host, h.Neighbours[1].MAC = evil, evil, evil
	h.Leases[0].Holder, h.Leases[1].Version = evil, evil
	h.Announcements[0] = record.Announcement{At: ms(19), MAC: evil, Op: evil}
	h.Answers[0].MAC = evil
	var out strings.Builder
	if err := Write(&out, e, analyse.Verdict{Violations: []analyse.Violation{{Rule: evil, At: ms(3), Why: evil}}, Gaps: []analyse.Gap{{What: evil, From: ms(3), To: ms(9)}}, Unproven: evil}); err != nil {
		t.Fatal(err)
	}
	for _, tag := range []string{"<script", "</style"} {
		if n := strings.Count(out.String(), tag); n > 1 {
			t.Errorf("%s is in the page %d times", tag, n)
		}
	}
	if strings.Contains(out.String(), "<script>alert") {
		t.Error("the page has a script of others")
	}
}

// An episode of 15 s with constant failures gives a page of moderate size, which lists what is
// omitted.
func TestBounds(t *testing.T) {
	e := sigkill()
	e.End = ms(15000)
	h := &e.History
	*h = record.History{Marks: h.Marks}
	for at := 0; at < 15000; at += 20 {
		ask(h, at, at+5, a, b, other)
		ask(h, at+5, at+20)
		request(h, at, at+20, "", fmt.Sprintf("read tcp 10.23.0.4:%d->10.23.0.100:6443: %s", 40000+at, strings.Repeat("i/o timeout ", 100)))
		h.Announcements = append(h.Announcements, record.Announcement{At: ms(at), MAC: a, Op: "reply"})
	}
	for i := range 75 { // as often as addresses are repaired
		at, odd := 200*i, i%2 == 1
		h.Addresses = append(h.Addresses, record.AddressEvent{At: ms(at), Node: "n1", Added: odd})
		h.Neighbours = append(h.Neighbours, record.Neighbour{At: ms(at), Host: "client", MAC: []string{a, b}[i%2]})
		hold(h, []string{"n1", "n2"}[i%2], i, at, at+1)
	}
	page := draw(t, e)
	if len(page) > 300_000 {
		t.Errorf("the page has %d bytes", len(page))
	}
	contains(t, page, "announcement: 690 after +1.180 s")
}

// An empty episode has a page, too.
func TestNothing(t *testing.T) {
	for _, e := range []record.Episode{{}, {At: ms(0)}, {At: ms(0), End: ms(5)}} {
		var out strings.Builder
		if err := Write(&out, e, analyse.Verdict{}); err != nil {
			t.Fatal(err)
		}
		if bad := regexp.MustCompile("NaN|Inf").FindString(out.String()); bad != "" {
			t.Errorf("the page of %v to %v has %s", e.At, e.End, bad)
		}
	}
}

func TestSameAgain(t *testing.T) {
	first := draw(t, sigkill())
	for range 5 {
		if draw(t, sigkill()) != first {
			t.Fatal("the page of the same episode differs")
		}
	}
}

func TestHoldings(t *testing.T) {
	write := func(sent int, holder string, term int) record.LeaseVersion {
		return record.LeaseVersion{At: ms(sent + 4), Version: fmt.Sprint(sent, holder), Holder: holder, Term: term, Sent: ms(sent), Seconds: 3}
	}
	deleted := record.LeaseVersion{At: ms(1500), Version: "deleted", Deleted: true, Holder: "n1", Term: 4, Sent: ms(1000), Seconds: 3}
	tests := []struct {
		name string
		list []record.LeaseVersion
		want string
	}{
		{"none", nil, ""},
		{"renewed", []record.LeaseVersion{write(0, "n1", 4), write(1000, "n1", 4)}, "n1/4 0 4000 4000"},
		{"seen twice", []record.LeaseVersion{write(0, "n1", 4), write(0, "n1", 4)}, "n1/4 0 3000 3000"},
		{"lapsed", []record.LeaseVersion{write(0, "n1", 4), write(3500, "n1", 4)}, "n1/4 0 3000 3000, n1/4 3500 6500 6500"},
		{"another, after its end", []record.LeaseVersion{write(0, "n1", 4), write(3100, "n2", 5)}, "n1/4 0 3000 3000, n2/5 3100 6100 6100"},
		{"another, before its end", []record.LeaseVersion{write(0, "n1", 4), write(1000, "n2", 5)}, "n1/4 0 1000 3000, n2/5 1000 4000 4000"},
		{"released", []record.LeaseVersion{write(0, "n1", 4), write(1000, "", 4)}, "n1/4 0 1000 3000"},
		{"deleted and recreated", []record.LeaseVersion{write(1000, "n1", 4), deleted, write(2000, "n1", 4)}, "n1/4 1000 1500 4000, n1/4 2000 5000 5000"},
		{"a time of the future", []record.LeaseVersion{{At: ms(5), Version: "x", Holder: "n1", Sent: ms(9000), Seconds: 3}}, "n1/0 5 3005 3005"},
	}
	for _, tt := range tests {
		var got []string
		for _, h := range holdings(tt.list) {
			got = append(got, fmt.Sprintf("%s/%d %d %d %d", h.holder, h.term, h.from.Sub(ms(0)).Milliseconds(), h.until.Sub(ms(0)).Milliseconds(), h.to.Sub(ms(0)).Milliseconds()))
		}
		if s := strings.Join(got, ", "); s != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, s, tt.want)
		}
	}
}
