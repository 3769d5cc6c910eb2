package failover

import (
	"context"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/analyse"
	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
)

// Outcome is the result of one fault.
type Outcome struct {
	record.Episode
	analyse.Measures
	analyse.Verdict
}

// AsExpected tells whether no rule was broken, as far as was observed.
func (o Outcome) AsExpected() bool { return len(o.Violations) == 0 }

// Watched is the duration of the record.
func (o Outcome) Watched() time.Duration {
	p := o.History.Probes
	if len(p) == 0 {
		return o.End.Sub(o.At)
	}
	return p[len(p)-1].At.Sub(p[0].At)
}

// outcome judges the episode.
func outcome(e record.Episode) (Outcome, error) {
	verdict, err := analyse.Judge(e)
	return Outcome{Episode: e, Measures: analyse.Measure(e), Verdict: verdict}, err
}

// Prove is Run, repeated up to so many times if too little was observed to decide whether the rules
// were kept: vipd is not to blame for a machine that is too busy.
func Prove(ctx context.Context, l *lab.Lab, f Fault, tries int, say func(format string, args ...any)) (o Outcome, err error) {
	for range tries {
		if o, err = Run(ctx, l, f, say); err != nil || !o.AsExpected() || o.Unproven == "" {
			return o, err
		}
		say("%s: nothing is proven: %s", f.Name, o.Unproven)
	}
	return o, nil
}
