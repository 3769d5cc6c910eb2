package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/vipd-io/vipd/pkg/election"
)

// objects is the content of a simulated API server; e2e/suites/doctor uses a real one.
type objects struct {
	denied []string // verbs
	lease  *coordinationv1.Lease
	nodes  []*corev1.Node
	starts bool // the API server is not ready
	refuse int  // the HTTP status of all answers except readyz, 0 for the usual one
}

// leaseBy returns a Lease that its holder keeps renewing, see renewed.
func leaseBy(holder string) *coordinationv1.Lease {
	seconds, term := int32(3), int32(1)
	return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{election.Annotation: fmt.Sprintf(`{"holder":%q,"term":1}`, holder)}},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, LeaseTransitions: &term}}
}

// renewed returns the Lease at the time of a request, which may come late on a busy machine: a
// Lease without a renew time was renewed just now.
func (o *objects) renewed() *coordinationv1.Lease {
	l := o.lease.DeepCopy()
	if l.Spec.RenewTime == nil {
		l.Spec.RenewTime = new(metav1.NewMicroTime(time.Now()))
	}
	return l
}

func nodeAt(name string, ips ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, ip := range ips {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip})
	}
	return n
}

func (o *objects) answer(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch {
	case r.URL.Path == "/readyz" && o.starts:
		w.WriteHeader(http.StatusForbidden)
	case r.URL.Path == "/readyz":
		ready(w, r)
	case o.refuse != 0:
		w.WriteHeader(o.refuse)
		_ = json.NewEncoder(w).Encode(metav1.Status{Status: "Failure", Code: int32(o.refuse), Reason: metav1.StatusReasonUnauthorized})
	case strings.HasSuffix(r.URL.Path, "/selfsubjectaccessreviews"):
		var review authorizationv1.SelfSubjectAccessReview
		body, _ := io.ReadAll(r.Body)
		if _, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, &review); err != nil { // JSON or protobuf
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		review.Status.Allowed = !slices.Contains(o.denied, review.Spec.ResourceAttributes.Verb)
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(review)
	case strings.HasSuffix(r.URL.Path, "/leases/plndr-cp-lock") && o.lease != nil:
		_ = json.NewEncoder(w).Encode(o.renewed())
	case strings.HasSuffix(r.URL.Path, "/nodes"):
		list := corev1.NodeList{}
		for _, n := range o.nodes {
			list.Items = append(list.Items, *n)
		}
		_ = json.NewEncoder(w).Encode(list)
	default:
		http.NotFound(w, r)
	}
}

func TestDoctorAsksTheCluster(t *testing.T) {
	ago := func(s *site, d time.Duration) {
		at := metav1.NewMicroTime(time.Now().Add(-d))
		s.objects.lease.Spec.RenewTime = &at
	}
	diagnose(t, []diagnosis{
		{name: "no rights", fault: func(s *site) { s.objects.denied = []string{"create", "update"}; s.free() },
			want:    []found{{"D14", "error", "nobody", "no route to host, after"}, {"D17", "error", "forbidden", "does not let vipd's credentials create, update the Lease"}},
			verdict: []string{"No node can take the VIP"}},
		{name: "credentials of another cluster", fault: func(s *site) { s.objects.refuse = http.StatusUnauthorized },
			want: []found{{"D17", "error", "untrusted", "belong to different clusters"}}, verdict: []string{"vipd's credentials belong to another cluster"}},
		{name: "API server of another cluster", fault: func(s *site) {
			s.own = serverOf(newAuthority(t, "kubernetes").issue(-time.Minute, time.Hour, "kubernetes"), s.objects.answer)
		}, want: []found{{"D17", "error", "untrusted", "belong to different clusters"}}, verdict: []string{"vipd's credentials belong to another cluster"}},
		{name: "stale lease", fault: func(s *site) { ago(s, time.Hour); s.noVIP() },
			want: []found{{"D14", "error", "nobody", "no route to host, after"}, {"D18", "error", "stale", "is held by n2, which last renewed the Lease 1h0m"}}, verdict: []string{"No node holds the VIP: the holder of the Lease is gone"}},
		{name: "stale lease of a stranger", fault: func(s *site) { s.objects.lease = leaseBy("cp-9"); ago(s, time.Hour); s.noVIP() },
			want: []found{{"D14", "error", "nobody", "no route to host, after"}, {"D18", "error", "stale", "is held by cp-9, which is no control-plane node of this cluster"}}, verdict: []string{"No node holds the VIP: the holder of the Lease is gone"}},
		{name: "lease of a stranger", fault: func(s *site) { s.objects.lease = leaseBy("cp-9") },
			want: []found{{"D18", "error", "stranger", "is held by cp-9"}}, verdict: []string{"no control-plane node of this cluster"}},
		{name: "lease of kube-vip", fault: func(s *site) { s.objects.lease.Annotations = nil },
			want: []found{{"D18", "warning", "foreign", "no vipd wrote it"}}, verdict: []string{better}},
		{name: "another duration", fault: func(s *site) { *s.objects.lease.Spec.LeaseDurationSeconds = 10 },
			want: []found{{"D18", "warning", "duration", "for 10s after a renewal, and this node's vipd is set to 3s"}}, verdict: []string{better}},
		{name: "VIP as InternalIP", fault: func(s *site) { s.objects.nodes[1] = nodeAt("n2", testVIP, "192.168.35.12") },
			want: []found{{"D26", "warning", "", "node n2 has the VIP 192.168.35.100 as its InternalIP"}}, verdict: []string{better}},
		{name: "another cluster, told by the CA in the kubeconfig", fault: func(s *site) {
			s.args = []string{"--ca", "/etc/no.crt"}
			s.atVIP = serverOf(newAuthority(t, "kubernetes").issue(-time.Minute, time.Hour, testVIP, siteName), ready)
		}, want: []found{{"D15", "error", "other CA", "which is not this cluster's CA"}}, verdict: []string{"Another cluster"}},
		// States without an error, or with an error that another check reports.
		{name: "an API server that starts", fault: func(s *site) {
			s.objects.starts, s.objects.denied = true, []string{"get", "list", "watch", "create", "update"}
		},
			unknown: []string{"D16"}, verdict: []string{"1 of 28 checks could not run"}},
		{name: "no lease", fault: func(s *site) { s.objects.lease = nil }, verdict: []string{"All is well"}},
		{name: "no API server here", fault: func(s *site) { s.own = server{} },
			want: []found{{"D16", "error", "refused", "nothing listens"}}, verdict: []string{"The VIP works, and the API server of this node does not"}},
	})
}
