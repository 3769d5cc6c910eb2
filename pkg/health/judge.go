package health

import (
	"cmp"
	"fmt"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// Verdict is the judged state of an API server.
type Verdict uint8

const (
	// Unknown: no result yet.
	Unknown Verdict = iota
	// Ready: the server serves.
	Ready
	// NotReady: the server does not serve, or is about to stop.
	NotReady
)

func (v Verdict) String() string { return [...]string{"unknown", "ready", "not ready"}[v] }

// finding is the result of one probe.
type finding uint8

const (
	good finding = iota
	// refused: no process listens. One such result is enough.
	refused
	// leaving: the server serves and reports that it is about to stop.
	leaving
	// failing: the server itself reports a failed check.
	failing
	// unclear: any other answer or error. A single one proves nothing.
	unclear
	// busy: the server reports that it is overloaded. It counts as unclear, but more probes would
	// add to the load.
	busy
	// silent: no answer in time. It counts as unclear.
	silent
	// denied: the server serves, and refuses to say whether it is ready. A starting API server
	// refuses every client; later, a person has to correct the credentials.
	denied
	// notProbed: the probe was not made.
	notProbed
)

const (
	// maxWait is how long a server may go without a good answer, unless it refuses connections. An
	// API server whose etcd elects a leader is away for that long.
	maxWait = 800 * time.Millisecond
	// minFailures is how many probes must have failed by then.
	minFailures = 6
	// lateAfter is when an unanswered probe counts as failed.
	lateAfter = 200 * time.Millisecond
	// fall is how many failed checks in a row make a server not ready, rise how many good answers
	// make it ready again.
	fall, rise = 2, 2
	// settleTime is how long a server that serves may refuse to say whether it is ready before it
	// counts as ready, unless it was ready for that long before.
	settleTime = time.Minute
)

// judge derives a verdict from the probes of one server. judge reads no clock and does no I/O.
type judge struct {
	verdict Verdict
	why     string
	// good is when the last probe with a good answer was sent, or when such an answer first became
	// possible.
	good boottime.Instant
	// bad is when the first failed probe after good was sent.
	bad boottime.Instant
	// ready is since when the verdict is Ready, 0 if it is not; denying is since when the server
	// refuses to say whether it is ready.
	ready, denying boottime.Instant
	// Results in a row, up to now.
	goods, failings, unclears int
	pending                   []boottime.Instant // unanswered probes, oldest first
	// last is the last result, unanswered the number of probes sent since.
	last       finding
	unanswered int
}

// sent records a probe.
func (j *judge) sent(now boottime.Instant) {
	if j.good == 0 {
		j.good = now - 1
	}
	j.pending = append(j.pending, now)
	j.unanswered++
}

// answered records the result of the probe that was sent at that instant.
func (j *judge) answered(sent boottime.Instant, f finding, why string) {
	for i, p := range j.pending {
		if p == sent {
			j.pending = append(j.pending[:i:i], j.pending[i+1:]...)
			break
		}
	}
	if f != silent {
		j.unanswered = 0
	}
	if f != notProbed {
		j.last = f
	}
	if f != denied && f != notProbed {
		j.denying = 0
	}
	if f != good && f != denied && f != notProbed && j.bad <= j.good {
		j.bad = sent
	}
	switch f {
	case good:
		j.recordGood(sent)
	case refused, leaving:
		j.markNotReady(why)
	case failing:
		j.goods = 0
		if j.failings++; j.failings >= fall {
			j.markNotReady(why)
		}
	case unclear, busy, silent:
		j.goods = 0
		j.unclears++
		if j.verdict != NotReady {
			j.why = why
		}
	case denied:
		j.recordDenied(sent)
	case notProbed:
	}
}

// recordDenied records a refusal to say whether the server is ready. It proves only that the server
// serves: not that it is ready before it has served for long, and not that it is not ready.
func (j *judge) recordDenied(sent boottime.Instant) {
	j.failings, j.unclears = 0, 0
	if j.denying == 0 {
		j.denying = sent
	}
	if since := cmp.Or(j.ready, j.denying); sent.Sub(since) >= settleTime {
		j.recordGood(sent)
	}
}

func (j *judge) recordGood(sent boottime.Instant) {
	j.good = max(j.good, sent)
	j.goods, j.failings, j.unclears = j.goods+1, 0, 0
	if j.verdict == Unknown || j.goods >= rise {
		if j.verdict != Ready {
			j.ready = sent
		}
		j.verdict, j.why = Ready, ""
	}
}

func (j *judge) markNotReady(why string) {
	j.goods, j.ready = 0, 0
	j.verdict, j.why = NotReady, why
}

// evaluate changes the verdict if no good answer has come for too long.
func (j *judge) evaluate(now boottime.Instant) {
	late := j.unclears
	for _, p := range j.pending {
		if now.Sub(p) >= lateAfter {
			late++
		}
	}
	if j.verdict == NotReady || j.good == 0 || now.Sub(j.good) < maxWait || late < minFailures {
		return
	}
	if j.unclears == 0 {
		j.why = "it does not answer"
	}
	j.bad = now.Add(-maxWait / 2) // the trouble may have begun at any time since good
	j.markNotReady(fmt.Sprintf("no good answer for %s: %s", now.Sub(j.good).Truncate(time.Millisecond), j.why))
}

// urgency returns the interval until the next probe if something is wrong, 0 if nothing is. After a
// fast error, the next probe follows fast: if one answer in five is an error, fourteen errors in a
// row do not occur. A slow server is probed more often only while no answer comes at all, and no
// more often than the verdict needs: a late answer is no sign of a server that hangs.
func (j *judge) urgency() time.Duration {
	switch {
	case j.last == busy, j.verdict == NotReady && j.last == silent:
		return 0
	case j.verdict == NotReady:
		return recoveryInterval
	case j.last == failing || j.last == unclear:
		return errorInterval
	case j.verdict == Unknown || j.unanswered > 1:
		return silentInterval
	}
	return 0
}

// overloaded tells whether the server reports overload, or seems to be short of time. More probes
// would add to the load.
func (j *judge) overloaded() bool { return j.last == busy || j.last == silent }
