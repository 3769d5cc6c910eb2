package timeline

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/vipd-io/vipd/e2e/analyse"
	"github.com/vipd-io/vipd/e2e/record"
)

// The paths of markers.
const (
	triangle = "3l3.5 9h-7z"
	notch    = "0v6"
)

// In pixels: how wide a bar is that can be seen, and how far from the last one of its
// kind it begins that is not made a part of that, so that there are not too many.
const (
	thinnest = 2
	crowd    = 5
)

// palette is how many colours the template has for nodes.
const palette = 5

func (d drawing) bands(v view) []band {
	all := []band{{Name: "clients", Lanes: used(d.failed(v), d.idle(v))}}
	for _, node := range d.nodes() {
		lanes := d.party(v, func(who string) bool { return who == node })
		lanes = slices.Insert(lanes, 1, d.address(v, node))
		if len(used(lanes...)) == 0 {
			lanes = []lane{{Name: "nothing seen"}}
		}
		all = append(all, band{Name: node, Class: d.colour(node), Lanes: lanes})
	}
	strangers := used(d.party(v, func(who string) bool { return d.colour(who) == stranger })...)
	all = append(all, band{Name: "strangers", Class: stranger, Lanes: strangers}, band{Name: "ARP tables", Lanes: d.tables(v)})
	return slices.DeleteFunc(all, func(b band) bool { return len(b.Lanes) == 0 })
}

// used are those of the lanes in which there is something.
func used(lanes ...lane) (out []lane) {
	for _, l := range lanes {
		if len(l.Shapes) > 0 {
			out = append(out, l)
		}
	}
	return out
}

func (d drawing) nodes() []string { return slices.Sorted(maps.Keys(d.Cluster.Nodes)) }

// stranger is the class of all that is no node.
const stranger = "stranger"

// colour is the class of a node.
func (d drawing) colour(who string) string {
	if i := slices.Index(d.nodes(), who); i >= 0 {
		return fmt.Sprintf("n%d", i%palette)
	}
	return stranger
}

// who is the node whose MAC that is, or the MAC.
func (d drawing) who(mac string) string { return cmp.Or(d.Cluster.Node(mac), mac) }

// add adds a bar, if it is in view, or widens the one before.
func (l *lane) add(v view, from, to record.Time, s shape) {
	if from > v.to || to < v.from || to < from {
		return
	}
	s.X = v.x(from)
	s.W = max(v.x(to)-s.X, thinnest)
	if i, seen := l.latest[s.Class]; seen {
		if before := &l.Shapes[i]; s.W <= thinnest && s.X >= before.X && s.X < before.X+crowd {
			before.W = max(before.W, s.X+s.W-before.X)
			before.More++
			return
		}
	} else if l.latest == nil {
		l.latest = make(map[string]int)
	}
	l.latest[s.Class] = len(l.Shapes)
	l.Shapes = append(l.Shapes, s)
}

// addRuns adds a bar for each time without a gap between signs.
func (l *lane) addRuns(v view, signs []analyse.Sign, gap time.Duration, does string, s shape) {
	for _, span := range analyse.Spans(signs, v.from, v.to, gap) {
		s.Title = fmt.Sprintf("%s %s: %s", span.Who, does, v.during(span.From, span.To))
		l.add(v, span.From, span.To, s)
	}
}

// party are the lanes of a node or of strangers: what they hold, say, and answer.
func (d drawing) party(v view, is func(who string) bool) []lane {
	return []lane{d.lease(v, is), d.announced(v, is), d.answers(v, is), d.served(v, is)}
}

func (d drawing) announced(v view, is func(who string) bool) lane {
	l := lane{Name: "announcements"}
	for _, op := range []string{"request", "reply"} {
		var signs []analyse.Sign
		for _, a := range d.History.Announcements {
			if who := d.who(a.MAC); a.Op == op && is(who) {
				signs = append(signs, analyse.Sign{Who: who, At: a.At})
			}
		}
		l.addRuns(v, signs, 0, "announces itself by "+op, shape{Class: op, Sign: triangle})
	}
	return l
}

// answers are drawn once more in red where they are evidence.
func (d drawing) answers(v view, is func(who string) bool) lane {
	var signs, evidence []analyse.Sign
	contested := d.contested()
	for _, a := range d.History.Answers {
		if who := d.who(a.MAC); is(who) {
			signs = append(signs, analyse.Sign{Who: who, At: a.At})
			if contested[a.Seq] {
				evidence = append(evidence, signs[len(signs)-1])
			}
		}
	}
	l := lane{Name: "ARP answers"}
	gap := v.gap(record.ProbeInterval)
	l.addRuns(v, signs, gap, "answers ARP", shape{})
	l.addRuns(v, evidence, gap, "answers ARP, against a rule", shape{Class: "bad"})
	return l
}

// contested are the probes that more than one answered, strangers aside, and those
// that violations are about.
func (d drawing) contested() map[uint32]bool {
	out := make(map[uint32]bool)
	first := make(map[uint32]string)
	answers, _ := analyse.ByNode(d.Episode)
	for _, a := range answers {
		if who, seen := first[a.Seq]; seen && who != a.MAC {
			out[a.Seq] = true
		}
		first[a.Seq] = a.MAC
	}
	for _, f := range d.violations {
		out[f.Seq] = out[f.Seq] || f.Seq != 0
	}
	return out
}

func (d drawing) served(v view, is func(who string) bool) lane {
	var signs []analyse.Sign
	for _, r := range d.History.Requests {
		if r.OK() && is(r.Node) {
			signs = append(signs, analyse.Sign{Who: r.Node, At: r.End})
		}
	}
	l := lane{Name: "HTTPS answers"}
	l.addRuns(v, signs, v.gap(record.RequestInterval), "answers HTTPS", shape{})
	return l
}

// address is when the node had the address. One that was there before anybody looked
// is told by its end or, if it stayed, by the name of the holder.
func (d drawing) address(v view, node string) lane {
	var events []record.AddressEvent
	for _, a := range d.History.Addresses {
		if a.Node == node {
			events = append(events, a)
		}
	}
	has := node == d.Holder
	if len(events) > 0 {
		has = !events[0].Added
	}
	l := lane{Name: "address"}
	since := v.from
	show := func(to record.Time) {
		if has {
			l.add(v, since, to, shape{Title: node + " has the address: " + v.during(since, to)})
		}
	}
	for _, a := range events {
		show(a.At)
		has, since = a.Added, a.At
	}
	show(v.to)
	return l
}

// failed are the requests that were not answered, at the time at which they were made.
func (d drawing) failed(v view) lane {
	l := lane{Name: "failed requests"}
	byStart := slices.SortedStableFunc(slices.Values(d.History.Requests), func(a, b record.Request) int { return cmp.Compare(a.Start, b.Start) })
	for _, r := range byStart {
		if !r.OK() {
			title := fmt.Sprintf("%s, failed after %v: %s", v.rel(r.Start), r.End.Sub(r.Start).Round(100*time.Microsecond), shorten(r.Err, 90))
			l.add(v, r.Start, r.Start, shape{Class: "bad", Title: title})
		}
	}
	return l
}

// idle is how long a client looked for the VIP whose idle connection had ended.
func (d drawing) idle(v view) lane {
	l := lane{Name: "idle client lost"}
	for _, r := range d.History.Reconnects {
		to := r.Done
		if to == 0 {
			to = v.to
		}
		l.add(v, r.Noticed, to, shape{Class: "bad", Title: "noticed the end of its connection, until it had another: " + v.during(r.Noticed, to)})
	}
	return l
}

// tables is whom each host would send to.
func (d drawing) tables(v view) (lanes []lane) {
	byHost := make(map[string][]record.Neighbour)
	for _, n := range d.History.Neighbours {
		byHost[n.Host] = append(byHost[n.Host], n)
	}
	for _, host := range slices.Sorted(maps.Keys(byHost)) {
		l := lane{Name: host}
		for i, n := range byHost[host] {
			to := v.to
			if i+1 < len(byHost[host]) {
				to = byHost[host][i+1].At
			}
			if n.MAC != "" {
				who := d.who(n.MAC)
				l.add(v, n.At, to, shape{Class: d.colour(who), Title: fmt.Sprintf("%s sends to %s (%s): %s", host, who, n.MAC, v.during(n.At, to)), Text: who})
			}
		}
		lanes = append(lanes, l)
	}
	return lanes
}
