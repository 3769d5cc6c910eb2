package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/judge/analyse"
)

// errBroken ends a demo with exit status 1.
var errBroken = errors.New("a promise was broken, see above: please report it, with this output")

// promises are the rules that hold even on a busy machine, because the kernel keeps them, and the
// rule about foreign state. The others require that processes are scheduled in time.
var promises = []analyse.Rule{analyse.AtMostOne, analyse.AcceptsAlone, analyse.InTime, analyse.AfterClaim, analyse.Serves, analyse.Terms, analyse.Foreign}

// seen is what a demo observed of one fault.
type seen struct {
	failover.Outcome
	// broken are broken promises, late is what a busy machine may have caused.
	broken, late []string
}

// see sorts the violations of a fault. A record that does not suffice for times still shows who
// answered, and what was left.
func see(o failover.Outcome) seen {
	s := seen{Outcome: o}
	for _, v := range o.Violations {
		if slices.Contains(promises, v.Rule) {
			s.broken = append(s.broken, fmt.Sprint(v))
		} else {
			s.late = append(s.late, v.Why)
		}
	}
	return s
}
