package timeline

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/analyse"
	"github.com/vipd-io/vipd/e2e/judge/record"
)

// A row is an event as text.
type row struct {
	at    record.Time
	At    string
	Who   string
	Class string // the colour of Who
	Kind  string
	Text  string
}

// logged bounds the rows of one kind.
const logged = 60

// log returns the events in order of time, and a summary of the omitted ones.
func (d drawing) log(v view) (rows []row, leftOut []string) {
	for _, kind := range []struct {
		name string
		rows []row
	}{
		{"lab", d.logMarks()}, {"violation", d.logViolations()}, {"lease", d.logLease(v)}, {"address", d.logAddresses()},
		{"announcement", d.logAnnouncements()}, {"ARP table", d.logTables()}, {"answers", d.logAnswers(v)}, {"requests", d.logRequests(v)},
	} {
		if more := len(kind.rows) - logged; more > 0 {
			kind.rows = kind.rows[:logged]
			leftOut = append(leftOut, fmt.Sprintf("%s: %d after %s", kind.name, more, v.rel(kind.rows[logged-1].at)))
		}
		for _, r := range kind.rows {
			r.Kind, r.At, r.Class = kind.name, v.rel(r.at), cmp.Or(r.Class, d.colour(r.Who))
			rows = append(rows, r)
		}
	}
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(a.at, b.at) })
	return rows, leftOut
}

func (d drawing) logMarks() (rows []row) {
	for _, m := range d.History.Marks {
		rows = append(rows, row{at: m.At, Text: m.Text})
	}
	return append(rows, row{at: d.End, Text: "end of the fault; from here on the lab heals"})
}

func (d drawing) logViolations() (rows []row) {
	for _, f := range d.violations {
		rows = append(rows, row{at: f.At, Text: string(f.Rule) + ": " + shorten(f.Why, 300)})
	}
	return rows
}

func (d drawing) logLease(v view) (rows []row) {
	var before version
	for _, w := range written(d.History.Leases) {
		text := fmt.Sprintf("holds in term %d for %s", w.Term, w.duration())
		switch {
		case w.Deleted:
			text = "the Lease is deleted"
		case w.Holder == "":
			text = fmt.Sprintf("the Lease names nobody, in term %d", w.Term)
		case w.Holder == before.Holder && w.Term == before.Term && w.Seconds == before.Seconds:
			text = "renews"
		}
		if late := w.At.Sub(w.wrote); late >= 100*time.Millisecond {
			text += "; seen " + milliseconds(late) + " later"
		}
		rows = append(rows, row{at: w.wrote, Who: w.Holder, Text: text})
		before = w
	}
	return slices.DeleteFunc(rows, func(r row) bool { return !v.has(r.at) })
}

func (d drawing) logAddresses() (rows []row) {
	for _, a := range d.History.Addresses {
		text := "loses the address"
		if a.Added {
			text = "has the address"
		}
		rows = append(rows, row{at: a.At, Who: a.Node, Text: text})
	}
	return rows
}

func (d drawing) logAnnouncements() (rows []row) {
	for _, a := range d.History.Announcements {
		rows = append(rows, row{at: a.At, Who: d.who(a.MAC), Text: "announces itself by " + a.Op})
	}
	return rows
}

func (d drawing) logTables() (rows []row) {
	for _, n := range d.History.Neighbours {
		text := "sends to " + d.who(n.MAC)
		if n.MAC == "" {
			text = "does not know whom to send to"
		}
		rows = append(rows, row{at: n.At, Who: n.Host, Class: "host", Text: text})
	}
	return rows
}

func (d drawing) logAnswers(v view) (rows []row) {
	var signs []analyse.Sign
	for _, a := range d.History.Answers {
		signs = append(signs, analyse.Sign{Who: d.who(a.MAC), At: a.At})
	}
	return logRuns(analyse.Spans(signs, v.from, v.to, run*record.ProbeInterval), "ARP")
}

func (d drawing) logRequests(v view) (rows []row) {
	var signs []analyse.Sign
	for _, r := range d.History.Requests {
		if r.OK() {
			signs = append(signs, analyse.Sign{Who: r.Node, At: r.End})
		}
	}
	return logRuns(analyse.Spans(signs, v.from, v.to, run*record.RequestInterval), "HTTPS")
}

// run is how many intervals a run of answers may skip.
const run = 3

// logRuns returns the begin and the end of each run.
func logRuns(spans []analyse.Span, what string) (rows []row) {
	for _, s := range spans {
		if s.From == s.To {
			rows = append(rows, row{at: s.From, Who: s.Who, Text: "answers " + what + " once"})
			continue
		}
		rows = append(rows, row{at: s.From, Who: s.Who, Text: "answers " + what + " from here on"}, row{at: s.To, Who: s.Who, Text: "answers " + what + " for the last time"})
	}
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(a.at, b.at) })
	return rows
}
