package status

import (
	"context"
	"encoding/json"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// groups are groups beside the VIP of the lab, in one process on each node.
type groups struct {
	t         *testing.T
	binary    string
	processes map[*lab.Node]*lab.Process
}

// The addresses of the two groups, each with its own Lease.
var (
	moving  = netip.MustParseAddr("192.168.35.101")
	staying = netip.MustParseAddr("192.168.35.102")
)

const movingLease, stayingLease = "group-moving", "group-staying"

func startGroups(t *testing.T, specs ...string) *groups {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "manygroups")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-C", "../../..", "-trimpath", "-buildvcs=false", "-o", binary, "./internal/daemon/manygroups").CombinedOutput()
	if err != nil {
		t.Fatalf("build manygroups: %v\n%s", err, out)
	}
	g := &groups{t: t, binary: binary, processes: make(map[*lab.Node]*lab.Process)}
	for _, n := range shared.Nodes {
		g.processes[n] = g.start(n, "groups", specs...)
	}
	return g
}

// start starts a process with the given groups on a node.
func (g *groups) start(n *lab.Node, name string, specs ...string) *lab.Process {
	g.t.Helper()
	p := shared.NewProcess(n.Host, name+"-"+n.Name, append([]string{g.binary, n.Name, n.Kubeconfig()}, specs...)...)
	must(g.t, p.Start())
	g.t.Cleanup(func() {
		if p.Running() {
			_, err := p.Kill()
			must(g.t, err)
		}
	})
	return p
}

// served waits until a client gets an answer at an address.
func (g *groups) served(at netip.Addr) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), 10*time.Second)
	defer cancel()
	must(g.t, wait.Until(ctx, 20*time.Millisecond, func() (bool, error) {
		_, err := shared.Clients[0].Run(ctx, "curl", "-ksS", "--max-time", "1", "-o", "/dev/null", "https://"+netip.AddrPortFrom(at, lab.Port).String()+"/livez")
		return err == nil, nil
	}))
}

// holder waits until a node has an address, other than the node that had it before.
func (g *groups) holder(of netip.Addr, not *lab.Node) (holder *lab.Node) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), 30*time.Second)
	defer cancel()
	must(g.t, wait.Until(ctx, 20*time.Millisecond, func() (bool, error) {
		have := g.holders(of)
		if len(have) == 1 && have[0] != not {
			holder = have[0]
		}
		return holder != nil, nil
	}))
	return holder
}

func (g *groups) holders(of netip.Addr) (have []*lab.Node) {
	g.t.Helper()
	for _, n := range shared.Nodes {
		has, err := n.Has(of)
		must(g.t, err)
		if has {
			have = append(have, n)
		}
	}
	return have
}

// TestGroups: the groups of one process have their own Leases, Managers and fences. A group that
// moves does not affect another group, a process that is killed loses all of its groups, and a
// process that ends leaves nothing behind.
func TestGroups(t *testing.T) {
	g := startGroups(t, moving.String()+"="+movingLease, staying.String()+"="+stayingLease)
	first, stays := g.holder(moving, nil), g.holder(staying, nil)
	asked := other(first)
	_, err := asked.Run(t.Context(), asked.VipdBinary(), "move", "--kubeconfig", asked.Kubeconfig(), "--lease-name", movingLease, "--to", asked.Name)
	must(t, err)
	if now := g.holder(moving, first); now != asked {
		t.Errorf("%s took the address that was to move to %s", now.Name, asked.Name)
	}
	if now := g.holders(staying); len(now) != 1 || now[0] != stays {
		t.Errorf("the other group went as well, from %s: %v", stays.Name, now)
	}
	g.tell(asked)

	// A process with other groups takes over the fences of the process before, also without its
	// first group.
	_, err = g.processes[stays].Kill()
	must(t, err)
	fewer := g.start(stays, "fewer", staying.String()+"="+stayingLease)
	g.served(staying)
	if now := g.holder(staying, nil); now != stays {
		t.Errorf("a restart with other groups moved the address from %s to %s", stays.Name, now.Name)
	}
	_, err = fewer.Kill()
	must(t, err)
	must(t, g.processes[stays].Start())
	g.served(staying)

	stays = g.holder(staying, nil)
	asked = g.holder(moving, nil)
	_, err = g.processes[stays].Kill()
	must(t, err)
	taken := g.holder(staying, stays)
	if now := g.holder(moving, nil); stays != asked && now != asked {
		t.Errorf("the group of %s moved to %s when %s was killed", asked.Name, now.Name, stays.Name)
	}
	must(t, g.processes[stays].Start())
	g.serves(stays, staying) // before that, a signal may end the process before it has begun anything
	if now := g.holder(staying, nil); now != taken {
		t.Errorf("%s took the address back from %s", now.Name, taken.Name)
	}
	for n, p := range g.processes {
		_, err := lab.StopNow(p, 5*time.Second)
		must(t, err)
		rules, err := n.Run(t.Context(), "nft", "list", "tables")
		must(t, err)
		if strings.Contains(rules, moving.String()) {
			t.Errorf("%s has tables left:\n%s", n.Name, rules)
		}
	}
	if left := append(g.holders(moving), g.holders(staying)...); len(left) > 0 {
		t.Errorf("addresses are left on %v", left)
	}
}

// serves waits until the process serves the status of a group.
func (g *groups) serves(on *lab.Node, group netip.Addr) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), 30*time.Second)
	defer cancel()
	must(g.t, wait.Until(ctx, 20*time.Millisecond, func() (bool, error) {
		_, err := on.Run(ctx, "curl", "-sS", "--fail", "http://127.0.0.1:2113/status?vip="+group.String())
		return err == nil, nil
	}))
}

// tell checks the status of each group of the process.
func (g *groups) tell(on *lab.Node) {
	g.t.Helper()
	for _, a := range []netip.Addr{moving, staying} {
		text, err := on.Run(g.t.Context(), "curl", "-sS", "--fail", "http://127.0.0.1:2113/status?vip="+a.String())
		must(g.t, err)
		var d Document
		must(g.t, json.Unmarshal([]byte(text), &d))
		has, err := on.Has(a)
		must(g.t, err)
		if d.VIPs[0].Address != a.String() || d.VIPs[0].Present != has || len(d.APIServers) != len(shared.Nodes) {
			g.t.Errorf("%s says of %s, which it has: %v: %s", on.Name, a, has, text)
		}
	}
}
