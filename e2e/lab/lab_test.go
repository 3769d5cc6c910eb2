package lab_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/vipd-io/vipd/e2e/lab"
)

// within returns a context with a timeout for one test.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestAPIServersReady(t *testing.T) {
	ctx := within(t, 10*time.Second)
	for _, n := range shared.Nodes {
		if err := n.WaitReady(ctx); err != nil {
			t.Error(err)
		}
	}
}

func TestVIPIsOfTheSubnet(t *testing.T) {
	l, err := lab.Start(t.Context(), lab.Options{NetworkOnly: true, VIP: netip.MustParseAddr("10.0.0.1")})
	if want := "bad VIP 10.0.0.1: want one of 192.168.35.0/24"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
	if l != nil {
		t.Error(l.Close())
	}
}

// Each node's admin.conf works at each node's API server, and all use the same store.
func TestLease(t *testing.T) {
	ctx := within(t, 10*time.Second)
	n1, n2, n3 := shared.Nodes[0], shared.Nodes[1], shared.Nodes[2]
	leases, err := n1.Leases()
	if err != nil {
		t.Fatal(err)
	}
	_, err = leases.Create(ctx, &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: lab.LeaseName},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: new("n1")},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := n2.Holder(ctx); got != "n1" || err != nil {
		t.Errorf("holder = %q, %v, want n1", got, err)
	}
	if err := n2.EditLease(ctx, func(l *coordinationv1.Lease) { l.Spec.HolderIdentity = new("n2") }); err != nil {
		t.Error(err)
	}
	if got, err := n3.Holder(ctx); got != "n2" || err != nil {
		t.Errorf("holder = %q, %v, want n2", got, err)
	}
	if err := n3.DeleteLease(ctx); err != nil {
		t.Error(err)
	}
	if got, err := n1.Holder(ctx); got != "" || err != nil {
		t.Errorf("holder = %q, %v, want none", got, err)
	}
}

func TestProcess(t *testing.T) {
	ctx := within(t, 10*time.Second)
	p := shared.NewProcess(shared.Clients[0], "sleep", "sleep", "1000")
	if _, err := p.Kill(); err == nil {
		t.Error("killed a process that was not started")
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err == nil {
		t.Error("started twice")
	}
	if _, err := p.Pause(); err != nil {
		t.Error(err)
	}
	first := p.Pid()
	if _, err := p.Stop(50 * time.Millisecond); err == nil {
		t.Error("a paused process ended by SIGTERM")
	}
	if p.Running() {
		t.Error("runs after Stop")
	}
	if err := lab.Restart(p, time.Second); err != nil {
		t.Fatal(err)
	}
	if p.Pid() == first {
		t.Error("restarted with the same process id")
	}
	at, err := p.Stop(5 * time.Second)
	if err != nil {
		t.Error(err)
	}
	state, err := p.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if status := state.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGTERM {
		t.Errorf("ended with %v, want SIGTERM", state)
	}
	if ended, ok := p.Ended(); !ok || ended < at {
		t.Errorf("ended at %v, %t, before its signal at %v", ended, ok, at)
	}
}

// A daemon's children are killed with it, even those that it would restart.
func TestKillsChildren(t *testing.T) {
	ctx := within(t, 10*time.Second)
	p := shared.NewProcess(shared.Clients[0], "parent", "sh", "-c", "sleep 1000 & echo $!; wait")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	var child int
	for child == 0 {
		if b, err := os.ReadFile(p.LogPath); err == nil {
			fmt.Sscan(string(b), &child)
		}
		if ctx.Err() != nil {
			t.Fatal("no child")
		}
	}
	handle, err := os.FindProcess(child) // by pidfd
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Release()
	if _, err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	for { // until it is reaped by its new parent
		err := handle.Signal(syscall.Signal(0))
		if errors.Is(err, os.ErrProcessDone) {
			return
		}
		if state, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child)); strings.Contains(string(state), ") Z ") {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("the child goes on: %v", err)
		}
	}
}

// reaches tells whether a TCP connection from one host to the API server of another succeeds.
func reaches(t *testing.T, from *lab.Host, to *lab.Node) bool {
	t.Helper()
	conn, err := from.NS.Dial(within(t, 300*time.Millisecond), "tcp", fmt.Sprintf("%s:%d", to.IP, lab.Port))
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// awaitReach retries until a connection succeeds: the kernel takes up to a second to report a
// carrier that is back, and each host to resolve a neighbour again that did not answer.
func awaitReach(t *testing.T, when string, from *lab.Host, to *lab.Node) {
	t.Helper()
	for ctx := within(t, 20*time.Second); !reaches(t, from, to); {
		if ctx.Err() != nil {
			t.Fatalf("%s: %s does not reach %s", when, from.Name, to.Name)
		}
	}
}

func TestCut(t *testing.T) {
	n1, n2, n3, c1 := shared.Nodes[0], shared.Nodes[1], shared.Nodes[2], shared.Clients[0]
	check := func(when string, from *lab.Host, to *lab.Node, want bool) {
		t.Helper()
		if want {
			awaitReach(t, when, from, to)
		} else if reaches(t, from, to) {
			t.Errorf("%s: %s reaches %s", when, from.Name, to.Name)
		}
	}
	steps := []struct {
		name string
		do   func() error
		undo func() error
		n1n2 bool
		c1n1 bool
	}{
		{"cut off n2", func() error { return n1.Cut(n2.Host) }, n2.Heal, false, true},
		{"cannot send to n2", func() error { return n1.CutTo(n2.Host) }, n1.Heal, false, true},
		{"hears nothing of n2", func() error { return n1.CutFrom(n2.Host) }, n2.Heal, false, true},
		{"ARP alone, unnoticed by those that know each other", func() error { return n1.CutARP() }, n1.Heal, true, true},
		{"cut off from all", func() error { return n1.Cut() }, n1.Heal, false, false},
		{"link down", n1.LinkDown, n1.LinkUp, false, false},
		{"eth0 down", func() error { return n1.SetAdminLink(false) }, func() error { return n1.SetAdminLink(true) }, false, false},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			t.Fatal(err)
		}
		check(s.name, n1.Host, n2, s.n1n2)
		check(s.name, n2.Host, n1, s.n1n2)
		check(s.name, c1, n1, s.c1n1)
		check(s.name, c1, n2, true)
		check(s.name, n2.Host, n3, true)
		if err := s.undo(); err != nil {
			t.Fatal(err)
		}
		awaitReach(t, "after "+s.name, c1, n1)
		awaitReach(t, "after "+s.name, n1.Host, n2)
		awaitReach(t, "after "+s.name, n2.Host, n1)
	}
}

func TestPowerOff(t *testing.T) {
	ctx := within(t, time.Minute)
	n := shared.Nodes[2]
	if err := n.AddAddress(shared.VIP); err != nil {
		t.Fatal(err)
	}
	if _, err := n.PowerOff(); err != nil {
		t.Fatal(err)
	}
	if n.Etcd.Running() || n.APIServer.Running() || reaches(t, shared.Clients[0], n) {
		t.Error("there is life in a node without power")
	}
	addrs, err := n.Addresses()
	if err != nil || slices.Contains(addrs, shared.VIP) || !slices.Contains(addrs, n.IP) {
		t.Errorf("addresses %v, %v, want %v alone", addrs, err, n.IP)
	}
	// The other two go on.
	if _, err := shared.Nodes[0].Holder(ctx); err != nil {
		t.Error(err)
	}
	if err := n.PowerOn(ctx); err != nil {
		t.Fatal(err)
	}
	if !reaches(t, shared.Clients[0], n) {
		t.Error("not reached after power on")
	}
}

// The certificate of an API server is checked; another server's answer is rejected.
func TestCertificateIsChecked(t *testing.T) {
	config, err := shared.Nodes[0].RESTConfig("admin.conf")
	if err != nil {
		t.Fatal(err)
	}
	config.ServerName = "someone-else"
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(within(t, 5*time.Second), http.MethodGet, "https://"+net.JoinHostPort("127.0.0.1", "6443")+"/readyz", nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := client.Do(req); err == nil {
		resp.Body.Close()
		t.Error("accepted a certificate for another name")
	}
}
