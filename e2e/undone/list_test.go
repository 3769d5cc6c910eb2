package undone

import (
	"github.com/vipd-io/vipd/e2e/analyse"
)

// chance is how often a fault is tried whose outcome depends on when exactly it
// comes.
func chance(fault string) []string { return []string{fault, fault, fault} }

func once(fault string) []string { return []string{fault} }

// mutations are all of them. The texts are exact: code that changes takes its
// mutation along.
var mutations = []mutation{
	// What ends by itself.
	{
		name:   "the fence outlasts the lease",
		edits:  []edit{{"pkg/fence/fence.go", "next := 1 - f.named", "d += 60 * time.Second\n\tnext := 1 - f.named"}},
		faults: once("latekill"), rule: analyse.InTime,
	},
	{
		name: "the fence counts from the permit",
		edits: []edit{{"pkg/fence/fence.go",
			"return l.permit(c, f.opts.Addresses, i) }",
			"if err := l.shorten(c, f.opts.Addresses, i, 2850*time.Millisecond); err != nil { return err }\nreturn l.permit(c, f.opts.Addresses, i) }"}},
		faults: once("latekill"), rule: analyse.AtMostOne,
	},
	{
		name:   "the address has no lifetime",
		edits:  []edit{{"pkg/netif/netif.go", "seconds := max(1, int((valid+time.Second-1)/time.Second))", "seconds := 0"}},
		faults: once("sigkill"), rule: analyse.Leaves,
	},
	{
		name: "vipd ignores its own deadline",
		edits: []edit{
			{"pkg/vip/step.go", "case now >= s.Grant.Until:", "case false:"},
			{"pkg/vip/step.go", "at = min(at, max(s.Grant.Until, now+1))", "earlier(s.Grant.Until)"},
			{"pkg/election/elector.go", `e.lose("the lease could not be renewed in time")`, "e.stand.Held = false"},
		},
		faults: once("latecut"), rule: analyse.Leaves,
	},
	{
		name: "the lease counts from the answer",
		edits: []edit{{"pkg/election/calls.go",
			"r.lease, r.err = e.opts.Store.Write(ctx, base, w.record, w.annotations)",
			"r.lease, r.err = e.opts.Store.Write(ctx, base, w.record, w.annotations)\n\tr.sent = e.now()"}},
		faults: once("latecut"), rule: analyse.Leaves,
	},
	{
		name:   "a damaged fence is not mended",
		edits:  []edit{{"pkg/vip/repair.go", "case e.Unfenced:", "case e.Unfenced && false:"}},
		faults: once("flushkill"), rule: analyse.InTime,
	},
	{
		name:   "a start forgets the fence that it finds",
		edits:  []edit{{"pkg/fence/fence.go", "if whole {\n\t\tf.made = true", "if whole && false {\n\t\tf.made = true"}},
		faults: chance("crashloop"), rule: analyse.InTime,
	},
	{
		name:   "a start closes the fence that it finds",
		edits:  []edit{{"pkg/fence/fence.go", "return f.takeOver()", `return errors.Join(f.takeOver(), f.takeAway("close fence", layout.forbid))`}},
		faults: once("restart"), rule: analyse.Stays,
	},

	// Who holds.
	{
		name: "released before withdrawn",
		edits: []edit{{"pkg/vip/step.go",
			"s.GiveBack, s.Successor = true, successor\n\treturn withdraw(s, why)",
			"s.GiveBack, s.Successor = true, successor\n\ts, actions := withdraw(s, why)\n\treturn s, append([]Action{GiveBack{Successor: successor}}, actions...)"}},
		faults: chance("sigterm"), rule: analyse.InTime,
	},
	{
		name:   "released and not removed",
		edits:  []edit{{"pkg/netif/retire.go", "return Retired{Connections: n, Trouble: trouble}, h.Remove(addr)", "return Retired{Connections: n, Trouble: trouble}, nil"}},
		faults: once("sigterm"), rule: analyse.Leaves,
	},
	{
		name:   "withdrawn and not released",
		edits:  []edit{{"pkg/vip/step.go", "return s, []Action{c, GiveBack{Successor: successor}}", "_ = successor\n\treturn s, []Action{c}"}},
		faults: once("sigterm"), rule: analyse.Reachable,
	},
	{
		name:   "a standby does not wait the lease out",
		edits:  []edit{{"pkg/election/view.go", "return v.at.Add(v.record.wait(v.own))", "return v.at.Add(v.record.wait(v.own) / 2)"}},
		faults: once("sigkill"), rule: analyse.AfterClaim,
	},
	{
		name:   "a blank lease is free",
		edits:  []edit{{"pkg/election/view.go", "case released:\n\t\treturn v.at.Add(v.courtesy())", "case released, vacant:\n\t\treturn v.at.Add(v.courtesy())"}},
		faults: once("blankstop"), rule: analyse.PutRight,
	},
	{
		name:   "a foreign holder is ignored",
		edits:  []edit{{"pkg/election/elector.go", "if e.stand.Held && !e.stillMine(e.stand.Term) {", "if e.stand.Held && !e.stillMine(e.stand.Term) && false {"}},
		faults: once("leasestolen"), rule: analyse.Respects,
	},
	{
		name:   "a namesake is taken for oneself",
		edits:  []edit{{"pkg/election/record.go", "case r.note.MAC != self.MAC:", "case false:"}},
		faults: once("leasenamesake"), rule: analyse.Respects,
	},
	{
		name:   "the term does not grow",
		edits:  []edit{{"pkg/election/store.go", "return next(e.view.term)", "return e.view.term"}},
		faults: once("sigterm"), rule: analyse.Terms,
	},

	// What clients see.
	{
		name:   "idle connections are not ended",
		edits:  []edit{{"pkg/netif/retire.go", "n, trouble := h.DestroySockets(addr)", "n, trouble := 0, error(nil)"}},
		faults: once("idle"), rule: analyse.Goes,
	},
	{
		name:   "announced by replies only",
		edits:  []edit{{"pkg/arp/frame.go", "return [][]byte{request, reply}, nil", "return [][]byte{reply, request}[:1], nil"}},
		faults: chance("sigterm"), rule: analyse.Converges,
	},
	{
		name:   "announced by requests only",
		edits:  []edit{{"pkg/arp/frame.go", "return [][]byte{request, reply}, nil", "return [][]byte{request, reply}[:1], nil"}},
		faults: chance("sigterm"), rule: analyse.Converges,
	},
	{
		name:   "not defended against a stranger",
		edits:  []edit{{"pkg/vip/rival.go", "return s, []Action{Defend{MAC: r.MAC}}", "return s, nil"}},
		faults: once("conflict"), rule: analyse.Reachable,
	},
	{
		name: "repairs are not damped",
		edits: []edit{
			{"pkg/vip/repair.go", "repairPause = 200 * time.Millisecond", "repairPause = time.Millisecond"},
			{"pkg/vip/repair.go", "maxRepairs = 25", "maxRepairs = 200"},
		},
		faults: once("fight"), rule: analyse.Damped,
	},
	{
		name:   "a fight is never over",
		edits:  []edit{{"pkg/vip/repair.go", "maxRepairs = 25", "maxRepairs = 1 << 30"}},
		faults: once("fight"), rule: analyse.Goes,
	},
	{
		name:   "one error makes a server unready",
		edits:  []edit{{"pkg/health/judge.go", "j.unclears++", "j.unclears++\n\t\tj.condemn(why)"}},
		faults: chance("apiflaky"), rule: analyse.Causes,
	},
	{
		name:   "does not move off a dead API server",
		edits:  []edit{{"pkg/vip/step.go", `case to != "" && now >= s.LeaveAt:`, `case to != "" && false:`}},
		faults: once("apikill"), rule: analyse.Goes,
	},
	{
		name:   "takes other tables of nftables along",
		edits:  []edit{{"pkg/fence/layout.go", "func (l layout) rest(c *nftables.Conn) {", "func (l layout) rest(c *nftables.Conn) {\n\tc.FlushRuleset()\n\treturn"}},
		faults: once("sigterm"), rule: analyse.Foreign,
	},
	{
		name:   "a second vipd does not wait for the first",
		edits:  []edit{{"cmd/vipd/host.go", `name := "@vipd-" + vip.String()`, `name := fmt.Sprintf("@vipd-%s-%d", vip, os.Getpid())`}},
		faults: once("twin"), rule: analyse.Stays,
	},
}
