// Package statustest provides status documents of vipds on three nodes, for tests.
package statustest

import (
	"fmt"
	"time"

	"github.com/vipd-io/vipd/internal/status"
)

// Noon is the time of the documents.
var Noon = time.Date(2026, 7, 29, 12, 0, 0, 0, time.UTC)

// Standby returns the status of a healthy standby while n2 holds the VIP.
func Standby(node string) status.Status {
	s := status.Status{
		Schema: status.Schema, Time: Noon, Node: node, Version: "v0.5.0", Started: Noon.Add(-72 * time.Hour), Health: status.Healthy, Problems: []string{},
		State: "standby", Since: Noon.Add(-2 * time.Hour), Cause: "n2 holds the lease", Candidate: true,
		VIPs:      []status.VIP{{Address: "192.168.35.100", Port: 6443}},
		Interface: status.Interface{Name: "eth0", MAC: "02:00:00:23:00:0b", Up: true},
		Lease: status.Lease{Namespace: "kube-system", Name: "plndr-cp-lock", Known: true, Holder: "n2", HolderSince: Noon.Add(-2 * time.Hour),
			Term: 7, DurationSeconds: 3, RenewedMS: 600},
		Fence:  status.Fence{Kind: "nftables"},
		Outage: &status.Outage{Began: Noon.Add(-2*time.Hour - 400*time.Millisecond), Ended: new(Noon.Add(-2 * time.Hour)), Seconds: 0.4, Error: "connection refused"},
	}
	for i, n := range []string{"n1", "n2", "n3"} {
		a := status.APIServer{Node: n, Server: fmt.Sprintf("192.168.35.%d:6443", 11+i), State: "ready", Local: n == node}
		if a.Local {
			a.Server = "127.0.0.1:6443"
			s.APIServers = append([]status.APIServer{a}, s.APIServers...)
		} else {
			s.APIServers = append(s.APIServers, a)
		}
	}
	return s
}

// Holding returns the status of a healthy holder.
func Holding(node string) status.Status {
	s := Standby(node)
	s.State, s.Cause, s.Outage = "holding", "the lease of n1 expired", nil
	s.Lease.Holder, s.Lease.DeadlineMS, s.Fence.Open, s.Fence.OpenMS = node, 2300, true, 2300
	return s
}

// Degraded returns the status of a standby with problems.
func Degraded() status.Status {
	s := Standby("n1")
	s.Health, s.APIServers[2].State, s.APIServers[2].Reason = status.Degraded, "not ready", "connection refused"
	s.APIServers[1].Leaving = "its node is cordoned"
	s.Problems = []string{"the API server of n3 (192.168.35.13:6443) is not ready: connection refused",
		"another machine claims the VIP, at 02:00:00:23:00:63: find that machine and remove the address there"}
	s.Doctor = &status.Doctor{Time: Noon.Add(-3 * time.Second), Verdict: []string{"Nothing is broken: see the warnings and notes below."}, Findings: []status.Finding{
		{ID: "D04", Severity: "warning", Seen: "2 default routes, of the same metric: 192.168.35.1 by eth0, 10.0.0.1 by eth1", Why: "which one is taken is chance", Mend: []string{"ip route"}}}}
	return s
}

// NoHolder returns the status of a standby while nobody holds the VIP.
func NoHolder() status.Status {
	s := Standby("n1")
	s.Health, s.Lease.RenewedMS, s.Outage.Ended, s.Outage.Began, s.Outage.Seconds = status.NoHolder, 15000, nil, Noon.Add(-14*time.Second), 14
	s.Problems = []string{"nobody holds the VIP: n2 has not renewed the lease for 15.0 s"}
	return s
}

// History returns a history of six changes.
func History(node string) status.History {
	at := func(ago time.Duration) time.Time { return Noon.Add(-ago) }
	return status.History{Schema: status.Schema, Time: Noon, Node: node, Changes: []status.Change{
		{Time: at(2 * time.Hour), Kind: status.Dark, Holder: "n2", Term: 7, Cause: "the VIP did not answer " + node + ": connection refused", Seconds: 0.4,
			Phases: []status.Phase{{What: "first probe without an answer", Time: at(2*time.Hour + 400*time.Millisecond)}, {What: "answered", Time: at(2 * time.Hour), AfterMS: 400}}},
		{Time: at(2*time.Hour + time.Second), Kind: status.Moved, Holder: "n2", Term: 7, Cause: "n1 released the lease", Seconds: 0.012, Phases: []status.Phase{
			{What: "last seen of n1", Time: at(2*time.Hour + 1012*time.Millisecond)}, {What: "seen held by n2", Time: at(2*time.Hour + time.Second), AfterMS: 12.4}}},
		{Time: at(3 * time.Hour), Kind: status.Repaired, Holder: "n1", Term: 6, Cause: "the address was gone from eth0", Phases: []status.Phase{}},
		{Time: at(26 * time.Hour), Kind: status.Conflict, Holder: "n1", Term: 6, Cause: "another machine claims the VIP, at 02:00:00:23:00:63", Phases: []status.Phase{}},
		{Time: at(27 * time.Hour), Kind: status.Taken, Holder: node, Term: 6, Cause: "the lease of n3 expired", Seconds: 3.21, Phases: []status.Phase{
			{What: "last renewal seen", Time: at(27*time.Hour + 3210*time.Millisecond)}, {What: "lease free", AfterMS: 3150}, {What: "announced", AfterMS: 3210.2}}},
		{Time: at(28 * time.Hour), Kind: status.Left, Holder: "", Term: 5, Cause: "vipd was told to end", Phases: []status.Phase{}},
	}}
}
