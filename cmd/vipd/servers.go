package main

import (
	"cmp"
	"slices"
	"sync"

	"github.com/vipd-io/vipd/pkg/config"
	"github.com/vipd-io/vipd/pkg/health"
	"github.com/vipd-io/vipd/pkg/kubeapi"
	"github.com/vipd-io/vipd/pkg/vip"
)

// servers puts together who belongs to the control plane (kubeapi.Directory) and
// how their API servers do (health.Monitor), for those who go by it.
type servers struct {
	config config.Config
	prefer func([]string)    // in which order to ask
	serves func(vip.Serving) // whether to stay
	report func(kubeapi.Roll, health.State)

	mu    sync.Mutex
	roll  kubeapi.Roll
	state health.State
}

func (s *servers) learnt(r kubeapi.Roll) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roll = r
	s.serves(serving(s.config, s.roll, s.state))
	s.report(s.roll, s.state)
}

// judged: first the way to the servers, then what follows from their state, which
// may need that way.
func (s *servers) judged(h health.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = h
	s.prefer(h.Order())
	s.serves(serving(s.config, s.roll, s.state))
	s.report(s.roll, s.state)
}

// serving says it in the Manager's words, the preferred nodes first.
func serving(c config.Config, r kubeapi.Roll, h health.State) vip.Serving {
	out := vip.Serving{
		Local: readiness(h.Local), Why: h.Local.Why, Leaving: r.Leaving,
		Yields: len(c.Preferred) > 0 && !slices.Contains(c.Preferred, c.Node),
	}
	for _, m := range r.Peers {
		p := vip.Peer{Node: m.Node, Leaving: m.Leaving, Why: "nothing is known of it yet"}
		if i := slices.IndexFunc(h.Peers, func(s health.Server) bool { return s.Name == m.Server }); i >= 0 {
			p.Ready, p.Better = h.Peers[i].Verdict == health.Ready, h.Peers[i].Better
			p.Why = cmp.Or(h.Peers[i].Why, p.Why)
		}
		out.Peers = append(out.Peers, p)
	}
	rank := func(p vip.Peer) int {
		if i := slices.Index(c.Preferred, p.Node); i >= 0 {
			return i
		}
		return len(c.Preferred)
	}
	slices.SortStableFunc(out.Peers, func(a, b vip.Peer) int { return cmp.Compare(rank(a), rank(b)) })
	return out
}

func readiness(s health.Server) vip.Readiness {
	switch s.Verdict {
	case health.Ready:
		return vip.Ready
	case health.NotReady:
		return vip.NotReady
	default:
		return vip.Unknown
	}
}

func names(peers []kubeapi.Member) []string {
	var out []string
	for _, p := range peers {
		out = append(out, p.Server)
	}
	return out
}
