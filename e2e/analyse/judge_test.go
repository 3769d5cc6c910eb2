package analyse

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vipd-io/vipd/e2e/record"
)

var cluster = record.Cluster{Nodes: map[string][]string{"n1": {a}, "n2": {b}, "n3": {c, "02:00:00:23:01:0d"}}}

// asked is a question per interval in [from, to) milliseconds.
func asked(from, to int) (list []record.Probe) {
	for t := from; t < to; t += 5 {
		list = append(list, record.Probe{Seq: uint32(t / 5), At: ms(t)})
	}
	return list
}

// renewals are versions that a holder wrote, one per second in [from, to).
func renewals(holder string, term, from, to int) (list []record.LeaseVersion) {
	for t := from; t < to; t += 1000 {
		list = append(list, record.LeaseVersion{At: ms(t + 3), Version: strconv.Itoa(t), Holder: holder, Term: term, Sent: ms(t), Seconds: 3})
	}
	return list
}

// handedOver is an episode in which all is well: n1 passes the VIP to n2, 1 s
// after the record begins.
func handedOver() record.Episode {
	return record.Episode{
		Promise: record.Promise{Name: "sigterm", Moves: true, Within: 500 * time.Millisecond},
		Cluster: cluster, Holder: "n1", Next: "n2", At: ms(1000), End: ms(5000),
		Before: map[string]string{"n1": "10.0.0.1", "n2": "10.0.0.2"}, After: map[string]string{"n1": "10.0.0.1", "n2": "10.0.0.2"},
		History: record.History{
			Probes: asked(0, 6000), Answers: concat(answers(a, 0, 1000), answers(b, 1020, 6000)),
			Requests:      concat(steady(0, 1000), failing(1000, 1020), steady(1020, 6000)),
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
		Probes: asked(0, 6000), Answers: answers(a, 0, 6000), Requests: steady(0, 6000),
		Addresses: []record.AddressEvent{{At: ms(1), Node: "n1", Added: true}}, Leases: renewals("n1", 4, -500, 6000),
		Neighbours: []record.Neighbour{{At: ms(2), Host: "c4", MAC: a}},
	}
	return e
}

// ranOut is an episode in which n1 falls silent 2.5 s after the record begins, as
// its lease is over, and loses the address.
func ranOut() record.Episode {
	e := stayedPut()
	e.Promise, e.Next = record.Promise{Name: "quorum", MayMove: true}, "n1"
	e.History.Answers, e.History.Leases = answers(a, 0, 2350), renewals("n1", 4, -500, 500)
	e.History.Addresses = append(e.History.Addresses, record.AddressEvent{At: ms(2351), Node: "n1"})
	return e
}

// Each rule holds in a good episode, and is broken by one change of it.
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
			e.History.Leases = concat(renewals("n1", 4, -500, 1000), renewals("n2", 5, 1010, 1020), renewals("n1", 6, 1410, 6000))
			e.History.Neighbours = append(e.History.Neighbours, record.Neighbour{At: ms(1421), Host: "c4", MAC: a})
			e.History.Addresses = append(e.History.Addresses, record.AddressEvent{At: ms(1401), Node: "n2"}, record.AddressEvent{At: ms(1415), Node: "n1", Added: true})
		}, nil},
		{"somewhere: there and back, and one too many", handedOver, func(e *record.Episode) {
			e.Promise, e.Next = record.Promise{Name: "rolling", MayMove: true}, "n1"
			e.History.Answers = concat(answers(a, 0, 1000), answers(b, 1020, 1450), answers(a, 1420, 6000))
			e.History.Leases = concat(renewals("n1", 4, -500, 1000), renewals("n2", 5, 1010, 1020), renewals("n1", 6, 1410, 6000))
			e.History.Neighbours = append(e.History.Neighbours, record.Neighbour{At: ms(1421), Host: "c4", MAC: a})
			e.History.Addresses = append(e.History.Addresses, record.AddressEvent{At: ms(1401), Node: "n2"}, record.AddressEvent{At: ms(1415), Node: "n1", Added: true})
		}, []Rule{AtMostOne, AtMostOne, AtMostOne, AtMostOne, AtMostOne, AtMostOne, AfterClaim}},
		{"moved: too slowly", handedOver, func(e *record.Episode) { e.Promise.Within = 10 * time.Millisecond }, []Rule{Reachable}},
		{"moved: too soon", handedOver, func(e *record.Episode) { e.Promise.AtLeast = 100 * time.Millisecond }, []Rule{Respects}},
		{"moved: one answer by the former", handedOver, func(e *record.Episode) {
			e.History.Answers = append(e.History.Answers, record.Answer{Seq: 300, At: ms(1501), MAC: a})
		}, []Rule{AtMostOne, InTime, AfterClaim}},
		{"moved: silent too late", handedOver, func(e *record.Episode) {
			e.History.Answers = concat(answers(a, 0, 1020), answers(b, 1020, 6000))
			e.History.Leases[2].Released = ""
		}, []Rule{AfterClaim}},
		{"moved: released while it answered", handedOver, func(e *record.Episode) { e.History.Leases[2].Sent = ms(994) }, []Rule{InTime}},
		{"moved: before the claim was sent", handedOver, func(e *record.Episode) {
			e.History.Leases = concat(renewals("n1", 4, -500, 1000), renewals("n2", 5, 1100, 6000))
		}, []Rule{InTime}},
		{"moved: without a lease", handedOver, func(e *record.Episode) { e.History.Leases = renewals("n1", 4, -500, 6000) }, []Rule{InTime, Leaves}},
		{"moved: in the same term", handedOver, func(e *record.Episode) {
			e.History.Leases = concat(renewals("n1", 4, -500, 1000), renewals("n2", 4, 1010, 6000))
		}, []Rule{Terms}},
		{"moved: in a lower term, of a Lease made anew", handedOver, func(e *record.Episode) {
			e.History.Leases = concat(renewals("n1", 4, -500, 1000), []record.LeaseVersion{{At: ms(1004), Version: "d", Deleted: true, Holder: "n1", Term: 4, Seconds: 3}},
				renewals("n2", 1, 1010, 6000))
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
		{"foreign state changed", handedOver, func(e *record.Episode) { e.After["n2"] = "10.0.0.2\nother" }, []Rule{Foreign}},

		{"lost: the lease ran out", stayedPut, func(e *record.Episode) {
			e.Promise.MayMove = true
			e.History.Leases = renewals("n1", 4, -500, 500)
		}, []Rule{InTime, Leaves}},
		{"lost: the address stays for a moment", ranOut, func(e *record.Episode) { e.History.Addresses[1].At = ms(2799) }, nil},
		{"lost: the address stays", ranOut, func(e *record.Episode) { e.History.Addresses[1].At = ms(2801) }, []Rule{Leaves}},
		{"lost: the address stays for good", ranOut, func(e *record.Episode) { e.History.Addresses = e.History.Addresses[:1] }, []Rule{Leaves}},
		{"lost: the address goes when the lease is back", ranOut, func(e *record.Episode) {
			e.History.Leases = append(e.History.Leases, renewals("n1", 5, 3500, 3501)...)
			e.History.Addresses[1].At = ms(4000)
		}, []Rule{Leaves}},
		{"killed: the kernel takes the address away", ranOut, func(e *record.Episode) {
			e.Promise.Crippled, e.History.Addresses[1].At = true, ms(4999)
		}, nil},
		{"killed: the kernel takes it away too late", ranOut, func(e *record.Episode) {
			e.Promise.Crippled, e.History.Addresses[1].At = true, ms(5001)
		}, []Rule{Leaves}},
		{"killed: the lease made huge by hand", ranOut, func(e *record.Episode) {
			edited := e.History.Leases[0]
			edited.At, edited.Version, edited.Seconds = ms(2000), "edited", 1<<31-1
			e.Promise.Crippled, e.History.Addresses[1].At = true, ms(5001)
			e.History.Leases = append(e.History.Leases, edited)
		}, []Rule{Leaves}},
		{"killed: the times of the lease set to the future", ranOut, func(e *record.Episode) {
			edited := e.History.Leases[0]
			edited.At, edited.Version, edited.Sent = ms(2000), "edited", ms(1<<40)
			e.Promise.Crippled, e.History.Addresses[1].At = true, ms(5001)
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
		{"stayed: the Lease is left deleted", stayedPut, func(e *record.Episode) {
			e.History.Leases = append(e.History.Leases, record.LeaseVersion{At: ms(4900), Version: "d", Deleted: true, Holder: "n1", Term: 4, Sent: ms(4500), Seconds: 3})
		}, []Rule{PutRight}},
		{"stayed: gone", stayedPut, func(e *record.Episode) { e.Next = "" }, []Rule{Stays}},
		{"stayed: the holder changed for a moment", stayedPut, func(e *record.Episode) {
			e.History.Leases = concat(renewals("n1", 4, -500, 2000), renewals("n2", 5, 2001, 2002), renewals("n1", 6, 2103, 6000))
		}, []Rule{AfterClaim, Causes}},
		{"stayed: a request failed", stayedPut, func(e *record.Episode) { e.History.Requests[200].Err = "refused" }, []Rule{Stays}},
		{"stayed: a request failed afterwards", stayedPut, func(e *record.Episode) { e.History.Requests[550].Err = "refused" }, nil},
		{"stayed: nobody answered", stayedPut, func(e *record.Episode) { e.History.Answers = nil }, []Rule{Stays}},
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
			violations, err := Judge(e)
			if err != nil {
				t.Fatal(err)
			}
			var got []Rule
			for _, v := range violations {
				got = append(got, v.Rule)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%v (-want +got):\n%s", violations, diff)
			}
		})
	}
}

// An episode in which the observers slept is not judged.
func TestJudgeNothing(t *testing.T) {
	e := handedOver()
	e.History.Probes = e.History.Probes[:100]
	if v, err := Judge(e); err == nil {
		t.Errorf("judged %v", v)
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
