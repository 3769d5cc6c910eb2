package analyse

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vipd-io/vipd/e2e/judge/record"
)

// beside is a history in which n1 holds for 2 s, then another program's elector for 3 s, then n2.
func beside() record.Episode {
	other := func(at, sent int, version string) record.LeaseVersion {
		return record.LeaseVersion{At: ms(at), Version: version, Holder: "kube-vip", Term: 5, Sent: ms(sent), Seconds: 5}
	}
	return record.Episode{
		Cluster: cluster, At: ms(0), End: ms(7000),
		History: record.History{
			Probes: asked(0, 7000), Answers: concat(answers(a, 0, 1990), answers(b, 5020, 7000)),
			Knocks: knocks(0, 7000), Acceptances: concat(accepts(a, 0, 1990), accepts(b, 5020, 7000)),
			Requests: concat(by("n1", steady(0, 1980)), failing(1980, 5020), by("n2", steady(5020, 7000))),
			Leases: concat(renewals("n1", 4, -500, 2000), []record.LeaseVersion{{At: ms(1998), Version: "r", Term: 4, Sent: ms(1995), Released: "n1"},
				other(2010, 2005, "o1"), other(4010, 4005, "o2"), {At: ms(5004), Version: "or", Term: 5, Sent: ms(5003), Seconds: 1}}, renewals("n2", 6, 5010, 7000)),
		},
	}
}

func TestAlongside(t *testing.T) {
	tests := []struct {
		name   string
		change func(*record.Episode)
		want   []Rule
	}{
		{"in turn", func(*record.Episode) {}, nil},
		{"answers once as the other one leads", func(e *record.Episode) {
			e.History.Answers = append(e.History.Answers, record.Answer{Seq: 600, At: ms(3001), MAC: c})
		}, []Rule{InTime, AfterClaim}},
		{"accepts once as the other one leads", func(e *record.Episode) {
			e.History.Acceptances = append(e.History.Acceptances, record.Acceptance{Seq: knock(3000, 2), At: ms(3001), MAC: c})
		}, []Rule{InTime, AfterClaim}},
		{"the other one takes a lease that is not over", func(e *record.Episode) {
			e.History.Leases = concat(renewals("n1", 4, -500, 2000), e.History.Leases[4:])
		}, []Rule{Respects}},
		{"takes it for a moment as the other one leads", func(e *record.Episode) {
			l := e.History.Leases
			l[5].Holder, l[5].Seconds = "n3", 3
		}, []Rule{Respects}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := beside()
			tt.change(&e)
			var got []Rule
			list := Alongside(e, "kube-vip", ms(2010), ms(5000))
			for _, v := range list {
				got = append(got, v.Rule)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%v (-want +got):\n%s", list, diff)
			}
		})
	}
}
