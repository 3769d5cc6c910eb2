package cli

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/vipd-io/vipd/internal/ask"
	"github.com/vipd-io/vipd/internal/status"
)

// shownChanges is the number of changes in `vipd status`.
const shownChanges = 5

// healthColour returns the colour of a health.
func healthColour(exit int) text.Color {
	switch exit {
	case exitHealthy:
		return text.FgGreen
	case exitNoHolder, exitUnreachable:
		return text.FgRed
	}
	return text.FgYellow
}

// renderStatus renders the status of one node. The history is nil if unavailable.
func renderStatus(s status.Status, h *status.History, width int, colour bool) string {
	p := &page{width: width, colour: colour}
	on := ""
	if s.Interface.Name != "" {
		on = " (" + s.Interface.Name + " on this node)"
	}
	p.field("VIP", plain, p.paint(text.Bold, vipsOf(s))+on+": "+p.paint(healthColour(exitOf(s)), s.Health))
	p.field("Holder", plain, holderLine(s))
	p.field("This node", plain, fmt.Sprintf("%s: %s%s: %s", s.Node, s.State, sinceText(s.Since, s.Time), s.Cause))
	p.problems(s.Problems)
	p.doctor(s.Doctor)
	if s.Outage != nil {
		p.field("Last outage", plain, outageLine(*s.Outage, s.Time))
	}
	p.apiServers(s)
	p.lastChanges(h)
	return p.b.String()
}

// holderLine describes the holder and the remaining time of the Lease.
func holderLine(s status.Status) string {
	switch l := s.Lease; {
	case !l.Known:
		return fmt.Sprintf("unknown: Lease %s/%s was not read yet", l.Namespace, l.Name)
	case l.Holder == "":
		return fmt.Sprintf("nobody%s, term %d", sinceText(l.HolderSince, s.Time), l.Term)
	default:
		return fmt.Sprintf("%s%s, term %d; lease %s", l.Holder, sinceText(l.HolderSince, s.Time), l.Term, leaseRemaining(s))
	}
}

// leaseRemaining describes the remaining time of the Lease: by the deadline on the holder, by the
// last observed renewal elsewhere.
func leaseRemaining(s status.Status) string {
	left := int64(s.Lease.DurationSeconds*1000) - s.Lease.RenewedMS
	if s.State == "holding" {
		left = s.Lease.DeadlineMS
	}
	if left <= 0 && s.State != "holding" {
		return fmt.Sprintf("over for %.1f s", float64(-left)/1000)
	}
	return fmt.Sprintf("lasts %.1f s%s", float64(left)/1000, s.Lease.Longer())
}

func outageLine(o status.Outage, now time.Time) string {
	if o.Ended == nil {
		return fmt.Sprintf("%s so far,%s, not over: %s", formatSeconds(o.Seconds), sinceText(o.Began, now), o.Error)
	}
	return fmt.Sprintf("%s, from %s (%s ago): %s", formatSeconds(o.Seconds), formatTime(o.Began, now), formatDuration(now.Sub(o.Began)), o.Error)
}

func (p *page) apiServers(s status.Status) {
	if len(s.APIServers) == 0 {
		return
	}
	rows := [][]cell{head("API SERVER", "STATE", "ADDRESS", "")}
	for _, a := range s.APIServers {
		rows = append(rows, []cell{{cmp.Or(a.Node, "?"), plain}, {a.State, serverColour(a.State)}, {a.Server, plain}, {remarks(a, s), plain}})
	}
	p.gap()
	p.table(rows)
	if s.Alone() && s.ControlPlane.Read {
		p.paragraph("", 0, plain, "no other control-plane node is known: no failover is possible")
	}
}

func serverColour(state string) text.Color {
	switch state {
	case "ready":
		return text.FgGreen
	case "not ready":
		return text.FgRed
	}
	return text.FgYellow
}

// remarks lists further properties of an API server.
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

// lastChanges lists the last changes, the newest first.
func (p *page) lastChanges(h *status.History) {
	if h == nil || len(h.Changes) == 0 {
		return
	}
	rows := [][]cell{head("LAST CHANGES", "KIND", "TOOK", "HOLDER", "CAUSE")}
	for _, c := range h.Changes[:min(len(h.Changes), shownChanges)] {
		rows = append(rows, []cell{{formatTime(c.Time, h.Time), plain}, {string(c.Kind), kindColour(c.Kind)}, {formatSeconds(c.Seconds), plain},
			{cmp.Or(c.Holder, "nobody"), plain}, {c.Cause, plain}})
	}
	p.gap()
	p.table(rows)
}

func kindColour(k status.Kind) text.Color {
	switch k {
	case status.Taken, status.Moved:
		return text.FgGreen
	case status.Dark, status.Conflict:
		return text.FgRed
	case status.Repaired, status.Refused:
		return text.FgYellow
	default:
		return plain
	}
}

// renderAll renders the statuses of all nodes, one row per node.
func renderAll(all []ask.Answer, width int, colour bool) string {
	p := &page{width: width, colour: colour}
	first, exit := all[0].Status, exitOfAll(all)
	health := map[int]string{exitHealthy: status.Healthy, exitNoHolder: status.NoHolder}[exit]
	p.field("VIP", plain, p.paint(text.Bold, vipsOf(first))+": "+p.paint(healthColour(exit), cmp.Or(health, status.Degraded)))
	now := holders(all)
	at := first // the holder knows the deadline best
	for _, a := range all {
		if len(now) == 1 && a.Node == now[0] {
			at = a.Status
		}
	}
	if len(now) > 1 {
		p.field("Holder", text.FgRed, joinNames(now)+" at the same time")
	} else {
		p.field("Holder", plain, holderLine(at))
	}
	p.gap()
	rows := [][]cell{head("NODE", "STATE", "HOLDER", "TERM", "LEASE", "FENCE", "API SERVER", "VERSION")}
	for _, a := range all {
		rows = append(rows, nodeRow(a))
	}
	p.table(rows)
	if list := allProblems(all); len(list) > 0 {
		p.gap()
		p.problems(list)
	}
	return p.b.String()
}

func nodeRow(a ask.Answer) []cell {
	if a.Err != nil {
		server := cell{"unknown", text.FgYellow}
		if a.Seen != nil {
			server = cell{a.Seen.State, serverColour(a.Seen.State)}
		}
		return []cell{{a.Node, text.Bold}, {"no answer", text.FgYellow}, {"-", plain}, {"-", plain}, {"-", plain}, {"-", plain}, server, {"-", plain}}
	}
	s := a.Status
	fence, local, state := cell{"closed", plain}, cell{"unknown", text.FgYellow}, plain
	if s.Fence.Open {
		fence = cell{"open", text.FgGreen}
	}
	if s.State == "holding" {
		state = text.FgGreen
	}
	for _, v := range s.APIServers {
		if v.Local {
			local = cell{v.State, serverColour(v.State)}
		}
	}
	holder, term, lease := cmp.Or(s.Lease.Holder, "nobody"), strconv.Itoa(s.Lease.Term), leaseRemaining(s)
	if !s.Lease.Known {
		holder, term, lease = "unknown", "-", "-"
	}
	if s.Lease.Holder == "" {
		lease = "-"
	}
	return []cell{{a.Node, text.Bold}, {s.State, state}, {holder, plain}, {term, plain}, {strings.TrimPrefix(lease, "lasts "), plain}, fence, local, {s.Version, plain}}
}
