package election

import (
	"slices"
	"time"
)

// A short lease is useful only where another node could take over, and where the store answers
// renewals in time. So the length of the lease depends on both. Every candidate waits for the
// length in the record that the candidate observed, and Arm is called with the length that is about
// to be written, so the length may change with each write (docs/adr/0012).

// AloneLease is the lease duration of a holder that knows of no other candidate, bounded by
// Options.MaxLease: no other node waits for the end of the lease, and a store that is away for 30 s
// does not silence the only node.
const AloneLease = 40 * time.Second

// Reason says why a lease is longer than configured.
type Reason string

const (
	// AsConfigured means that the lease is not longer.
	AsConfigured Reason = ""
	// Alone means that no other candidate is known.
	Alone Reason = "alone"
	// SlowStore means that renewals are slow.
	SlowStore Reason = "slow store"
)

// known returns the reason, or AsConfigured for an unknown one.
func (r Reason) known() Reason {
	if r == Alone || r == SlowStore {
		return r
	}
	return AsConfigured
}

const (
	// maxSamples is how many renewals count: half a minute of renewals.
	maxSamples = 32
	// maxDoublings bounds the count of unanswered calls.
	maxDoublings = 5
	// maxRetryAttempt bounds how long a call may take because earlier calls got no answer: the
	// store may be reachable again, and waiting longer does not bring back a lost request.
	maxRetryAttempt = 5 * time.Second
)

// length computes the length of the next lease, and how long a call may take, without I/O.
//
// A renewal without an answer is tried once more before the deadline, and each of the two attempts
// may take twice as long as renewals usually take:
//
//	lease >= margin + renew interval + 2 x attempt, attempt >= 2 x usual
type length struct {
	least Timing
	// most bounds the lease.
	most time.Duration
	// lease is the length that the usual renewal needs, at least least.Lease.
	lease time.Duration
	// samples are the durations of the newest renewals, each counted from when it was due.
	samples []time.Duration
	// unanswered counts the calls in a row without an answer in time. Reads and writes are counted
	// apart: writes wait for etcd's disks, and may take seconds where reads do not.
	unanswered struct{ reads, writes int }
}

func newLength(least Timing, most time.Duration) length {
	return length{least: least, most: max(most, least.Lease), lease: least.Lease}
}

// renewed records how long a renewal took, from when it was due.
func (l *length) renewed(took time.Duration) {
	if len(l.samples) == maxSamples {
		l.samples = slices.Delete(l.samples, 0, 1)
	}
	l.samples = append(l.samples, took)
	l.answered(took, true) // a single slow renewal does not change usual yet, and the next one may be as slow
	need := l.needed(l.attempt())
	switch {
	case need > l.lease:
		l.lease = need
	case len(l.samples) == maxSamples:
		l.lease = max(need, l.lease-time.Second)
	}
}

// answered records how long a call took. An answered read says nothing about writes.
func (l *length) answered(took time.Duration, write bool) {
	l.unanswered.reads = l.remainingDoublings(l.unanswered.reads, took)
	if write {
		l.unanswered.writes = l.remainingDoublings(l.unanswered.writes, took)
	}
}

// remainingDoublings returns how many doublings are left after a call that took so long.
func (l *length) remainingDoublings(doublings int, took time.Duration) int {
	for doublings > 0 && l.attempt()<<(doublings-1) >= 2*took {
		doublings--
	}
	return doublings
}

// timedOut records a call without an answer in time.
func (l *length) timedOut(write bool) {
	n := &l.unanswered.reads
	if write {
		n = &l.unanswered.writes
	}
	*n = min(*n+1, maxDoublings)
}

// inherit starts with the length that the previous holder found necessary, 0 for none.
func (l *length) inherit(lease time.Duration) {
	l.samples, l.lease = nil, min(max(l.least.Lease, lease.Truncate(time.Second)), l.most)
}

// usual returns the second slowest sample: a single slow renewal may come from a change of etcd's
// leader, or from a process that was stopped.
func (l *length) usual() time.Duration {
	if len(l.samples) < 2 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(l.samples))
	return sorted[len(sorted)-2]
}

// attempt returns how long a call may take while calls are answered.
func (l *length) attempt() time.Duration { return max(l.least.Attempt, 2*l.usual()) }

// needed returns the shortest lease with room for two attempts.
func (l *length) needed(attempt time.Duration) time.Duration {
	lease := l.least.Lease
	for lease < l.most && l.least.withLease(lease, attempt).Attempt < attempt {
		lease += time.Second
	}
	return lease
}

// next returns the timing of the next call. After each unanswered call the next call may take twice
// as long; otherwise a store that takes seconds would never be heard.
func (l *length) next(alone bool) (Timing, Reason) {
	doublings := max(l.unanswered.reads, l.unanswered.writes)
	attempt := max(l.attempt(), min(l.attempt()<<doublings, maxRetryAttempt))
	lease, why := l.lease, AsConfigured
	if doublings > 0 {
		lease = max(lease, l.needed(attempt))
	}
	if lease > l.least.Lease {
		why = SlowStore
	}
	if long := min(AloneLease, l.most); alone && long > lease {
		lease, why = long, Alone
	}
	return l.least.withLease(lease, attempt), why
}
