package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/vipd-io/vipd/pkg/status"
)

// exitOf is what `vipd status` ends with. What it does not know is no health.
func exitOf(s status.Status) int {
	switch s.Health {
	case status.Healthy:
		return exitHealthy
	case status.NoHolder:
		return exitNoHolder
	}
	return exitDegraded
}

// holders are the nodes that may answer for the VIP by their own word.
func holders(all []answer) []string {
	var out []string
	for _, a := range all {
		if a.Err == nil && a.Status.State == "holding" && a.Status.Fence.Open {
			out = append(out, a.Node)
		}
	}
	return out
}

// exitOfAll is the worst that was seen. A node that sees no holder while one holds
// sees badly: then there is something to look at, and no lack of a holder.
func exitOfAll(all []answer) int {
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

// mismatches says what does not fit together in the words of several nodes, and what
// to do.
func mismatches(all []answer) []string {
	var out []string
	answered := slices.DeleteFunc(slices.Clone(all), func(a answer) bool { return a.Err != nil })
	if two := holders(answered); len(two) > 1 {
		out = append(out, fmt.Sprintf("%s hold the VIP at once, each with an open fence: clients reach one or the other. "+
			"See which of them the lease names, and stop vipd on the others", list(two)))
	}
	for _, a := range answered {
		if a.Status.Lease.Holder == a.Node && a.Status.State != "holding" {
			out = append(out, fmt.Sprintf("the lease names %s, which is %s: ask again; if it stays so, vipd's log there says why", a.Node, a.Status.State))
		}
	}
	if d := differ(answered, func(s status.Status) string { return s.Lease.Namespace + "/" + s.Lease.Name }); d != "" {
		out = append(out, "the nodes go by different leases, "+d+": set --lease-namespace and --lease-name alike")
	}
	if d := differ(answered, addresses); d != "" {
		out = append(out, "the nodes hold different VIPs, "+d+": set --address and --port alike")
	}
	sighted := slices.DeleteFunc(slices.Clone(answered), func(a answer) bool { return !a.Status.Lease.Known })
	if d := differ(sighted, func(s status.Status) string { return cmp.Or(s.Lease.Holder, "nobody") }); d != "" {
		out = append(out, "the nodes see different holders, "+d+": ask again; if it stays so, some of them read an API server that is cut off from the others")
	} else if d := differ(sighted, func(s status.Status) string { return strconv.Itoa(s.Lease.Term) }); d != "" {
		out = append(out, "the nodes see different terms, "+d+": ask again; if it stays so, some of them read an API server that is cut off from the others")
	}
	if d := differ(answered, func(s status.Status) string { return cmp.Or(s.Version, "unknown") }); d != "" {
		out = append(out, "vipd is not of one version, "+d+": bring all nodes to the same one")
	}
	return out
}

func addresses(s status.Status) string {
	var out []string
	for _, v := range s.VIPs {
		out = append(out, fmt.Sprintf("%s:%d", v.Address, v.Port))
	}
	return strings.Join(out, ",")
}

// differ groups the nodes by something that should be the same for all; "" if it is.
func differ(all []answer, of func(status.Status) string) string {
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
		out = append(out, v+" on "+list(groups[v]))
	}
	return strings.Join(out, ", ")
}

// list says names as a person does.
func list(names []string) string {
	if n := len(names); n > 1 {
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	return strings.Join(names, "")
}

// complaints are all problems, of the nodes themselves and of what they say together.
// What several say is said once.
func complaints(all []answer) []string {
	out := mismatches(all)
	var order []string
	by := make(map[string][]string)
	for _, a := range all {
		if a.Err != nil {
			out = append(out, silence(a))
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
		out = append(out, list(by[p])+": "+p)
	}
	return out
}

// silence says why there is no answer of a node, and what to do.
func silence(a answer) string {
	text := fmt.Sprintf("%s gives no status at %s: %v", a.Node, a.Address, a.Err)
	switch e := (noAnswer{}); {
	case !errors.As(a.Err, &e):
		return text
	case e.refused:
		return text + ". Is vipd running there? Does its status listen on loopback only? Then set --status-address=" + a.Address[strings.LastIndex(a.Address, ":"):] + " there"
	default:
		return text + ". Is the node up, and does a firewall let this port through?"
	}
}

// unreachable says what to do if the first that is asked does not answer.
func unreachable(a answer) error {
	text := fmt.Sprintf("no status at %s: %v", a.Address, a.Err)
	if errors.As(a.Err, &noAnswer{}) {
		text += "\nis vipd running? on its node: crictl ps --name vipd, and crictl logs, if it is there" +
			"\ndoes its status listen elsewhere? give this command the same --status-address"
	}
	return exitError{errors.New(text), exitUnreachable}
}
