// Package bubble runs tests in the bubbles of testing/synctest, in which time is fake.
package bubble

import (
	"testing"
	"testing/synctest"
)

// Test is synctest.Test, which crashes now and then with the race detector of Go 1.26: SIGSEGV in
// maybeRunChan, when two goroutines of one bubble receive from timers that have expired, each on a
// thread of its own. Both threads use the one race context of the bubble's timers (runtime/time.go,
// unlockAndRun). So with the race detector, Test leaves the process one processor meanwhile. Races
// are found by happens-before all the same.
func Test(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	defer oneProcessor()()
	synctest.Test(t, f)
}
