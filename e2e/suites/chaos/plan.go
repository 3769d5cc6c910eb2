// Package chaos injects faults into a control plane, drawn from a seed, alone and in pairs, judges
// each, and writes a report that can be judged again.
package chaos

import (
	"math/rand/v2"
	"time"

	"github.com/vipd-io/vipd/e2e/failover"
)

// compounds is the number of pairs in a round, in addition to each fault alone.
const compounds = 6

// latest bounds the delay from the first to the second fault of a pair.
const latest = 3 * time.Second

// Round returns all faults, and some pairs of faults, in an order that depends only on the seed and
// the number of the round, as do the random decisions of each fault.
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

// pair draws two faults that are possible together.
func pair(rng *rand.Rand, faults []failover.Fault) failover.Fault {
	for {
		a, b := faults[rng.IntN(len(faults))], faults[rng.IntN(len(faults))]
		later := time.Duration(rng.Int64N(int64(latest))).Truncate(time.Millisecond)
		if failover.Compatible(a, b) {
			return failover.Both(a, b, later)
		}
	}
}
