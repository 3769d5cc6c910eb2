package cli

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/vipd-io/vipd/internal/ask"
	"github.com/vipd-io/vipd/internal/status"
)

// exitOf returns the exit status for a status. An unknown health counts as degraded.
func exitOf(s status.Status) int {
	switch s.Health {
	case status.Healthy:
		return exitHealthy
	case status.NoHolder:
		return exitNoHolder
	}
	return exitDegraded
}

// holders returns the nodes that answer for the VIP by their own status.
func holders(all []ask.Answer) []string {
	var out []string
	for _, a := range all {
		if a.Err == nil && a.Status.State == "holding" && a.Status.Fence.Open {
			out = append(out, a.Node)
		}
	}
	return out
}

// exitOfAll returns the worst exit status. If one node holds the VIP, a node that sees no holder
// counts as degraded only.
func exitOfAll(all []ask.Answer) int {
	if all[0].Err != nil {
		return exitUnreachable
	}
	worst := exitHealthy
	for _, a := range all {
		if a.Err != nil {
			worst = max(worst, exitDegraded)
		} else {
			worst = max(worst, exitOf(a.Status))
		}
	}
	if len(holders(all)) > 0 {
		worst = min(worst, exitDegraded)
	}
	if len(mismatches(all)) > 0 {
		worst = max(worst, exitDegraded)
	}
	return worst
}

// mismatches lists contradictions between the statuses of several nodes, and what to do.
func mismatches(all []ask.Answer) []string {
	var out []string
	answered := slices.DeleteFunc(slices.Clone(all), func(a ask.Answer) bool { return a.Err != nil })
	if two := holders(answered); len(two) > 1 {
		out = append(out, fmt.Sprintf("%s hold the VIP at the same time, each with an open fence: clients reach either of them. "+
			"Find the node that the Lease names, and stop vipd on the others", joinNames(two)))
	}
	for _, a := range answered {
		if a.Status.Lease.Holder == a.Node && a.Status.State != "holding" {
			out = append(out, fmt.Sprintf("the Lease names %s, which is %s: run the command again; if this persists, see vipd's log on that node", a.Node, a.Status.State))
		}
	}
	if d := disagreement(answered, func(s status.Status) string { return s.Lease.Namespace + "/" + s.Lease.Name }); d != "" {
		out = append(out, "the nodes use different Leases, "+d+": set the same --lease-namespace and --lease-name on all nodes")
	}
	if d := disagreement(answered, vipsOf); d != "" {
		out = append(out, "the nodes are configured with different VIPs, "+d+": set the same --address and --port on all nodes")
	}
	informed := slices.DeleteFunc(slices.Clone(answered), func(a ask.Answer) bool { return !a.Status.Lease.Known })
	if d := disagreement(informed, func(s status.Status) string { return cmp.Or(s.Lease.Holder, "nobody") }); d != "" {
		out = append(out, "the nodes see different holders, "+d+": run the command again; if this persists, some nodes use an API server that is cut off from the others")
	} else if d := disagreement(informed, func(s status.Status) string { return strconv.Itoa(s.Lease.Term) }); d != "" {
		out = append(out, "the nodes see different terms, "+d+": run the command again; if this persists, some nodes use an API server that is cut off from the others")
	}
	if d := disagreement(answered, func(s status.Status) string { return cmp.Or(s.Version, "unknown") }); d != "" {
		out = append(out, "the versions of vipd differ, "+d+": run the same version on all nodes")
	}
	return out
}

func vipsOf(s status.Status) string {
	var out []string
	for _, v := range s.VIPs {
		out = append(out, fmt.Sprintf("%s:%d", v.Address, v.Port))
	}
	return strings.Join(out, ",")
}

// disagreement groups the nodes by a value that should be equal on all nodes, or returns "" if
// the value is equal.
func disagreement(all []ask.Answer, of func(status.Status) string) string {
	groups := make(map[string][]string)
	for _, a := range all {
		v := of(a.Status)
		groups[v] = append(groups[v], a.Node)
	}
	if len(groups) < 2 {
		return ""
	}
	var out []string
	for _, v := range slices.Sorted(maps.Keys(groups)) {
		out = append(out, v+" on "+joinNames(groups[v]))
	}
	return strings.Join(out, ", ")
}

// joinNames joins names with commas and "and".
func joinNames(names []string) string {
	if n := len(names); n > 1 {
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	return strings.Join(names, "")
}

// allProblems returns the mismatches and the problems of all nodes. A problem of several nodes
// appears once.
func allProblems(all []ask.Answer) []string {
	out := mismatches(all)
	var order []string
	by := make(map[string][]string)
	for _, a := range all {
		if a.Err != nil {
			out = append(out, noAnswer(a))
			continue
		}
		for _, p := range a.Status.Problems {
			if by[p] == nil {
				order = append(order, p)
			}
			by[p] = append(by[p], a.Node)
		}
	}
	for _, p := range order {
		out = append(out, joinNames(by[p])+": "+p)
	}
	return out
}

// noAnswer describes why a node gave no status, and what to do.
func noAnswer(a ask.Answer) string {
	text := fmt.Sprintf("%s gave no status at %s: %v", a.Node, a.Address, a.Err)
	switch e := (ask.NoAnswer{}); {
	case !errors.As(a.Err, &e):
		return text
	case e.Refused:
		return text + ". Is vipd running there? If its status server listens on loopback only, set --status-address=" + a.Address[strings.LastIndex(a.Address, ":"):] + " there"
	default:
		return text + ". Is the node up, and does its firewall allow this port?"
	}
}

// unreachable describes why the first node did not answer, and what to do.
func unreachable(a ask.Answer) error {
	text := fmt.Sprintf("no status at %s: %v", a.Address, a.Err)
	if errors.As(a.Err, &ask.NoAnswer{}) {
		text += "\nis vipd running? on the node: crictl ps --name vipd; if so, see crictl logs" +
			"\ndoes the status server listen at another address? pass the same --status-address to this command"
	}
	return exitError{errors.New(text), exitUnreachable}
}
