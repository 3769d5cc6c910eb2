package bench

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Print prints the tables on a terminal.
func (r *Report) Print(out io.Writer) error {
	fmt.Fprintf(out, "\nUnreachable over HTTPS, fresh connections, a request every 10 ms. %s\n\n", r.Machine)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, t := range []table{r.unreachable(), r.costs()} {
		if len(t) < 2 {
			continue
		}
		for _, row := range t {
			fmt.Fprintln(w, strings.Join(row, "\t"))
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

// A table is rows of cells; the first row is the head.
type table [][]string

// markdown formats the table, with the columns from the given one on aligned to the right.
func (t table) markdown(right int) string {
	var b strings.Builder
	for i, row := range t {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		if i > 0 {
			continue
		}
		for j := range row {
			if j < right {
				b.WriteString("|---")
			} else {
				b.WriteString("|---:")
			}
		}
		b.WriteString("|\n")
	}
	return b.String()
}

// unreachable returns a row for each fault and contender.
func (r *Report) unreachable() table {
	t := table{{"fault on the holder", "manager", "runs", "median", "p95", "max", "two nodes answered, max", "in runs", "failed requests, median", "did not move"}}
	for _, f := range r.Faults {
		for _, c := range r.Contenders {
			cell := r.Cell(f.Name, c.Name)
			switch {
			case cell.N > 0:
				t = append(t, append([]string{f.Title, c.Name}, cell.fields(f.Name == "none")...))
			case f.Vipd:
				t = append(t, []string{f.Title, c.Name, "-", "-", "-", "-", "-", "-", "-", "-"})
			}
		}
	}
	return t
}

func (c Cell) fields(quiet bool) []string {
	together, stayed := "never", fmt.Sprint(c.Stayed)
	if c.InRuns > 0 {
		together = at(c.Together)
	}
	if quiet { // it should not move
		stayed = "-"
	}
	return []string{fmt.Sprint(c.N), c.Median.String(), c.P95.String(), c.Max.String(),
		together, fmt.Sprint(c.InRuns), fmt.Sprint(c.Failed), stayed}
}

// costs returns a row for each contender, as holder and as standby.
func (r *Report) costs() table {
	t := table{{"at rest", "manager", "packets a minute", "API requests a minute", "of which writes", "resident", "CPU, of one core"}}
	for _, holder := range []bool{true, false} {
		role := map[bool]string{true: "the holder", false: "each other node"}[holder]
		for _, c := range r.Contenders {
			if u, ok := r.Usage(c.Name, holder); ok {
				t = append(t, []string{role, c.Name, fmt.Sprintf("%.0f", u.Packets), fmt.Sprintf("%.0f", u.Requests), fmt.Sprintf("%.0f", u.Writes),
					fmt.Sprintf("%.1f MiB", u.Resident/1024), fmt.Sprintf("%.2f %%", u.CPU*100)})
			}
		}
	}
	return t
}

// Document returns the page about the benchmark.
func (r *Report) Document() string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	say("# Benchmark of %s\n", r.Date)
	say("Written by `make bench`. %s, beside each other on one machine.\n", r.names())
	say("![Unreachable, by fault and manager](%s/%s)\n", r.Date, plotFile)
	say("## Unreachable\n")
	say("%s", r.unreachable().markdown(2))
	say("## At rest\n")
	say("%s", r.costs().markdown(2))
	m := r.Machine
	say("## Machine\n")
	say("- %s, %d cores, %.1f GiB, %s", m.CPU, m.Cores, m.MemoryGiB, m.Kernel)
	say("- Kubernetes %s, etcd %s, Go %s", m.Kubernetes, m.Etcd, m.Go)
	say("- vipd %s, keepalived %s\n", m.Commit, m.Keepalived)
	say("## Managers\n")
	for _, c := range r.Contenders {
		say("- **%s**: %s", c.Name, c.Title)
	}
	say("\nkeepalived's configurations, with reasons, are in [e2e/measure/bench/keepalived](../../e2e/measure/bench/keepalived).\n")
	say("## Method\n")
	for i, s := range r.method() {
		say("%d. %s", i+1, s)
	}
	say("\n[%s/%s](%s/%s) has each run: its figures, when each node answered ARP, when each served requests;\ntimes in nanoseconds since the fault. Each single probe and request is not kept (`lab bench --save`).",
		r.Date, recordsFile, r.Date, recordsFile)
	return b.String()
}

func (r *Report) names() string {
	var names []string
	for _, c := range r.Contenders {
		names = append(names, c.Name)
	}
	return strings.Join(names, ", ")
}

func (r *Report) method() []string {
	return []string{
		"Three nodes in network namespaces on one switch, each with a real etcd member and kube-apiserver. The manager runs on all three.",
		fmt.Sprintf("Each run starts the manager afresh, waits until one node has had the address for %v, and breaks that node at a random time of the next %v. Managers take turns within each fault, faults within each round.", steady, maxPeriod),
		"A client asks for `/version` over a new TLS connection every 10 ms. *Unreachable* is the longest time between two answers, less those 10 ms; with no fault that is the noise of the machine. `>`: there was no answer by the end.",
		"Another client asks by ARP who has the address, every 5 ms. *Two nodes answered* is for how long two answered the same question; `≥`: they still did at the end. Nobody repaired it in that time.",
		fmt.Sprintf("The end is %v after another node has the address, or %v after the fault if none has; after SIGCONT, %v more.", tail, r.Wait, tail),
		"SIGKILL and SIGSTOP reach the manager and its children at once, as they reach a container. Nothing starts it again.",
		"Cut off: the holder and the other nodes exchange no frames, and clients reach all of them.",
		fmt.Sprintf("%d runs of each, but %d where all of the first %d took more than %v. %d runs were discarded and run again, as the machine was too busy to observe them.", r.Runs, slowRuns, slowRuns, slow, r.Discarded),
		"p95 is the nearest rank. Rows that do not flatter are in the table like all others. \"-\": the manager has no such thing.",
		fmt.Sprintf("At rest, without observers: memory and processor time of its processes, checks included, for %v; then requests of the manager and its checks to API servers, counted by a proxy between, for %v; frames that a node sends for the address, ARP and VRRP, all the while. Others: the mean.", r.Rest, r.Rest/2),
	}
}

// Excerpt returns the part for the README.
func (r *Report) Excerpt() string {
	var b strings.Builder
	head := []string{"unreachable, median (max)"}
	for _, c := range r.Contenders {
		head = append(head, c.Name)
	}
	t := table{head}
	for _, f := range r.Faults {
		row := []string{f.Title}
		for _, c := range r.Contenders {
			row = append(row, r.Cell(f.Name, c.Name).short())
		}
		if f.Name != "none" {
			t = append(t, row)
		}
	}
	t = append(t, r.rest()...)
	b.WriteString(t.markdown(1))
	fmt.Fprintf(&b, "\n[![Unreachable, by fault and manager](docs/benchmarks/%[1]s/%[2]s)](docs/benchmarks/%[1]s.md)\n", r.Date, plotFile)
	return b.String()
}

// short returns a cell of the README's table.
func (c Cell) short() string {
	if c.N == 0 {
		return "-"
	}
	s := fmt.Sprintf("%s (%s)", c.Median, c.Max)
	if c.InRuns > 0 {
		s += "; **two answer** for " + at(c.Together)
	}
	return s
}

// rest returns the cost of each contender at rest, as rows for the README.
func (r *Report) rest() table {
	if len(r.Costs) == 0 {
		return nil
	}
	frames := []string{"at rest, three nodes: packets; API requests a minute"}
	usage := []string{"at rest, the holder: memory; CPU"}
	for _, c := range r.Contenders {
		packets, requests := r.Total(c.Name)
		u, _ := r.Usage(c.Name, true)
		frames = append(frames, fmt.Sprintf("%.0f; %.0f", packets, requests))
		usage = append(usage, fmt.Sprintf("%.0f MiB; %.1f %%", u.Resident/1024, u.CPU*100))
	}
	return table{frames, usage}
}
