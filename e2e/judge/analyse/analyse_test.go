package analyse

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vipd-io/vipd/e2e/judge/record"
)

const (
	a = "02:00:00:23:00:0b"
	b = "02:00:00:23:00:0c"
	c = "02:00:00:23:00:0d"
)

// ms returns the time n milliseconds after the start.
func ms(n int) record.Time { return record.Time(n) * record.Time(time.Millisecond) }

// steady returns one successful request per interval in [from, to) milliseconds.
func steady(from, to int) []record.Request {
	var list []record.Request
	for t := from; t < to; t += 10 {
		list = append(list, record.Request{Start: ms(t), End: ms(t + 2)})
	}
	return list
}

func failing(from, to int) []record.Request {
	list := steady(from, to)
	for i := range list {
		list[i].Err = "refused"
	}
	return list
}

func concat[T any](lists ...[]T) []T {
	var all []T
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

func TestOutage(t *testing.T) {
	tests := []struct {
		name     string
		requests []record.Request
		from, to int
		want     time.Duration
	}{
		{"steady", steady(0, 1000), 100, 900, 0},
		{"one failed", concat(steady(0, 500), failing(500, 510), steady(510, 1000)), 100, 900, 10 * time.Millisecond},
		{"50 failed", concat(steady(0, 200), failing(200, 700), steady(700, 1000)), 100, 900, 500 * time.Millisecond},
		{"no attempts at all is no better", concat(steady(0, 200), steady(700, 1000)), 100, 900, 500 * time.Millisecond},
		{"recorded out of order", concat(steady(700, 1000), failing(200, 700), steady(0, 200)), 100, 900, 500 * time.Millisecond},
		{"longest of two", concat(steady(0, 200), steady(300, 500), steady(800, 1000)), 0, 990, 300 * time.Millisecond},
		{"before the window", concat(steady(0, 100), steady(400, 1000)), 410, 900, 0},
		{"answered late, in the light", []record.Request{{Start: ms(0), End: ms(2)}, {Start: ms(10), End: ms(310)}, {Start: ms(310), End: ms(312)}}, 0, 300, 298 * time.Millisecond},
		{"begins before the window", concat(steady(0, 100), steady(400, 1000)), 350, 900, 300 * time.Millisecond},
		{"ends after the window", concat(steady(0, 500), steady(900, 1000)), 100, 600, 400 * time.Millisecond},
		{"open at the end", concat(steady(0, 500), failing(500, 1000)), 100, 900, 398 * time.Millisecond},
		{"open at the start", concat(failing(0, 500), steady(500, 1000)), 100, 900, 402 * time.Millisecond},
		{"never", failing(0, 1000), 100, 900, 800 * time.Millisecond},
		{"nothing recorded", nil, 100, 900, 800 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Outage(tt.requests, ms(tt.from), ms(tt.to)); got != tt.want {
				t.Errorf("Outage = %v, want %v", got, tt.want)
			}
		})
	}
}

// answers returns one answer per probe in [from, to) milliseconds, half a millisecond after the
// probe. Probe n is sent at 5n ms.
func answers(mac string, from, to int) []record.Answer {
	var list []record.Answer
	for t := from; t < to; t += 5 {
		list = append(list, record.Answer{Seq: uint32(t / 5), At: ms(t) + ms(1)/2, MAC: mac})
	}
	return list
}

func TestOverlap(t *testing.T) {
	at := func(seq uint32, t int, mac string) []record.Answer {
		return []record.Answer{{Seq: seq, At: ms(t), MAC: mac}}
	}
	// Two probes of another client; the second one is sent while b answers.
	probes := append(asked(0, 2000), record.Probe{Seq: 401, At: ms(97), From: "o1"}, record.Probe{Seq: 402, At: ms(140), From: "o1"})
	tests := []struct {
		name    string
		answers []record.Answer
		want    []uint32 // the probes of the violations
	}{
		{"nobody", nil, nil},
		{"one holder", answers(a, 0, 100), nil},
		{"the same twice", concat(answers(a, 0, 100), at(3, 17, a)), nil},
		{"handed over", concat(answers(a, 0, 100), answers(b, 100, 200)), nil},
		{"handed over with a gap, recorded out of order", concat(answers(b, 150, 200), answers(a, 0, 100)), nil},
		{"around three nodes", concat(answers(a, 0, 100), answers(b, 100, 200), answers(c, 200, 300)), nil},
		{"back after a second", concat(answers(a, 0, 100), answers(b, 100, 1200), answers(a, 1200, 1300)), nil},
		{"both to one probe", concat(answers(a, 0, 100), answers(b, 95, 200)), []uint32{19}},
		{"both for 15 ms", concat(answers(a, 0, 100), answers(b, 85, 200)), []uint32{17, 18, 19}},
		{"both to one probe, late", concat(answers(a, 0, 100), answers(b, 100, 200), at(21, 160, a)), []uint32{21}},
		{"once more", concat(answers(a, 0, 100), answers(b, 100, 150), answers(a, 150, 155), answers(b, 155, 200)), []uint32{30, 31}},
		{"in turn", concat(at(1, 5, a), at(2, 10, b), at(3, 15, a)), []uint32{3}},
		{"in turn among three", concat(at(1, 5, a), at(2, 10, b), at(3, 15, c), at(4, 20, a)), []uint32{4}},
		{"back after half a second", concat(answers(a, 0, 100), answers(b, 100, 600), answers(a, 600, 700)), []uint32{120}},
		{"overtaken", concat(at(1, 5, a), at(3, 16, b), at(2, 17, a), at(4, 20, b)), nil},
		{"read late, of another socket", concat(answers(a, 0, 100), at(401, 150, a), answers(b, 105, 200)), nil},
		{"read late, and asked late", concat(answers(a, 0, 100), answers(b, 105, 130), at(402, 150, a)), []uint32{402}},
		{"overtaken for too long", concat(at(1, 5, a), at(3, 16, b), at(2, 22, a)), []uint32{2}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []uint32
			for _, v := range Overlap(probes, tt.answers, nil) {
				got = append(got, v.Seq)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("violations (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSilence(t *testing.T) {
	tests := []struct {
		name    string
		answers []record.Answer
		want    time.Duration
	}{
		{"steady", answers(a, 0, 1000), 5 * time.Millisecond},
		{"gap between two holders", concat(answers(a, 0, 300), answers(b, 500, 1000)), 205 * time.Millisecond},
		{"out of order", concat(answers(b, 500, 1000), answers(a, 0, 300)), 205 * time.Millisecond},
		{"until the end", answers(a, 0, 600), 304*time.Millisecond + 500*time.Microsecond},
		{"from the start", answers(a, 400, 1000), 300*time.Millisecond + 500*time.Microsecond},
		{"nobody", nil, 800 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Silence(tt.answers, ms(100), ms(900)); got != tt.want {
				t.Errorf("Silence = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestAnswering(t *testing.T) {
	all := concat(answers(a, 0, 100), answers(b, 100, 200), answers(c, 200, 300))
	want := map[string]int{a: 10, b: 10}
	if diff := cmp.Diff(want, Answering(all, ms(50), ms(150))); diff != "" {
		t.Errorf("Answering (-want +got):\n%s", diff)
	}
}

func TestFirstAnnouncementAfter(t *testing.T) {
	list := []record.Announcement{{At: ms(30), MAC: b}, {At: ms(10), MAC: a}, {At: ms(20), MAC: c}}
	for at, want := range map[int]string{0: a, 10: a, 11: c, 25: b} {
		if got, ok := FirstAnnouncementAfter(list, ms(at)); !ok || got.MAC != want {
			t.Errorf("after %d ms: %v, %t, want %s", at, got, ok, want)
		}
	}
	if got, ok := FirstAnnouncementAfter(list, ms(31)); ok {
		t.Errorf("after the last: %v, want none", got)
	}
}

func TestFirstReconnectAfter(t *testing.T) {
	list := []record.Reconnect{{Noticed: ms(30)}, {Noticed: ms(10), Done: ms(15)}, {Noticed: ms(20), Done: ms(21)}}
	for at, want := range map[int]int{0: 10, 10: 10, 11: 20, 25: 30} {
		if got, ok := FirstReconnectAfter(list, ms(at)); !ok || got.Noticed != ms(want) {
			t.Errorf("after %d ms: %+v, %t, want the one at %d ms", at, got, ok, want)
		}
	}
	if got, ok := FirstReconnectAfter(list, ms(31)); ok {
		t.Errorf("after the last: %+v, want none", got)
	}
}

func TestEnough(t *testing.T) {
	probes := func(from, to int) (list []record.Probe) {
		for t := from; t < to; t += 5 {
			list = append(list, record.Probe{Seq: uint32(t / 5), At: ms(t)})
		}
		return list
	}
	every := func(interval, from, to int) (list []record.Probe) {
		for t := from; t < to; t += interval {
			list = append(list, record.Probe{Seq: uint32(t / 5), At: ms(t)})
		}
		return list
	}
	tests := []struct {
		name string
		h    record.History
		ok   bool
	}{
		{"all", record.History{Probes: probes(0, 1000), Requests: steady(0, 1000), Answers: answers(a, 0, 1000)}, true},
		{"failed requests were tried", record.History{Probes: probes(0, 1000), Requests: failing(0, 1000)}, true},
		{"80 %", record.History{Probes: probes(200, 1000), Requests: steady(200, 1000)}, true},
		{"a gap in the probes", record.History{Probes: probes(210, 1000), Requests: steady(0, 1000)}, false},
		{"a gap in the requests", record.History{Probes: probes(0, 1000), Requests: steady(210, 1000)}, false},
		{"gaps in the probes", record.History{Probes: concat(probes(0, 500), probes(600, 700), probes(810, 1000)), Requests: steady(0, 1000)}, false},
		{"many small gaps", record.History{Probes: every(50, 0, 1000), Requests: steady(0, 1000)}, false},
		{"every other probe", record.History{Probes: every(10, 0, 1000), Requests: steady(0, 1000)}, true},
		{"frames lost", record.History{Probes: probes(0, 1000), Requests: steady(0, 1000), Losses: []record.Loss{{Since: ms(100), At: ms(310), Host: "c2", Frames: 3}}}, false},
		{"an acceptance of no knock", record.History{Probes: probes(0, 1000), Requests: steady(0, 1000), Acceptances: []record.Acceptance{{Seq: 4, At: ms(1)}}}, false},
		{"probes outside the window", record.History{Probes: probes(1001, 2001), Requests: steady(0, 1000)}, false},
		{"nothing", record.History{}, false},
		{"dropped", record.History{Probes: probes(0, 1000), Requests: steady(0, 1000), Dropped: 1}, false},
		{"an answer to no probe", record.History{Probes: probes(0, 1000), Requests: steady(0, 1000), Answers: answers(a, 5000, 5001)}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := Enough(tt.h, ms(0), ms(1000)); (err == nil) != tt.ok {
				t.Errorf("Enough = %v, want ok %t", err, tt.ok)
			}
		})
	}
}
