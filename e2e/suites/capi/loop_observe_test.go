package capi_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/observe"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// baselineTime is how long the idle cluster is observed.
const baselineTime = 20 * time.Second

// An observation is what was seen of the VIP in a step.
type observation struct {
	what     string
	from, to record.Time
	// vip has the ARP answers and the requests for /readyz, tcp the connections.
	vip, tcp      record.History
	before, after holding
	// changes are told by the histories of the nodes.
	changes []nodeChange
}

// baseline observes the idle cluster: its gaps are those of this machine.
func (l *loop) baseline(t *testing.T) {
	t.Helper()
	o := l.observe(t, "nothing happens", func() {
		if err := wait.For(t.Context(), baselineTime); err != nil {
			t.Fatal(err)
		}
	})
	l.idle = o.gaps()
	l.judge(t, o, stays)
}

// step does something, waits for its end, and judges what was seen of the VIP.
func (l *loop) step(t *testing.T, what string, limit time.Duration, want expectation, act func(), done func() error) {
	t.Helper()
	l.judge(t, l.observe(t, what, func() {
		act()
		l.await(t, what, limit, done)
	}), want)
}

// observe records what is seen of the VIP while a function runs.
func (l *loop) observe(t *testing.T, what string, run func()) observation {
	t.Helper()
	https, err := observe.NewHTTPS(l.lab.Clients[0].NS, l.lab.Endpoint(), l.caFile(t))
	if err != nil {
		t.Fatal(err)
	}
	var tcp record.Recorder
	observers := append(observe.ARPs(l.lab), https.Readyz(), observe.Apart{Observer: observe.NewTCP(l.lab.Clients[0].NS, l.lab.Endpoint()), To: &tcp})
	o := observation{what: what, before: l.lease(t)}
	histories := l.readHistories(t)
	o.vip, err = observers.During(t.Context(), func(context.Context, *record.Recorder) error {
		o.from = record.Now()
		run()
		o.to = record.Now()
		o.after = l.lease(t)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	o.tcp, o.changes = tcp.History(), histories.end(o.from)
	return o
}

// A holding is what the Lease says.
type holding struct {
	holder string
	term   int
}

func (h holding) String() string { return fmt.Sprintf("%s (term %d)", h.holder, h.term) }

func (l *loop) lease(t *testing.T) holding {
	t.Helper()
	return eventually(t, "the Lease", func() (holding, error) {
		c, err := l.client(t.Context())
		if err != nil {
			return holding{}, err
		}
		lease, err := c.CoordinationV1().Leases("kube-system").Get(t.Context(), "plndr-cp-lock", metav1.GetOptions{})
		if err != nil || lease.Spec.HolderIdentity == nil || lease.Spec.LeaseTransitions == nil {
			return holding{}, errors.Join(errors.New("no holder"), err)
		}
		return holding{*lease.Spec.HolderIdentity, int(*lease.Spec.LeaseTransitions)}, nil
	})
}

// caFile returns a file with the CA of the cluster.
func (l *loop) caFile(t *testing.T) string {
	t.Helper()
	var s corev1.Secret
	if err := management.Client.Get(t.Context(), client.ObjectKey{Namespace: l.ns, Name: "uat-ca"}, &s); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(path, s.Data["tls.crt"], 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
