package scale

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

const (
	// settleTimeout bounds the wait for rest, which takes seconds, and a minute with 100 nodes.
	settleTimeout = 3 * time.Minute
	// batch is how many machines start concurrently.
	batch      = 5
	settlePoll = time.Second
	// stopGrace is how long a vipd may take to end.
	stopGrace = 30 * time.Second
)

// Last bytes of addresses in the lab's subnet.
const (
	firstHost   = 120 // of the nodes beyond three
	firstServer = 220 // of their own API servers, if they have any
)

// A machine is a node with one vipd per VIP.
type machine struct {
	*lab.Host
	vipds []lab.Daemon
}

// cluster is a lab that is changed from one size to the next.
type cluster struct {
	lab      *lab.Lab
	hosts    []*lab.Host // all hosts so far, the control planes first
	servers  int         // the number of API servers in the cluster
	machines []*machine  // the running ones
	point    Point
	calm     time.Duration // see Options
}

func newCluster(l *lab.Lab, calm time.Duration) (*cluster, error) {
	c := &cluster{lab: l, servers: planes, calm: calm}
	for _, n := range l.Nodes {
		c.hosts = append(c.hosts, n.Host)
	}
	return c, l.CountFrames(c.vip(maxVIPs - 1))
}

// vip returns the i-th VIP.
func (c *cluster) vip(i int) netip.Addr { return address(c.lab.VIP.As4()[3] + byte(i)) }

func leaseName(i int) string {
	if i == 0 {
		return lab.LeaseName
	}
	return fmt.Sprintf("%s-%d", lab.LeaseName, i)
}

func address(lastByte byte) netip.Addr {
	ip := lab.Subnet.Addr().As4()
	ip[3] = lastByte
	return netip.AddrFrom4(ip)
}

// resize changes the cluster to the given size and waits until it is at rest.
func (c *cluster) resize(ctx context.Context, p Point) error {
	keep := min(p.Nodes, len(c.machines))
	if p.Servers != c.point.Servers {
		keep = min(keep, planes) // the others use other API servers from now on
	}
	if p.VIPs < c.point.VIPs {
		keep = 0
	}
	if err := c.stop(c.machines[keep:]); err != nil {
		return err
	}
	c.machines = c.machines[:keep]
	c.point = p
	for i := range p.Nodes {
		fresh := i >= len(c.machines)
		if err := c.start(ctx, i); err != nil {
			return err
		}
		if fresh && i%batch == batch-1 {
			if err := c.complete(ctx); err != nil {
				return err
			}
		}
	}
	return c.settle(ctx)
}

// start starts what is missing on the i-th machine.
func (c *cluster) start(ctx context.Context, i int) error {
	if i == len(c.hosts) {
		h, err := c.lab.AddHost(fmt.Sprintf("s%d", i+1), byte(firstHost+i-planes))
		if err != nil {
			return err
		}
		c.hosts = append(c.hosts, h)
	}
	server, err := c.server(ctx, i)
	if err != nil {
		return err
	}
	if i == len(c.machines) {
		c.machines = append(c.machines, &machine{Host: c.hosts[i]})
	}
	m := c.machines[i]
	for _, p := range m.vipds {
		if p.Running() {
			continue
		}
		if err := p.Start(); err != nil { // a takeover failed
			return err
		}
	}
	for v := len(m.vipds); v < c.point.VIPs; v++ {
		p, err := c.startVipd(i, v, server)
		if err != nil {
			return err
		}
		m.vipds = append(m.vipds, p)
	}
	return nil
}

func (c *cluster) startVipd(i, v int, server netip.Addr) (lab.Daemon, error) {
	if i < planes && v == 0 {
		n := c.lab.Nodes[i]
		return n.Vipd, n.StartVipd()
	}
	flags := []string{"--lease-name", leaseName(v)}
	if i >= planes {
		flags = append(flags, "--apiserver", netip.AddrPortFrom(server, lab.Port).String())
	}
	p := c.lab.NewVipd(c.hosts[i], "vipd-"+c.vip(v).String(), c.vip(v), flags...)
	return p, p.Start()
}

// server returns the API server that the i-th machine uses as its own: one of the three, by its own
// address or by an additional one that the cluster lists as the machine's.
func (c *cluster) server(ctx context.Context, i int) (netip.Addr, error) {
	of := c.lab.Nodes[i%planes]
	if i < planes || !c.point.own() {
		return of.IP, nil
	}
	further := address(byte(firstServer + i - planes))
	if i < c.servers {
		return further, nil
	}
	c.servers++
	if err := of.AddAddress(further); err != nil {
		return further, err
	}
	return further, c.lab.AddControlPlane(ctx, c.hosts[i].Name, further)
}

// stop ends the vipds of some machines concurrently.
func (c *cluster) stop(machines []*machine) error {
	var g errgroup.Group
	for _, m := range machines {
		for _, p := range m.vipds {
			if !p.Running() {
				continue
			}
			g.Go(func() error {
				_, err := lab.StopNow(p, stopGrace)
				return err
			})
		}
	}
	return g.Wait()
}

// settle waits until each VIP is where its Lease says, every vipd watches, and the series of
// announcements have ended.
func (c *cluster) settle(ctx context.Context) error {
	if err := c.complete(ctx); err != nil {
		return err
	}
	return wait.For(ctx, c.calm)
}

// complete does what settle does, without the wait for announcements. Failed requests are repeated.
func (c *cluster) complete(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	ticker := time.NewTicker(settlePoll)
	defer ticker.Stop()
	for {
		missing := c.missing(ctx)
		if missing == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("no rest within %s: %w", settleTimeout, missing)
		}
	}
}

// missing returns the first condition that does not hold yet.
func (c *cluster) missing(ctx context.Context) error {
	for i := range c.point.VIPs {
		h, err := c.holder(ctx, i)
		if err != nil {
			return err
		}
		if h == nil {
			return fmt.Errorf("nobody has %s", c.vip(i))
		}
	}
	now, err := scrape(ctx, c.lab)
	if err != nil {
		return err
	}
	if want := len(c.machines) * c.point.VIPs; int(now.watches) != want {
		return fmt.Errorf("%v Leases are watched, want %d", now.watches, want)
	}
	return nil
}

// holder returns the machine that has a VIP by its Lease and by its interface, nil if there is none
// now.
func (c *cluster) holder(ctx context.Context, i int) (*machine, error) {
	leases, err := c.lab.Nodes[0].Leases()
	if err != nil {
		return nil, err
	}
	lease, err := leases.Get(ctx, leaseName(i), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read lease: %w", err)
	}
	at := slices.IndexFunc(c.machines, func(m *machine) bool {
		return lease.Spec.HolderIdentity != nil && m.Name == *lease.Spec.HolderIdentity
	})
	if at < 0 {
		return nil, nil
	}
	if has, err := c.machines[at].Has(c.vip(i)); err != nil || !has {
		return nil, err
	}
	return c.machines[at], nil
}

// node returns the lab's node of the machine, nil if it has no control plane.
func (c *cluster) node(m *machine) *lab.Node {
	for _, n := range c.lab.Nodes {
		if n.Host == m.Host {
			return n
		}
	}
	return nil
}

// moveToControlPlane moves the first VIP to a machine with a control plane: a holder that releases
// it names one of them as the successor.
func (c *cluster) moveToControlPlane(ctx context.Context) error {
	for {
		h, err := c.holder(ctx, 0)
		if err != nil {
			return err
		}
		if h == nil {
			return errors.New("nobody has the VIP")
		}
		if c.node(h) != nil {
			return nil
		}
		if err := lab.Restart(h.vipds[0], stopGrace); err != nil {
			return err
		}
		if err := c.settle(ctx); err != nil {
			return err
		}
	}
}
