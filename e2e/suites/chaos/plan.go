// Package chaos breaks a control plane in ways that a seed draws, one after the
// other and two at once, judges each, and leaves a report that can be judged again.
package chaos

import (
	"math/rand/v2"
	"time"

	"github.com/vipd-io/vipd/e2e/failover"
)

// compounds is how many pairs of faults a round has beside each fault alone.
const compounds = 6

// latest is how much later than the first the second fault of a pair may begin.
const latest = 3 * time.Second

// Round is all of the faults, and some pairs of them, in an order that seed and number
// decide, as they decide what is left to chance in each.
func Round(faults []failover.Fault, seed, number uint64) []failover.Fault {
	rng := rand.New(rand.NewPCG(seed, number))
	round := append([]failover.Fault{failover.None(5 * time.Second)}, faults...)
	for range compounds {
		round = append(round, pair(rng, faults))
	}
	rng.Shuffle(len(round), func(i, j int) { round[i], round[j] = round[j], round[i] })
	for i := range round {
		round[i].Seed = rng.Uint64()
	}
	return round
}

// pair draws two faults that can happen together.
func pair(rng *rand.Rand, faults []failover.Fault) failover.Fault {
	for {
		a, b := faults[rng.IntN(len(faults))], faults[rng.IntN(len(faults))]
		later := time.Duration(rng.Int64N(int64(latest))).Truncate(time.Millisecond)
		if failover.Compatible(a, b) {
			return failover.Both(a, b, later)
		}
	}
}
