package main

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/vipd-io/vipd/pkg/status"
)

// shownChanges is how many of the last changes `vipd status` shows.
const shownChanges = 5

// healthStyle is the colour of a health.
func healthStyle(exit int) style {
	switch exit {
	case exitHealthy:
		return green
	case exitNoHolder, exitUnreachable:
		return red
	}
	return yellow
}

// renderStatus shows what one node knows. A history that is not to be had is nil.
func renderStatus(s status.Status, h *status.History, width int, colour bool) string {
	p := &page{width: width, colour: colour}
	on := ""
	if s.Interface.Name != "" {
		on = " (" + s.Interface.Name + " on this node)"
	}
	p.line(word{"VIP          ", bold}, word{addresses(s), bold}, word{on + ": ", plain}, word{s.Health, healthStyle(exitOf(s))})
	p.field("Holder", plain, holderLine(s))
	p.field("This node", plain, fmt.Sprintf("%s: %s%s: %s", s.Node, s.State, since(s.Since, s.Time), s.Cause))
	p.problems(s.Problems)
	p.doctor(s.Doctor)
	if s.Outage != nil {
		p.field("Last outage", plain, outageLine(*s.Outage, s.Time))
	}
	p.apiServers(s)
	p.lastChanges(h)
	return p.b.String()
}

// holderLine is who holds the VIP, and for how long still.
func holderLine(s status.Status) string {
	switch l := s.Lease; {
	case !l.Known:
		return fmt.Sprintf("not known: lease %s/%s was not read yet", l.Namespace, l.Name)
	case l.Holder == "":
		return fmt.Sprintf("nobody%s, term %d", since(l.HolderSince, s.Time), l.Term)
	default:
		return fmt.Sprintf("%s%s, term %d; lease %s", l.Holder, since(l.HolderSince, s.Time), l.Term, leaseLeft(s))
	}
}

// leaseLeft is how long the lease lasts, for its holder or as the others see it.
func leaseLeft(s status.Status) string {
	left := int64(s.Lease.DurationSeconds*1000) - s.Lease.RenewedMS
	if s.State == "holding" {
		left = s.Lease.DeadlineMS
	}
	if left <= 0 && s.State != "holding" {
		return fmt.Sprintf("over for %.1f s", float64(-left)/1000)
	}
	return fmt.Sprintf("lasts %.1f s", float64(left)/1000)
}

func outageLine(o status.Outage, now time.Time) string {
	if o.Ended == nil {
		return fmt.Sprintf("%s so far,%s, not over: %s", seconds(o.Seconds), since(o.Began, now), o.Error)
	}
	return fmt.Sprintf("%s, from %s (%s ago): %s", seconds(o.Seconds), clock(o.Began, now), span(now.Sub(o.Began)), o.Error)
}

func (p *page) apiServers(s status.Status) {
	if len(s.APIServers) == 0 {
		return
	}
	rows := [][]word{head("API SERVER", "STATE", "ADDRESS", "")}
	for _, a := range s.APIServers {
		rows = append(rows, []word{{cmp.Or(a.Node, "?"), plain}, {a.State, serverStyle(a.State)}, {a.Server, plain}, {remarks(a, s), plain}})
	}
	p.line()
	p.table(rows)
}

func serverStyle(state string) style {
	switch state {
	case "ready":
		return green
	case "not ready":
		return red
	}
	return yellow
}

// remarks is what else there is to say of an API server.
func remarks(a status.APIServer, s status.Status) string {
	var out []string
	if a.Local {
		out = append(out, "this node")
	}
	if a.Node != "" && a.Node == s.Lease.Holder {
		out = append(out, "holder")
	}
	if a.Leaving != "" {
		out = append(out, a.Leaving)
	}
	if a.Reason != "" && a.State != "ready" {
		out = append(out, a.Reason)
	}
	return strings.Join(out, ", ")
}

// lastChanges are some, the newest first.
func (p *page) lastChanges(h *status.History) {
	if h == nil || len(h.Changes) == 0 {
		return
	}
	rows := [][]word{head("LAST CHANGES", "KIND", "TOOK", "HOLDER", "CAUSE")}
	for _, c := range h.Changes[:min(len(h.Changes), shownChanges)] {
		rows = append(rows, []word{{clock(c.Time, h.Time), plain}, {string(c.Kind), kindStyle(c.Kind)}, {seconds(c.Seconds), plain},
			{cmp.Or(c.Holder, "nobody"), plain}, {c.Cause, plain}})
	}
	p.line()
	p.table(rows)
}

func kindStyle(k status.Kind) style {
	switch k {
	case status.Taken, status.Moved:
		return green
	case status.Dark, status.Conflict:
		return red
	case status.Repaired, status.Refused:
		return yellow
	default:
		return plain
	}
}

// renderAll shows what all nodes say, a row a node.
func renderAll(all []answer, width int, colour bool) string {
	p := &page{width: width, colour: colour}
	first, exit := all[0].Status, exitOfAll(all)
	health := map[int]string{exitHealthy: status.Healthy, exitNoHolder: status.NoHolder}[exit]
	p.line(word{"VIP          ", bold}, word{addresses(first), bold}, word{": ", plain}, word{cmp.Or(health, status.Degraded), healthStyle(exit)})
	now := holders(all)
	at := first // who holds knows best for how long
	for _, a := range all {
		if len(now) == 1 && a.Node == now[0] {
			at = a.Status
		}
	}
	if len(now) > 1 {
		p.field("Holder", red, list(now)+" at once")
	} else {
		p.field("Holder", plain, holderLine(at))
	}
	p.line()
	rows := [][]word{head("NODE", "STATE", "HOLDER", "TERM", "LEASE", "FENCE", "API SERVER", "VERSION")}
	for _, a := range all {
		rows = append(rows, row(a))
	}
	p.table(rows)
	if list := complaints(all); len(list) > 0 {
		p.line()
		p.problems(list)
	}
	return p.b.String()
}

func row(a answer) []word {
	if a.Err != nil {
		server := word{"not known", yellow}
		if a.Seen != nil {
			server = word{a.Seen.State, serverStyle(a.Seen.State)}
		}
		return []word{{a.Node, bold}, {"no answer", yellow}, {"-", plain}, {"-", plain}, {"-", plain}, {"-", plain}, server, {"-", plain}}
	}
	s := a.Status
	fence, local, state := word{"closed", plain}, word{"not known", yellow}, plain
	if s.Fence.Open {
		fence = word{"open", green}
	}
	if s.State == "holding" {
		state = green
	}
	for _, v := range s.APIServers {
		if v.Local {
			local = word{v.State, serverStyle(v.State)}
		}
	}
	holder, term, lease := cmp.Or(s.Lease.Holder, "nobody"), strconv.Itoa(s.Lease.Term), leaseLeft(s)
	if !s.Lease.Known {
		holder, term, lease = "not known", "-", "-"
	}
	if s.Lease.Holder == "" {
		lease = "-"
	}
	return []word{{a.Node, bold}, {s.State, state}, {holder, plain}, {term, plain}, {strings.TrimPrefix(lease, "lasts "), plain}, fence, local, {s.Version, plain}}
}
