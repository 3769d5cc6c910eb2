package analyse

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vipd-io/vipd/e2e/judge/record"
)

var cluster = record.Cluster{Nodes: map[string][]string{"n1": {a}, "n2": {b}, "n3": {c, "02:00:00:23:01:0d"}}}

// asked returns a probe per interval in [from, to) milliseconds.
func asked(from, to int) (list []record.Probe) {
	for t := from; t < to; t += 5 {
		list = append(list, record.Probe{Seq: uint32(t / 5), At: ms(t)})
	}
	return list
}

// by sets the node that served the requests.
func by(node string, list []record.Request) []record.Request {
	for i := range list {
		list[i].Node = node
	}
	return list
}

// knocks returns one knock at each node per interval in [from, to) milliseconds, by TCP and ICMP in
// turn.
func knocks(from, to int) (list []record.Knock) {
	for t := from; t < to; t += 20 {
		for i, node := range []string{"n1", "n2", "n3"} {
			list = append(list, record.Knock{Seq: knock(t, i), At: ms(t), Node: node, How: []string{"tcp", "icmp"}[t/20%2]})
		}
	}
	return list
}

func knock(t, node int) uint32 { return uint32(t/20*3 + node) }

// accepts returns one acceptance for each knock at a node.
func accepts(mac string, from, to int) (list []record.Acceptance) {
	for t := (from + 19) / 20 * 20; t < to; t += 20 {
		list = append(list, record.Acceptance{Seq: knock(t, slices.Index([]string{a, b, c}, mac)), At: ms(t) + ms(1)/2, MAC: mac})
	}
	return list
}

// renewals returns versions that a holder wrote, one per second in [from, to).
func renewals(holder string, term, from, to int) (list []record.LeaseVersion) {
	for t := from; t < to; t += 1000 {
		list = append(list, record.LeaseVersion{At: ms(t + 3), Version: strconv.Itoa(t), Holder: holder, Term: term, Sent: ms(t), Seconds: 3})
	}
	return list
}

// handedOver is an episode without violations: n1 passes the VIP to n2, 1 s after the record
// starts.
func handedOver() record.Episode {
	return record.Episode{
		Promise: record.Promise{Name: "sigterm", Moves: true, Within: 500 * time.Millisecond},
		Cluster: cluster, Holder: "n1", Next: "n2", At: ms(1000), End: ms(5000),
		Before: map[string]string{"n1": "10.0.0.1", "n2": "10.0.0.2"}, After: map[string]string{"n1": "10.0.0.1", "n2": "10.0.0.2"},
		History: record.History{
			Probes: asked(0, 6000), Answers: concat(answers(a, 0, 1000), answers(b, 1020, 6000)),
			Knocks: knocks(0, 6000), Acceptances: concat(accepts(a, 0, 1000), accepts(b, 1020, 6000)),
			Requests:      concat(by("n1", steady(0, 1000)), failing(1000, 1020), by("n2", steady(1020, 6000))),
			Addresses:     []record.AddressEvent{{At: ms(1), Node: "n1", Added: true}, {At: ms(1001), Node: "n1"}, {At: ms(1015), Node: "n2", Added: true}},
			Announcements: []record.Announcement{{At: ms(1016), MAC: b, Op: "reply"}},
			Leases: concat(renewals("n1", 4, -500, 1000), []record.LeaseVersion{{At: ms(1006), Version: "r", Term: 4, Sent: ms(1003), Released: "n1"}},
				renewals("n2", 5, 1010, 6000)),
			Neighbours: []record.Neighbour{{At: ms(2), Host: "c4", MAC: a}, {At: ms(1017), Host: "c4", MAC: b}},
			Reconnects: []record.Reconnect{{Noticed: ms(1002), Done: ms(1030)}},
		},
	}
}

// stayedPut is an episode in which nothing happens to the VIP.
func stayedPut() record.Episode {
	e := handedOver()
	e.Promise, e.Next = record.Promise{Name: "apislow"}, "n1"
	e.History = record.History{
		Probes: asked(0, 6000), Answers: answers(a, 0, 6000), Requests: by("n1", steady(0, 6000)),
		Knocks: knocks(0, 6000), Acceptances: accepts(a, 0, 6000),
		Addresses: []record.AddressEvent{{At: ms(1), Node: "n1", Added: true}}, Leases: renewals("n1", 4, -500, 6000),
		Neighbours: []record.Neighbour{{At: ms(2), Host: "c4", MAC: a}},
	}
	return e
}

// thereAndBack lets n2 accept and serve for 400 ms.
func thereAndBack(e *record.Episode) {
	e.History.Acceptances = concat(accepts(a, 0, 1000), accepts(b, 1020, 1400), accepts(a, 1420, 6000))
	e.History.Requests = concat(by("n1", steady(0, 1000)), failing(1000, 1020), by("n2", steady(1020, 1400)), failing(1400, 1420), by("n1", steady(1420, 6000)))
}

// ranOut is an episode in which the lease of n1 expires 2.5 s after the record starts: n1 falls
// silent and loses the address. Its fence is closed since 2.15 s.
func ranOut() record.Episode {
	e := stayedPut()
	e.Promise, e.Next = record.Promise{Name: "quorum", MayMove: true}, "n1"
	e.History.Answers, e.History.Leases = answers(a, 0, 2150), renewals("n1", 4, -500, 500)
	e.History.Acceptances, e.History.Requests = accepts(a, 0, 2150), concat(by("n1", steady(0, 2150)), failing(2150, 6000))
	e.History.Addresses = append(e.History.Addresses, record.AddressEvent{At: ms(2351), Node: "n1"})
	return e
}

// left lets the former holder keep the address until then.
func left(e *record.Episode, until int) {
	for i, a := range e.History.Addresses {
		if a.Node == "n1" && !a.Added {
			e.History.Addresses[i].At = ms(until)
		}
	}
}

// announceFor adds an announcement every 400 ms, each in both forms.
func announceFor(e *record.Episode, mac string, from, to int) {
	for t := from; t < to; t += 400 {
		e.History.Announcements = append(e.History.Announcements, record.Announcement{At: ms(t), MAC: mac, Op: "request"}, record.Announcement{At: ms(t + 1), MAC: mac, Op: "reply"})
	}
}

// passAround changes the holder that many times after the fault of handedOver, every 250 ms.
func passAround(e *record.Episode, times int) {
	h := &e.History
	cut := func(at int) {
		h.Answers = slices.DeleteFunc(h.Answers, func(a record.Answer) bool { return a.At > ms(at) })
		h.Acceptances = slices.DeleteFunc(h.Acceptances, func(a record.Acceptance) bool { return a.At > ms(at) })
		h.Requests = slices.DeleteFunc(h.Requests, func(r record.Request) bool { return r.Start >= ms(at) })
		h.Leases = slices.DeleteFunc(h.Leases, func(l record.LeaseVersion) bool { return l.Sent >= ms(at) })
	}
	names, macs := []string{"n2", "n3"}, []string{b, c}
	for i := range times {
		at, from, to := 5100+250*i, names[i%2], names[(i+1)%2]
		cut(at)
		h.Leases = append(h.Leases, record.LeaseVersion{At: ms(at + 6), Version: strconv.Itoa(at), Term: 5 + i, Sent: ms(at + 1), Released: from}, record.LeaseVersion{At: ms(at + 11), Version: strconv.Itoa(at + 1), Holder: to, Term: 6 + i, Sent: ms(at + 10), Seconds: 3})
		h.Answers = append(h.Answers, answers(macs[(i+1)%2], at+20, 6000)...)
		h.Acceptances = append(h.Acceptances, accepts(macs[(i+1)%2], at+20, 6000)...)
		h.Requests = concat(h.Requests, by("", failing(at, at+20)), by(to, steady(at+20, 6000)))
		h.Addresses = append(h.Addresses, record.AddressEvent{At: ms(at), Node: from}, record.AddressEvent{At: ms(at + 15), Node: to, Added: true})
	}
}

// darkPair is a pair of faults of 16 s; in one of them, requests may fail. No node answers until
// the end, because the lease of n1 is over.
func darkPair() record.Episode {
	e := stayedPut()
	e.Promise = record.Both(record.Promise{Name: "sigkill", Moves: true, Within: 4500 * time.Millisecond}, record.Promise{Name: "etcdslow", MayFail: true}, time.Second)
	e.End = ms(16000)
	e.History = record.History{Probes: asked(0, 17000), Requests: failing(0, 17000), Knocks: knocks(0, 17000), Leases: renewals("n1", 4, -5500, -4500)}
	e.History.Leases = append(e.History.Leases, renewals("n1", 5, 11995, 17000)...) // at the end
	return e
}

// lateTake is an episode in which n1 is killed after it has made its lease longer, 6 s, and n2
// waits for that lease.
func lateTake() record.Episode {
	e := handedOver()
	e.Promise, e.End = record.Promise{Name: "sigkill", Moves: true, Crippled: true, Within: 4500 * time.Millisecond}, ms(9000)
	e.History = record.History{
		Probes: asked(0, 10000), Answers: concat(answers(a, 0, 1000), answers(b, 6600, 10000)),
		Knocks: knocks(0, 10000), Acceptances: concat(accepts(a, 0, 1000), accepts(b, 6600, 10000)),
		Requests:      concat(by("n1", steady(0, 1000)), failing(1000, 6600), by("n2", steady(6600, 10000))),
		Addresses:     []record.AddressEvent{{At: ms(1), Node: "n1", Added: true}, {At: ms(6000), Node: "n1"}, {At: ms(6595), Node: "n2", Added: true}},
		Announcements: []record.Announcement{{At: ms(6596), MAC: b, Op: "reply"}},
		Leases:        concat(renewals("n1", 4, -500, 1000), renewals("n2", 5, 6590, 10000)),
		Neighbours:    []record.Neighbour{{At: ms(2), Host: "c4", MAC: a}, {At: ms(6597), Host: "c4", MAC: b}},
	}
	for i := range e.History.Leases[:2] {
		e.History.Leases[i].Seconds, e.History.Leases[i].Lengthened = 6, true
	}
	return e
}

// Each rule holds in a good episode, and one change of the episode breaks the rule.
func TestJudge(t *testing.T) {
	tests := []struct {
		name   string
		base   func() record.Episode
		change func(*record.Episode)
		want   []Rule
	}{
		{"moved", handedOver, func(*record.Episode) {}, nil},
		{"moved: to where it was wanted", handedOver, func(e *record.Episode) { e.Wanted = "n2" }, nil},
		{"moved: idle client left alone", handedOver, func(e *record.Episode) { e.Promise.EndsIdle, e.History.Reconnects = true, nil }, []Rule{Goes}},
		{"moved: idle client not back", handedOver, func(e *record.Episode) { e.Promise.EndsIdle, e.History.Reconnects[0].Done = true, 0 }, []Rule{Goes}},
		{"moved: still there", handedOver, func(e *record.Episode) { e.Next = "n1" }, []Rule{Goes, Goes}},
		{"moved: nowhere", handedOver, func(e *record.Episode) { e.Next = "" }, []Rule{Goes, Goes}},
		{"moved: in vain", handedOver, func(e *record.Episode) { e.Stuck = "deadline exceeded" }, []Rule{Goes}},
		{"moved: elsewhere than wanted", handedOver, func(e *record.Episode) { e.Wanted = "n3" }, []Rule{Goes}},
		{"moved: in silence", handedOver, func(e *record.Episode) { e.History.Announcements = nil }, []Rule{Goes}},
		{"somewhere: there and back within a second", handedOver, func(e *record.Episode) {
			e.Promise, e.Next = record.Promise{Name: "rolling", MayMove: true}, "n1"
			e.History.Answers = concat(answers(a, 0, 1000), answers(b, 1020, 1400), answers(a, 1420, 6000))
			thereAndBack(e)
			e.History.Leases = concat(renewals("n1", 4, -500, 1000), renewals("n2", 5, 1010, 1020), renewals("n1", 6, 1410, 6000))
			e.History.Neighbours = append(e.History.Neighbours, record.Neighbour{At: ms(1421), Host: "c4", MAC: a})
			e.History.Addresses = append(e.History.Addresses, record.AddressEvent{At: ms(1401), Node: "n2"}, record.AddressEvent{At: ms(1415), Node: "n1", Added: true})
		}, nil},
		{"somewhere: there and back, and one too many", handedOver, func(e *record.Episode) {
			e.Promise, e.Next = record.Promise{Name: "rolling", MayMove: true}, "n1"
			e.History.Answers = concat(answers(a, 0, 1000), answers(b, 1020, 1450), answers(a, 1420, 6000))
			thereAndBack(e)
			e.History.Leases = concat(renewals("n1", 4, -500, 1000), renewals("n2", 5, 1010, 1020), renewals("n1", 6, 1410, 6000))
			e.History.Neighbours = append(e.History.Neighbours, record.Neighbour{At: ms(1421), Host: "c4", MAC: a})
			e.History.Addresses = append(e.History.Addresses, record.AddressEvent{At: ms(1401), Node: "n2"}, record.AddressEvent{At: ms(1415), Node: "n1", Added: true})
		}, []Rule{AtMostOne, AtMostOne, AtMostOne, AtMostOne, AtMostOne, AtMostOne, AfterClaim}},
		{"moved: too slowly", handedOver, func(e *record.Episode) { e.Promise.Within = 18 * time.Millisecond }, []Rule{Reachable}},
		{"moved: too soon", handedOver, func(e *record.Episode) { e.Promise.AtLeast = 100 * time.Millisecond }, []Rule{Respects}},
		{"moved: one answer by the former", handedOver, func(e *record.Episode) {
			e.History.Answers = append(e.History.Answers, record.Answer{Seq: 300, At: ms(1501), MAC: a})
		}, []Rule{AtMostOne, InTime, AfterClaim}},
		{"moved: silent too late", handedOver, func(e *record.Episode) {
			e.History.Answers = concat(answers(a, 0, 1020), answers(b, 1020, 6000))
			e.History.Leases[2].Released = ""
		}, []Rule{AfterClaim}},
		{"moved: a machine that is no node answers in between", handedOver, func(e *record.Episode) {
			e.History.Answers = append(e.History.Answers, answers("02:00:00:23:00:77", 1000, 1020)...)
		}, []Rule{AtMostOne}},
		{"moved: a machine that is no node announces itself", handedOver, func(e *record.Episode) {
			announceFor(e, "02:00:00:23:00:77", 1000, 5000)
		}, []Rule{Announces}},
		{"moved: released while it answered", handedOver, func(e *record.Episode) { e.History.Leases[2].Sent = ms(994) }, []Rule{InTime}},
		{"moved: before the claim was sent", handedOver, func(e *record.Episode) {
			e.History.Leases = concat(renewals("n1", 4, -500, 1000), renewals("n2", 5, 1100, 6000))
		}, []Rule{InTime, Announces, Serves}},
		{"moved: without a lease", handedOver, func(e *record.Episode) { e.History.Leases = renewals("n1", 4, -500, 6000) }, []Rule{InTime, Announces, Serves, Leaves}},
		{"moved: in the same term", handedOver, func(e *record.Episode) {
			e.History.Leases = concat(renewals("n1", 4, -500, 1000), renewals("n2", 4, 1010, 6000))
		}, []Rule{Terms}},
		{"moved: in a lower term than a person wrote", handedOver, func(e *record.Episode) {
			e.History.Leases = concat(renewals("n1", 4, -500, 1000), renewals("n2", 5, 1010, 6000))
			edited := e.History.Leases[1]
			edited.At, edited.Version, edited.Term = ms(1004), "edited", 1<<31-1
			e.History.Leases = append(e.History.Leases, edited)
		}, nil},
		{"moved: in a lower term, of a Lease that was recreated", handedOver, func(e *record.Episode) {
			e.History.Leases = concat(renewals("n1", 4, -500, 1000), []record.LeaseVersion{{At: ms(1004), Version: "d", Deleted: true, Holder: "n1", Term: 4, Seconds: 3}},
				renewals("n2", 1, 1010, 6000))
		}, nil},
		{"moved: the former accepts on", handedOver, func(e *record.Episode) {
			e.History.Acceptances = concat(e.History.Acceptances, accepts(a, 1020, 6000))
		}, []Rule{AcceptsAlone, InTime, AfterClaim}},
		{"moved: the former accepts on, beside copies", handedOver, func(e *record.Episode) {
			e.Promise.Copies, e.History.Acceptances = true, concat(e.History.Acceptances, accepts(a, 1020, 6000))
		}, nil},
		{"moved: there and back and there", handedOver, func(e *record.Episode) {
			e.History.Leases = concat(renewals("n1", 4, -500, 1000), renewals("n3", 5, 1002, 1003), renewals("n2", 6, 1010, 6000))
		}, []Rule{Causes}},
		{"moved: delivered thrice, and late", handedOver, func(e *record.Episode) {
			late := slices.Clone(e.History.Leases)
			for i := range late {
				late[i].At += ms(2500)
			}
			e.History.Leases = concat(late, e.History.Leases, late)
		}, nil},
		{"moved: a neighbour did not hear", handedOver, func(e *record.Episode) { e.History.Neighbours = e.History.Neighbours[:1] }, []Rule{Converges}},
		{"moved: a neighbour that was cut off", handedOver, func(e *record.Episode) {
			e.Promise.Deafens, e.History.Neighbours = true, e.History.Neighbours[:1]
		}, nil},
		{"moved: a neighbour that knows nobody", handedOver, func(e *record.Episode) {
			e.History.Neighbours = append(e.History.Neighbours, record.Neighbour{At: ms(1018), Host: "c4"})
		}, nil},
		{"moved: a neighbour did not hear, and the former holder loses its address late", handedOver, func(e *record.Episode) {
			e.History.Neighbours = e.History.Neighbours[:1]
			e.Promise.Crippled, e.History.Addresses[1].At = true, ms(2200)
			slices.SortFunc(e.History.Addresses, func(a, b record.AddressEvent) int { return int(a.At - b.At) })
		}, []Rule{Converges}},
		{"moved: a neighbour did not hear, and the address is taken and put back all the time", handedOver, func(e *record.Episode) {
			e.History.Neighbours = e.History.Neighbours[:1]
			for t := 2400; t < 6000; t += 1400 {
				e.History.Addresses = append(e.History.Addresses, record.AddressEvent{At: ms(t), Node: "n2"}, record.AddressEvent{At: ms(t + 1), Node: "n2", Added: true})
			}
		}, []Rule{Converges}},
		{"moved: a neighbour is led astray later", handedOver, func(e *record.Episode) {
			e.History.Neighbours = append(e.History.Neighbours, record.Neighbour{At: ms(3000), Host: "c4", MAC: a}, record.Neighbour{At: ms(3100), Host: "c4", MAC: b})
		}, []Rule{Converges}},
		{"lost: a neighbour hears of the next holder before its address is seen", ranOut, func(e *record.Episode) {
			e.Promise.Crippled = true
			e.History.Neighbours = []record.Neighbour{{At: ms(-400), Host: "c4", MAC: a}, {At: ms(2349), Host: "c4", MAC: b}}
		}, nil},
		{"moved: a neighbour that follows a stranger", handedOver, func(e *record.Episode) {
			e.History.Neighbours = append(e.History.Neighbours, record.Neighbour{At: ms(3000), Host: "c4", MAC: "02:00:00:23:00:34"})
		}, nil},
		{"moved: the former holder goes on announcing itself", handedOver, func(e *record.Episode) { announceFor(e, a, 1000, 5000) }, []Rule{Announces}},
		{"moved: the former holder announces itself once more", handedOver, func(e *record.Episode) { announceFor(e, a, 1400, 1401) }, []Rule{Announces}},
		{"killed: the former holder announces itself once more", handedOver, func(e *record.Episode) {
			e.Promise.Crippled = true
			announceFor(e, a, 1400, 1401)
		}, nil},
		{"killed: the former holder goes on announcing itself", handedOver, func(e *record.Episode) {
			e.Promise.Crippled = true
			announceFor(e, a, 1000, 5000)
		}, []Rule{Announces}},
		{"moved: an announcement that was read late", handedOver, func(e *record.Episode) { announceFor(e, a, 1200, 1201) }, nil},
		{"moved: the wrong node serves", handedOver, func(e *record.Episode) { by("n3", e.History.Requests) }, []Rule{Serves}},
		{"moved: nobody known serves", handedOver, func(e *record.Episode) { by("", e.History.Requests) }, []Rule{Serves}},
		{"moved: the former holder serves once more", handedOver, func(e *record.Episode) { e.History.Requests[300].Node = "n1" }, []Rule{Serves}},
		{"moved: a request that takes as long as the move", handedOver, func(e *record.Episode) {
			e.History.Requests = append(e.History.Requests, record.Request{Start: ms(990), End: ms(1100), Node: "n1"}, record.Request{Start: ms(990), End: ms(1100), Node: "n2"})
		}, nil},
		{"moved: and thrice more as the lab heals", handedOver, func(e *record.Episode) { passAround(e, 3) }, []Rule{Causes}},
		{"moved: and once more as the lab heals", handedOver, func(e *record.Episode) { passAround(e, 1) }, []Rule{Causes}},
		{"moved: and once more as the lab heals, by that", handedOver, func(e *record.Episode) {
			e.Promise.Heals = 1
			passAround(e, 1)
		}, nil},
		{"moved: the former holder accepts still, and answers no ARP", handedOver, func(e *record.Episode) {
			e.History.Acceptances = append(e.History.Acceptances, accepts(a, 1000, 1400)...)
		}, []Rule{AcceptsAlone, InTime, AfterClaim}},
		{"moved: a SYN is answered again, late", handedOver, func(e *record.Episode) {
			e.History.Acceptances[10].At = ms(1900)
		}, nil},
		{"pair: dark all the time", darkPair, func(*record.Episode) {}, []Rule{Answered}},
		{"pair: dark for as long as both may take", darkPair, func(e *record.Episode) {
			e.History.Answers = append(e.History.Answers, answers(a, 12000, 12001)...)
		}, nil},
		{"killed: its lease was longer than configured", lateTake, func(*record.Episode) {}, nil},
		{"killed: its lease had been longer, long before", lateTake, func(e *record.Episode) {
			e.History.Leases[1].Seconds, e.History.Leases[1].Lengthened = 3, false
			e.History.Addresses[1].At = ms(3000)
		}, []Rule{Answered, Reachable}},
		{"foreign state changed", handedOver, func(e *record.Episode) { e.After["n2"] = "10.0.0.2\nother" }, []Rule{Foreign}},

		{"lost: the lease ran out", stayedPut, func(e *record.Episode) {
			e.Promise.MayMove = true
			e.History.Leases = renewals("n1", 4, -500, 500)
		}, []Rule{InTime, Serves, Leaves}},
		{"lost: it answers until its fence closes", ranOut, func(e *record.Episode) { e.History.Answers = answers(a, 0, 2155) }, nil},
		{"lost: a fence that is 100 ms late", ranOut, func(e *record.Episode) { e.History.Answers = answers(a, 0, 2255) }, []Rule{InTime}},
		{"lost: a fence of IP that is 100 ms late", ranOut, func(e *record.Episode) { e.History.Acceptances = accepts(a, 0, 2255) }, []Rule{InTime}},
		{"lost: the newest lease is shorter", ranOut, func(e *record.Episode) {
			e.History.Leases = concat(renewals("n1", 4, -500, 300), []record.LeaseVersion{{At: ms(503), Version: "short", Holder: "n1", Term: 4, Sent: ms(0), Seconds: 1}})
			e.History.Requests = concat(by("n1", steady(0, 800)), failing(800, 6000))
			e.History.Acceptances = accepts(a, 0, 800)
			e.History.Addresses[1].At = ms(900)
		}, []Rule{InTime}},
		{"lost: the newest lease is shorter, and it stays up", ranOut, func(e *record.Episode) {
			e.History.Leases = concat(renewals("n1", 4, -500, 300), []record.LeaseVersion{{At: ms(503), Version: "short", Holder: "n1", Term: 4, Sent: ms(0), Seconds: 1}})
			e.History.Requests, e.History.Acceptances, e.History.Answers = concat(by("n1", steady(0, 800)), failing(800, 6000)), accepts(a, 0, 800), answers(a, 0, 800)
		}, []Rule{Leaves}},
		{"lost: a longer lease of long", ranOut, func(e *record.Episode) {
			for i := range e.History.Leases {
				e.History.Leases[i].Sent = ms(2150 - 30_000 + 3320) // including a margin of 3320 ms
				e.History.Leases[i].Seconds = 30
			}
			e.History.Answers = answers(a, 0, 2255)
		}, []Rule{InTime}},
		{"lost: the address stays for a moment", ranOut, func(e *record.Episode) { e.History.Addresses[1].At = ms(2799) }, nil},
		{"lost: the address stays", ranOut, func(e *record.Episode) { e.History.Addresses[1].At = ms(2801) }, []Rule{Leaves}},
		{"lost: the address stays for good", ranOut, func(e *record.Episode) { e.History.Addresses = e.History.Addresses[:1] }, []Rule{Leaves}},
		{"lost: the address goes when the lease is back", ranOut, func(e *record.Episode) {
			e.History.Leases = append(e.History.Leases, renewals("n1", 5, 3500, 3501)...)
			e.History.Addresses[1].At = ms(4000)
		}, []Rule{Leaves}},
		{"killed: the kernel takes the address away", ranOut, func(e *record.Episode) {
			e.Promise.Crippled, e.History.Addresses[1].At = true, ms(5999)
		}, nil},
		{"killed: the kernel takes it away too late", ranOut, func(e *record.Episode) {
			e.Promise.Crippled, e.History.Addresses[1].At = true, ms(6001)
		}, []Rule{Leaves}},
		{"killed: behind its release, the kernel takes the address away", handedOver, func(e *record.Episode) {
			e.Promise.Crippled = true
			left(e, 5999)
		}, nil},
		{"moved: nobody takes the address away", handedOver, func(e *record.Episode) { left(e, 5999) }, []Rule{Leaves}},
		{"killed: the lease made huge by hand", ranOut, func(e *record.Episode) {
			edited := e.History.Leases[0]
			edited.At, edited.Version, edited.Seconds = ms(2000), "edited", 1<<31-1
			e.Promise.Crippled, e.History.Addresses[1].At = true, ms(6001)
			e.History.Leases = append(e.History.Leases, edited)
		}, []Rule{Leaves}},
		{"killed: the times of the lease set to the future", ranOut, func(e *record.Episode) {
			edited := e.History.Leases[0]
			edited.At, edited.Version, edited.Sent = ms(2000), "edited", ms(1<<40)
			e.Promise.Crippled, e.History.Addresses[1].At = true, ms(6001)
			e.History.Leases = append(e.History.Leases, edited)
		}, []Rule{Leaves}},
		{"somewhere", stayedPut, func(e *record.Episode) { e.Promise.MayMove = true }, nil},
		{"somewhere: nowhere", stayedPut, func(e *record.Episode) { e.Promise.MayMove, e.Next = true, "" }, []Rule{Goes}},
		{"somewhere: on two", stayedPut, func(e *record.Episode) { e.Promise.MayMove, e.Next = true, "n1 and n2" }, []Rule{Goes}},

		{"stayed", stayedPut, func(*record.Episode) {}, nil},
		{"stayed: moved", stayedPut, func(e *record.Episode) { e.Next = "n2" }, []Rule{Stays}},
		{"stayed: the Lease is left blank", stayedPut, func(e *record.Episode) {
			e.History.Leases = concat(renewals("n1", 4, -500, 4000), []record.LeaseVersion{{At: ms(4100), Version: "b", Term: 4}})
			e.End = ms(4200)
		}, []Rule{PutRight}},
		{"stayed: the Lease is left with another duration", stayedPut, func(e *record.Episode) {
			e.History.Leases[len(e.History.Leases)-2].Seconds = 4
			e.End = ms(4600)
		}, []Rule{PutRight}},
		{"stayed: the holder has made the Lease longer", stayedPut, func(e *record.Episode) {
			last := &e.History.Leases[len(e.History.Leases)-2]
			last.Seconds, last.Lengthened = 4, true
			e.End = ms(4600)
		}, nil},
		{"stayed: a longer Lease is left with a duration that a person wrote", stayedPut, func(e *record.Episode) {
			for i := range e.History.Leases {
				e.History.Leases[i].Seconds, e.History.Leases[i].Lengthened = 4, true
			}
			edited := e.History.Leases[4]
			edited.At, edited.Version, edited.Seconds, edited.Lengthened = ms(4600), "edited", 600, false
			e.History.Leases = append(e.History.Leases[:5], edited)
			e.End = ms(4700)
		}, []Rule{PutRight}},
		{"stayed: the holder has made the Lease as short as configured", stayedPut, func(e *record.Episode) {
			e.History.Leases[0].Seconds, e.History.Leases[0].Lengthened = 4, true
		}, nil},
		{"stayed: the Lease is left deleted", stayedPut, func(e *record.Episode) {
			e.History.Leases = append(e.History.Leases, record.LeaseVersion{At: ms(4900), Version: "d", Deleted: true, Holder: "n1", Term: 4, Sent: ms(4500), Seconds: 3})
		}, []Rule{PutRight}},
		{"stayed: no question is answered for a second", stayedPut, func(e *record.Episode) {
			e.History.Answers = concat(answers(a, 0, 2000), answers(a, 3000, 6000))
			e.History.Acceptances = concat(accepts(a, 0, 2000), accepts(a, 3000, 6000))
		}, []Rule{Answered}},
		{"stayed: no question is answered for 40 ms", stayedPut, func(e *record.Episode) {
			e.History.Answers = concat(answers(a, 0, 2000), answers(a, 2040, 6000))
			e.History.Acceptances = concat(accepts(a, 0, 2000), accepts(a, 2040, 6000))
		}, []Rule{Answered}},
		{"stayed: three questions are not answered", stayedPut, func(e *record.Episode) {
			e.History.Answers = concat(answers(a, 0, 2005), answers(a, 2020, 6000))
		}, nil},
		{"stayed: clients may fail, and no question is answered for a second", stayedPut, func(e *record.Episode) {
			e.Promise.MayFail, e.Promise.Deafens = true, true
			e.History.Answers = concat(answers(a, 0, 2000), answers(a, 3000, 6000))
			e.History.Acceptances = concat(accepts(a, 0, 2000), accepts(a, 3000, 6000))
		}, []Rule{Answered}},
		{"stayed: no ARP is answered for a second, packets are", stayedPut, func(e *record.Episode) {
			e.Promise.MayFail = true
			e.History.Answers = concat(answers(a, 0, 2000), answers(a, 3000, 6000))
		}, nil},
		{"stayed: a client is cut off, another one is not", stayedPut, func(e *record.Episode) {
			e.Promise.MayFail = true
			for i := range e.History.Probes {
				if at := e.History.Probes[i].At; at >= ms(2000) && at < ms(4000) && i%2 == 0 {
					e.History.Answers = slices.DeleteFunc(e.History.Answers, func(a record.Answer) bool { return a.Seq == e.History.Probes[i].Seq })
				}
			}
		}, nil},
		{"stayed: gone", stayedPut, func(e *record.Episode) { e.Next = "" }, []Rule{Stays}},
		{"stayed: the holder changed for a moment", stayedPut, func(e *record.Episode) {
			e.History.Leases = concat(renewals("n1", 4, -500, 2000), renewals("n2", 5, 2001, 2002), renewals("n1", 6, 2103, 6000))
		}, []Rule{AfterClaim, Causes}},
		{"stayed: a request failed", stayedPut, func(e *record.Episode) { e.History.Requests[200].Err = "refused" }, []Rule{Stays}},
		{"stayed: a request failed afterwards", stayedPut, func(e *record.Episode) { e.History.Requests[550].Err = "refused" }, nil},
		{"stayed: nobody answered", stayedPut, func(e *record.Episode) { e.History.Answers, e.History.Acceptances = nil, nil }, []Rule{Stays, Answered}},
		{"stayed: the address went", stayedPut, func(e *record.Episode) {
			e.History.Addresses = append(e.History.Addresses, record.AddressEvent{At: ms(2000), Node: "n1"})
		}, []Rule{Stays}},
		{"may fail", stayedPut, func(e *record.Episode) { e.Promise.MayFail, e.History.Requests[200].Err = true, "refused" }, nil},
		{"flickered", stayedPut, func(e *record.Episode) {
			e.Promise.Flickers, e.Promise.Within = true, 100*time.Millisecond
			e.History.Requests[200].Err = "refused"
			e.History.Addresses = append(e.History.Addresses, record.AddressEvent{At: ms(2000), Node: "n1"}, record.AddressEvent{At: ms(2001), Node: "n1", Added: true})
		}, nil},
		{"flickered: again and again", stayedPut, func(e *record.Episode) {
			e.Promise.Flickers = true
			for t := 2000; t < 2000+repairs; t++ {
				e.History.Addresses = append(e.History.Addresses, record.AddressEvent{At: ms(t), Node: "n1", Added: true})
			}
		}, nil},
		{"flickered: once too often", stayedPut, func(e *record.Episode) {
			e.Promise.Flickers = true
			for t := 2000; t < 2001+repairs; t++ {
				e.History.Addresses = append(e.History.Addresses, record.AddressEvent{At: ms(t), Node: "n1", Added: true})
			}
		}, []Rule{Damped}},
		{"flickered: on another node", stayedPut, func(e *record.Episode) {
			e.Promise.Flickers = true
			e.History.Addresses = append(e.History.Addresses, record.AddressEvent{At: ms(2000), Node: "n2"})
		}, []Rule{Stays}},
		{"flickered: without the stranger", stayedPut, func(e *record.Episode) {
			e.Promise.Flickers, e.Cluster.Strangers = true, []string{"02:00:00:23:00:34"}
		}, []Rule{Stays}},
		{"flickered: with the stranger", stayedPut, func(e *record.Episode) {
			e.Promise.Flickers, e.Cluster.Strangers = true, []string{"02:00:00:23:00:34"}
			e.History.Answers = append(e.History.Answers, record.Answer{Seq: 300, At: ms(1501), MAC: "02:00:00:23:00:34"})
		}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := tt.base()
			tt.change(&e)
			verdict, err := Judge(e)
			if err != nil {
				t.Fatal(err)
			}
			var got []Rule
			for _, v := range verdict.Violations {
				got = append(got, v.Rule)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%v (-want +got):\n%s", verdict.Violations, diff)
			}
			if verdict.Unproven != "" || len(verdict.Gaps) > 0 {
				t.Errorf("unproven: %q, gaps: %v", verdict.Unproven, verdict.Gaps)
			}
		})
	}
}

// without removes the queries in a time, with their answers.
func without(e *record.Episode, from, to int) {
	h := &e.History
	in := func(at record.Time) bool { return at > ms(from) && at < ms(to) }
	h.Probes = slices.DeleteFunc(h.Probes, func(p record.Probe) bool { return in(p.At) })
	h.Answers = slices.DeleteFunc(h.Answers, func(a record.Answer) bool { return in(a.At) })
	h.Requests = slices.DeleteFunc(h.Requests, func(r record.Request) bool { return in(r.Start) })
	h.Knocks = slices.DeleteFunc(h.Knocks, func(k record.Knock) bool { return in(k.At) })
	h.Acceptances = slices.DeleteFunc(h.Acceptances, func(a record.Acceptance) bool { return in(a.At) })
}

// Gaps are reported, and nothing is proven if they are too long or at an important time. Neither is
// a violation.
func TestGaps(t *testing.T) {
	const proven, unproven = true, false
	tests := []struct {
		name   string
		base   func() record.Episode
		change func(*record.Episode)
		gaps   int
		proven bool
	}{
		{"none", handedOver, func(*record.Episode) {}, 0, proven},
		{"for 40 ms", handedOver, func(e *record.Episode) { without(e, 3000, 3040) }, 0, proven},
		{"for 60 ms", handedOver, func(e *record.Episode) { without(e, 3000, 3060) }, 3, proven},
		{"for 790 ms of 4 s", handedOver, func(e *record.Episode) { without(e, 3000, 3790) }, 3, proven},
		{"for 790 ms of 4 s, one at a time", handedOver, func(e *record.Episode) {
			e.History.Probes = slices.DeleteFunc(e.History.Probes, func(p record.Probe) bool { return p.At > ms(3000) && p.At < ms(3790) })
			e.History.Answers = slices.DeleteFunc(e.History.Answers, func(a record.Answer) bool { return a.At > ms(3000) && a.At < ms(3790) })
		}, 1, proven},
		{"for a fourth of the fault", handedOver, func(e *record.Episode) { without(e, 3000, 4000) }, 3, unproven},
		{"for 790 ms, when the holder changes", handedOver, func(e *record.Episode) { without(e, 700, 1490) }, 3, unproven},
		{"for 160 ms, when the holder changes", handedOver, func(e *record.Episode) { without(e, 1000, 1160) }, 3, unproven},
		{"for 100 ms, when the holder changes", handedOver, func(e *record.Episode) { without(e, 1000, 1100) }, 3, proven},
		{"for 790 ms, before that", handedOver, func(e *record.Episode) { without(e, 0, 790) }, 3, proven},
		{"for 790 ms, as the lab heals", handedOver, func(e *record.Episode) { without(e, 5100, 5890) }, 3, proven},
		{"for 790 ms, when the holder changes as the lab heals", handedOver, func(e *record.Episode) {
			e.Promise.Heals = 1
			passAround(e, 1)
			without(e, 5010, 5800)
		}, 3, unproven},
		{"for 400 ms, in the lease before the holder changes as the lab heals", handedOver, func(e *record.Episode) {
			passAround(e, 1)
			without(e, 3000, 3400)
		}, 3, unproven},
		{"of requests for a fourth of the fault", handedOver, func(e *record.Episode) {
			e.History.Requests = slices.DeleteFunc(e.History.Requests, func(r record.Request) bool { return r.Start > ms(3000) && r.Start < ms(4000) })
		}, 1, unproven},
		{"of knocks for a fourth of the fault", handedOver, func(e *record.Episode) {
			e.History.Knocks = slices.DeleteFunc(e.History.Knocks, func(k record.Knock) bool { return k.At > ms(3000) && k.At < ms(4000) })
			e.History.Acceptances = slices.DeleteFunc(e.History.Acceptances, func(a record.Acceptance) bool { return a.At > ms(3000) && a.At < ms(4000) })
		}, 1, unproven},
		{"frames were lost", handedOver, func(e *record.Episode) {
			e.History.Losses = []record.Loss{{Since: ms(3000), At: ms(3100), Host: "c2", Frames: 7}}
		}, 1, proven},
		{"frames were lost when the holder changed", handedOver, func(e *record.Episode) {
			e.History.Losses = []record.Loss{{Since: ms(900), At: ms(1100), Host: "c2", Frames: 7}}
		}, 1, unproven},
		{"for 790 ms, and it stays", stayedPut, func(e *record.Episode) { without(e, 3000, 3790) }, 3, proven},
		{"for 790 ms between two questions that are not answered", stayedPut, func(e *record.Episode) {
			without(e, 3000, 3790)
			e.History.Acceptances = slices.DeleteFunc(e.History.Acceptances, func(a record.Acceptance) bool { return a.At > ms(3000) && a.At < ms(3810) })
			e.History.Answers = slices.DeleteFunc(e.History.Answers, func(a record.Answer) bool { return a.At > ms(3000) && a.At < ms(3795) })
		}, 3, proven},
		{"of what was asked for 790 ms", stayedPut, func(e *record.Episode) {
			without(e, 3000, 3790)
			e.Promise.Flickers, e.Promise.Within = true, 100*time.Millisecond
		}, 3, proven},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := tt.base()
			tt.change(&e)
			v, err := Judge(e)
			if err != nil {
				t.Fatal(err)
			}
			if len(v.Violations) > 0 || len(v.Gaps) != tt.gaps || (v.Unproven == "") != tt.proven {
				t.Errorf("violations %v, %d gaps (want %d) %v, unproven: %q (want proven %t)", v.Violations, len(v.Gaps), tt.gaps, v.Gaps, v.Unproven, tt.proven)
			}
		})
	}
}

// A violation despite gaps counts.
func TestViolationBesideGaps(t *testing.T) {
	e := handedOver()
	without(&e, 2000, 4000)
	e.History.Answers = append(e.History.Answers, record.Answer{Seq: 300, At: ms(1501), MAC: a})
	v, err := Judge(e)
	if err != nil || v.Unproven == "" || len(v.Violations) != 3 {
		t.Errorf("%+v, %v, want three violations and a record that is too thin", v, err)
	}
}

func TestSum(t *testing.T) {
	gaps := []Gap{{byARP, ms(0), ms(60)}, {byHTTPS, ms(10), ms(90)}, {byARP, ms(100), ms(300)}}
	if got, want := Sum(gaps), "ARP 2 times, 260 ms in all, 200 ms at most; HTTPS 1 times, 80 ms in all, 80 ms at most"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// An inconsistent record is not judged.
func TestJudgeNothing(t *testing.T) {
	e := handedOver()
	e.History.Probes = e.History.Probes[:100]
	if v, err := Judge(e); err == nil {
		t.Errorf("verdict %v", v)
	}
}

// A node that had two MACs is one node.
func TestMeasureOfTwoMACs(t *testing.T) {
	e := stayedPut()
	e.Holder, e.Cluster.Nodes = "n3", map[string][]string{"n3": {a, b}}
	e.History.Answers = concat(answers(a, 0, 2000), answers(b, 2000, 6000))
	m := Measure(e)
	if len(m.Twice) > 0 || len(m.Answered) != 1 {
		t.Errorf("answered %v, twice %v", m.Answered, m.Twice)
	}
}

func TestIdle(t *testing.T) {
	tests := []struct {
		name          string
		list          []record.Reconnect
		noticed, done time.Duration
	}{
		{"never", nil, 0, 0},
		{"before", []record.Reconnect{{Noticed: ms(99), Done: ms(101)}}, 0, 0},
		{"the first", []record.Reconnect{{Noticed: ms(110), Done: ms(130)}, {Noticed: ms(140), Done: ms(150)}}, 10 * time.Millisecond, 30 * time.Millisecond},
		{"not back", []record.Reconnect{{Noticed: ms(110)}}, 10 * time.Millisecond, 0},
	}
	for _, tt := range tests {
		if noticed, done := idle(tt.list, ms(100)); noticed != tt.noticed || done != tt.done {
			t.Errorf("%s: noticed after %v, done after %v, want %v, %v", tt.name, noticed, done, tt.noticed, tt.done)
		}
	}
}
