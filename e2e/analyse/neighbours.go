package analyse

import (
	"fmt"
	"time"

	"github.com/vipd-io/vipd/e2e/record"
)

// convergence is how long after a node took the VIP no neighbour may believe in
// another one.
const convergence = 1500 * time.Millisecond

// converges finds hosts that send to another node than the one that has had the
// VIP for a while. One that knows none asks before it sends.
func converges(e record.Episode) (found []Violation) {
	if e.Promise.Deafens {
		return nil
	}
	list := e.History.Addresses
	for i, up := range list {
		settled := up.At.Add(convergence)
		if !up.Added || settled > e.End || i+1 < len(list) && list[i+1].At <= settled {
			continue
		}
		for host, mac := range believed(e.History.Neighbours, settled) {
			if node := e.Cluster.Node(mac); mac != "" && node != up.Node {
				found = append(found, Violation{Rule: Converges, At: settled, Why: fmt.Sprintf("%s sends to %s (%s) still, %v after %s had the address", host, mac, node, convergence, up.Node)})
			}
		}
	}
	return found
}

// believed is each host's knowledge at a time.
func believed(list []record.Neighbour, at record.Time) map[string]string {
	known := make(map[string]string)
	for _, n := range list {
		if n.At <= at {
			known[n.Host] = n.MAC
		}
	}
	return known
}
