// Package doctor runs read-only checks that explain why a virtual IP does not work on a
// machine. A Check examines one subject. A Finding states what was seen, why that matters
// for the VIP, and how to fix it. The verdict summarizes all findings in a sentence or two.
//
// The package declares the state of the machine that the checks use (Facts) and the
// queries that the checks send (Queries); package gather supplies both. No query moves
// traffic: ARP probes claim no address (RFC 5227 section 2.1.1).
package doctor

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Severity is how bad a finding is.
type Severity uint8

const (
	// Info: no problem, but useful to know.
	Info Severity = iota
	// Warning: the VIP works, but may fail under some conditions.
	Warning
	// Error: the VIP cannot work in this state.
	Error
)

func (s Severity) String() string { return [...]string{"info", "warning", "error"}[s] }

// MarshalText returns the name of the severity.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Finding is one problem that a check found. A check that passes returns no finding.
type Finding struct {
	// ID is the ID of the check.
	ID       string   `json:"id"`
	Severity Severity `json:"severity"`
	// Seen states what was seen, with measured values.
	Seen string `json:"seen"`
	// Why states the effect on the VIP.
	Why string `json:"why"`
	// Remedy lists what to do, one command, YAML line or sentence per entry.
	Remedy []string `json:"mend"`
	// Kind distinguishes the findings of one check, for the verdict.
	Kind string `json:"mark,omitempty"`
}

// Mode is the place where the doctor runs.
type Mode uint8

const (
	// Node: a control-plane node on which vipd runs or should run.
	Node Mode = 1 << iota
	// Worker: a node that is a client of the VIP only.
	Worker
	// Preflight: a control-plane node before kubeadm.
	Preflight
	// Management: any machine that reaches the management cluster.
	Management
)

// Check examines one subject.
type Check struct {
	// ID is stable: D01.
	ID string
	// Title names the subject in a few words.
	Title string
	// Modes are the modes in which the check runs.
	Modes Mode
	// Cheap: the check reads local state only, so that a daemon may run the check at any time.
	Cheap bool
	// Run runs the check. An error means that the result is unknown: neither a finding nor a
	// pass.
	Run func(context.Context, *Input) ([]Finding, error)
}

// Input is the input of all checks.
type Input struct {
	Mode    Mode
	Facts   Facts
	Queries Queries

	timeout time.Duration // see Options

	respondersOnce sync.Once // see vipResponders
	responders     []net.HardwareAddr
	respondersErr  error

	proxiesOnce sync.Once // see proxies
	proxyMACs   []net.HardwareAddr
	nobodysOnce sync.Once // see nobodys
	proxyFor    []netip.Addr
	proxiesErr  error
}

// Options select checks and bound them.
type Options struct {
	// Only and Skip hold IDs of checks. An empty Only selects all checks.
	Only, Skip []string
	// Cheap selects cheap checks only.
	Cheap bool
	// Timeout bounds each check and, in proportion, its queries. The default is
	// DefaultTimeout.
	Timeout time.Duration
	// ListenTime is added to Timeout for checks that listen.
	ListenTime time.Duration
}

// Result is the result of one check.
type Result struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	// Unknown is the error that kept the check from running, if any.
	Unknown  string    `json:"unknown,omitempty"`
	Findings []Finding `json:"findings"`
}

// Report is the result of all checks.
type Report struct {
	Schema  string   `json:"schema"`
	Verdict []string `json:"verdict"`
	Results []Result `json:"results"`
}

// Schema is the version of a Report.
const Schema = "v1"

// DefaultTimeout bounds each check, and all checks together: the checks run concurrently.
const DefaultTimeout = 4 * time.Second

// Examine runs all selected checks concurrently. Checks only read and query, so no check
// affects another.
func Examine(ctx context.Context, in *Input, opts Options) Report {
	r := Report{Schema: Schema, Results: []Result{}}
	in.timeout = opts.Timeout
	for _, check := range Checks {
		if check.Modes&in.Mode == 0 || opts.Cheap && !check.Cheap || slices.Contains(opts.Skip, check.ID) || len(opts.Only) > 0 && !slices.Contains(opts.Only, check.ID) {
			continue
		}
		r.Results = append(r.Results, Result{ID: check.ID, Title: check.Title, Findings: []Finding{}})
	}
	var all sync.WaitGroup
	for i := range r.Results {
		all.Go(func() { r.Results[i].run(ctx, in, opts) })
	}
	all.Wait()
	r.Verdict = verdict(r, in)
	return r
}

// checkTimeout bounds a check that does not listen.
func (in *Input) checkTimeout() time.Duration { return cmp.Or(in.timeout, DefaultTimeout) }

func (r *Result) run(ctx context.Context, in *Input, opts Options) {
	ctx, cancel := context.WithTimeout(ctx, in.checkTimeout()+opts.ListenTime)
	defer cancel()
	check, _ := ByID(r.ID)
	findings, err := check.Run(ctx, in)
	if err != nil {
		r.Unknown = err.Error()
	}
	for _, f := range findings {
		f.ID = r.ID
		if f.Remedy == nil {
			f.Remedy = []string{}
		}
		r.Findings = append(r.Findings, f)
	}
}

// Worst returns the highest severity of all findings; found is false without findings.
func (r Report) Worst() (worst Severity, found bool) {
	for _, f := range r.Findings() {
		worst, found = max(worst, f.Severity), true
	}
	return worst, found
}

// Findings returns the findings of all checks, the most severe first.
func (r Report) Findings() []Finding {
	var out []Finding
	for _, res := range r.Results {
		out = append(out, res.Findings...)
	}
	slices.SortStableFunc(out, func(a, b Finding) int { return int(b.Severity) - int(a.Severity) })
	return out
}

// Checks are all checks, in the order of their IDs.
var Checks = []Check{
	noDefaultRoute, gatewaySilent, gatewayOffLink, severalDefaults, noSuchInterface, noCarrier, vipOffSubnet, vipReserved,
	vipTaken, orphanedVIP, poolContainsVIP, addressReuse, nameWrong, vipUnreachable, wrongIdentity, apiServerNotReady, badCredentials,
	leaseInvalid, portClosed, selinuxDenies, kernelSettings, competingProfile, twoMACs, announcementsUnheard, otherManager, nodeIPIsVIP, clockUnsynchronised, staticPodRefused,
	bootstrapState, controlPlaneFiles, cloudInitDidNotWait, vipInClusterNetwork, templateGateway,
}

// ByID returns the check with an ID.
func ByID(id string) (Check, error) {
	for _, c := range Checks {
		if c.ID == id {
			return c, nil
		}
	}
	var ids []string
	for _, c := range Checks {
		ids = append(ids, c.ID)
	}
	return Check{}, fmt.Errorf("there is no check %q; there are %s", id, strings.Join(ids, ", "))
}
