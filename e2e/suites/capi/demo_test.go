package capi_test

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/vipd-io/vipd/e2e/judge/analyse"
	"github.com/vipd-io/vipd/e2e/screen"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

var flagDemo = flag.Bool("demo", false, "show how Cluster API makes a cluster with vipd, on this terminal")

// TestDemo shows how the real controllers make a control plane behind the VIP, join two workers through
// the VIP, and replace the control-plane node. `make demo-capi` runs it, and prints nothing else.
func TestDemo(t *testing.T) {
	if !*flagDemo {
		return
	}
	d := &demo{screen: screen.New(os.Stdout), loop: newLoop(t), began: time.Now()}
	stop := d.follow(t)
	defer stop()

	d.step("Cluster API makes the first control-plane node. CAPV clones the machine in a simulated vCenter; it boots from what CAPV wrote for it, and kubeadm init starts vipd.")
	d.loop.create(t)
	d.reached("the control plane is ready; clients reach it at %s", vip)

	d.step("Two workers join, one by the address of the VIP, one by its name.")
	d.observed(t, "workers", func() {
		d.loop.addWorkers(t)
		d.loop.await(t, "two workers", 5*time.Minute, func() error { return d.loop.workers(t, 2) })
	})

	d.step("A change of files in the KubeadmControlPlane replaces the only control-plane node: a new machine, then the VIP moves, then the old machine goes.")
	d.observed(t, "rollout", func() {
		d.loop.changeFiles(t)
		d.loop.await(t, "the rollout", 10*time.Minute, func() error { return cmp.Or(d.loop.controlPlane(t, 1), d.loop.upToDate(t)) })
	})

	d.step("The cluster is deleted.")
	d.loop.deleteCluster(t)
	d.reached("no machine and no address is left")
}

// demo prints what happens to a cluster.
type demo struct {
	screen *screen.Screen
	loop   *loop
	began  time.Time

	mu       sync.Mutex
	machines map[string]string // phase, by name
	steps    int
}

func (d *demo) step(what string) {
	d.steps++
	d.screen.Line("")
	d.screen.Line("%s", d.screen.Bold(fmt.Sprintf("%d. ", d.steps))+what)
}

func (d *demo) reached(format string, args ...any) {
	d.screen.Line("   %5.0f s  %s", time.Since(d.began).Seconds(), d.screen.Green(fmt.Sprintf(format, args...)))
}

// observed runs a step, and prints what it cost the clients of the VIP.
func (d *demo) observed(t *testing.T, what string, run func()) {
	t.Helper()
	o := d.loop.observe(t, what, run)
	for _, m := range o.moves() {
		d.reached("the VIP moved from %s to %s: %s", m.from, m.to, m.cause())
	}
	d.reached("longest time without an answer: %s", o.gaps())
	if two := analyse.Overlap(o.vip.Probes, o.vip.Answers, nil); len(two) > 0 {
		t.Errorf("two nodes answered: %v", two)
		d.screen.Line("            %s", d.screen.Red("two nodes answered for the VIP at one time"))
		return
	}
	d.reached("never more than one node answered for the VIP")
}

// follow prints each change of a Machine's phase, and shows all of them in the status line.
func (d *demo) follow(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	undraw := d.screen.Follow(ctx, d.status)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for wait.For(ctx, 500*time.Millisecond) == nil {
			if now, err := d.loop.phases(ctx); err == nil {
				d.changed(now)
			}
		}
	}()
	return func() { cancel(); <-done; undraw() }
}

func (d *demo) changed(now map[string]string) {
	d.mu.Lock()
	before := d.machines
	d.machines = now
	d.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if before[name] != now[name] {
			d.screen.Line("   %5.0f s  machine %s: %s", time.Since(d.began).Seconds(), name, now[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if _, there := now[name]; !there {
			d.screen.Line("   %5.0f s  machine %s is gone", time.Since(d.began).Seconds(), name)
		}
	}
}

// status draws the machines; a full dot is a machine that answers for the VIP.
func (d *demo) status() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "   %4.0f s  %s", time.Since(d.began).Seconds(), vip)
	for _, name := range slices.Sorted(maps.Keys(d.machines)) {
		mark := " ○"
		if d.has(name) {
			mark = d.screen.Green(" ●")
		}
		fmt.Fprintf(&b, "  %s%s", name, mark)
	}
	return b.String()
}

// has tells whether the machine has the VIP.
func (d *demo) has(name string) bool {
	g := d.loop.guest(name)
	if g == nil {
		return false
	}
	has, err := g.Machine().Has(d.loop.lab.VIP)
	return err == nil && has
}

// phases returns the phase of each Machine.
func (l *loop) phases(ctx context.Context) (map[string]string, error) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(schema.GroupVersionKind{Group: "cluster.x-k8s.io", Version: "v1beta2", Kind: "MachineList"})
	if err := management.Client.List(ctx, list, client.InNamespace(l.ns)); err != nil {
		return nil, err
	}
	out := make(map[string]string)
	for _, m := range list.Items {
		phase, _, _ := unstructured.NestedString(m.Object, "status", "phase")
		out[m.GetName()] = cmp.Or(phase, "Pending")
	}
	return out, nil
}
