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
	// Server is host:port of the API server.
	Server string
	// Node is the node's name; the server's host if that is not known.
	Node string
	// Leaving says why the node is on its way out, "" if it is not.
	Leaving string
}

// Roll is who belongs to the control plane, as far as is known.
type Roll struct {
	// Leaving is that of this node.
	Leaving string
	// Peers are the others, by name.
	Peers []Member
}

// DirectoryOptions configure a Directory.
type DirectoryOptions struct {
	// Node is this node's name.
	Node string
	// Port is that of the API servers on nodes that the EndpointSlice does not
	// name.
	Port uint16
	// Peers are servers that are members whatever the cluster says.
	Peers []string
	// Own tells addresses of this node and virtual ones, which are no peers.
	Own func(netip.Addr) bool
	// Notify is told of each change. It must not block.
	Notify func(Roll)
}

// Directory learns who belongs to the control plane: the API servers from the
// `kubernetes` EndpointSlice, which they keep themselves, and the nodes' names
// and state from the Node objects. A server that ended is taken out of the slice;
// its node is still a member, which the Node object tells. Either may be missing
// or not permitted; what was learnt is kept while nothing can be asked.
type Directory struct {
	opts   DirectoryOptions
	client *Client

	mu     sync.Mutex
	slices []discoveryv1.EndpointSlice
	nodes  []corev1.Node
	told   *Roll
}

// Directory returns one that knows the given peers only, until Run.
func (c *Client) Directory(opts DirectoryOptions) *Directory {
	return &Directory{opts: opts, client: c}
}

const (
	// relistDelay is the least time between two lists, so that a Node that
	// changes all the time costs a request a second and no more.
	relistDelay = time.Second
	// relistEvery is how long a watch is relied on: an API server whose etcd was
	// away is ready again before its watches are, by some 15 s.
	// The server is asked to end the watch by then, which leaves the connection for
	// the next one; one that does not is left relistGrace later.
	relistEvery, relistGrace = 5 * time.Second, 2 * time.Second
	// deniedDelay is the pause after a refusal, which takes a person to mend.
	deniedDelay = 30 * time.Second
	// listTimeout bounds a list.
	listTimeout = 5 * time.Second
	// controlPlane is the label that kubeadm puts on control-plane nodes.
	controlPlane = "node-role.kubernetes.io/control-plane"
)

// Run learns until ctx ends.
func (d *Directory) Run(ctx context.Context) error {
	d.tell()
	var both sync.WaitGroup
	both.Go(func() { d.follow(ctx, "EndpointSlices", d.listSlices, watchSlices) })
	both.Go(func() { d.follow(ctx, "Nodes", d.listNodes, watchNodes) })
	both.Wait()
	return nil
}

type lister func(context.Context, *clients) (version string, err error)
type watcher func(ctx context.Context, s *clients, version string) (watch.Interface, error)

// follow lists, and lists again whenever a watch tells that something changed, or
// has told nothing for a while.
func (d *Directory) follow(ctx context.Context, what string, list lister, open watcher) {
	denied := false
	for ctx.Err() == nil {
		delay, began := relistDelay, boottime.Now()
		err := d.once(ctx, list, open)
		if errors.Is(err, errDenied) {
			delay = deniedDelay
			if !denied {
				d.client.opts.Log.Warn("may not list and watch "+what+": hand-overs go on without what they say", zap.Error(err))
			}
		}
		denied = errors.Is(err, errDenied)
		select {
		case <-time.After(delay - boottime.Now().Sub(began)):
		case <-ctx.Done():
		}
	}
}

// once lists, and returns when that has changed or the watch ended.
func (d *Directory) once(ctx context.Context, list lister, open watcher) error {
	version, err := d.listed(ctx, list)
	if err != nil {
		return err
	}
	d.tell()
	return d.client.stream(ctx, func(ctx context.Context, s *clients) error {
		w, err := open(ctx, s, version)
		if err != nil {
			return optional(err)
		}
		defer w.Stop()
		again := time.NewTimer(relistEvery + relistGrace)
		defer again.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-again.C:
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
	var mu sync.Mutex // several servers may be asked at once
	err = d.client.do(ctx, func(ctx context.Context, s *clients) error {
		v, err := list(ctx, s)
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			version = v
		}
		return optional(err)
	})
	return version, err
}

func kubernetesSlices(version string) metav1.ListOptions {
	return metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=kubernetes", ResourceVersion: version}
}

func (d *Directory) listSlices(ctx context.Context, s *clients) (string, error) {
	list, err := s.discovery.EndpointSlices(metav1.NamespaceDefault).List(ctx, kubernetesSlices(""))
	if err != nil {
		return "", err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(list.Items) > 0 || d.slices == nil {
		d.slices = list.Items
	}
	return list.ResourceVersion, nil
}

func watchSlices(ctx context.Context, s *clients, version string) (watch.Interface, error) {
	return s.discovery.EndpointSlices(metav1.NamespaceDefault).Watch(ctx, bounded(kubernetesSlices(version)))
}

// bounded has a watch end by itself.
func bounded(o metav1.ListOptions) metav1.ListOptions {
	seconds := int64(relistEvery / time.Second)
	o.TimeoutSeconds = &seconds
	return o
}

func controlPlaneNodes(version string) metav1.ListOptions {
	return metav1.ListOptions{LabelSelector: controlPlane, ResourceVersion: version}
}

func (d *Directory) listNodes(ctx context.Context, s *clients) (string, error) {
	list, err := s.core.Nodes().List(ctx, controlPlaneNodes(""))
	if err != nil {
		return "", err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.nodes = list.Items
	return list.ResourceVersion, nil
}

func watchNodes(ctx context.Context, s *clients, version string) (watch.Interface, error) {
	return s.core.Nodes().Watch(ctx, bounded(controlPlaneNodes(version)))
}

// tell notifies if what is known is something else now.
func (d *Directory) tell() {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := roll(d.opts, d.slices, d.nodes)
	if d.told != nil && d.told.Leaving == r.Leaving && slices.Equal(d.told.Peers, r.Peers) {
		return
	}
	d.told = &r
	d.opts.Notify(r)
}

// roll puts together what is known. It is pure.
func roll(opts DirectoryOptions, endpoints []discoveryv1.EndpointSlice, nodes []corev1.Node) Roll {
	var out Roll
	byAddress := make(map[string]*corev1.Node)
	for i := range nodes {
		n := &nodes[i]
		if n.Name == opts.Node {
			out.Leaving = leaving(n)
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
		if err != nil || seen[server] || perr == nil && opts.Own(addr.Unmap()) {
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
		if ip := internalIP(n); n.Name != opts.Node && !seen["node "+n.Name] && ip != "" {
			add(net.JoinHostPort(ip, strconv.Itoa(int(opts.Port))))
		}
	}
	slices.SortFunc(out.Peers, func(a, b Member) int {
		return cmp.Or(strings.Compare(a.Node, b.Node), strings.Compare(a.Server, b.Server))
	})
	return out
}

// internalIP is the first address by which other nodes reach a node.
func internalIP(n corev1.Node) string {
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			return a.Address
		}
	}
	return ""
}

// servers lists the addresses in the slices that a client on a node can use.
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

// departures are the taints of a node that is about to go or gone.
var departures = map[string]string{
	"node.kubernetes.io/out-of-service":         "is out of service",
	"node.cloudprovider.kubernetes.io/shutdown": "is shut down",
	"ToBeDeletedByClusterAutoscaler":            "is to be deleted",
}

// leaving says why a node is not one to move an address to, "" if it is.
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
		// kubelet's graceful node shutdown (KEP-2000) says so here, before it
		// ends the static pods.
		if c.Type == corev1.NodeReady && c.Status == corev1.ConditionFalse && strings.Contains(c.Message, "shutting down") {
			return fmt.Sprintf("node %s is shutting down", n.Name)
		}
	}
	return ""
}
