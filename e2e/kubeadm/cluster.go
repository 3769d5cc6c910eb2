// Package kubeadm makes a cluster as people make it: nodes with real containerd and
// kubelet, `kubeadm init` and `kubeadm join` through the VIP, and vipd as a static
// pod. The network is the lab's, and what watches and judges is the same.
package kubeadm

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/lab"
)

// DNSName is another name of the VIP.
const DNSName = "kube-api-server.uat.local"

// workerIP ends in this.
const workerIP = 14

// token is kubeadm's own example of one.
const token = "abcdef.0123456789abcdef"

// A Cluster is machines for three control-plane nodes and a worker, or for one node alone,
// and what of them has joined.
type Cluster struct {
	Lab   *lab.Lab
	Nodes []*Node // the control plane, as it has grown so far

	spare          []*Node
	worker         *Machine
	binaries       lab.Binaries
	images         []string       // archives
	boots          errgroup.Group // of all machines but the first
	certificateKey string
	caHash         string
}

// A Node is a control-plane node: of the lab, with its Lease and API server, and a
// machine.
type Node struct {
	*Machine
	Lab *lab.Node

	joined bool
}

// A size is how many machines there are.
type size struct {
	nodes  int
	worker bool
}

// With builds what a cluster needs, makes its machines while no other lab runs, and
// ends all of it when do has returned.
func With(ctx context.Context, do func(*Cluster) error) error {
	return with(ctx, lab.Exclusive, size{nodes: 3, worker: true}, do)
}

// WithOne is With for a cluster of a single machine, which nobody joins. It may run beside
// other labs: see lab.Beside.
func WithOne(ctx context.Context, do func(*Cluster) error) error {
	return with(ctx, lab.Beside, size{nodes: 1}, do)
}

// WithWorker is With for a cluster of one node, which a worker may join.
func WithWorker(ctx context.Context, do func(*Cluster) error) error {
	return with(ctx, lab.Exclusive, size{nodes: 1, worker: true}, do)
}

// WithJoined is With for a cluster without a worker, of which all nodes have joined.
func WithJoined(ctx context.Context, do func(*Cluster) error) error {
	return with(ctx, lab.Exclusive, size{nodes: 3}, func(c *Cluster) error {
		if err := c.Init(ctx); err != nil {
			return err
		}
		for len(c.spare) > 0 {
			if _, err := c.Ready(ctx); err != nil {
				return err
			}
			if err := c.Join(ctx); err != nil {
				return err
			}
		}
		return do(c)
	})
}

func with(ctx context.Context, turn func(context.Context) (func(), error), of size, do func(*Cluster) error) (err error) {
	bin, err := lab.Build(ctx, lab.BuildOptions{Progress: os.Stderr, Kubelet: true})
	if err != nil {
		return err
	}
	release, err := turn(ctx)
	if err != nil {
		return err
	}
	defer release()
	l, err := lab.Start(ctx, lab.Options{Binaries: bin, NetworkOnly: true, Nodes: of.nodes})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	c, err := newCluster(ctx, l, bin, of.worker)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer func() {
		stop()
		_ = c.boots.Wait() // Ready returns the error
	}()
	if err := c.boot(ctx); err != nil {
		return err
	}
	return do(c)
}

// newCluster prepares the machines of a cluster.
func newCluster(ctx context.Context, l *lab.Lab, bin lab.Binaries, withWorker bool) (*Cluster, error) {
	c := &Cluster{Lab: l, binaries: bin}
	var key [32]byte
	rand.Read(key[:]) // never fails
	c.certificateKey = hex.EncodeToString(key[:])
	all, err := images(ctx, l, bin)
	if err != nil {
		return nil, err
	}
	if c.images, err = writeImages(l, "image", all); err != nil {
		return nil, err
	}
	for _, n := range l.Nodes {
		node := &Node{Machine: c.machine(n.Host), Lab: n}
		n.RunOn(node)
		c.spare = append(c.spare, node)
	}
	if withWorker {
		host, err := l.AddHost("w1", workerIP)
		if err != nil {
			return nil, err
		}
		c.worker = c.machine(host)
	}
	return c, nil
}

func (c *Cluster) machine(h *lab.Host) *Machine {
	return newMachine(c.Lab, h, c.binaries.Kubeadm, c.binaries.Kubelet)
}

// boot boots the first machine, and then begins to boot the others, for which Ready waits.
func (c *Cluster) boot(ctx context.Context) error {
	if err := c.start(ctx, c.spare[0].Machine, c.images); err != nil {
		return err
	}
	for _, n := range c.spare[1:] {
		c.boots.Go(func() error { return c.start(ctx, n.Machine, c.images) })
	}
	if c.worker != nil {
		c.boots.Go(func() error { return c.start(ctx, c.worker, nil) }) // nothing is to run there
	}
	return nil
}

// start boots a machine, with images.
func (c *Cluster) start(ctx context.Context, m *Machine, archives []string) error {
	if err := errors.Join(m.AddDefaultRoute(), m.setUp(ctx)); err != nil {
		return err
	}
	if err := m.load(ctx, archives); err != nil {
		return err
	}
	// Where the lab looks for them.
	for _, name := range []string{"pki", "admin.conf", "super-admin.conf"} {
		if err := os.Symlink(m.disk("etc/kubernetes/"+name), filepath.Join(m.Dir, name)); err != nil {
			return err
		}
	}
	return m.Kubelet.Start()
}

// Init makes the first node.
func (c *Cluster) Init(ctx context.Context) error {
	n := c.grow()
	err := c.plant(ctx, n)
	if err != nil {
		return err
	}
	err = c.kubeadm(ctx, n.Machine, "init.yaml", nil, "init", "--upload-certs")
	if err == nil {
		c.caHash, err = caHash(n.Lab.CAFile())
	}
	return err
}

// InitBy makes the first node by other means.
func (c *Cluster) InitBy(ctx context.Context, initialize func(context.Context, *Machine) error) error {
	return initialize(ctx, c.grow().Machine)
}

// Join makes one more control-plane node.
func (c *Cluster) Join(ctx context.Context) error { return c.join(ctx, c.grow()) }

// plant puts vipd's manifest in place, before anything else of Kubernetes is there.
func (c *Cluster) plant(ctx context.Context, n *Node) error {
	pod, err := c.vipdPod(ctx)
	if err != nil {
		return err
	}
	return n.write(manifest, pod)
}

func (c *Cluster) grow() *Node {
	n := c.spare[0]
	c.spare = c.spare[1:]
	n.joined = true
	c.Nodes = append(c.Nodes, n)
	return n
}

func (c *Cluster) join(ctx context.Context, n *Node) error {
	if err := c.plant(ctx, n); err != nil {
		return err
	}
	return c.kubeadm(ctx, n.Machine, "join.yaml", map[string]any{"Endpoint": c.Lab.VIP, "ControlPlane": true}, "join")
}

// JoinWorker makes the worker, which asks for the cluster by its name.
func (c *Cluster) JoinWorker(ctx context.Context) error {
	return c.kubeadm(ctx, c.worker, "join.yaml", map[string]any{"Endpoint": DNSName, "ControlPlane": false}, "join")
}

// kubeadm runs it with a configuration.
func (c *Cluster) kubeadm(ctx context.Context, m *Machine, config string, values map[string]any, command ...string) error {
	all := map[string]any{
		"Name": m.Name, "IP": m.IP, "VIP": c.Lab.VIP, "Port": lab.Port, "Version": lab.KubernetesVersion(),
		"DNSName": DNSName, "Token": token, "CertificateKey": c.certificateKey, "CAHash": c.caHash, "ClientCAs": "",
	}
	maps.Copy(all, values)
	text, err := render(config, all)
	if err != nil {
		return err
	}
	file := "etc/kubernetes/kubeadm.yaml"
	if err := m.write(file, []byte(text)); err != nil {
		return err
	}
	out, err := m.Run(ctx, append(append([]string{"kubeadm"}, command...), "--config", "/"+file)...)
	log := filepath.Join(m.Dir, "kubeadm-"+command[0]+".log")
	return errors.Join(err, os.WriteFile(log, []byte(out), 0o644))
}

// caHash is a CA as kubeadm wants it named: by the hash of its public key.
func caHash(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return "", fmt.Errorf("no certificate in %s", file)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", fmt.Errorf("parse %s: %w", file, err)
	}
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

// Ready waits until all machines have booted, all joined nodes are whole, and one node has
// the VIP. It returns that node.
func (c *Cluster) Ready(ctx context.Context) (*Node, error) {
	if err := c.boots.Wait(); err != nil {
		return nil, err
	}
	holder, err := failover.Ready(ctx, c.Lab)
	if err != nil {
		return nil, err
	}
	return c.node(holder), nil
}

func (c *Cluster) node(of *lab.Node) *Node {
	for _, n := range c.Nodes {
		if n.Lab == of {
			return n
		}
	}
	return nil
}

// other is a node that is not that one.
func (c *Cluster) other(than *Node) *Node {
	for _, n := range c.Nodes {
		if n != than {
			return n
		}
	}
	return nil
}

// SaveLogs copies the logs of the lab's processes, and of all pods.
func (c *Cluster) SaveLogs(dir string) error { return SaveLogs(c.Lab, dir) }

// SaveLogs copies the logs of a lab's processes, and of all pods on its machines.
func SaveLogs(l *lab.Lab, dir string) error {
	if err := l.SaveLogs(dir); err != nil {
		return err
	}
	logs, err := filepath.Glob(filepath.Join(l.Dir, "*", "disk", "var", "log", "pods", "*", "*", "*.log"))
	if err != nil {
		return err
	}
	for _, from := range logs {
		// HOST/disk/var/log/pods/POD/CONTAINER/N.log
		rel, err := filepath.Rel(l.Dir, from)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		parts := strings.Split(rel, string(filepath.Separator))
		to := filepath.Join(dir, parts[0], strings.Join(parts[5:], "-"))
		if err := os.WriteFile(to, b, 0o644); err != nil {
			return err
		}
	}
	return nil
}
