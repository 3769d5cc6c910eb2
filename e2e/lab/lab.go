// Package lab runs a real Kubernetes control plane of three nodes on one Linux machine: each node
// is a network namespace with an etcd member, an API server with kubeadm's certificates and flags,
// and vipd. The package injects faults of machines and networks. There are no kubelets and no
// containers: package kubeadm has nodes with those, on the same network.
package lab

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"syscall"
)

// StateRoot is the parent of the labs' folders. It is on a disk, as etcd's data should be.
const StateRoot = "/var/tmp/vipd-lab"

var validName = regexp.MustCompile(`^[a-z0-9]{1,16}$`)

// Options configures Start.
type Options struct {
	// Name is part of the names of the lab's namespaces and folder.
	// Default: random, so that labs can run side by side.
	Name string
	// Binaries are what Build returned.
	Binaries Binaries
	// APIServerFlags are added to those that kubeadm gives the API servers.
	APIServerFlags []string
	// VIP is the address that vipd manages, an IPv4 address of Subnet that no host has.
	// Default: one that ends in 100.
	VIP netip.Addr
	// Nodes is the number of nodes, 3 by default.
	Nodes int
	// NetworkOnly leaves the nodes empty: no certificates, no etcd, no API server.
	NetworkOnly bool
	// Foreign adds foreign state to the nodes, to check that vipd leaves it alone.
	Foreign bool
	// Progress, if set, is called with each step.
	Progress func(string)
}

// A Lab is a running control plane.
type Lab struct {
	Name    string
	Dir     string
	VIP     netip.Addr
	Nodes   []*Node // n1, n2, n3: see Options.Nodes
	Clients []*Host // c1 to c6, of which the last three listen: see Listeners
	// Observer is another client, which no fault cuts off from the nodes, unlike the Clients.
	Observer *Host

	sw    *netSwitch
	added []*Host // see AddHost
	kept  bool

	mu    sync.Mutex
	procs []*Process
}

// Start starts a lab and returns when its API servers, if any, are ready. If ctx ends before that,
// or anything fails, nothing is left. Afterwards ctx has no effect: call Close.
func Start(ctx context.Context, opts Options) (*Lab, error) {
	say := opts.Progress
	if say == nil {
		say = func(string) {}
	}
	if opts.Name == "" {
		opts.Name = randomName()
	}
	if !validName.MatchString(opts.Name) {
		return nil, fmt.Errorf("bad lab name %q: want 1 to 16 of a-z and 0-9", opts.Name)
	}
	if !opts.VIP.IsValid() {
		opts.VIP = defaultVIP
	}
	if !Subnet.Contains(opts.VIP) {
		return nil, fmt.Errorf("bad VIP %s: want one of %s", opts.VIP, Subnet)
	}
	if err := Sweep(ctx); err != nil {
		return nil, err
	}
	l := &Lab{Name: opts.Name, VIP: opts.VIP, Dir: filepath.Join(StateRoot, opts.Name)}
	if err := claim(ctx, l.Dir); err != nil {
		return nil, fmt.Errorf("start lab %s: %w", l.Name, err)
	}
	if err := l.start(ctx, opts, say); err != nil {
		return nil, errors.Join(fmt.Errorf("start lab %s: %w", l.Name, err), l.Close())
	}
	return l, nil
}

func (l *Lab) start(ctx context.Context, opts Options, say func(string)) error {
	say("making the network")
	if err := l.makeHosts(opts); err != nil {
		return err
	}
	if opts.NetworkOnly {
		return nil
	}
	say("making certificates with kubeadm " + KubernetesVersion())
	if err := l.makePKI(ctx, opts.Binaries.Kubeadm); err != nil {
		return err
	}
	if opts.Foreign {
		for _, n := range l.Nodes {
			if err := n.plantForeign(ctx); err != nil {
				return err
			}
		}
	}
	say(fmt.Sprintf("starting etcd and API servers on %d nodes", len(l.Nodes)))
	return l.startControlPlane(ctx)
}

func randomName() string {
	var b [3]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// makeHosts creates the switch and all hosts.
func (l *Lab) makeHosts(opts Options) error {
	bin, vipd := opts.Binaries, ""
	if bin.Vipd != "" {
		// A copy: the next Build replaces the file, and a restart in a running lab should use the
		// same vipd.
		vipd = filepath.Join(l.Dir, "vipd")
		if err := copyFile(bin.Vipd, vipd, 0o755); err != nil {
			return fmt.Errorf("copy vipd: %w", err)
		}
	}
	sw, err := newSwitch(l.namespace("sw"))
	if err != nil {
		return err
	}
	l.sw = sw
	for i := range cmp.Or(opts.Nodes, 3) {
		host, err := l.makeHost(fmt.Sprintf("n%d", i+1), byte(11+i))
		if err != nil {
			return err
		}
		if err := host.ForwardIPv4(); err != nil {
			return err
		}
		l.Nodes = append(l.Nodes, &Node{Host: host, lab: l, vipdBinary: vipd})
	}
	if err := l.makeClients(); err != nil {
		return err
	}
	for _, n := range l.Nodes {
		n.apiServerArgv = append(n.apiServerArgs(bin.APIServer), opts.APIServerFlags...)
		n.Etcd = l.NewProcess(n.Host, "etcd", n.etcdArgs(bin.Etcd, l.Nodes)...)
		n.APIServer = l.NewProcess(n.Host, "kube-apiserver", n.apiServerArgv...)
		vipd := l.NewProcess(n.Host, "vipd")
		vipd.cred = vipdCredential()
		n.Vipd = vipd
	}
	return nil
}

func vipdCredential() *syscall.Credential {
	return &syscall.Credential{Uid: uint32(os.Getuid()), Gid: vipdGroup}
}

func (l *Lab) makeClients() error {
	for i := range 6 {
		host, err := l.makeHost(fmt.Sprintf("c%d", i+1), byte(50+i))
		if err != nil {
			return err
		}
		l.Clients = append(l.Clients, host)
	}
	var err error
	if l.Observer, err = l.makeHost("o1", 59); err != nil {
		return err
	}
	l.added = append(l.added, l.Observer)
	listeners := l.Listeners()
	return errors.Join(listeners[1].acceptOnly(arpReply, l.VIP), listeners[2].acceptOnly(arpRequest, l.VIP))
}

func (l *Lab) makeHost(name string, lastByte byte) (*Host, error) {
	ip := Subnet.Addr().As4()
	ip[3] = lastByte
	dir := filepath.Join(l.Dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	return newHost(l.sw, l.namespace(name), name, dir, netip.AddrFrom4(ip))
}

func (l *Lab) namespace(host string) string { return namespacePrefix(l.Name) + host }

func namespacePrefix(lab string) string { return "vipd-" + lab + "-" }

// NewProcess prepares a command on a host, to be started with Start. Its log is NAME.log in the
// host's folder.
func (l *Lab) NewProcess(h *Host, name string, argv ...string) *Process {
	return l.own(newProcess(h.NS, name, h.Dir, argv...))
}

// own registers the process for Close.
func (l *Lab) own(p *Process) *Process {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.procs = append(l.procs, p)
	return p
}

// Node returns the node that has or had the given MAC, nil if there is none.
func (l *Lab) Node(mac string) *Node {
	for _, n := range l.Nodes {
		if n.HadMAC(mac) {
			return n
		}
	}
	return nil
}

// Keep keeps the lab beyond this process and Close: only Remove ends it.
func (l *Lab) Keep() error {
	if err := os.WriteFile(filepath.Join(l.Dir, keptFile), nil, 0o644); err != nil {
		return fmt.Errorf("keep lab %s: %w", l.Name, err)
	}
	l.kept = true
	return nil
}

// SaveLogs copies the logs of all hosts to DIR/HOST/NAME.log: Close deletes the originals.
func (l *Lab) SaveLogs(dir string) error {
	logs, err := filepath.Glob(filepath.Join(l.Dir, "*", "*.log"))
	if err != nil {
		return err
	}
	for _, from := range logs {
		to := filepath.Join(dir, filepath.Base(filepath.Dir(from)), filepath.Base(from))
		if err := copyFile(from, to, 0o644); err != nil {
			return fmt.Errorf("save logs: %w", err)
		}
	}
	return nil
}

// Close ends the lab and removes everything of it: processes, namespaces and files. A kept lab is
// only detached.
func (l *Lab) Close() error {
	var errs []error
	for _, n := range l.Nodes {
		n.closeClients()
		errs = append(errs, n.endInterposed())
	}
	if !l.kept {
		errs = append(errs, l.killAll(), destroy(l.Name))
	}
	if l.sw != nil {
		errs = append(errs, l.sw.ns.close())
	}
	for _, n := range l.Nodes {
		errs = append(errs, n.NS.close())
	}
	for _, h := range slices.Concat(l.Clients, l.added) {
		errs = append(errs, h.NS.close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close lab %s: %w", l.Name, err)
	}
	return nil
}

// killAll kills all the lab's processes and reaps them.
func (l *Lab) killAll() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return killDaemons(l.procs...)
}

// killDaemons sends SIGKILL to all daemons, and then waits for them.
func killDaemons[D Daemon](procs ...D) error {
	var errs []error
	for _, p := range procs {
		if _, err := p.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, ErrNotRunning) {
			errs = append(errs, err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), killTimeout)
	defer cancel()
	for _, p := range procs {
		if _, err := p.Wait(ctx); err != nil && !errors.Is(err, ErrNotRunning) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
