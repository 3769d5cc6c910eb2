package bench

import (
	"time"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/judge/analyse"
	"github.com/vipd-io/vipd/e2e/judge/record"
)

// A Result is the result of one run. Times are in nanoseconds.
type Result struct {
	Run       int    `json:"run"`
	Fault     string `json:"fault"`
	Contender string `json:"contender"`

	// Holder had the address before, Next is the first other node that had it afterwards, "" if
	// there was none at the end of the wait.
	Holder string `json:"holder"`
	Next   string `json:"next,omitempty"`
	// EtcdLeader: the holder's etcd member was the leader, too.
	EtcdLeader bool `json:"etcdLeader,omitempty"`

	// Watched is the time from the fault to the end of the measurement.
	Watched time.Duration `json:"watched"`
	// Unreachable is the longest time without an answer to a new HTTPS connection; Open: it had not
	// ended at the end.
	Unreachable time.Duration `json:"unreachable"`
	Open        bool          `json:"open,omitempty"`
	Requests    int           `json:"requests"`
	Failed      int           `json:"failed"`
	// Together is for how long two nodes answered ARP; Still: they did so at the end.
	Together time.Duration `json:"together"`
	Still    bool          `json:"still,omitempty"`

	// Broken are the rules that vipd broke, for vipd's own faults.
	Broken []string `json:"broken,omitempty"`

	// Answering and Serving are when each node answered ARP and requests, relative to the fault.
	Answering []Stretch `json:"answering"`
	Serving   []Stretch `json:"serving"`
}

// A Stretch is a time in which a node did something.
type Stretch struct {
	Node string        `json:"node"`
	From time.Duration `json:"from"`
	To   time.Duration `json:"to"`
}

// before is how much of the time before the fault the stretches of a result cover.
const before = 200 * time.Millisecond

// The longest gaps within a stretch: several lost answers.
const (
	answerGap  = 10 * record.ProbeInterval
	requestGap = 10 * record.RequestInterval
)

// result computes the result of an episode.
func result(e record.Episode) Result {
	h := e.History
	r := Result{Holder: e.Holder, Next: e.Next, EtcdLeader: e.EtcdLeader, Watched: e.End.Sub(e.At)}
	r.Unreachable = analyse.Outage(h.Requests, e.At, e.End)
	answers, _ := analyse.ByNode(e)
	r.Together, r.Still = analyse.Together(answers, e.At, e.End)
	var signs []analyse.Sign
	for _, a := range answers {
		signs = append(signs, analyse.Sign{Who: a.MAC, At: a.At})
	}
	r.Answering = stretches(signs, e, answerGap)
	signs = nil
	last := e.At
	for _, q := range h.Requests {
		if q.OK() {
			signs = append(signs, analyse.Sign{Who: q.Node, At: q.End})
			if q.End <= e.End {
				last = max(last, q.End)
			}
		}
		if q.Start >= e.At && q.End <= e.End {
			r.Requests++
			if !q.OK() {
				r.Failed++
			}
		}
	}
	r.Serving = stretches(signs, e, requestGap)
	// Unreachable at the end, which is the measured time.
	r.Open = e.End.Sub(last) > requestGap && e.End.Sub(last) >= r.Unreachable
	return r
}

// resultOf computes the result of one of vipd's own faults.
func resultOf(o failover.Outcome) Result {
	r := result(o.Episode)
	for _, v := range o.Violations {
		r.Broken = append(r.Broken, v.String())
	}
	return r
}

func stretches(signs []analyse.Sign, e record.Episode, gap time.Duration) []Stretch {
	var out []Stretch
	for _, s := range analyse.Spans(signs, e.At.Add(-before), e.End, gap) {
		out = append(out, Stretch{Node: s.Who, From: s.From.Sub(e.At), To: s.To.Sub(e.At)})
	}
	return out
}
