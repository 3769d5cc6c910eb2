package lab_test

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vipd-io/vipd/e2e/lab"
)

// eth0 returns the interface of a host.
func eth0(t *testing.T, h *lab.Host) (nic *net.Interface) {
	t.Helper()
	err := h.NS.Do(func() (err error) { nic, err = net.InterfaceByName(lab.Interface); return err })
	if err != nil {
		t.Fatal(err)
	}
	return nic
}

func alone(t *testing.T, n *lab.Node) {
	t.Helper()
	if addrs, err := n.Addresses(); err != nil || !slices.Equal(addrs, []netip.Addr{n.IP}) {
		t.Errorf("%s: addresses %v, %v, want %v alone", n.Name, addrs, err, n.IP)
	}
}

func TestFlushAddresses(t *testing.T) {
	n := shared.Nodes[1]
	if err := n.AddAddress(shared.VIP); err != nil {
		t.Fatal(err)
	}
	if err := n.FlushAddresses(); err != nil {
		t.Fatal(err)
	}
	alone(t, n)
	awaitReach(t, "after a flush", shared.Clients[0], n)
	awaitReach(t, "after a flush", n.Host, shared.Nodes[0])
}

// The link is a new one in the same place, and cuts of its port still hold.
func TestRecreateLink(t *testing.T) {
	n, c1 := shared.Nodes[1], shared.Clients[0]
	if err := n.AddAddress(shared.VIP); err != nil {
		t.Fatal(err)
	}
	before := eth0(t, n.Host)
	if err := n.RecreateLink(); err != nil {
		t.Fatal(err)
	}
	after := eth0(t, n.Host)
	if after.Index == before.Index || after.HardwareAddr.String() != before.HardwareAddr.String() {
		t.Errorf("link %+v before, %+v after: want another index and the same MAC", before, after)
	}
	alone(t, n)
	awaitReach(t, "after a new link", c1, n)
	awaitReach(t, "after a new link", n.Host, shared.Nodes[0])
	if err := n.Cut(); err != nil {
		t.Fatal(err)
	}
	if reaches(t, c1, n) {
		t.Error("a cut does not hold for the new link")
	}
	if err := n.Heal(); err != nil {
		t.Fatal(err)
	}
	awaitReach(t, "after the cut", c1, n)
}

func TestChangeMAC(t *testing.T) {
	n, c1 := shared.Nodes[1], shared.Clients[0]
	other := net.HardwareAddr{0x02, 0, 0, 35, 1, 12}
	if shared.Node(other.String()) != nil {
		t.Error("a node has an unused MAC")
	}
	if err := n.ChangeMAC(net.HardwareAddr{1, 2}); err == nil {
		t.Error("took a MAC of two bytes")
	}
	if err := n.ChangeMAC(other); err != nil {
		t.Fatal(err)
	}
	if got := eth0(t, n.Host).HardwareAddr; got.String() != other.String() {
		t.Errorf("MAC %s, want %s", got, other)
	}
	if err := n.RecreateLink(); err != nil {
		t.Fatal(err)
	}
	if got := eth0(t, n.Host).HardwareAddr; got.String() != other.String() {
		t.Errorf("MAC of the new link %s, want %s", got, other)
	}
	if err := n.ChangeMAC(n.MAC); err != nil {
		t.Fatal(err)
	}
	for _, mac := range []net.HardwareAddr{other, n.MAC} {
		if shared.Node(mac.String()) != n {
			t.Errorf("%s is not known as a MAC of %s", mac, n.Name)
		}
	}
	// The host announces its address: otherwise peers would use the MAC that they know.
	if err := n.Announce(n.IP); err != nil {
		t.Fatal(err)
	}
	awaitReach(t, "after a change of MAC", c1, n)
	awaitReach(t, "after a change of MAC", n.Host, shared.Nodes[0])
}

func TestFlushNftables(t *testing.T) {
	n := shared.Nodes[1]
	if _, err := n.Run(t.Context(), "nft", "add table ip something"); err != nil {
		t.Fatal(err)
	}
	if tables, err := n.Tables(); err != nil || !slices.Equal(tables, []string{"something"}) {
		t.Errorf("tables %v, %v", tables, err)
	}
	if err := n.FlushNftables(); err != nil {
		t.Fatal(err)
	}
	if tables, err := n.Tables(); err != nil || len(tables) > 0 {
		t.Errorf("tables %v, %v, want none", tables, err)
	}
}

func TestRun(t *testing.T) {
	ctx := within(t, 10*time.Second)
	if out, err := shared.Clients[0].Run(ctx, "ip", "-o", "address", "show", "dev", lab.Interface); err != nil || !strings.Contains(out, "192.168.35.50/24") {
		t.Errorf("printed %q, %v", out, err)
	}
	if _, err := shared.Clients[0].Run(ctx, "sh", "-c", "echo why >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "why") {
		t.Errorf("error %v, want the output of the command", err)
	}
	if _, err := shared.Clients[0].Run(ctx); err == nil {
		t.Error("ran nothing")
	}
}
