//go:build race

package election

import "runtime"

// One processor: the race detector of Go 1.26 crashes (SIGSEGV in maybeRunChan) when two
// goroutines of a synctest bubble receive from timers that have expired, each on a thread of its
// own, because both use the one race context of the bubble's timers (runtime/time.go,
// unlockAndRun). Races are found by happens-before all the same.
func init() { runtime.GOMAXPROCS(1) }
