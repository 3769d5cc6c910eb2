package undone

import "github.com/vipd-io/vipd/e2e/judge/analyse"

// lettingIn is a fence that drops only ARP: the node accepts packets for as long as the address is
// there.
var lettingIn = edit{"pkg/fence/layout.go", "all = append(all, g.rule(expr.VerdictDrop, s.fenced))",
	"verdict := expr.VerdictDrop\n\t\tif g.chain == \"receives\" {\n\t\t\tverdict = expr.VerdictAccept\n\t\t}\n\t\tall = append(all, g.rule(verdict, s.fenced))"}

// mutations are all mutations. The texts have to match exactly: whoever changes the code of a
// mutation changes the mutation, too.
var mutations = []mutation{
	// The end of a holding without the process.
	{
		name:  "the fence outlasts the lease",
		edits: []edit{{"pkg/fence/gate.go", "f, slot, start := g.fence, g.free(), g.fence.now()", "d += 60 * time.Second\n\tf, slot, start := g.fence, g.free(), g.fence.now()"}},
		fault: "latekill", rule: analyse.InTime,
	},
	{
		// The timers behave as on a machine whose clock is slewed by -100 000 ppm.
		name: "no margin for slewed clocks",
		edits: []edit{
			{"pkg/election/timing.go", "return max(minMargin, lease*11/100+timers)", "return max(minMargin, lease/100, 0*timers)"},
			{"pkg/fence/gate.go", "f, slot, start := g.fence, g.free(), g.fence.now()", "d = d * 10 / 9\n\tf, slot, start := g.fence, g.free(), g.fence.now()"},
		},
		fault: "sigkill", rule: analyse.AtMostOne,
	},
	{
		name: "the fence counts from the permit",
		edits: []edit{{"pkg/fence/gate.go",
			"f.kernel.Transact(g.change(Permit, i, 0))",
			"f.kernel.Transact(g.change(Empty, i, 0), g.change(Enclose, i, linger), g.change(Start, i, 2650*time.Millisecond), g.change(Permit, i, 0))"}},
		fault: "latekill", rule: analyse.InTime,
	},
	{
		name:  "the address has no lifetime",
		edits: []edit{{"pkg/netif/netif.go", "seconds := max(1, int((valid+time.Second-1)/time.Second))", "seconds := 0"}},
		fault: "sigkill", rule: analyse.Leaves,
	},
	{
		name: "vipd ignores its own deadline",
		edits: []edit{
			{"pkg/vip/step.go", "case now >= s.Grant.Until:", "case false:"},
			{"pkg/vip/step.go", "at = min(at, max(s.Grant.Until, now+1))", "earlier(s.Grant.Until)"},
			{"pkg/election/elector.go", `e.lose("the lease could not be renewed in time")`, "e.status.Held = false"},
			// The kernel removes the address too soon after the deadline to distinguish the two
			// ends.
			{"pkg/netif/netif.go", "seconds := max(1, int((valid+time.Second-1)/time.Second))", "seconds := 3 + max(1, int((valid+time.Second-1)/time.Second))"},
		},
		fault: "latecut", rule: analyse.Leaves,
	},
	{
		name: "the lease counts from the answer",
		edits: []edit{{"pkg/election/calls.go",
			"r.lease, r.err = e.opts.Store.Write(ctx, base, w.record, w.annotations)",
			"r.lease, r.err = e.opts.Store.Write(ctx, base, w.record, w.annotations)\n\tr.sent = e.now()"}},
		fault: "latecut", rule: analyse.Leaves,
	},
	{
		name:  "a damaged fence is not repaired",
		edits: []edit{{"pkg/vip/repair.go", "if e.Unfenced {", "if e.Unfenced && false {"}},
		fault: "flushkill", rule: analyse.InTime,
	},
	{
		name:  "a repair leaves the fence open",
		edits: []edit{{"pkg/fence/rebuild.go", "Change{Verb: Enclose, Gate: gate, Slot: slot, For: max(left, s.lasts.Sub(start)) + linger}, ", ""}},
		fault: "flushkill", rule: analyse.InTime,
	},
	{
		name: "the removal of the address waits for the fence",
		edits: []edit{
			{"pkg/vip/withdraw.go", "runWithTimeout(context.Background(), closeTimeout, m.fence, m.opts.Fence.Forbid)", "nil"},
			{"pkg/vip/withdraw.go", "_ = m.opts.Network.Divert()", "for m.opts.Fence.Forbid() != nil {}\n\t\t\t_ = m.opts.Network.Divert()"},
		},
		fault: "nftbusy", rule: analyse.Respects,
	},
	{
		name:  "a start does not take the fence over",
		edits: []edit{{"pkg/fence/fence.go", "if s.Whole && s.agree() {\n\t\tf.made = true", "if s.Found = false; false {\n\t\tf.made = true"}},
		fault: "crashloop", rule: analyse.InTime,
	},
	{
		name:  "a start closes the fence",
		edits: []edit{{"pkg/fence/fence.go", "g.takeOver(s, s.Gates[i])\n", "g.takeOver(s, s.Gates[i])\n\t\t\tfor slot := range slots {\n\t\t\t\tf.have[i][slot].inForce = false\n\t\t\t}\n\t\t\tif err := f.revoke(g.eachSlot(Forbid)...); err != nil {\n\t\t\t\treturn err\n\t\t\t}\n"}},
		fault: "restart", rule: analyse.Stays,
	},

	{
		name:  "the fence does not drop packets",
		edits: []edit{lettingIn},
		fault: "sigkill", rule: analyse.AcceptsAlone,
	},
	{
		name: "a former holder serves clients that missed the announcement",
		edits: []edit{lettingIn,
			{"pkg/arp/frame.go", "return [][]byte{request, reply}, nil", "return [][]byte{request, reply}[:0], nil"}},
		fault: "sigkill", rule: analyse.Serves,
	},
	{
		name: "a former holder keeps announcing itself",
		edits: []edit{
			{"pkg/vip/withdraw.go", "m.opts.Announcer.Silence()\n\tm.record(Silenced, \"\")", "m.record(Silenced, \"\")"},
			{"pkg/announce/announcer.go", "if !a.opts.Holds() {", "if !a.opts.Holds() && false {"},
			{"pkg/announce/announcer.go", "timer.Reset(pause(step, a.opts.RepeatFor))", "timer.Reset(min(pause(step, a.opts.RepeatFor), 300*time.Millisecond))"},
		},
		fault: "move", rule: analyse.Announces,
	},

	// The holder.
	{
		name: "the Lease is released before the withdrawal",
		edits: []edit{{"pkg/vip/step.go",
			"s.GiveBack, s.Successor, s.Reported = true, successor, false\n\treturn withdraw(s, why)",
			"s.GiveBack, s.Successor, s.Reported = true, successor, false\n\ts, actions := withdraw(s, why)\n\treturn s, append([]Action{GiveBack{Successor: successor}}, actions...)"}},
		fault: "sigterm", rule: analyse.InTime,
	},
	{
		name:  "the address is not removed",
		edits: []edit{{"pkg/netif/retire.go", "return Retired{Connections: n, Err: err}, h.Remove(s, at)", "return Retired{Connections: n, Err: err}, nil"}},
		fault: "sigterm", rule: analyse.Leaves,
	},
	{
		name:  "the Lease is not released",
		edits: []edit{{"pkg/vip/withdraw.go", "return m.opts.Election.GiveBack(ctx, a)", "return nil"}},
		fault: "sigterm", rule: analyse.Answered,
	},
	{
		name:  "a standby does not wait for the end of the lease",
		edits: []edit{{"pkg/election/view.go", "return v.at.Add(v.record.wait(v.own))", "return v.at.Add(v.record.wait(v.own) / 2)"}},
		fault: "sigkill", rule: analyse.AfterClaim,
	},
	{
		// The lab neither sets nor slews clocks: the edits simulate the effect of an NTP client on
		// one clock.
		name: "a standby waits only by a clock that is slewed",
		edits: []edit{
			{"pkg/boottime/boottime.go", "return Instant(ts.Nano())", "return Instant(ts.Nano() / 2 * 3)"},
			{"pkg/election/unslewed.go", "if left <= 0 {", "if left = 0; left <= 0 {"},
		},
		fault: "sigkill", rule: analyse.AfterClaim,
	},
	{
		name:  "a blanked Lease is claimed at once",
		edits: []edit{{"pkg/election/view.go", "case released:\n\t\treturn v.at.Add(v.releaseDelay())", "case released, vacant:\n\t\treturn v.at.Add(v.releaseDelay())"}},
		fault: "blankstop", rule: analyse.PutRight,
	},
	{
		name:  "another holder is ignored",
		edits: []edit{{"pkg/election/elector.go", "if e.status.Held && !e.stillMine(e.status.Term) {", "if e.status.Held && !e.stillMine(e.status.Term) && false {"}},
		fault: "leasestolen", rule: analyse.Respects,
	},
	{
		name:  "another machine with the same node name is taken for this node",
		edits: []edit{{"pkg/election/record.go", "case !r.note.fromMachine(self):", "case false:"}},
		fault: "leasenamesake", rule: analyse.Respects,
	},
	{
		name:  "a claim does not increase the term",
		edits: []edit{{"pkg/election/store.go", "return next(e.view.term)", "return e.view.term"}},
		fault: "sigterm", rule: analyse.Terms,
	},

	// What clients observe.
	{
		name:  "idle connections are not ended",
		edits: []edit{{"pkg/netif/retire.go", "n, err := h.DestroySockets(at.Addr)", "n, err := 0, error(nil)"}},
		fault: "idle", rule: analyse.Goes,
	},
	{
		name:  "only ARP replies announce the VIP",
		edits: []edit{{"pkg/arp/frame.go", "return [][]byte{request, reply}, nil", "return [][]byte{reply, request}[:1], nil"}},
		fault: "sigterm", rule: analyse.Converges,
	},
	{
		name:  "only ARP requests announce the VIP",
		edits: []edit{{"pkg/arp/frame.go", "return [][]byte{request, reply}, nil", "return [][]byte{request, reply}[:1], nil"}},
		fault: "sigterm", rule: analyse.Converges,
	},
	{
		name: "the VIP is not defended against another machine",
		edits: []edit{{"pkg/vip/rival.go", "return s, []Action{Defend{MAC: r.MAC}}", "return s, nil"},
			// A new holder announces itself each second anyway, for as long as the longest lease.
			{"internal/daemon/group.go", "repeatFor: longest,", "repeatFor: n.timing.Lease,"}},
		fault: "conflict", rule: analyse.Reachable,
	},
	{
		name: "repairs are not damped",
		edits: []edit{
			{"pkg/vip/repair.go", "repairPause = 200 * time.Millisecond", "repairPause = time.Millisecond"},
			{"pkg/vip/repair.go", "maxRepairs = 25", "maxRepairs = 200"},
		},
		fault: "fight", rule: analyse.Damped,
	},
	{
		name:  "repairs of the address never end",
		edits: []edit{{"pkg/vip/repair.go", "maxRepairs = 25", "maxRepairs = 1 << 30"}},
		fault: "fight", rule: analyse.Goes,
	},
	{
		name:  "one error makes an API server count as not ready",
		edits: []edit{{"pkg/health/judge.go", "j.unclears++", "j.unclears++\n\t\tj.markNotReady(why)"}},
		fault: "apiflaky", rule: analyse.Causes,
	},
	{
		name:  "the VIP does not leave a node whose API server is dead",
		edits: []edit{{"pkg/vip/step.go", `case !s.keeps() && to != "" && now >= s.LeaveAt:`, `case to != "" && false:`}},
		fault: "apikill", rule: analyse.Goes,
	},
	{
		name: "a refusal by a starting API server is final",
		edits: []edit{{"pkg/kubeapi/state.go", "case !c.refusalCounts(server):", "case false:"},
			{"pkg/kubeapi/directory.go", "pause = min(max(2*pause, relistDelay), deniedDelay)", "pause = deniedDelay"},
			{"pkg/kubeapi/directory.go", "wait(ctx, pause-relistDelay, ready)", "wait(ctx, pause-relistDelay, nil)\n\t\t_ = ready"}},
		fault: "bootdeny", rule: analyse.Reachable,
	},
	{
		name:  "copies of the VIP from other programs are removed",
		edits: []edit{{"pkg/netif/presence.go", "case a.Ours || !local && s.left(a, at):", "case true:"}},
		fault: "copies", rule: analyse.Foreign,
	},
	{
		name:  "nftables tables of other programs are removed",
		edits: []edit{{"pkg/fence/layout.go", "case Delete:\n", "case Delete:\n\t\tc.FlushRuleset()\n"}},
		fault: "sigterm", rule: analyse.Foreign,
	},
	{
		name:  "a second vipd does not wait for the first",
		edits: []edit{{"internal/daemon/lock.go", `key := address.String()`, `key := fmt.Sprintf("%s-%d", address, os.Getpid())`}},
		fault: "twin", rule: analyse.Stays,
	},
}
