package chaos

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/judge/analyse"
	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/observe"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// kubeVip simulates kube-vip on a node: client-go's elector with kube-vip's timing and the node's
// name. The node has the address while the elector leads.
type kubeVip struct {
	node  *lab.Node
	stop  context.CancelFunc
	ended sync.WaitGroup
}

func startKubeVip(t *testing.T, n *lab.Node, led chan *kubeVip) *kubeVip {
	t.Helper()
	k := &kubeVip{node: n}
	ctx, stop := context.WithCancel(t.Context())
	k.stop = stop
	le := elector(t, n, n.Name, func() {
		if err := n.AddAddress(shared.VIP); err != nil {
			t.Errorf("stand-in for kube-vip on %s: %v", n.Name, err)
		}
		led <- k
	})
	k.ended.Go(func() { le.Run(ctx) })
	return k
}

// end removes the address and then releases the Lease: delays of kube-vip itself must not be blamed
// on vipd.
func (k *kubeVip) end(t *testing.T) {
	t.Helper()
	if has, err := k.node.Has(shared.VIP); err != nil {
		t.Error(err)
	} else if has {
		must(t, k.node.RemoveAddress(shared.VIP))
	}
	k.stop()
	k.ended.Wait()
}

// dropIn starts vipd with the settings of a kube-vip manifest whose image was replaced.
func dropIn(n *lab.Node) error {
	return n.StartDaemon("env", "-i", "vip_arp=true", "port=6443", "vip_interface="+lab.Interface, "vip_cidr=32", "cp_enable=true",
		"cp_namespace="+lab.LeaseNamespace, "vip_ddns=false", "svc_enable=true", "vip_leaderelection=true", "vip_leasename="+lab.LeaseName,
		"vip_leaseduration=5", "vip_renewdeadline=3", "vip_retryperiod=1", "address="+shared.VIP.String(), "vip_nodename="+n.Name,
		"k8s_config_file="+n.Kubeconfig(), "prometheus_server=:2112", n.VipdBinary(), "manager")
}

// TestMixedFleet: two nodes run kube-vip, and the third node runs vipd with kube-vip's manifest.
// When the holder releases the Lease, another node takes it, and two nodes never answer.
func TestMixedFleet(t *testing.T) {
	for _, n := range shared.Nodes {
		_, err := lab.StopNow(n.Vipd, 5*time.Second)
		must(t, err)
	}
	defer func() {
		_, err := lab.StopNow(shared.Nodes[2].Vipd, 5*time.Second)
		must(t, err)
		must(t, failover.Start(shared))
	}()
	seen, err := observe.ARPs(shared).During(t.Context(), func(ctx context.Context, _ *record.Recorder) error {
		passAround(ctx, t)
		return nil
	})
	must(t, err)
	if twice := analyse.Overlap(seen.Probes, seen.Answers, nil); len(twice) > 0 {
		t.Errorf("two answered: %+v", twice)
	}
	if len(seen.Answers) == 0 {
		t.Error("nobody ever answered")
	}
}

func passAround(ctx context.Context, t *testing.T) {
	t.Helper()
	vipd, led := shared.Nodes[2], make(chan *kubeVip, 2)
	must(t, dropIn(vipd))
	holds(ctx, t, vipd)
	for _, n := range shared.Nodes[:2] {
		k := startKubeVip(t, n, led)
		defer k.end(t)
	}
	must(t, wait.For(ctx, whole))
	select {
	case k := <-led:
		t.Fatalf("%s took the lease of a vipd that lives", k.node.Name)
	default:
	}
	_, err := lab.StopNow(vipd.Vipd, 5*time.Second) // a kube-vip accepts nothing
	must(t, err)
	first := next(ctx, t, led)
	must(t, dropIn(vipd))
	must(t, wait.For(ctx, whole))
	if has, err := vipd.Has(shared.VIP); err != nil || has {
		t.Errorf("vipd has the address while kube-vip on %s has the lease: %t, %v", first.node.Name, has, err)
	}
	first.end(t)
	// Candidates wait for a second after a release without a mark, and the simulated kube-vip reads
	// the Lease each second: either candidate may be first.
	short, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	must(t, wait.Until(short, 50*time.Millisecond, func() (bool, error) {
		select {
		case k := <-led:
			k.end(t)
		default:
		}
		return vipd.Has(shared.VIP)
	}))
}

// next returns the simulated kube-vip that leads next.
func next(ctx context.Context, t *testing.T, led <-chan *kubeVip) *kubeVip {
	t.Helper()
	select {
	case k := <-led:
		return k
	case <-time.After(20 * time.Second):
		t.Fatal("nobody took a released lease")
	case <-ctx.Done():
	}
	return nil
}

// holds waits until a node has the address.
func holds(ctx context.Context, t *testing.T, n *lab.Node) {
	t.Helper()
	short, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := wait.Until(short, 50*time.Millisecond, func() (bool, error) { return n.Has(shared.VIP) }); err != nil {
		t.Fatalf("%s never had the address: %v", n.Name, err)
	}
}
