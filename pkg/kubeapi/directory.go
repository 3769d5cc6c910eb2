package kubeapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// Member is a node of the control plane with its API server.
type Member struct {
	// Server is the host:port of the API server.
	Server string
	// Node is the name of the node, or the server's host if the name is not known.
	Node string
	// Leaving is why the node is about to leave, "" if it stays.
	Leaving string
}

// Membership is the known membership of the control plane.
type Membership struct {
	// Leaving is why this node is about to leave, "" if it stays.
	Leaving string
	// Peers are the other members, sorted by name.
	Peers []Member
	// Others counts the other control-plane nodes that the cluster knows by name, including those
	// without a known address.
	Others int
	// Complete: both the API servers and the nodes were listed at least once, so the cluster knows
	// of no other member.
	Complete bool
	// Read: the API servers or the nodes were listed at least once. Otherwise, an empty Peers says
	// nothing.
	Read bool
	// Reason is why the membership is not known, in few words; "" before the first failure.
	Reason string
}

// DirectoryOptions configures a Directory.
type DirectoryOptions struct {
	// Node is the name of this node.
	Node string
	// Port is the port of the API servers on nodes that the EndpointSlice does not list.
	Port uint16
	// Peers are servers that are members in any case.
	Peers []string
	// Own tells addresses of this node and virtual addresses, which are no peers.
	Own func(netip.Addr) bool
	// Observe is called with each Membership that differs from the one before. Observe must not
	// block.
	Observe func(Event)
}

// Directory learns the members of the control plane: the API servers from the `kubernetes`
// EndpointSlice, which the API servers maintain, and the names and states of the nodes from the
// Node objects. A server that ended is removed from the slice; the Node object shows that its node
// is still a member. Either list may be missing or forbidden; the last known state is kept while no
// server can be asked.
type Directory struct {
	opts   DirectoryOptions
	client *Client

	mu     sync.Mutex
	slices []discoveryv1.EndpointSlice
	nodes  []corev1.Node
	// Whether each was listed: an empty list is an answer.
	listedSlices, listedNodes bool
	failed                    map[string]string // reason, by what could not be listed
	notified                  *Membership
}

// Directory returns a Directory that knows only the given peers before Run.
func (c *Client) Directory(opts DirectoryOptions) *Directory {
	return &Directory{opts: opts, client: c, failed: make(map[string]string)}
}

const (
	// relistDelay is the minimum time between two lists, so that a Node that changes all the time
	// costs one request a second at most.
	relistDelay = time.Second
	// watchTime is how long vipd relies on a watch before it lists again. The server is asked to end
	// the watch then, which leaves the connection for the next watch; vipd ends the watch watchGrace
	// later.
	watchTime, watchGrace = time.Minute, 2 * time.Second
	// After an outage of its etcd, an API server is ready again up to 15 s before its watches are. So
	// for staleTime after a server became ready, vipd relies on a watch for staleWatchTime only.
	staleTime, staleWatchTime = 30 * time.Second, 5 * time.Second
	// deniedDelay is the longest pause after a lasting refusal, which a person has to correct; the
	// first pause is relistDelay, and each pause is twice as long as the one before.
	deniedDelay = 30 * time.Second
	// listTimeout bounds a list.
	listTimeout = 5 * time.Second
	// controlPlane is the label that kubeadm sets on control-plane nodes.
	controlPlane = "node-role.kubernetes.io/control-plane"
)

// Run learns until ctx ends.
func (d *Directory) Run(ctx context.Context) error {
	d.notify()
	var both sync.WaitGroup
	both.Go(func() { d.follow(ctx, endpointSlices, d.listSlices, watchSlices) })
	both.Go(func() { d.follow(ctx, nodes, d.listNodes, watchNodes) })
	both.Wait()
	return nil
}

// Resources that are listed.
const endpointSlices, nodes = "EndpointSlices", "Nodes"

type lister func(context.Context, *clients) (version string, err error)
type watcher func(ctx context.Context, s *clients, from metav1.ListOptions) (watch.Interface, error)

// follow lists, and lists again whenever a watch reports a change, or has reported nothing for a
// while, or a server becomes ready. After a lasting refusal, follow asks less and less often, until an API server becomes
// ready again: that server may permit more.
func (d *Directory) follow(ctx context.Context, what string, list lister, open watcher) {
	var pause time.Duration // after a refusal; 0 for none
	for ctx.Err() == nil {
		began, ready := boottime.Now(), d.client.becomesReady()
		err := d.once(ctx, what, list, open)
		if !errors.Is(err, errDenied) {
			pause = 0
		} else {
			if pause == 0 {
				d.client.opts.Log.Warn("list and watch refused", zap.String("resource", what), zap.Error(err),
					zap.String("consequence", "hand-overs do not consider these objects"), zap.String("remedy", remedyRBAC))
			}
			pause = min(max(2*pause, relistDelay), deniedDelay)
		}
		wait(ctx, relistDelay-boottime.Now().Sub(began), nil)
		wait(ctx, pause-relistDelay, ready)
	}
}

// wait returns after d, or earlier when ctx ends or early is closed.
func wait(ctx context.Context, d time.Duration, early <-chan struct{}) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-early:
	case <-ctx.Done():
	}
}

// once lists, and returns when the list has changed or the watch ended.
func (d *Directory) once(ctx context.Context, what string, list lister, open watcher) error {
	version, err := d.listed(ctx, list)
	d.recordList(what, err)
	if err != nil {
		return err
	}
	return d.client.stream(ctx, func(ctx context.Context, s *clients) error {
		lasts, ready := d.client.watchTime(boottime.Now()), d.client.becomesReady()
		w, err := open(ctx, s, bounded(version, lasts))
		if err != nil {
			return d.client.optional(s.server, err)
		}
		defer w.Stop()
		again := time.NewTimer(lasts + watchGrace)
		defer again.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-again.C:
				return nil
			case <-ready:
				return nil
			case e, ok := <-w.ResultChan():
				if !ok || e.Type != watch.Bookmark {
					return nil
				}
			}
		}
	})
}

func (d *Directory) listed(ctx context.Context, list lister) (version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	var mu sync.Mutex // several servers may be asked concurrently
	d.client.reconsider()
	err = d.client.do(ctx, func(ctx context.Context, s *clients) error {
		v, err := list(ctx, s)
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			version = v
		}
		return d.client.optional(s.server, err)
	})
	return version, err
}

// recordList records the result of a list.
func (d *Directory) recordList(what string, err error) {
	d.mu.Lock()
	if err != nil {
		d.failed[what] = kind(err)
	}
	d.mu.Unlock()
	d.notify()
}

// reason returns Membership.Reason. The caller holds the lock.
func (d *Directory) reason() string {
	if d.listedSlices || d.listedNodes || len(d.failed) < 2 {
		return ""
	}
	return fmt.Sprintf("EndpointSlices: %s, Nodes: %s", d.failed[endpointSlices], d.failed[nodes])
}

// kubernetesSlices selects the EndpointSlices that the API servers maintain.
func kubernetesSlices(o metav1.ListOptions) metav1.ListOptions {
	o.LabelSelector = discoveryv1.LabelServiceName + "=kubernetes"
	return o
}

func (d *Directory) listSlices(ctx context.Context, s *clients) (string, error) {
	list, err := s.discovery.EndpointSlices(metav1.NamespaceDefault).List(ctx, kubernetesSlices(metav1.ListOptions{}))
	if err != nil {
		return "", err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.listedSlices = true
	if len(list.Items) > 0 || d.slices == nil {
		d.slices = list.Items
	}
	return list.ResourceVersion, nil
}

func watchSlices(ctx context.Context, s *clients, from metav1.ListOptions) (watch.Interface, error) {
	return s.discovery.EndpointSlices(metav1.NamespaceDefault).Watch(ctx, kubernetesSlices(from))
}

// bounded returns the options of a watch that begins after the version, and lasts no longer than d.
func bounded(version string, d time.Duration) metav1.ListOptions {
	seconds := int64(d / time.Second)
	return metav1.ListOptions{ResourceVersion: version, TimeoutSeconds: &seconds}
}

// controlPlaneNodes selects the Nodes of the control plane.
func controlPlaneNodes(o metav1.ListOptions) metav1.ListOptions {
	o.LabelSelector = controlPlane
	return o
}

func (d *Directory) listNodes(ctx context.Context, s *clients) (string, error) {
	list, err := s.core.Nodes().List(ctx, controlPlaneNodes(metav1.ListOptions{}))
	if err != nil {
		return "", err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.nodes, d.listedNodes = list.Items, true
	return list.ResourceVersion, nil
}

func watchNodes(ctx context.Context, s *clients, from metav1.ListOptions) (watch.Interface, error) {
	return s.core.Nodes().Watch(ctx, controlPlaneNodes(from))
}

func (r Membership) equal(s Membership) bool {
	return r.Leaving == s.Leaving && r.Others == s.Others && r.Complete == s.Complete && r.Read == s.Read && r.Reason == s.Reason && slices.Equal(r.Peers, s.Peers)
}

// notify calls Observe if the membership changed.
func (d *Directory) notify() {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := membership(d.opts, d.slices, d.nodes)
	r.Complete = d.listedSlices && d.listedNodes
	r.Read, r.Reason = d.listedSlices || d.listedNodes, d.reason()
	if d.notified != nil && d.notified.equal(r) {
		return
	}
	d.notified = &r
	d.opts.Observe(r)
}

const (
	// maxPeers bounds the peers, each of which is probed. The largest control planes in the field
	// have about 10 nodes; further nodes are ignored.
	maxPeers = 64
	// maxName is the longest name of a node (RFC 1123).
	maxName = 253
)

// membership derives the membership from the lists, without I/O.
func membership(opts DirectoryOptions, endpoints []discoveryv1.EndpointSlice, nodes []corev1.Node) Membership {
	var out Membership
	byAddress := make(map[string]*corev1.Node)
	for i := range nodes {
		n := &nodes[i]
		if n.Name == opts.Node {
			out.Leaving = leaving(n)
			continue
		}
		out.Others++
		if len(n.Name) > maxName {
			continue
		}
		for _, a := range n.Status.Addresses {
			byAddress[a.Address] = n
		}
	}
	seen := make(map[string]bool) // servers and nodes
	add := func(server string) {
		host, _, err := net.SplitHostPort(server)
		addr, perr := netip.ParseAddr(host)
		if err != nil || len(host) > maxName || len(out.Peers) == maxPeers || seen[server] || perr == nil && opts.Own(addr.Unmap()) {
			return
		}
		m := Member{Server: server, Node: host}
		if n := byAddress[host]; n != nil {
			m.Node, m.Leaving = n.Name, leaving(n)
		}
		seen[server], seen["node "+m.Node] = true, true
		out.Peers = append(out.Peers, m)
	}
	for _, server := range append(slices.Clone(opts.Peers), servers(endpoints)...) {
		add(server)
	}
	for _, n := range nodes {
		if len(n.Name) > maxName {
			continue
		}
		if ip := internalIP(n); n.Name != opts.Node && !seen["node "+n.Name] && ip != "" {
			add(net.JoinHostPort(ip, strconv.Itoa(int(opts.Port))))
		}
	}
	slices.SortFunc(out.Peers, func(a, b Member) int {
		return cmp.Or(strings.Compare(a.Node, b.Node), strings.Compare(a.Server, b.Server))
	})
	return out
}

// internalIP returns the first address by which other nodes reach a node.
func internalIP(n corev1.Node) string {
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			return a.Address
		}
	}
	return ""
}

// servers returns the addresses in the slices that a client on a node can use.
func servers(endpoints []discoveryv1.EndpointSlice) []string {
	var out []string
	for _, s := range endpoints {
		for _, p := range s.Ports {
			if p.Port == nil || p.Name != nil && *p.Name != "https" {
				continue
			}
			for _, e := range s.Endpoints {
				for _, a := range e.Addresses {
					out = append(out, net.JoinHostPort(a, strconv.Itoa(int(*p.Port))))
				}
			}
		}
	}
	return out
}

// departures are the taints of a node that is gone or about to go.
var departures = map[string]string{
	"node.kubernetes.io/out-of-service":         "is out of service",
	"node.cloudprovider.kubernetes.io/shutdown": "is shut down",
	"ToBeDeletedByClusterAutoscaler":            "is to be deleted",
}

// leaving returns why an address should not move to the node, "" if it may.
func leaving(n *corev1.Node) string {
	switch {
	case n.DeletionTimestamp != nil:
		return fmt.Sprintf("node %s is being deleted", n.Name)
	case n.Spec.Unschedulable:
		return fmt.Sprintf("node %s is cordoned", n.Name)
	}
	for _, t := range n.Spec.Taints {
		if why := departures[t.Key]; why != "" {
			return fmt.Sprintf("node %s %s", n.Name, why)
		}
	}
	for _, c := range n.Status.Conditions {
		// kubelet's graceful node shutdown (KEP-2000) sets this message before it ends the static
		// pods.
		if c.Type == corev1.NodeReady && c.Status == corev1.ConditionFalse && strings.Contains(c.Message, "shutting down") {
			return fmt.Sprintf("node %s is shutting down", n.Name)
		}
	}
	return ""
}
