package failover

import (
	"slices"
	"time"
)

// Stats sums up one measure over several runs.
type Stats struct {
	N                int
	Median, P95, Max time.Duration
}

// Summarize sorts the values and reads off the nearest ranks.
func Summarize(values []time.Duration) Stats {
	if len(values) == 0 {
		return Stats{}
	}
	v := slices.Sorted(slices.Values(values))
	rank := func(p int) time.Duration { return v[(p*len(v)+99)/100-1] }
	return Stats{N: len(v), Median: rank(50), P95: rank(95), Max: v[len(v)-1]}
}
