package timeline

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/analyse"
	"github.com/vipd-io/vipd/e2e/judge/record"
)

// SVG paths of markers.
const (
	triangle = "3l3.5 9h-7z"
	notch    = "0v6"
)

// In pixels: the minimum width of a bar, and the distance from the last bar of its kind within
// which a narrow bar is merged into that one, to limit their number.
const (
	minWidth      = 2
	mergeDistance = 5
)

// palette is the number of colours for nodes in the template.
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
	all = append(all, band{Name: "strangers", Class: stranger, Lanes: strangers}, band{Name: "ARP tables", Lanes: d.tables(v)}, band{Name: "not observed", Class: stranger, Lanes: d.unobserved(v)})
	return slices.DeleteFunc(all, func(b band) bool { return len(b.Lanes) == 0 })
}

// used returns the lanes that are not empty.
func used(lanes ...lane) (out []lane) {
	for _, l := range lanes {
		if len(l.Shapes) > 0 {
			out = append(out, l)
		}
	}
	return out
}

func (d drawing) nodes() []string { return slices.Sorted(maps.Keys(d.Cluster.Nodes)) }

// stranger is the class of everything that is not a node.
const stranger = "stranger"

// colour returns the class of a node.
func (d drawing) colour(who string) string {
	if i := slices.Index(d.nodes(), who); i >= 0 {
		return fmt.Sprintf("n%d", i%palette)
	}
	return stranger
}

// who returns the node with that MAC, or the MAC.
func (d drawing) who(mac string) string { return cmp.Or(d.Cluster.Node(mac), mac) }

// add adds a bar if it is in view, or widens the bar before.
func (l *lane) add(v view, from, to record.Time, s shape) {
	if from > v.to || to < v.from || to < from {
		return
	}
	s.X = v.x(from)
	s.W = max(v.x(to)-s.X, minWidth)
	if i, seen := l.latest[s.Class]; seen {
		if before := &l.Shapes[i]; s.W <= minWidth && s.X >= before.X && s.X < before.X+mergeDistance {
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

// addRuns adds a bar for each span of signs.
func (l *lane) addRuns(v view, signs []analyse.Sign, gap time.Duration, does string, s shape) {
	for _, span := range analyse.Spans(signs, v.from, v.to, gap) {
		s.Title = fmt.Sprintf("%s %s: %s", span.Who, does, v.during(span.From, span.To))
		l.add(v, span.From, span.To, s)
	}
}

// party returns the lanes of a node or of strangers: what they hold, announce and answer.
func (d drawing) party(v view, is func(who string) bool) []lane {
	return []lane{d.lease(v, is), d.announced(v, is), d.answers(v, is), d.accepted(v, is), d.served(v, is)}
}

// accepted returns the lane of accepted knocks.
func (d drawing) accepted(v view, is func(who string) bool) lane {
	var signs []analyse.Sign
	for _, a := range d.History.Acceptances {
		if who := d.who(a.MAC); is(who) {
			signs = append(signs, analyse.Sign{Who: who, At: a.At})
		}
	}
	l := lane{Name: "TCP and ICMP"}
	l.addRuns(v, signs, v.gap(record.KnockInterval), "accepts packets", shape{})
	return l
}

// unobserved returns a lane for each kind of gap.
func (d drawing) unobserved(v view) (lanes []lane) {
	index := make(map[string]int)
	for _, g := range d.gaps {
		i, seen := index[g.What]
		if !seen {
			i = len(lanes)
			index[g.What] = i
			lanes = append(lanes, lane{Name: g.What})
		}
		lanes[i].add(v, g.From, g.To, shape{Title: "not observed: " + v.during(g.From, g.To)})
	}
	return used(lanes...)
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

// answers returns the lane of ARP answers, with evidence of violations in red.
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

// contested returns the probes with several answers, not counting strangers, and those of
// violations.
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

// address returns the lane of the times in which the node had the address. If it had the address at
// the start of the record, the removal tells that, or without a removal the name of the holder.
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

// failed returns the lane of failed requests, at the time of their start.
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

// idle returns the lane of times in which a client had lost its idle connection and had no new one.
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

// tables returns the lanes of the MACs in each host's ARP table.
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
