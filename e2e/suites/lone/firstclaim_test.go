package lone

import (
	"context"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// leases is the longest possible lease: for how long a rival, or an unknown history, delays the first
// claim.
const leases = 3 * time.Second

// TestFirstClaim starts vipd again and again where nobody holds the VIP.
func TestFirstClaim(t *testing.T) {
	bin, err := lab.Build(t.Context(), lab.BuildOptions{Progress: os.Stderr})
	must(t, err)
	release, err := lab.Exclusive(t.Context()) // measures times
	must(t, err)
	defer release()
	l, err := lab.Start(t.Context(), lab.Options{Binaries: bin, Nodes: 1, VIP: netip.MustParseAddr("192.168.35.110")}) // not the default VIP
	must(t, err)
	defer func() { must(t, l.Close()) }()
	t.Run("history", func(t *testing.T) { histories(t, l) }) // first: the store is new
	t.Run("beside proxy ARP", func(t *testing.T) { besideProxyARP(t, l) })
}

// What vipd logs about the history of the Lease.
const (
	neverHeld = "nobody has ever held the lease"
	mayBeHeld = "lease may have been held before"
	tooOld    = "too old resource version"                               // an API server's answer from its cache
	compacted = "The resourceVersion for the provided watch is too old." // an API server's answer if etcd has compacted the history
)

// histories: vipd claims a Lease at once that the store never had before, and waits for one lease
// duration if the Lease was held, or if the API server does not know.
func histories(t *testing.T, l *lab.Lab) {
	n := l.Nodes[0]
	for _, h := range []struct {
		name, lease string
		prepare     func(*testing.T)
		says        []string
	}{
		{name: "a new store", lease: "a", says: []string{neverHeld}},
		{name: "held and deleted", lease: "a", prepare: func(t *testing.T) { deleteLease(t, n, "a") }, says: []string{mayBeHeld}},
		{name: "an API server without a cache", lease: "b", prepare: func(t *testing.T) {
			must(t, n.RestartAPIServer(t.Context(), "--watch-cache=false")) // reads the history from etcd
		}, says: []string{neverHeld}},
		{name: "etcd has compacted the history", lease: "c", prepare: func(t *testing.T) {
			must(t, n.CompactEtcd(t.Context()))
		}, says: []string{mayBeHeld, compacted}},
		{name: "an API server that started later", lease: "d", prepare: func(t *testing.T) {
			must(t, n.RestartAPIServer(t.Context()))
		}, says: []string{mayBeHeld, tooOld}},
	} {
		t.Run(h.name, func(t *testing.T) {
			if h.prepare != nil {
				h.prepare(t)
			}
			took, log := claim(t, l, "--lease-name", h.lease)
			t.Logf("claimed after %s", took)
			for _, text := range h.says {
				if !strings.Contains(log, text) {
					t.Errorf("vipd did not log %q:\n%s", text, log)
				}
			}
			waits := h.says[0] == mayBeHeld
			if waits != (took > leases) {
				t.Errorf("claimed after %s, waits: %t:\n%s", took, waits, log)
			}
			if n := strings.Count(log, mayBeHeld); n > 1 || waits != (n == 1) {
				t.Errorf("vipd explained the wait %d times, waits: %t:\n%s", n, waits, log)
			}
		})
	}
}

func deleteLease(t *testing.T, n *lab.Node, name string) {
	t.Helper()
	c, err := n.Leases()
	must(t, err)
	must(t, c.Delete(t.Context(), name, metav1.DeleteOptions{}))
}

// claim starts vipd while the Lease is free, stops it once the VIP is on the node, and returns the
// time until then and the log.
func claim(t *testing.T, l *lab.Lab, flags ...string) (took time.Duration, log string) {
	t.Helper()
	n := l.Nodes[0]
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	before, _ := os.ReadFile(n.Vipd.Log()) // none before the first start
	began := record.Now()
	must(t, n.StartVipd(append(flags, "--max-lease-duration", leases.String())...))
	must(t, wait.Until(ctx, 10*time.Millisecond, func() (bool, error) { return n.Has(l.VIP) }))
	took = record.Now().Sub(began)
	_, err := n.Vipd.Stop(10 * time.Second)
	must(t, err)
	after, err := os.ReadFile(n.Vipd.Log())
	must(t, err)
	return took, string(after[len(before):])
}
