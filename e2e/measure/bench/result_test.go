package bench

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/judge/analyse"
	"github.com/vipd-io/vipd/e2e/judge/record"
)

const second = record.Time(time.Second)

// seen is an episode of two seconds in which n1 answers in the first one, and n2 from the given
// time on; requests fail in between.
func seen(from record.Time) record.Episode {
	e := record.Episode{
		Holder: "n1", Next: "n2", At: second, End: 3 * second,
		Cluster: record.Cluster{Nodes: map[string][]string{"n1": {"02:01"}, "n2": {"02:02"}}, Strangers: []string{"02:09"}},
	}
	for t := record.Time(0); t < e.End; t = t.Add(record.ProbeInterval) {
		seq := uint32(t / record.Time(record.ProbeInterval))
		if t < 2*second {
			e.History.Answers = append(e.History.Answers, record.Answer{Seq: seq, At: t, MAC: "02:01"})
		}
		if t >= from {
			e.History.Answers = append(e.History.Answers, record.Answer{Seq: seq, At: t, MAC: "02:02"})
		}
		e.History.Answers = append(e.History.Answers, record.Answer{Seq: seq, At: t, MAC: "02:09"})
	}
	for t := record.Time(0); t < e.End; t = t.Add(record.RequestInterval) {
		q := record.Request{Start: t, End: t, Node: "n1"}
		if t >= 2*second {
			q.Node = "n2"
		}
		if t >= 2*second && t < from {
			q.Node, q.Err = "", "refused"
		}
		e.History.Requests = append(e.History.Requests, q)
	}
	return e
}

func TestResult(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name string
		from record.Time // n2 answers
		want Result
	}{
		{"after a while", second.Add(1500 * ms), Result{
			Unreachable: 500 * ms, Failed: 50,
			Answering: []Stretch{{"n1", -before, 995 * ms}, {"n2", 1500 * ms, 1995 * ms}},
			Serving:   []Stretch{{"n1", -before, 990 * ms}, {"n2", 1500 * ms, 1990 * ms}},
		}},
		{"two at once", second.Add(800 * ms), Result{
			Together:  200 * ms,
			Answering: []Stretch{{"n1", -before, 995 * ms}, {"n2", 800 * ms, 1995 * ms}},
			Serving:   []Stretch{{"n1", -before, 990 * ms}, {"n2", 1000 * ms, 1990 * ms}},
		}},
		{"never", 9 * second, Result{
			Unreachable: time.Second, Open: true, Failed: 100,
			Answering: []Stretch{{"n1", -before, 995 * ms}},
			Serving:   []Stretch{{"n1", -before, 990 * ms}},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.want.Holder, tt.want.Next, tt.want.Watched, tt.want.Requests = "n1", "n2", 2*time.Second, 200
			if diff := cmp.Diff(tt.want, result(seen(tt.from))); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
		})
	}
}

// Without records, the VIP counts as unreachable.
func TestResultOfNothing(t *testing.T) {
	got := result(record.Episode{At: second, End: 3 * second})
	if want := (Result{Watched: 2 * time.Second, Unreachable: 2 * time.Second, Open: true}); !cmp.Equal(got, want) {
		t.Errorf("result %+v, want %+v", got, want)
	}
}

func TestResultOfVipd(t *testing.T) {
	o := failover.Outcome{Episode: seen(2 * second)}
	if got := resultOf(o); got.Broken != nil || got.Holder != "n1" {
		t.Errorf("result %+v", got)
	}
	o.Violations = []analyse.Violation{{Rule: analyse.Goes, Why: "in vain"}}
	if got := resultOf(o); len(got.Broken) != 1 {
		t.Errorf("broken rules %q, want one", got.Broken)
	}
}
