// Package gather collects the input of the checks of package doctor: the state of this machine,
// of its API server, of the other nodes, or of a management cluster. The package only reads.
package gather

import (
	"net/netip"
	"time"

	"github.com/vipd-io/vipd/internal/doctor"
	"github.com/vipd-io/vipd/internal/status"
)

// Request selects the subject of the doctor: mode, VIP, sources and timeout.
type Request struct {
	Mode      doctor.Mode
	VIP       netip.Addr
	Port      uint16
	Interface string // "" for the interface with the VIP's subnet
	Name      string // the DNS name of the VIP, "" for the name in kubelet's kubeconfig
	CA        string // path of the cluster's CA certificate, "" for that of the distribution
	// Management is the kubeconfig of a management cluster, whose objects are checked instead
	// of this machine. Cluster is "namespace/name" there, or "" for the only cluster.
	Management, Cluster string
	// Status is the status of the vipd on this node, or nil. StatusAddress is the address of
	// its status server.
	Status        *status.Status
	StatusAddress string
	Slow          bool // listen for claims of the VIP
	Timeout       time.Duration
}

// DefaultTimeout bounds the doctor. The constants of its parts are relative to DefaultTimeout
// and scale with --timeout.
const DefaultTimeout = 5 * time.Second

// Scale scales the usual timeout of a part by --timeout.
func (r *Request) Scale(usual time.Duration) time.Duration {
	return time.Duration(float64(usual) * (float64(r.Timeout) / float64(DefaultTimeout)))
}
