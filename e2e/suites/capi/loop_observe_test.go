package capi_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/vipd-io/vipd/e2e/judge/analyse"
	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/observe"
)

// step does something, waits for its end, and judges what the observers saw of the VIP.
func (l *loop) step(t *testing.T, what string, limit time.Duration, act func(), done func() error) {
	t.Helper()
	https, err := observe.NewHTTPS(l.lab.Clients[0].NS, l.lab.Endpoint(), l.caFile(t))
	if err != nil {
		t.Fatal(err)
	}
	before := l.lease(t)
	var from, to record.Time
	h, err := append(observe.Observers{https}, observe.ARPs(l.lab)...).During(t.Context(), func(context.Context, *record.Recorder) error {
		from = record.Now()
		act()
		l.await(t, what, limit, done)
		to = record.Now()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	after := l.lease(t)
	holders := l.answering(h.Answers)
	t.Logf("STEP %s: %.0f s; by ARP answered %q, silent for %v at most; lease %s to %s; HTTPS failed %d of %d requests, for %v at most", what, to.Sub(from).Seconds(), holders,
		analyse.Silence(h.Answers, from, to).Round(time.Millisecond), before, after, failed(h.Requests), len(h.Requests), analyse.Outage(h.Requests, from, to).Round(time.Millisecond))
	if len(h.Answers) == 0 {
		t.Errorf("%s: nobody answered by ARP", what)
	}
	if moves, want := len(holders)-1, after.term-before.term; moves > want {
		t.Errorf("%s: %d moves by ARP, %d in the Lease: %q", what, moves, want, holders)
	}
}

// answering returns the machines that answered by ARP, in the order of their answers: each change is a
// move. Two machines that answer at the same time change again and again.
func (l *loop) answering(answers []record.Answer) (names []string) {
	slices.SortFunc(answers, func(a, b record.Answer) int { return cmp.Compare(a.At, b.At) })
	byMAC := make(map[string]string)
	for _, g := range l.hypervisor.All() {
		if g.Machine != nil { // a machine may get the address, and so the MAC, of one that is gone
			mac := g.Machine.MAC.String()
			byMAC[mac] = strings.TrimPrefix(byMAC[mac]+" or "+g.VM.Name, " or ")
		}
	}
	for _, a := range answers {
		name := cmp.Or(byMAC[a.MAC], a.MAC)
		if len(names) == 0 || names[len(names)-1] != name {
			names = append(names, name)
		}
	}
	return names
}

func failed(requests []record.Request) (n int) {
	for _, r := range requests {
		if !r.OK() {
			n++
		}
	}
	return n
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
