package kubeapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/vipd-io/vipd/internal/bubble"
	"github.com/vipd-io/vipd/pkg/boottime"
)

// The lab tests the EndpointSlices and Nodes of a real API server; these tests check what follows
// from them.

func slice(port int32, addresses ...string) discoveryv1.EndpointSlice {
	s := discoveryv1.EndpointSlice{Ports: []discoveryv1.EndpointPort{{Name: new("https"), Port: &port}, {Name: new("other"), Port: new(int32(1))}, {}}}
	for _, a := range addresses {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}})
	}
	return s
}

func node(name, address string, change func(*corev1.Node)) corev1.Node {
	n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}, {Type: corev1.NodeHostName, Address: name}}}}
	if change != nil {
		change(&n)
	}
	return n
}

func TestRoll(t *testing.T) {
	cordon := func(n *corev1.Node) { n.Spec.Unschedulable = true }
	all := []discoveryv1.EndpointSlice{slice(6443, "192.168.35.13", "192.168.35.11", "192.168.35.12", "192.168.35.100")}
	nodes := []corev1.Node{node("n1", "192.168.35.11", nil), node("n2", "192.168.35.12", cordon), node("n3", "192.168.35.13", nil)}
	tests := []struct {
		name      string
		peers     []string
		endpoints []discoveryv1.EndpointSlice
		nodes     []corev1.Node
		want      Membership
	}{
		{name: "nothing known"},
		{name: "all", endpoints: all, nodes: nodes, want: Membership{Peers: []Member{
			{Server: "192.168.35.12:6443", Node: "n2", Leaving: "node n2 is cordoned"}, {Server: "192.168.35.13:6443", Node: "n3"}}, Others: 2}},
		{name: "one has ended", endpoints: []discoveryv1.EndpointSlice{slice(8443, "192.168.35.13")}, nodes: nodes, want: Membership{Peers: []Member{
			{Server: "192.168.35.12:6443", Node: "n2", Leaving: "node n2 is cordoned"}, {Server: "192.168.35.13:8443", Node: "n3"}}, Others: 2}},
		{name: "no slices", nodes: nodes, want: Membership{Peers: []Member{
			{Server: "192.168.35.12:6443", Node: "n2", Leaving: "node n2 is cordoned"}, {Server: "192.168.35.13:6443", Node: "n3"}}, Others: 2}},
		{name: "no Nodes", endpoints: all, want: Membership{Peers: []Member{
			{Server: "192.168.35.12:6443", Node: "192.168.35.12"}, {Server: "192.168.35.13:6443", Node: "192.168.35.13"}}}},
		{name: "given ones", peers: []string{"192.168.35.12:6443", "apiserver.example.com:443"}, endpoints: all[:0], nodes: nodes, want: Membership{Peers: []Member{
			{Server: "apiserver.example.com:443", Node: "apiserver.example.com"}, {Server: "192.168.35.12:6443", Node: "n2", Leaving: "node n2 is cordoned"},
			{Server: "192.168.35.13:6443", Node: "n3"}}, Others: 2}},
		{name: "given and learnt", peers: []string{"192.168.35.13:6443"}, endpoints: all, want: Membership{Peers: []Member{
			{Server: "192.168.35.12:6443", Node: "192.168.35.12"}, {Server: "192.168.35.13:6443", Node: "192.168.35.13"}}}},
		{name: "this node leaves", nodes: []corev1.Node{node("n1", "192.168.35.11", cordon)}, want: Membership{Leaving: "node n1 is cordoned"}},
		{name: "nonsense", endpoints: []discoveryv1.EndpointSlice{slice(6443, "", "x"), {}}, want: Membership{Peers: []Member{{Server: ":6443"}, {Server: "x:6443", Node: "x"}}}},
	}
	for _, tt := range tests {
		opts := DirectoryOptions{Node: "n1", Port: 6443, Peers: tt.peers, Own: func(a netip.Addr) bool {
			return a == netip.MustParseAddr("192.168.35.11") || a == netip.MustParseAddr("192.168.35.100")
		}}
		if d := cmp.Diff(tt.want, membership(opts, tt.endpoints, tt.nodes)); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
}

func TestLeaving(t *testing.T) {
	taint := func(key string) func(*corev1.Node) {
		return func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: key, Effect: corev1.TaintEffectNoExecute}} }
	}
	condition := func(status corev1.ConditionStatus, message string) func(*corev1.Node) {
		return func(n *corev1.Node) {
			n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status, Reason: "KubeletNotReady", Message: message}}
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*corev1.Node)
		want   string
	}{
		{"well", nil, ""},
		{"control-plane taint", taint("node-role.kubernetes.io/control-plane"), ""},
		{"cordoned", func(n *corev1.Node) { n.Spec.Unschedulable = true }, "node n is cordoned"},
		{"deleted", func(n *corev1.Node) { n.DeletionTimestamp = &metav1.Time{} }, "node n is being deleted"},
		{"out of service", taint("node.kubernetes.io/out-of-service"), "node n is out of service"},
		{"shut down", taint("node.cloudprovider.kubernetes.io/shutdown"), "node n is shut down"},
		{"shutting down", condition(corev1.ConditionFalse, "node is shutting down"), "node n is shutting down"},
		{"not ready for another reason", condition(corev1.ConditionFalse, "PLEG is not healthy"), ""},
		{"kubelet is silent", condition(corev1.ConditionUnknown, "Kubelet stopped posting node status."), ""},
	} {
		n := node("n", "192.168.35.11", tt.change)
		if got := leaving(&n); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// book answers lists and watches like an API server. A watch ends when there is a new version; a
// Directory cannot tell the difference.
type book struct {
	mu      sync.Mutex
	slices  []discoveryv1.EndpointSlice
	nodes   []corev1.Node
	version int
	changed chan struct{}
}

func (b *book) set(s []discoveryv1.EndpointSlice, n []corev1.Node) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.slices, b.nodes, b.version = s, n, b.version+1
	if b.changed != nil {
		close(b.changed)
	}
	b.changed = make(chan struct{})
}

func (b *book) serve(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	endpoints, nodes, version, changed := b.slices, b.nodes, strconv.Itoa(b.version), b.changed
	b.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if q := r.URL.Query(); q.Get("watch") != "" {
		w.(http.Flusher).Flush()
		if q.Get("resourceVersion") != version {
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
		}
		return
	}
	if strings.HasSuffix(r.URL.Path, "/nodes") {
		_ = json.NewEncoder(w).Encode(corev1.NodeList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "NodeList"}, ListMeta: metav1.ListMeta{ResourceVersion: version}, Items: nodes})
		return
	}
	_ = json.NewEncoder(w).Encode(discoveryv1.EndpointSliceList{TypeMeta: metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSliceList"}, ListMeta: metav1.ListMeta{ResourceVersion: version}, Items: endpoints})
}

func TestDirectoryFollows(t *testing.T) {
	s := newServer(t)
	c, logs := newClient(s.addr(), s.write(t, filepath.Join(t.TempDir(), "admin.conf"), "me", nil))
	changes := make(chan Membership, 10)
	d := c.Directory(DirectoryOptions{Node: "n1", Port: 6443, Own: func(netip.Addr) bool { return false }, Observe: func(e Event) { changes <- e.(Membership) }})
	denied := refusal(http.StatusForbidden, metav1.StatusReasonForbidden)
	var b book
	s.set(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/nodes") {
			denied(w, r)
			return
		}
		b.serve(w, r)
	})
	b.set([]discoveryv1.EndpointSlice{slice(6443, "192.168.35.12")}, nil)
	c.SetReady(map[string]boottime.Instant{s.addr(): long()})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	// There is one result for each change, and none in between.
	diff(t, "before anything was read", Membership{}, <-changes)
	n2 := Member{Server: "192.168.35.12:6443", Node: "192.168.35.12"}
	diff(t, "at first", Membership{Peers: []Member{n2}, Read: true}, <-changes)
	b.set([]discoveryv1.EndpointSlice{slice(6443, "192.168.35.12", "192.168.35.13")}, nil)
	both := Membership{Peers: []Member{n2, {Server: "192.168.35.13:6443", Node: "192.168.35.13"}}, Read: true}
	diff(t, "one more", both, <-changes)
	// If nothing can be read, the known members stay.
	s.set(hangUp)
	s.CloseClientConnections()
	time.Sleep(100 * time.Millisecond)
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}
	if len(changes) > 0 {
		t.Errorf("forgot what was known: %+v", <-changes)
	}
	if n := logs.FilterMessage(refusedList).FilterField(zap.String("resource", nodes)).Len(); n == 0 {
		t.Errorf("log = %v, want the refused list of Nodes", messages(logs))
	}
}

// long is a time since when the refusals of a ready server count.
func long() boottime.Instant { return boottime.Now().Add(-2 * settleTime) }

// TestServerThatStarts: an API server refuses every request until it has read the RBAC rules. The
// Directory asks again within a second, and reports that the cluster was not read.
func TestServerThatStarts(t *testing.T) {
	s := newServer(t)
	c, logs := newClient(s.addr(), s.write(t, filepath.Join(t.TempDir(), "admin.conf"), "me", nil))
	var b book
	b.set([]discoveryv1.EndpointSlice{slice(6443, "192.168.35.12")}, nil)
	changes := make(chan Membership, 10)
	s.set(refusal(http.StatusForbidden, metav1.StatusReasonForbidden))
	d := c.Directory(DirectoryOptions{Node: "n1", Port: 6443, Own: func(netip.Addr) bool { return false }, Observe: func(e Event) { changes <- e.(Membership) }})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	defer cancel()
	diff(t, "before anything was read", Membership{}, <-changes)
	diff(t, "while it starts", Membership{Reason: "EndpointSlices: Forbidden, Nodes: Forbidden"}, <-changes)
	s.set(b.serve)
	soon := time.After(deniedDelay / 2)
	var known Membership
	for !known.Complete {
		select {
		case known = <-changes: // the result of Nodes, of which there are none, and of EndpointSlices
		case <-soon:
			t.Fatal("not asked again soon")
		}
	}
	diff(t, "once it permits", Membership{Peers: []Member{{Server: "192.168.35.12:6443", Node: "192.168.35.12"}}, Complete: true, Read: true}, known)
	cancel()
	must(t, <-done)
	diff(t, "log", []string{answers}, messages(logs))
}

// TestOneOfSeveralServersStarts: another server may answer what this one refuses.
func TestOneOfSeveralServersStarts(t *testing.T) {
	c, s := cluster(t, 0)
	var b book
	b.set(nil, []corev1.Node{node("n2", "192.168.35.12", nil)})
	s[0].set(refusal(http.StatusForbidden, metav1.StatusReasonForbidden))
	s[1].set(b.serve)
	d := c.Directory(DirectoryOptions{Node: "n1", Port: 6443, Own: func(netip.Addr) bool { return false }, Observe: func(Event) {}})
	_, err := d.listed(t.Context(), d.listNodes)
	must(t, err)
	diff(t, "asked", [3]int{1, 1, 0}, counts(s))
	// The refusal of a server that has been ready for long is final.
	c.SetReady(map[string]boottime.Instant{s[0].addr(): long()})
	if _, err := d.listed(t.Context(), d.listNodes); !apierrors.IsForbidden(err) {
		t.Errorf("error = %v, want the refusal", err)
	}
	diff(t, "asked", [3]int{1, 0, 0}, counts(s))
}

// TestRefusalBacksOff: after a lasting refusal, the Directory lists less and less often, and at
// once when a server becomes ready.
func TestRefusalBacksOff(t *testing.T) {
	s := newServer(t)
	path := s.write(t, filepath.Join(t.TempDir(), "admin.conf"), "me", nil)
	bubble.Test(t, func(t *testing.T) {
		c, logs := newClient(s.addr(), path)
		c.SetReady(map[string]boottime.Instant{s.addr(): long()})
		asked := make(chan time.Time)
		list := func(context.Context, *clients) (string, error) {
			asked <- time.Now()
			return "", apierrors.NewForbidden(schema.GroupResource{Resource: "nodes"}, "", nil)
		}
		watching := func(context.Context, *clients, metav1.ListOptions) (watch.Interface, error) {
			panic("nothing was listed")
		}
		d := c.Directory(DirectoryOptions{Observe: func(Event) {}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); d.follow(ctx, nodes, list, watching) }()
		last := <-asked
		pause := func() time.Duration {
			now := <-asked
			defer func() { last = now }()
			return now.Sub(last).Round(time.Second) // the Directory subtracts the duration of a list
		}
		for i, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
			diff(t, "pause "+strconv.Itoa(i), want*time.Second, pause())
		}
		time.Sleep(5 * time.Second)
		c.SetReady(map[string]boottime.Instant{s.addr(): boottime.Now()})
		for i, want := range []time.Duration{5, 1, 1, 1} {
			diff(t, "pause after the recovery "+strconv.Itoa(i), want*time.Second, pause())
		}
		cancel()
		<-done
		diff(t, "refused lists of Nodes", 1, logs.FilterField(zap.String("resource", nodes)).Len())
		diff(t, "log", []string{answers, refusedList}, messages(logs))
	})
}

// TestQuietDirectoryListsRarely: the Directory lists once a minute while nothing happens. It lists
// at once after a server became ready, and then more often, because the server's watches may be behind.
func TestQuietDirectoryListsRarely(t *testing.T) {
	s := newServer(t)
	path := s.write(t, filepath.Join(t.TempDir(), "admin.conf"), "me", nil)
	bubble.Test(t, func(t *testing.T) {
		c, _ := newClient(s.addr(), path)
		c.SetReady(map[string]boottime.Instant{s.addr(): long()})
		list := func(context.Context, *clients) (string, error) { return "1", nil }
		lists := make(chan time.Time)
		watching := func(_ context.Context, _ *clients, from metav1.ListOptions) (watch.Interface, error) {
			w := watch.NewFake()
			time.AfterFunc(time.Duration(*from.TimeoutSeconds)*time.Second, w.Stop) // as a server does
			lists <- time.Now()                                                     // each watch follows a list
			return w, nil
		}
		d := c.Directory(DirectoryOptions{Observe: func(Event) {}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); d.follow(ctx, nodes, list, watching) }()
		last := <-lists
		pause := func() time.Duration {
			now := <-lists
			defer func() { last = now }()
			return now.Sub(last).Round(2 * time.Second) // relistDelay depends on the real duration of a list
		}
		for range 5 {
			diff(t, "pause in a quiet cluster", watchTime, pause())
		}
		time.Sleep(10 * time.Second)
		c.SetReady(map[string]boottime.Instant{s.addr(): boottime.Now()})
		diff(t, "pause when a server became ready", 10*time.Second, pause())
		for range 3 {
			diff(t, "pause after that", 6*time.Second, pause())
		}
		cancel()
		<-done
	})
}

// TestWatchTime: a watch is relied on for long once each server has been ready for a while.
func TestWatchTime(t *testing.T) {
	c, _ := newClient("192.168.35.11:6443", "")
	now := boottime.Now()
	diff(t, "no server is ready", watchTime, c.watchTime(now))
	c.SetReady(map[string]boottime.Instant{"192.168.35.11:6443": long(), "192.168.35.12:6443": now})
	diff(t, "one became ready", staleWatchTime, c.watchTime(now.Add(staleTime-1)))
	diff(t, "later", watchTime, c.watchTime(now.Add(staleTime)))
}

// TestNodeWithoutAnAddressIsACandidate: "any node of the control plane counts as a candidate"
// (adr/0012). A node that has just joined has no address before its kubelet, or the controller of
// an external cloud provider, has set it; and the kubelet of the node with the VIP may report the
// VIP as its InternalIP.
func TestNodeWithoutAnAddressIsACandidate(t *testing.T) {
	vip := netip.MustParseAddr("192.168.35.100")
	for name, other := range map[string]corev1.Node{
		"no address yet":  node("n2", "", func(n *corev1.Node) { n.Status.Addresses = nil }),
		"external only":   node("n2", "203.0.113.5", func(n *corev1.Node) { n.Status.Addresses[0].Type = corev1.NodeExternalIP }),
		"the VIP is told": node("n2", vip.String(), nil),
	} {
		r := membership(DirectoryOptions{Node: "n1", Port: 6443, Own: func(a netip.Addr) bool { return a == vip }}, nil,
			[]corev1.Node{node("n1", "192.168.35.11", nil), other})
		if r.Others != 1 {
			t.Errorf("%s: n1 takes itself for the only candidate, and makes its lease 40 s long", name)
		}
	}
}
