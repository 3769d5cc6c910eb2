package failover

import (
	"github.com/vipd-io/vipd/e2e/analyse"
	"github.com/vipd-io/vipd/e2e/record"
)

// Outcome is what one fault came to.
type Outcome struct {
	record.Episode
	analyse.Measures
	// Violations are where it broke a rule.
	Violations []analyse.Violation
}

// AsExpected tells whether no rule was broken.
func (o Outcome) AsExpected() bool { return len(o.Violations) == 0 }

// outcome judges the episode.
func outcome(e record.Episode) (Outcome, error) {
	violations, err := analyse.Judge(e)
	return Outcome{Episode: e, Measures: analyse.Measure(e), Violations: violations}, err
}
