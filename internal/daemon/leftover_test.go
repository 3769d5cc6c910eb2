package daemon

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/vipd-io/vipd/internal/nstest"
	"github.com/vipd-io/vipd/pkg/vip"
)

// TestLeftOverIsLogged: an address without vipd's mark is not removed without a word, on a claim and on a
// withdrawal; vipd's own is.
func TestLeftOverIsLogged(t *testing.T) {
	ns, n, _ := observedInterface(t, "eth0")
	usable(t, n)
	core, logs := observer.New(zap.InfoLevel)
	n.log = zap.New(core)
	said := func() int { return logs.FilterMessageSnippet("that another VIP manager left").Len() }
	places := vip.Places{{Addr: n.addresses[0], Link: vip.Link{Index: ns.Link("eth0").Attrs().Index}}}
	ns.AddAddr("eth0", testVIP+"/32")
	must(t, n.Put(places, time.Minute))
	if said() != 1 {
		t.Errorf("after a claim: %v", logs.All())
	}
	must(t, n.Put(places, time.Minute))
	must(t, n.Remove())
	if said() != 1 {
		t.Errorf("vipd's own address was logged: %v", logs.All())
	}
	ns.AddAddr("eth0", testVIP+"/32")
	must(t, n.Remove())
	if said() != 2 || len(ns.Addrs("eth0")) != 1 {
		t.Errorf("after a withdrawal: %v, %v", logs.All(), ns.Addrs("eth0"))
	}
}

// TestLeftOverIsPromoted: an address that another VIP manager left beside the node's own stays left
// while the node's own address is away, and the kernel promoted it (promote_secondaries), and when
// the node's own address is back, secondary to it. Its removal leaves the node's own address.
func TestLeftOverIsPromoted(t *testing.T) {
	for name, end := range map[string]func(*network, vip.Places) error{
		"withdrawn": func(n *network, _ vip.Places) error { return n.Remove() },
		"claimed":   func(n *network, p vip.Places) error { return n.Put(p, time.Minute) },
	} {
		t.Run(name, func(t *testing.T) {
			ns, n, _ := observedInterface(t, "eth0")
			p := promoted{t, ns, n}
			must(t, ns.Do(func() error {
				return os.WriteFile("/proc/sys/net/ipv4/conf/eth0/promote_secondaries", []byte("1"), 0o644)
			}))
			usable(t, n)
			p.ip("route add default via 192.168.35.50")
			ns.AddAddr("eth0", leftVIP)
			p.looks("left", "", true)
			p.ip("address delete " + ownAddress + " dev eth0")
			p.expect("promoted", leftVIP, "-4 address show dev eth0 primary")
			p.looks("promoted", "", true)
			p.ip("address add " + ownAddress + " dev eth0")
			p.expect("back", ownAddress, "-4 address show dev eth0 secondary")
			must(t, end(n, p.looks("the node's own is back", "", true)))
			p.expect("after the removal", ownAddress, "-4 address show dev eth0 primary")
			p.expect("after the removal", "192.168.35.0/24 dev eth0", "route")
			p.expect("after the removal", "default via", "route")
			p.looks("removed", "", false)
		})
	}
}

// TestOwnAddressLikeALeftOver: an address that is added after the one of another VIP manager is gone is the
// node's own, if it is the first of its subnet.
func TestOwnAddressLikeALeftOver(t *testing.T) {
	ns, n, _ := observedInterface(t, "eth0")
	usable(t, n)
	p := promoted{t, ns, n}
	ns.AddAddr("eth0", leftVIP)
	p.looks("left", "", true)
	p.ip("address delete " + leftVIP + " dev eth0")
	p.looks("removed", "", false)
	p.ip("address delete " + ownAddress + " dev eth0")
	ns.AddAddr("eth0", leftVIP)
	p.looks("added", leftVIP+" on eth0", false)
}

const ownAddress, leftVIP = "192.168.35.11/24", testVIP + "/24"

// promoted is a node with an address that another VIP manager left.
type promoted struct {
	t  *testing.T
	ns *nstest.NS
	n  *network
}

func (p promoted) ip(words string) (out string) {
	p.t.Helper()
	must(p.t, p.ns.Do(func() error {
		text, err := exec.CommandContext(p.t.Context(), "ip", strings.Fields(words)...).CombinedOutput()
		out = string(text)
		return err
	}))
	return out
}

// expect looks for a text in the output of ip.
func (p promoted) expect(when, text, words string) {
	p.t.Helper()
	if out := p.ip(words); !strings.Contains(out, text) {
		p.t.Errorf("%s: ip %s: %s; want %s", when, words, out, text)
	}
}

func (p promoted) looks(when, own string, removable bool) vip.Places {
	p.t.Helper()
	seen, err := p.n.Look()
	if err != nil && !errors.Is(err, vip.ErrNoLink) {
		p.t.Fatal(err)
	}
	if seen.Own != own || seen.Removable != removable {
		p.t.Errorf("%s: own %q, removable %t; want %q, %t", when, seen.Own, seen.Removable, own, removable)
	}
	return seen.Places
}
