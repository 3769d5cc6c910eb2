package bench

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// A Value is a duration, or with Open a lower bound.
type Value struct {
	D    time.Duration
	Open bool
}

func (v Value) String() string {
	if v.Open {
		return "> " + formatDuration(v.D)
	}
	return formatDuration(v.D)
}

// formatDuration formats a duration for people.
func formatDuration(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	default:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
}

// A Cell summarizes the runs of one fault with one contender.
type Cell struct {
	N                int
	Median, P95, Max Value // unreachable
	// Together is the longest time in which two nodes answered, Open if they did so at the end.
	// InRuns counts the runs in which they did.
	Together Value
	InRuns   int
	Failed   int // requests, median
	Requests int // all requests
	Stayed   int // runs in which the VIP did not move to another node
}

// Cell summarizes the runs of one fault with one contender.
func (r *Report) Cell(fault, contender string) Cell {
	results := r.of(fault, contender)
	c := Cell{N: len(results)}
	if c.N == 0 {
		return c
	}
	var unreachable, together []Value
	var failed []int
	for _, run := range results {
		unreachable = append(unreachable, Value{run.Unreachable, run.Open})
		together = append(together, Value{run.Together, run.Still})
		failed = append(failed, run.Failed)
		c.Requests += run.Requests
		if run.Together > 0 {
			c.InRuns++
		}
		if run.Next == "" || run.Next == run.Holder {
			c.Stayed++
		}
	}
	c.Median, c.P95, c.Max = rank(unreachable, 50, compare), rank(unreachable, 95, compare), rank(unreachable, 100, compare)
	c.Together = rank(together, 100, compare)
	c.Failed = rank(failed, 50, cmp.Compare)
	return c
}

func (r *Report) of(fault, contender string) (out []Result) {
	for _, run := range r.Results {
		if run.Fault == fault && run.Contender == contender {
			out = append(out, run)
		}
	}
	return out
}

func compare(a, b Value) int {
	if c := cmp.Compare(a.D, b.D); c != 0 {
		return c
	}
	if a.Open == b.Open {
		return 0
	} else if b.Open {
		return -1
	}
	return 1
}

// rank returns the nearest rank: the smallest value that p percent do not exceed.
func rank[T any](values []T, p int, compare func(T, T) int) T {
	v := slices.SortedFunc(slices.Values(values), compare)
	return v[(p*len(v)+99)/100-1]
}

// Usage returns the cost of a contender at rest: of the holder, or the mean of the others.
func (r *Report) Usage(contender string, holder bool) (mean Cost, ok bool) {
	n := 0.0
	for _, c := range r.Costs {
		if c.Contender != contender || c.Holder != holder {
			continue
		}
		n++
		mean.CPU += c.CPU
		mean.Resident += c.Resident
		mean.Packets += c.Packets
		mean.Requests += c.Requests
		mean.Writes += c.Writes
		mean.Processes = c.Processes
	}
	if n == 0 {
		return mean, false
	}
	mean.CPU, mean.Resident, mean.Packets = mean.CPU/n, mean.Resident/n, mean.Packets/n
	mean.Requests, mean.Writes = mean.Requests/n, mean.Writes/n
	mean.Contender, mean.Holder = contender, holder
	return mean, true
}

// Total returns what all nodes together send and request, per minute.
func (r *Report) Total(contender string) (packets, requests float64) {
	for _, c := range r.Costs {
		if c.Contender == contender {
			packets += c.Packets
			requests += c.Requests
		}
	}
	return packets, requests
}

// String summarizes a run.
func (r Result) String() string {
	s := fmt.Sprintf("%s -> %-2s  unreachable %-9s", r.Holder, cmp.Or(r.Next, "-"), Value{r.Unreachable, r.Open})
	if r.Together > 0 {
		s += fmt.Sprintf("  two nodes answered for %s", at(Value{r.Together, r.Still}))
	}
	return s
}

// at formats a duration that may be a lower bound.
func at(v Value) string {
	if v.Open {
		return "≥ " + formatDuration(v.D)
	}
	return formatDuration(v.D)
}
