package kubeapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What follows a real API server's EndpointSlices and Nodes is tested in the lab;
// here it is what comes of them.

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
		want      Roll
	}{
		{name: "nothing known"},
		{name: "all", endpoints: all, nodes: nodes, want: Roll{Peers: []Member{
			{Server: "192.168.35.12:6443", Node: "n2", Leaving: "node n2 is cordoned"}, {Server: "192.168.35.13:6443", Node: "n3"}}}},
		{name: "one has ended", endpoints: []discoveryv1.EndpointSlice{slice(8443, "192.168.35.13")}, nodes: nodes, want: Roll{Peers: []Member{
			{Server: "192.168.35.12:6443", Node: "n2", Leaving: "node n2 is cordoned"}, {Server: "192.168.35.13:8443", Node: "n3"}}}},
		{name: "no slices", nodes: nodes, want: Roll{Peers: []Member{
			{Server: "192.168.35.12:6443", Node: "n2", Leaving: "node n2 is cordoned"}, {Server: "192.168.35.13:6443", Node: "n3"}}}},
		{name: "no Nodes", endpoints: all, want: Roll{Peers: []Member{
			{Server: "192.168.35.12:6443", Node: "192.168.35.12"}, {Server: "192.168.35.13:6443", Node: "192.168.35.13"}}}},
		{name: "given ones", peers: []string{"192.168.35.12:6443", "apiserver.example.com:443"}, endpoints: all[:0], nodes: nodes, want: Roll{Peers: []Member{
			{Server: "apiserver.example.com:443", Node: "apiserver.example.com"}, {Server: "192.168.35.12:6443", Node: "n2", Leaving: "node n2 is cordoned"},
			{Server: "192.168.35.13:6443", Node: "n3"}}}},
		{name: "given and learnt", peers: []string{"192.168.35.13:6443"}, endpoints: all, want: Roll{Peers: []Member{
			{Server: "192.168.35.12:6443", Node: "192.168.35.12"}, {Server: "192.168.35.13:6443", Node: "192.168.35.13"}}}},
		{name: "this node leaves", nodes: []corev1.Node{node("n1", "192.168.35.11", cordon)}, want: Roll{Leaving: "node n1 is cordoned"}},
		{name: "nonsense", endpoints: []discoveryv1.EndpointSlice{slice(6443, "", "x"), {}}, want: Roll{Peers: []Member{{Server: ":6443"}, {Server: "x:6443", Node: "x"}}}},
	}
	for _, tt := range tests {
		opts := DirectoryOptions{Node: "n1", Port: 6443, Peers: tt.peers, Own: func(a netip.Addr) bool {
			return a == netip.MustParseAddr("192.168.35.11") || a == netip.MustParseAddr("192.168.35.100")
		}}
		if d := cmp.Diff(tt.want, roll(opts, tt.endpoints, tt.nodes)); d != "" {
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

// book answers lists and watches as an API server does. A watch ends when there
// is a new version, as far as a Directory can tell.
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
	rolls := make(chan Roll, 10)
	d := c.Directory(DirectoryOptions{Node: "n1", Port: 6443, Own: func(netip.Addr) bool { return false }, Notify: func(r Roll) { rolls <- r }})
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
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	// One for each change, and none in between.
	diff(t, "before anything was read", Roll{}, <-rolls)
	n2 := Member{Server: "192.168.35.12:6443", Node: "192.168.35.12"}
	diff(t, "at first", Roll{Peers: []Member{n2}}, <-rolls)
	b.set([]discoveryv1.EndpointSlice{slice(6443, "192.168.35.12", "192.168.35.13")}, nil)
	both := Roll{Peers: []Member{n2, {Server: "192.168.35.13:6443", Node: "192.168.35.13"}}}
	diff(t, "one more", both, <-rolls)
	// Nothing can be asked: what is known stays.
	s.set(hangUp)
	s.CloseClientConnections()
	time.Sleep(100 * time.Millisecond)
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}
	if len(rolls) > 0 {
		t.Errorf("forgot what was known: %+v", <-rolls)
	}
	said := messages(logs)
	if !slices.Contains(said, "may not list and watch Nodes: hand-overs go on without what they say") {
		t.Errorf("log = %v, want it to say what is not permitted", said)
	}
}
