package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/vipd-io/vipd/e2e/record"
)

// A Node is a control-plane machine.
type Node struct {
	*Host
	Etcd      *Process
	APIServer *Process
	Vipd      *Process // not started by Start: see StartVipd

	all           []*Node // of the lab, this one among them
	vipdBinary    string
	apiServerArgv []string
	foreign       bool // see RestoreForeign

	mu         sync.Mutex
	leases     *coordinationclient.CoordinationV1Client
	core       *coreclient.CoreV1Client
	interposed *faultProxy
}

// PKI is kubeadm's certificatesDir on the node.
func (n *Node) PKI() string { return filepath.Join(n.Dir, "pki") }

// Kubeconfig is the path of the node's admin.conf.
func (n *Node) Kubeconfig() string { return filepath.Join(n.Dir, "admin.conf") }

// CAFile is the path of the cluster's CA certificate.
func (n *Node) CAFile() string { return filepath.Join(n.PKI(), "ca.crt") }

// VipdBinary is the path of the vipd that the lab runs, "" without one.
func (n *Node) VipdBinary() string { return n.vipdBinary }

// UseVipd has the nodes run another vipd from their next StartVipd on.
func (l *Lab) UseVipd(binary string) {
	for _, n := range l.Nodes {
		n.vipdBinary = binary
	}
}

// StartVipd starts vipd on the node. Flags in extra win over the lab's. After
// it, Vipd.Start and Vipd.Restart use the same flags again.
func (n *Node) StartVipd(extra ...string) error {
	if n.vipdBinary == "" {
		return fmt.Errorf("start vipd on %s: the lab was started without a vipd binary", n.Name)
	}
	return n.Vipd.startWith(n.vipdArgs(n.Name, VIP, extra))
}

// vipdArgs is the command of a vipd that goes by a name, with this node's
// kubeconfig.
func (n *Node) vipdArgs(name string, vip netip.Addr, extra []string) []string {
	argv := []string{
		n.vipdBinary, "run",
		"--interface", Interface,
		"--address", vip.String(),
		"--port", strconv.Itoa(Port),
		"--node-name", name,
		"--kubeconfig", n.Kubeconfig(),
		"--lease-duration", "3s",
		"--log-format", "json",
		"--status-address", ":2112", // for vipd status --all; of several vipds on a node one has it
	}
	return append(argv, extra...)
}

// Namesake prepares another vipd, on a host that may be the node itself, that
// takes itself for this node. It knows the API servers from its flags.
func (l *Lab) Namesake(n *Node, on *Host) *Process {
	var peers []string
	for _, m := range l.Nodes {
		peers = append(peers, "--peer", netip.AddrPortFrom(m.IP, Port).String())
	}
	p := l.NewProcess(on, "namesake", n.vipdArgs(n.Name, VIP, peers)...)
	p.cred = vipdCredential()
	return p
}

// PowerOff does what a pulled power cord does: nothing leaves the node any
// more, not even the kernel's RST for the connections of its killed
// processes, and whatever the kernel had been told is forgotten. The time is
// that just before the first of it.
func (n *Node) PowerOff() (record.Time, error) {
	at := record.Now()
	err := errors.Join(
		n.LinkDown(),
		killProcesses(n.Vipd, n.APIServer, n.Etcd),
		n.Forget(),
	)
	if err != nil {
		return at, fmt.Errorf("power off %s: %w", n.Name, err)
	}
	return at, nil
}

// PowerOn brings a node back, without vipd, and waits until its API server is
// ready. That needs a second node with etcd.
func (n *Node) PowerOn(ctx context.Context) error {
	if err := errors.Join(n.LinkUp(), n.Etcd.Start(), n.APIServer.Start()); err != nil {
		return fmt.Errorf("power on %s: %w", n.Name, err)
	}
	if err := n.RestoreForeign(ctx); err != nil {
		return fmt.Errorf("power on %s: %w", n.Name, err)
	}
	return n.WaitReady(ctx)
}

// Forget drops what a reboot would not bring back: addresses other than the
// node's own, and all of nftables.
func (n *Node) Forget() error {
	if err := n.FlushNftables(); err != nil {
		return err
	}
	return withHandle(n.NS, func(h *netlink.Handle) error {
		link, err := h.LinkByName(Interface)
		if err != nil {
			return fmt.Errorf("find %s: %w", Interface, err)
		}
		return removeAddresses(h, link, n.IP)
	})
}

func (n *Node) closeClients() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.leases != nil {
		closeIdle(n.leases.RESTClient())
		n.leases = nil
	}
	if n.core != nil {
		closeIdle(n.core.RESTClient())
		n.core = nil
	}
}

// StartDaemon starts another manager of the VIP on the node, in vipd's place: what
// is done to Vipd is done to it.
func (n *Node) StartDaemon(argv ...string) error { return n.Vipd.startWith(argv) }

// Tables lists the nftables tables of the node.
func (n *Node) Tables() ([]string, error) {
	nft, err := nftables.New(nftables.WithNetNSFd(int(n.NS.handle)))
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	tables, err := nft.ListTables()
	if err != nil {
		return nil, fmt.Errorf("list nftables tables: %w", err)
	}
	var names []string
	for _, t := range tables {
		names = append(names, t.Name)
	}
	return names, nil
}
