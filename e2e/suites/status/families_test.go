package status

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// The addresses of a group of both families.
var (
	first4 = netip.MustParseAddr("192.168.35.103")
	then6  = netip.MustParseAddr("fd00:35::103")
)

// TestGroupOfTwoFamilies: a group of an IPv4 and an IPv6 address is on one node, or on none. Clients
// reach both addresses after each move, also those that knew where the addresses were before.
func TestGroupOfTwoFamilies(t *testing.T) {
	for i, h := range hosts() {
		own := fmt.Sprintf("fd00:35::%x/64", 0x11+i)
		_, err := h.Run(t.Context(), "ip", "-6", "address", "add", own, "dev", "eth0", "nodad")
		must(t, err)
		t.Cleanup(func() {
			_, err := h.Run(context.WithoutCancel(t.Context()), "ip", "-6", "address", "delete", own, "dev", "eth0")
			must(t, err)
		})
	}
	g := startGroups(t, first4.String()+","+then6.String()+"=group-families")
	now := g.both(nil)

	// A node that stands still is replaced, and revived: the addresses it still had are gone, and the
	// neighbours know the next holder.
	_, err := g.processes[now].Pause()
	must(t, err)
	next := g.both(now)
	_, err = g.processes[now].Resume()
	must(t, err)
	now = g.both(nil)
	if now != next {
		t.Errorf("%s took the addresses back from %s", now.Name, next.Name)
	}

	_, err = g.processes[now].Kill()
	must(t, err)
	g.both(now)
	must(t, g.processes[now].Start())
	g.serves(now, first4) // before that, a signal may end the process before it has begun anything

	for n, p := range g.processes {
		_, err := lab.StopNow(p, 5*time.Second)
		must(t, err)
		rules, err := n.Run(t.Context(), "nft", "list", "tables")
		must(t, err)
		if strings.Contains(rules, first4.String()) {
			t.Errorf("%s has tables left:\n%s", n.Name, rules)
		}
	}
	if left := append(g.holders(first4), g.holders(then6)...); len(left) > 0 {
		t.Errorf("addresses are left on %v", left)
	}
}

// hosts returns the nodes, and a client.
func hosts() (out []*lab.Host) {
	for _, n := range shared.Nodes {
		out = append(out, n.Host)
	}
	return append(out, shared.Clients[0])
}

// both waits until a node other than not has both addresses, and clients are served at both.
func (g *groups) both(not *lab.Node) (holder *lab.Node) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), 30*time.Second)
	defer cancel()
	must(g.t, wait.Until(ctx, 20*time.Millisecond, func() (bool, error) {
		a, b := g.holders(first4), g.holders(then6)
		if len(a) == 1 && len(b) == 1 && a[0] == b[0] && a[0] != not {
			holder = a[0]
		}
		return holder != nil, nil
	}))
	g.served(first4)
	g.served(then6)
	return holder
}
