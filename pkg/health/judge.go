package health

import (
	"fmt"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// Verdict is what is thought of an API server.
type Verdict uint8

const (
	// Unknown: nothing was seen of it yet.
	Unknown Verdict = iota
	// Ready: it serves.
	Ready
	// NotReady: it does not, or is about to stop.
	NotReady
)

func (v Verdict) String() string { return [...]string{"unknown", "ready", "not ready"}[v] }

// finding is what came of one probe.
type finding uint8

const (
	good finding = iota
	// refused: nobody listens. There is no doubt about that.
	refused
	// leaving: it serves and says that it is about to stop.
	leaving
	// failing: it says itself that one of its checks fails.
	failing
	// unclear: any other answer or error. A single one proves nothing.
	unclear
	// busy: it says that it has too much to do. It counts as unclear, but asked
	// more often, it would have more.
	busy
	// mute: it did not answer in time. It counts as unclear.
	mute
	// blind: the probe was not made.
	blind
)

const (
	// patience is how long a server may go without a good answer that it does
	// not refuse. An API server whose etcd elects a leader is away for that long.
	patience = 800 * time.Millisecond
	// tries is how many probes must have come to nothing by then.
	tries = 6
	// overdue is when a probe that was not answered counts as one of them.
	overdue = 200 * time.Millisecond
	// fall is how many times in a row a server's own word is needed, and rise
	// how many good answers before it is trusted again.
	fall, rise = 2, 2
)

// judge weighs what the probes of one server came to. It has no clock and no I/O.
type judge struct {
	verdict Verdict
	why     string
	// good is when the last probe with a good answer was sent, or from when on
	// there might have been one.
	good boottime.Instant
	// bad is when the first probe since was sent that came to nothing.
	bad boottime.Instant
	// In a row, up to now.
	goods, failings, unclears int
	pending                   []boottime.Instant // sent, not answered, oldest first
	// last is what came last, unheard how many probes were sent since anything did.
	last    finding
	unheard int
}

// sent notes a probe.
func (j *judge) sent(now boottime.Instant) {
	if j.good == 0 {
		j.good = now - 1
	}
	j.pending = append(j.pending, now)
	j.unheard++
}

// answered takes in what came of the probe that was sent at the given time.
func (j *judge) answered(sent boottime.Instant, f finding, why string) {
	for i, p := range j.pending {
		if p == sent {
			j.pending = append(j.pending[:i:i], j.pending[i+1:]...)
			break
		}
	}
	if f != mute {
		j.unheard = 0
	}
	if f != blind {
		j.last = f
	}
	if f != good && f != blind && j.bad <= j.good {
		j.bad = sent
	}
	switch f {
	case good:
		j.praise(sent)
	case refused, leaving:
		j.condemn(why)
	case failing:
		j.goods = 0
		if j.failings++; j.failings >= fall {
			j.condemn(why)
		}
	case unclear, busy, mute:
		j.goods = 0
		j.unclears++
		if j.verdict != NotReady {
			j.why = why
		}
	case blind:
	}
}

func (j *judge) praise(sent boottime.Instant) {
	j.good = max(j.good, sent)
	j.goods, j.failings, j.unclears = j.goods+1, 0, 0
	if j.verdict == Unknown || j.goods >= rise {
		j.verdict, j.why = Ready, ""
	}
}

func (j *judge) condemn(why string) {
	j.goods = 0
	j.verdict, j.why = NotReady, why
}

// settle draws what follows from time alone: that no good answer comes.
func (j *judge) settle(now boottime.Instant) {
	late := j.unclears
	for _, p := range j.pending {
		if now.Sub(p) >= overdue {
			late++
		}
	}
	if j.verdict == NotReady || j.good == 0 || now.Sub(j.good) < patience || late < tries {
		return
	}
	if j.unclears == 0 {
		j.why = "it does not answer"
	}
	j.bad = now.Add(-patience / 2) // it may have begun at any time since it was good
	j.condemn(fmt.Sprintf("no good answer for %s: %s", now.Sub(j.good).Truncate(time.Millisecond), j.why))
}

// doubt is when the next probe should come because something is amiss, 0 if
// nothing is. Errors that come fast are asked about fast: if one answer in five
// is one, then fourteen in a row never come. A server that is short of time is
// asked more only while nothing comes of it at all, and then no more than it
// takes to judge it: what is late, and comes, is no sign of a server that hangs.
func (j *judge) doubt() time.Duration {
	switch {
	case j.last == busy, j.verdict == NotReady && j.last == mute:
		return 0
	case j.verdict == NotReady:
		return recovery
	case j.last == failing || j.last == unclear:
		return hurry
	case j.verdict == Unknown || j.unheard > 1:
		return slowly
	}
	return 0
}

// strained: it is short of time, as it says or as it seems. Asked more, it would
// have less.
func (j *judge) strained() bool { return j.last == busy || j.last == mute }
