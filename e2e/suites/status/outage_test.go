package status

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// TestHolderThatIsNotHeard: a standby that the holder's answers do not reach says so for as long as
// that lasts, with its problems, its exit status and its metric; also if its vipd is started into
// the outage. The doctor there names the holder.
func TestHolderThatIsNotHeard(t *testing.T) {
	holder, err := failover.Ready(t.Context(), shared)
	must(t, err)
	n := other(holder)
	healthy(t, n)
	deaf(t, n)
	says(t, n)
	if text, err := n.Run(t.Context(), n.VipdBinary(), "doctor"); err == nil || !strings.Contains(text, " holds the Lease and renews it, and no machine answers") {
		t.Errorf("vipd doctor on %s: %v, and %s", n.Name, err, text)
	}
	_, err = n.Vipd.Stop(5 * time.Second)
	must(t, err)
	must(t, n.StartVipd())
	says(t, n)
	hears(t.Context(), t, n)
	healthy(t, n)
	if o := metrics(t, n)["vipd_outage_seconds"]; o != 0 {
		t.Errorf("vipd_outage_seconds %v after the outage", o)
	}
}

// says waits until a node says that the VIP does not answer.
func says(t *testing.T, n *lab.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), settled)
	defer cancel()
	want := "the VIP has not answered " + n.Name
	var d Document
	err := wait.Until(ctx, 100*time.Millisecond, func() (bool, error) {
		d, _ = Read[Document](ctx, n, "/status") // one that is started anew is not there yet
		return strings.Contains(strings.Join(d.Problems, "\n"), want), nil
	})
	if err != nil || d.Health != "degraded" || !strings.Contains(strings.Join(d.Problems, "\n"), d.Lease.Holder+" holds the lease") {
		t.Fatalf("%v: %s says %+v", err, n.Name, d)
	}
	if text, err := n.Run(t.Context(), n.VipdBinary(), "status"); err == nil || !strings.Contains(text, want) {
		t.Errorf("vipd status on %s: %v, and %s", n.Name, err, text)
	}
	if o := metrics(t, n)["vipd_outage_seconds"]; o < 3 {
		t.Errorf("vipd_outage_seconds is %v on %s", o, n.Name)
	}
}

// deaf drops what machines say about the VIP by ARP before it gets to a node, until the end of the
// test.
func deaf(t *testing.T, n *lab.Node) {
	t.Helper()
	t.Cleanup(func() { hears(context.WithoutCancel(t.Context()), t, n) })
	_, err := n.Run(t.Context(), "nft", fmt.Sprintf("add table netdev lab; add chain netdev lab in { type filter hook ingress device %s priority 0; }; "+
		"add rule netdev lab in arp saddr ip %s drop", lab.Interface, shared.VIP))
	must(t, err)
	_, err = n.Run(t.Context(), "ip", "neighbour", "flush", "to", shared.VIP.String())
	must(t, err)
}

func hears(ctx context.Context, t *testing.T, n *lab.Node) {
	t.Helper()
	_, err := n.Run(ctx, "nft", "add table netdev lab; delete table netdev lab")
	must(t, err)
}
