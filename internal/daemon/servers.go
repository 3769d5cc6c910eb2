package daemon

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/vipd-io/vipd/internal/config"
	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/health"
	"github.com/vipd-io/vipd/pkg/kubeapi"
	"github.com/vipd-io/vipd/pkg/vip"
)

// servers combines the members of the control plane (kubeapi.Directory) with the state of their API
// servers (health.Monitor).
type servers struct {
	config config.Config
	prefer func([]string)                    // the order in which to ask them
	ready  func(map[string]boottime.Instant) // which refusals count
	serves func(vip.Serving)                 // the Manager's view, for the choice of a holder
	report func(kubeapi.Membership, health.State)

	// alone is read by the Elector, see onlyNode; nil while not known.
	alone atomic.Pointer[bool]

	mu      sync.Mutex
	members kubeapi.Membership
	state   health.State
}

func (s *servers) membersChanged(r kubeapi.Membership) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.members = r
	if others := len(r.Peers) > 0 || r.Others > 0; r.Complete || others {
		alone := !others
		s.alone.Store(&alone)
	}
	s.serves(serving(s.config, s.members, s.state))
	s.report(s.members, s.state)
}

// onlyNode tells whether this node is the only one of the control plane: any other may have a
// standby vipd. known is false until the members are known.
func (s *servers) onlyNode() (alone, known bool) {
	if p := s.alone.Load(); p != nil {
		return *p, true
	}
	return false, false
}

// serverOf returns the API server of another node, "" if it is not known.
func (s *servers) serverOf(node string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.IndexFunc(s.members.Peers, func(m kubeapi.Member) bool { return m.Node == node }); i >= 0 {
		return s.members.Peers[i].Server
	}
	return ""
}

// healthChanged first updates the order of the servers, and then passes on their state: the
// reaction to that may need a working server.
func (s *servers) healthChanged(h health.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = h
	s.prefer(h.Order())
	s.ready(readySince(h))
	s.serves(serving(s.config, s.members, s.state))
	s.report(s.members, s.state)
}

// readySince returns since when each ready server is ready.
func readySince(h health.State) map[string]boottime.Instant {
	out := make(map[string]boottime.Instant)
	for _, server := range append([]health.Server{h.Local}, h.Peers...) {
		if server.Since != 0 {
			out[server.Name] = server.Since
		}
	}
	return out
}

// serving returns the Manager's view of the API servers, the preferred nodes first.
func serving(c config.Config, r kubeapi.Membership, h health.State) vip.Serving {
	out := vip.Serving{
		Local: readiness(h.Local), Why: h.Local.Why, Leaving: r.Leaving,
		Yields: len(c.Preferred) > 0 && !slices.Contains(c.Preferred, c.Node),
	}
	for _, m := range r.Peers {
		p := vip.Peer{Node: m.Node, Leaving: m.Leaving, Why: "not known yet"}
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
