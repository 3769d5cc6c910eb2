// Package doctor looks for what keeps a virtual IP from working, on one machine and
// without changing anything: each Check looks for one thing, and a Finding says what
// was seen, why it matters for the VIP, and what mends it. The verdict puts them
// together in a sentence or two.
//
// It declares what it needs to know of the machine (Facts) and what it may ask of
// others (Questions); cmd/vipd supplies both. No question may move traffic: ARP is
// asked with probes that claim nothing (RFC 5227 section 2.1.1).
package doctor

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// Severity is how bad a finding is.
type Severity uint8

const (
	// Info: worth knowing.
	Info Severity = iota
	// Warning: it works, and may not always.
	Warning
	// Error: the VIP cannot work like this.
	Error
)

func (s Severity) String() string { return [...]string{"info", "warning", "error"}[s] }

// MarshalText is its name.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Finding is what a check has to say. A check that is content says nothing.
type Finding struct {
	// ID is that of the check, and Severity how bad it is.
	ID       string   `json:"id"`
	Severity Severity `json:"severity"`
	// Seen is what was seen, with the numbers.
	Seen string `json:"seen"`
	// Why says why it matters for the VIP.
	Why string `json:"why"`
	// Mend is what to do: commands and YAML, or words, a line each.
	Mend []string `json:"mend"`
	// Mark tells cases of one check apart, for the verdict.
	Mark string `json:"mark,omitempty"`
}

// Mode is where the doctor is.
type Mode uint8

const (
	// Node: a control-plane node on which vipd runs, or should.
	Node Mode = 1 << iota
	// Worker: a node that is a client of the VIP only.
	Worker
	// Preflight: a control-plane node before kubeadm.
	Preflight
	// Management: anywhere from where the management cluster is reached.
	Management
)

// Check looks for one thing.
type Check struct {
	// ID is stable: D01.
	ID string
	// Title names what it looks for, in a few words.
	Title string
	// Modes are where it makes sense.
	Modes Mode
	// Cheap: it reads this machine and asks nobody, so that a daemon may make it at any time.
	Cheap bool
	// Look looks. The error is that it could not: that is no finding, and no health.
	Look func(context.Context, *Case) ([]Finding, error)
}

// Case is what the checks look at.
type Case struct {
	Mode      Mode
	Facts     Facts
	Questions Questions

	whoHas    sync.Once // see whoHasVIP
	haveVIP   []net.HardwareAddr
	whoHasErr error
}

// Options say what to look for.
type Options struct {
	// Only and Skip name checks; Only is for all if it is empty.
	Only, Skip []string
	// Cheap leaves out all others.
	Cheap bool
	// Slow gives the checks more time, for those that listen.
	Slow bool
}

// Result is what one check came to.
type Result struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	// Unknown says why it could not look, "" if it could.
	Unknown  string    `json:"unknown,omitempty"`
	Findings []Finding `json:"findings"`
}

// Report is what all of them came to.
type Report struct {
	Schema  string   `json:"schema"`
	Verdict []string `json:"verdict"`
	Results []Result `json:"results"`
}

// Schema is the version of a Report.
const Schema = "v1"

// patience bounds a check; together they take no longer, as all look at once.
const (
	patience     = 4 * time.Second
	slowPatience = 34 * time.Second
)

// Examine looks for everything at once. No check disturbs another: they only read,
// and ask.
func Examine(ctx context.Context, c *Case, opts Options) Report {
	r := Report{Schema: Schema, Results: []Result{}}
	for _, check := range Checks {
		if check.Modes&c.Mode == 0 || opts.Cheap && !check.Cheap || slices.Contains(opts.Skip, check.ID) || len(opts.Only) > 0 && !slices.Contains(opts.Only, check.ID) {
			continue
		}
		r.Results = append(r.Results, Result{ID: check.ID, Title: check.Title, Findings: []Finding{}})
	}
	var all sync.WaitGroup
	for i := range r.Results {
		all.Go(func() { r.Results[i].look(ctx, c, opts) })
	}
	all.Wait()
	r.Verdict = verdict(r, c)
	return r
}

func (r *Result) look(ctx context.Context, c *Case, opts Options) {
	long := patience
	if opts.Slow {
		long = slowPatience
	}
	ctx, cancel := context.WithTimeout(ctx, long)
	defer cancel()
	check, _ := ByID(r.ID)
	findings, err := check.Look(ctx, c)
	if err != nil {
		r.Unknown = err.Error()
	}
	for _, f := range findings {
		f.ID = r.ID
		if f.Mend == nil {
			f.Mend = []string{}
		}
		r.Findings = append(r.Findings, f)
	}
}

// Worst is the worst that was found, and whether anything was.
func (r Report) Worst() (worst Severity, found bool) {
	for _, f := range r.Findings() {
		worst, found = max(worst, f.Severity), true
	}
	return worst, found
}

// Findings are those of all checks, the worst first.
func (r Report) Findings() []Finding {
	var out []Finding
	for _, res := range r.Results {
		out = append(out, res.Findings...)
	}
	slices.SortStableFunc(out, func(a, b Finding) int { return int(b.Severity) - int(a.Severity) })
	return out
}

// Checks are all there are, in the order of their IDs.
var Checks = []Check{
	noDefaultRoute, gatewaySilent, gatewayOffLink, severalDefaults, noSuchInterface, noCarrier, vipOffSubnet, vipIsSpecial,
	vipTaken, orphanedVIP, poolHandsOut, poolReuses, nameWrong, vipUnreachable, wrongIdentity, apiServerNotReady, badCredentials,
	leaseInsane, portClosed, selinuxDenies, strictSysctls, competingProfile, twoMACs, deafPeer, otherManager, nodeIPIsVIP, clockUnsynchronised, staticPodRefused,
	bootstrapState, badFiles, cloudInitDidNotWait,
}

// ByID finds a check.
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
