package daemon

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/vipd-io/vipd/internal/status"
	"github.com/vipd-io/vipd/pkg/health"
	"github.com/vipd-io/vipd/pkg/kubeapi"
)

// nodeReporter is the reporter of what is the same for all groups of a node.
type nodeReporter struct {
	node    string
	boards  []*status.Board
	metrics *status.Metrics
}

// requestDone counts writes of Leases.
func (r *nodeReporter) requestDone(q kubeapi.Request) {
	if q.Method == http.MethodGet || !strings.Contains(q.Path, "/leases") {
		return
	}
	code := "error"
	if q.Status != 0 {
		code = strconv.Itoa(q.Status)
	}
	r.metrics.LeaseRequest(q.Server, code)
}

// serversChanged records the state of the API servers.
func (r *nodeReporter) serversChanged(members kubeapi.Membership, s health.State) {
	list := []status.APIServer{{Node: r.node, Server: s.Local.Name, Local: true, State: s.Local.Verdict.String(), Reason: s.Local.Why, Leaving: members.Leaving}}
	for _, m := range members.Peers {
		a := status.APIServer{Node: m.Node, Server: m.Server, State: health.Unknown.String(), Leaving: m.Leaving}
		if i := slices.IndexFunc(s.Peers, func(p health.Server) bool { return p.Name == m.Server }); i >= 0 {
			a.State, a.Reason = s.Peers[i].Verdict.String(), s.Peers[i].Why
		}
		list = append(list, a)
	}
	for _, b := range r.boards {
		b.Update(func(f *status.Facts) {
			f.APIServers, f.ControlPlane = list, status.ControlPlane{Read: members.Read, Reason: members.Reason}
		})
	}
}
