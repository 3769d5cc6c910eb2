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

	"github.com/vipd-io/vipd/e2e/judge/record"
)

// A Node is a control-plane machine.
type Node struct {
	*Host
	Etcd      Daemon
	APIServer Daemon
	Vipd      Daemon // not started by Start: see StartVipd

	lab           *Lab
	machine       Machine // nil on a plain node: see RunOn
	vipdBinary    string
	apiServerArgv []string
	foreign       bool // see RestoreForeign

	mu         sync.Mutex
	leases     *coordinationclient.CoordinationV1Client
	core       *coreclient.CoreV1Client
	interposed *faultProxy
}

// PKI returns kubeadm's certificatesDir on the node.
func (n *Node) PKI() string { return filepath.Join(n.Dir, "pki") }

// Kubeconfig returns the path of the node's admin.conf.
func (n *Node) Kubeconfig() string { return filepath.Join(n.Dir, "admin.conf") }

// CAFile returns the path of the cluster's CA certificate.
func (n *Node) CAFile() string { return filepath.Join(n.PKI(), "ca.crt") }

// VipdBinary returns the path of the lab's vipd, "" without one.
func (n *Node) VipdBinary() string { return n.vipdBinary }

// UseVipd sets the vipd of the nodes, from their next StartVipd on.
func (l *Lab) UseVipd(binary string) {
	for _, n := range l.Nodes {
		n.vipdBinary = binary
	}
}

// StartVipd starts vipd on the node. Flags in extra override the lab's. Vipd.Start and Vipd.Restart
// use the same flags from then on.
func (n *Node) StartVipd(extra ...string) error {
	if n.vipdBinary == "" {
		return fmt.Errorf("start vipd on %s: the lab was started without a vipd binary", n.Name)
	}
	return n.StartDaemon(n.vipdArgs(n.Name, n.lab.VIP, extra)...)
}

// vipdArgs returns the command of a vipd with that node name and this node's kubeconfig.
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
		"--status-address", ":" + strconv.Itoa(statusPort), // for vipd status --all; with several vipds on a node, one of them gets the port
	}
	return append(argv, extra...)
}

// Namesake prepares another vipd with this node's name, on a host that may be the node itself. It
// gets the API servers from its flags.
func (l *Lab) Namesake(n *Node, on *Host) *Process {
	var peers []string
	for _, m := range l.Nodes {
		peers = append(peers, "--peer", netip.AddrPortFrom(m.IP, Port).String())
	}
	p := l.NewProcess(on, "namesake", n.vipdArgs(n.Name, l.VIP, peers)...)
	p.cred = vipdCredential()
	return p
}

// PowerOff simulates a pulled power cord: nothing leaves the node any more, not even the kernel's
// RST for the connections of its killed processes, and the state of the kernel is lost. The time is
// that just before the first step.
func (n *Node) PowerOff() (record.Time, error) {
	at := record.Now()
	if err := errors.Join(n.LinkDown(), n.killAll(), n.Forget()); err != nil {
		return at, fmt.Errorf("power off %s: %w", n.Name, err)
	}
	return at, nil
}

// killAll kills all processes on the node, whoever started them.
func (n *Node) killAll() error {
	if n.machine == nil {
		return killDaemons(n.Vipd, n.APIServer, n.Etcd)
	}
	return n.killEverything()
}

// PowerOn starts a node again, a plain one without vipd, and waits until its API server is ready,
// which requires a second node with etcd.
func (n *Node) PowerOn(ctx context.Context) error {
	if err := errors.Join(n.LinkUp(), n.boot(ctx)); err != nil {
		return fmt.Errorf("power on %s: %w", n.Name, err)
	}
	if err := n.RestoreForeign(ctx); err != nil {
		return fmt.Errorf("power on %s: %w", n.Name, err)
	}
	return n.WaitReady(ctx)
}

func (n *Node) boot(ctx context.Context) error {
	if n.machine != nil {
		return n.machine.Boot(ctx)
	}
	return errors.Join(n.Etcd.Start(), n.APIServer.Start())
}

// Forget removes what a reboot loses: addresses other than the node's own, and all of nftables.
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

// StartDaemon starts another manager of the VIP on the node in vipd's place, as Vipd.
func (n *Node) StartDaemon(argv ...string) error {
	p, err := n.own(n.Vipd)
	if err != nil {
		return err
	}
	return p.startWith(argv)
}

// Tables returns the names of the nftables tables of the node.
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
