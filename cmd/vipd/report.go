package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/config"
	"github.com/vipd-io/vipd/pkg/election"
	"github.com/vipd-io/vipd/pkg/health"
	"github.com/vipd-io/vipd/pkg/kubeapi"
	"github.com/vipd-io/vipd/pkg/reach"
	"github.com/vipd-io/vipd/pkg/status"
	"github.com/vipd-io/vipd/pkg/vip"
)

// reporter says in the words of package status, and in Events, what the parts tell
// it. They tell it in passing: it asks nobody anything and keeps nobody.
type reporter struct {
	node    string
	board   *status.Board
	metrics *status.Metrics
	say     func(warning bool, reason, message string) // an Event

	mu sync.Mutex
	// Of the Lease: the newest version that named a holder, since when it is that
	// one, and when it was seen without one, 0 if it has one.
	last           election.Sight
	since, vacated boottime.Instant
	// Of the Manager.
	claim    election.Claim // of the present holding
	phase    vip.Phase
	cause    string     // of the withdrawal that is under way
	leaving  []vip.Deed // what was done of it
	claims   int        // by other machines
	conflict conflict
}

// conflict is the last one in the history.
type conflict struct {
	mac string
	at  boottime.Instant
}

// conflictPause keeps a machine that goes on claiming from filling the history.
const conflictPause = time.Minute

func newReporter(c config.Config, t election.Timing, fence string, certificates func() []status.Certificate) *reporter {
	r := &reporter{node: c.Node}
	o := status.BoardOptions{Node: c.Node, Version: versionString(), Namespace: c.LeaseNamespace, Name: c.LeaseName, FenceKind: fence,
		Configuration: inForce(c, t), Certificates: certificates}
	for _, a := range c.Addresses {
		o.VIPs = append(o.VIPs, status.VIP{Address: a.String(), Port: c.Port})
	}
	r.board = status.NewBoard(o)
	r.metrics = status.NewMetrics(r.board)
	return r
}

// inForce is the configuration by the names of the flags. There is nothing secret
// in it: of kubeconfigs, it has the paths.
func inForce(c config.Config, t election.Timing) map[string]string {
	addresses := make([]string, 0, len(c.Addresses))
	for _, a := range c.Addresses {
		addresses = append(addresses, a.String())
	}
	probe := "off"
	if c.ProbeInterval > 0 {
		probe = c.ProbeInterval.String()
	}
	return map[string]string{
		"address": strings.Join(addresses, ","), "port": strconv.Itoa(int(c.Port)), "interface": c.Interface, "node-name": c.Node,
		"kubeconfig": strings.Join(c.Kubeconfigs, ":"), "apiserver": c.APIServer, "peer": strings.Join(c.Peers, ","), "preferred": strings.Join(c.Preferred, ","),
		"lease-namespace": c.LeaseNamespace, "lease-name": c.LeaseName, "lease-duration": t.Lease.String(), "renew-interval": t.Renew.String(),
		"manifests": c.Manifests, "fence": string(c.Fence), "status-address": c.StatusAddress, "probe-interval": probe,
		"log-format": c.LogFormat, "log-level": c.LogLevel,
	}
}

func certificates(expiry map[string]time.Time) []status.Certificate {
	var out []status.Certificate
	for _, path := range slices.Sorted(maps.Keys(expiry)) {
		out = append(out, status.Certificate{Kubeconfig: path, Expires: expiry[path].UTC()})
	}
	return out
}

// wrote counts a claim or a renewal.
func (r *reporter) wrote(w election.Write) { r.metrics.Renewal(string(w.Outcome), w.Took, w.Left) }

// asked counts writes of the Lease.
func (r *reporter) asked(q kubeapi.Request) {
	if q.Method == http.MethodGet || !strings.Contains(q.Path, "/leases") {
		return
	}
	code := "error"
	if q.Status != 0 {
		code = strconv.Itoa(q.Status)
	}
	r.metrics.LeaseRequest(q.Server, code)
}

// stands keeps how the present holding began.
func (r *reporter) stands(s election.Standing) {
	if s.Held {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.claim = s.Claim
	}
}

// saw takes in each version of the Lease, and tells whether the holder is another.
func (r *reporter) saw(s election.Sight) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.since
	switch s.Holder {
	case "":
		if r.vacated == 0 {
			r.vacated, r.since = s.At, s.At
		}
	default:
		if s.Holder != r.last.Holder || r.vacated != 0 {
			r.since = s.At
		}
		if r.last.Holder != "" && s.Holder != r.last.Holder && s.Holder != r.node {
			r.moved(s) // what this node itself takes, the Manager tells
		}
		r.last, r.vacated = s, 0
	}
	since := r.since
	r.board.Tell(func(f *status.Facts) {
		f.Lease = status.LeaseFacts{Known: true, Holder: s.Holder, MAC: s.MAC, HolderSince: since, Term: s.Term, Duration: s.Wait, Seen: s.At}
	})
	return since != before
}

// moved notes that another node holds the lease than before.
func (r *reporter) moved(s election.Sight) {
	cause, from := "the lease of "+r.last.Holder+" expired", r.last.At
	if r.vacated != 0 {
		cause, from = r.last.Holder+" released the lease", r.vacated
	}
	r.board.Add(status.Change{Time: r.board.At(s.At), Kind: status.Moved, Holder: s.Holder, Term: s.Term, Cause: cause,
		Seconds: s.At.Sub(from).Seconds(), Phases: r.board.Steps(
			status.Step{What: "last seen of " + r.last.Holder, At: r.last.At},
			status.Step{What: "seen without a holder", At: r.vacated},
			status.Step{What: "seen held by " + s.Holder, At: s.At})})
}

// campaigns tells whether this node would take the address.
func (r *reporter) campaigns(c vip.Campaign) {
	r.board.Tell(func(f *status.Facts) { f.Candidate = c.Eligible })
}

// managed takes in what the Manager did.
func (r *reporter) managed(n vip.News) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := n.State
	changed, claims := s.Phase != r.phase, s.Rival.Claims-r.claims
	if s.Phase != vip.Holding {
		claims = 0 // a standby hears the holder
	}
	r.board.Tell(func(f *status.Facts) {
		if changed {
			f.State, f.Since = s.Phase.String(), n.At
		}
		if s.Cause != "" {
			f.Cause = s.Cause
		}
		f.Present, f.Until = s.Ours || s.Stray, n.Until
		f.Interface = status.Interface{Name: s.Link.Name, MAC: s.Link.MAC, Up: s.Link.Up}
		if claims > 0 {
			f.Conflicts = status.ConflictFacts{Count: f.Conflicts.Count + claims, MAC: s.Rival.MAC, Last: n.At}
		}
	})
	for range claims {
		r.metrics.Conflict()
	}
	if claims > 0 {
		r.claimed(n)
	}
	r.phase, r.claims = s.Phase, s.Rival.Claims
	r.deeds(n)
}

// deeds makes changes of what was done.
func (r *reporter) deeds(n vip.News) {
	if i := slices.IndexFunc(n.Deeds, is(vip.Repaired)); i >= 0 {
		r.repaired(n, n.Deeds[i].Detail)
	} else if slices.ContainsFunc(n.Deeds, is(vip.Announced)) {
		r.taken(n)
	}
	if i := slices.IndexFunc(n.Deeds, is(vip.Refused)); i >= 0 {
		r.board.Add(status.Change{Time: r.board.At(n.At), Kind: status.Refused, Holder: r.node, Term: n.State.Grant.Term, Cause: n.Deeds[i].Detail})
	}
	switch {
	case n.State.Phase == vip.Withdrawing:
		r.cause, r.leaving = n.State.Cause, append(r.leaving, n.Deeds...)
	case r.leaving != nil:
		r.leaving = append(r.leaving, n.Deeds...)
		r.left(n)
		r.leaving = nil
	}
}

func is(what vip.What) func(vip.Deed) bool { return func(d vip.Deed) bool { return d.What == what } }

// taken: this node holds the address from now on.
func (r *reporter) taken(n vip.News) {
	c := r.claim
	steps := []status.Step{
		{What: lastSeen(c), At: c.Seen}, {What: "lease free", At: c.Free}, {What: "claim sent", At: c.Sent}, {What: "claim written", At: c.Written}}
	announced := n.At
	for _, d := range n.Deeds {
		steps = append(steps, status.Step{What: string(d.What), At: d.At})
		if d.What == vip.Announced {
			announced = d.At
		}
	}
	took := announced.Sub(c.Seen)
	r.metrics.Failover(causes[c.Over], took)
	r.board.Add(status.Change{Time: r.board.At(announced), Kind: status.Taken, Holder: r.node, Term: n.State.Grant.Term, Cause: n.State.Cause,
		Seconds: took.Seconds(), Phases: r.board.Steps(steps...)})
	r.say(false, "VIPTaken", fmt.Sprintf("%s holds the VIP, term %d, %s: %s", r.node, n.State.Grant.Term, took.Round(time.Millisecond), n.State.Cause))
}

// causes are why a node takes the address, as a metric's label, by what the claim
// was over.
var causes = map[string]string{
	"absent": "vacant", "vacant": "vacant", "released": "released", "mine": "restarted",
	"rebooted": "rebooted", "namesake": "expired", "foreign": "expired",
}

// lastSeen names the record that a claim was over.
func lastSeen(c election.Claim) string {
	switch c.Over {
	case "released":
		return "release seen"
	case "absent", "vacant":
		return "seen without a holder"
	case "mine", "rebooted":
		return "own lease found"
	default:
		return "last renewal seen"
	}
}

func (r *reporter) repaired(n vip.News, what string) {
	var steps []status.Step
	for _, d := range n.Deeds {
		steps = append(steps, status.Step{What: string(d.What), At: d.At})
	}
	r.metrics.Repair()
	r.board.Tell(func(f *status.Facts) { f.Repairs++ })
	r.board.Add(status.Change{Time: r.board.At(n.At), Kind: status.Repaired, Holder: r.node, Term: n.State.Grant.Term, Cause: what, Phases: r.board.Steps(steps...)})
	r.say(true, "VIPRepaired", what+": put right on "+r.node)
}

// left: what this node had of the address is gone.
func (r *reporter) left(n vip.News) {
	steps := make([]status.Step, 0, len(r.leaving))
	for _, d := range r.leaving {
		steps = append(steps, status.Step{What: string(d.What), At: d.At})
	}
	var took time.Duration
	if len(steps) > 1 {
		took = steps[len(steps)-1].At.Sub(steps[0].At)
	}
	holder := n.State.Grant.Holder
	released := slices.ContainsFunc(r.leaving, is(vip.Released))
	if released {
		holder = ""
	}
	r.board.Add(status.Change{Time: r.board.At(n.At), Kind: status.Left, Holder: holder, Term: n.State.Grant.Term, Cause: r.cause,
		Seconds: took.Seconds(), Phases: r.board.Steps(steps...)})
	if released {
		r.say(false, "VIPReleased", r.node+" gave the VIP away: "+r.cause)
	} else {
		r.say(true, "VIPLost", r.node+" holds the VIP no more: "+r.cause)
	}
}

// claimed notes that another machine claims the address: once a minute, or when it
// is another machine.
func (r *reporter) claimed(n vip.News) {
	mac := n.State.Rival.MAC
	if mac == r.conflict.mac && n.At.Sub(r.conflict.at) < conflictPause {
		return
	}
	r.conflict = conflict{mac, n.At}
	r.board.Add(status.Change{Time: r.board.At(n.At), Kind: status.Conflict, Holder: n.State.Grant.Holder, Term: n.State.Grant.Term,
		Cause: "another machine claims the VIP, at " + mac})
	r.say(true, "VIPConflict", fmt.Sprintf("%s claims the VIP, which %s holds: find that machine and take the address away there", mac, r.node))
}

// announced takes in what came of a round of announcements.
func (r *reporter) announced(err error) {
	now := boottime.Now()
	r.metrics.Announced(err)
	r.board.Tell(func(f *status.Facts) {
		if err != nil {
			f.Announcements.Failed, f.Announcements.Error = f.Announcements.Failed+1, err.Error()
			return
		}
		f.Announcements.Sent, f.Announcements.Last, f.Announcements.Error = f.Announcements.Sent+1, now, ""
	})
}

// serversAre takes in how the API servers do.
func (r *reporter) serversAre(roll kubeapi.Roll, s health.State) {
	list := []status.APIServer{{Node: r.node, Server: s.Local.Name, Local: true, State: s.Local.Verdict.String(), Reason: s.Local.Why, Leaving: roll.Leaving}}
	for _, m := range roll.Peers {
		a := status.APIServer{Node: m.Node, Server: m.Server, State: health.Unknown.String(), Leaving: m.Leaving}
		if i := slices.IndexFunc(s.Peers, func(p health.Server) bool { return p.Name == m.Server }); i >= 0 {
			a.State, a.Reason = s.Peers[i].Verdict.String(), s.Peers[i].Why
		}
		list = append(list, a)
	}
	r.board.Tell(func(f *status.Facts) { f.APIServers = list })
}

// dark takes in an outage, as it begins and as it ends.
func (r *reporter) dark(o reach.Outage) {
	r.mu.Lock()
	holder, term := r.last.Holder, r.last.Term
	r.mu.Unlock()
	r.board.Tell(func(f *status.Facts) {
		f.Outage = status.OutageFacts{Began: o.Began, Ended: o.Ended, Error: plainly(o.Err)}
	})
	if o.Ended == 0 {
		return
	}
	lasted := o.Ended.Sub(o.Began)
	r.metrics.Outage(lasted)
	r.board.Add(status.Change{Time: r.board.At(o.Ended), Kind: status.Dark, Holder: holder, Term: term, Seconds: lasted.Seconds(),
		Cause:  "the VIP did not answer " + r.node + ": " + plainly(o.Err),
		Phases: r.board.Steps(status.Step{What: "first question without an answer", At: o.Began}, status.Step{What: "answered", At: o.Ended})})
}

// plainly says why a question had no answer, without what everybody knows of it.
func plainly(err error) string {
	var outer *url.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.As(err, &outer):
		return outer.Err.Error()
	}
	return err.Error()
}
