package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/internal/nstest"
	"github.com/vipd-io/vipd/pkg/netif"
)

// The tests here run vipd as a separate process in a network namespace. There is no API server:
// every connection to it is refused.

const testVIP = "192.168.35.100"

// host is a machine with one interface in the VIP's subnet, and the state of that machine before
// vipd started.
type host struct {
	*nstest.NS
	t      *testing.T
	peer   *nstest.NS
	before string
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{NS: nstest.New(t), t: t, peer: nstest.New(t)}
	nstest.Pair(t, h.NS, h.peer, "192.168.35.11/24", "192.168.35.50/24")
	// vipd must not change the state of other programs.
	h.command("nft", "add table inet other; add set inet other s { type ipv4_addr; }; add element inet other s { "+testVIP+" }")
	h.before = h.snapshot()
	return h
}

// command runs a program in the namespace and returns its output.
func (h *host) command(name string, args ...string) string {
	h.t.Helper()
	var out []byte
	err := h.Do(func() (err error) {
		out, err = exec.CommandContext(h.t.Context(), name, args...).CombinedOutput()
		return err
	})
	if err != nil {
		h.t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
	return string(out)
}

func (h *host) ruleset() string { return h.command("nft", "list", "ruleset") }

// snapshot returns everything that vipd may change, without IPv6 addresses, which the kernel adds
// and removes by itself in a new namespace.
func (h *host) snapshot() string {
	h.t.Helper()
	return h.ruleset() + h.command("ip", "-4", "-details", "-oneline", "address", "show")
}

// expectClean checks that the state is as it was before vipd started.
func (h *host) expectClean() {
	h.t.Helper()
	if d := cmp.Diff(h.before, h.snapshot()); d != "" {
		h.t.Errorf("left behind (-before +after):\n%s", d)
	}
}

// leave adds the VIP as a vipd does that is killed afterwards.
func (h *host) leave(name string) {
	h.t.Helper()
	n, err := netif.Open(h.Fd())
	must(h.t, err)
	defer n.Close()
	now, err := n.Snapshot()
	must(h.t, err)
	must(h.t, n.Put(now, netif.Place{Addr: netip.MustParseAddr(testVIP), Link: h.Link(name).Attrs().Index}, time.Minute))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// line is a line of vipd's log, or of its standard error (then Message is the whole line).
type line struct {
	Message string `json:"msg"`
	Error   string `json:"error"`
	Level   string `json:"level"`
}

// process is a running vipd.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan line // closed at the end of the process
	read  []line    // lines that were received
	ended bool
}

// start runs vipd for the VIP in the namespace, with the required settings and further flags.
func (h *host) start(flags ...string) *process {
	h.t.Helper()
	return h.startFor(testVIP, flags...)
}

func (h *host) startFor(vip string, flags ...string) *process {
	h.t.Helper()
	args := append([]string{"run", "--address", vip, "--node-name", "n1",
		"--kubeconfig", filepath.Join(h.t.TempDir(), "admin.conf")}, flags...)
	p := &process{t: h.t, cmd: exec.Command("vipd", args...), lines: make(chan line, 10_000)}
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	r, w, err := os.Pipe()
	must(h.t, err)
	p.cmd.Stderr = w
	err = h.Do(p.cmd.Start) // a child is born into the namespace of the thread
	_ = w.Close()
	if err != nil {
		_ = r.Close()
		h.t.Fatal(err)
	}
	go func() {
		defer close(p.lines)
		defer func() { _ = r.Close() }()
		for s := bufio.NewScanner(r); s.Scan(); {
			var l line
			if json.Unmarshal(s.Bytes(), &l) != nil {
				l = line{Message: s.Text()}
			}
			p.lines <- l
		}
	}()
	h.t.Cleanup(func() { p.end(syscall.SIGKILL) })
	return p
}

// await reads the log up to the next line that contains all the parts.
func (p *process) await(parts ...string) line {
	p.t.Helper()
	tooLong := time.After(time.Minute)
	for {
		select {
		case l, ok := <-p.lines:
			if !ok {
				p.t.Fatalf("vipd ended without a line with %q; its log: %+v", parts, p.read)
			}
			p.read = append(p.read, l)
			if l.has(parts...) {
				return l
			}
		case <-tooLong:
			p.t.Fatalf("no line with %q; the log so far: %+v", parts, p.read)
		}
	}
}

func (l line) has(parts ...string) bool {
	for _, part := range parts {
		if !strings.Contains(l.Message+" "+l.Error, part) {
			return false
		}
	}
	return true
}

// count returns how many lines contained all the parts.
func (p *process) count(parts ...string) int {
	n := 0
	for _, l := range p.read {
		if l.has(parts...) {
			n++
		}
	}
	return n
}

// wait waits until vipd has ended by itself, and returns its exit status.
func (p *process) wait() int {
	for l := range p.lines {
		p.read = append(p.read, l)
	}
	p.ended = true
	_ = p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

// end sends a signal and returns the exit status.
func (p *process) end(s os.Signal) int {
	if p.ended {
		return p.cmd.ProcessState.ExitCode()
	}
	_ = p.cmd.Process.Signal(s)
	tooLong := time.AfterFunc(time.Minute, func() { _ = p.cmd.Process.Kill() })
	defer tooLong.Stop()
	return p.wait()
}

// terminate sends SIGTERM, and expects an orderly end. A test of pkg/vip asserts in fake time that
// the end takes less than a second.
func (p *process) terminate() {
	p.t.Helper()
	if code := p.end(syscall.SIGTERM); code != 0 {
		p.t.Errorf("SIGTERM: exit status %d, want 0; log: %+v", code, p.read)
	}
}

// expectRefusal checks that vipd does not start, and gives the reason in one line.
func (p *process) expectRefusal(parts ...string) {
	p.t.Helper()
	if code := p.wait(); code != 2 {
		p.t.Errorf("exit status %d, want 2; log: %+v", code, p.read)
	}
	if p.count(append(parts, "vipd: error: ")...) != 1 || p.count("vipd: error: ") != 1 {
		p.t.Errorf("want one error line with %q; log: %+v", parts, p.read)
	}
}

const (
	apiNotUsable = "API server not usable" // the first log message of a running vipd
	noLink       = "waiting for a usable interface"
	linkUsable   = "interface usable"
)

// foreign lists the ways in which another program may have added the VIP to this node.
var foreign = []struct {
	name, link, prefix string
	says               string // the message in the log, "" for none
}{
	{"another interface, of a subnet", "eth1", testVIP + "/24", notCampaigning},
	{"another interface", "eth1", testVIP + "/32", notCampaigning},
	{"kube-ipvs0", "kube-ipvs0", testVIP + "/32", leadsNowhere},
	{"loopback", "lo", testVIP + "/32", leadsNowhere},
	{"of another VIP manager, nobody is known to hold the lease", "eth0", testVIP + "/32", ""},
	{"of another VIP manager, with the prefix of the subnet", "eth0", testVIP + "/24", ""},
	{"of another VIP manager, with a subnet of its own", "eth0", testVIP + "/27", ""},
}

const (
	notCampaigning = "not campaigning: the VIP is an address of this node itself"
	leadsNowhere   = "another program has the VIP on an interface that leads nowhere"
)

// TestForeignAddressStays: vipd never removes an address that is not its own; vipd reports that
// address and continues to run.
func TestForeignAddressStays(t *testing.T) {
	for _, f := range foreign {
		for _, when := range []string{"before", "while it runs"} {
			t.Run(f.name+", "+when, func(t *testing.T) {
				h := newHost(t)
				h.Spare("eth1")
				h.Dummy("kube-ipvs0")
				if when == "before" {
					h.AddAddr(f.link, f.prefix)
				}
				p := h.start("--interface", "eth0")
				if when != "before" || f.says == "" {
					p.await(apiNotUsable)
				}
				if when != "before" {
					h.AddAddr(f.link, f.prefix)
				}
				if f.says != "" {
					p.await(f.says)
				}
				with := h.command("ip", "-4", "-oneline", "address", "show")
				p.terminate()
				if d := cmp.Diff(with, h.command("ip", "-4", "-oneline", "address", "show")); d != "" {
					t.Errorf("changed (-before +after):\n%s", d)
				}
				if !strings.Contains(with, f.prefix) {
					t.Errorf("%s is not among\n%s", f.prefix, with)
				}
			})
		}
	}
}

// TestVIPIsTheNodesOwnAddress: vipd continues by itself once the VIP is no longer an address of the
// node.
func TestVIPIsTheNodesOwnAddress(t *testing.T) {
	h := newHost(t)
	h.command("ip", "address", "delete", "192.168.35.11/24", "dev", "eth0")
	h.AddAddr("eth0", testVIP+"/24")
	p := h.start("--interface", "eth0")
	p.await(notCampaigning)
	h.command("ip", "address", "delete", testVIP+"/24", "dev", "eth0")
	p.await("the VIP is no longer an address of this node itself")
	h.AddAddr("eth0", "192.168.35.11/24")
	p.terminate()
	h.expectClean()
}

// TestBesideKubeVip: vipd waits while a kube-vip runs on the node, whatever the prefix length of
// its VIP. The address that kube-vip leaves behind neither ends vipd nor keeps it from campaigning.
func TestBesideKubeVip(t *testing.T) {
	for _, prefix := range []string{"/24", "/32"} {
		t.Run(prefix, func(t *testing.T) {
			h := newHost(t)
			h.AddAddr("eth0", testVIP+prefix)
			manifests := t.TempDir()
			file := filepath.Join(manifests, "kube-vip.yaml")
			must(t, os.WriteFile(file, []byte(leftKubeVip), 0o600))
			p := h.start("--manifests", manifests)
			p.await("waiting: kube-vip is on this node, too")
			must(t, os.Remove(file))
			p.await(apiNotUsable)
			with := h.command("ip", "-4", "-oneline", "address", "show")
			if !strings.Contains(with, testVIP+prefix) {
				t.Errorf("the address was removed although no other node is known to hold the lease:\n%s", with)
			}
			p.terminate()
			if n := p.count(notCampaigning); n > 0 {
				t.Errorf("vipd takes the address for the node's own")
			}
		})
	}
}

func TestNoSubnet(t *testing.T) {
	h := newHost(t)
	p := h.startFor("10.1.2.3")
	p.await(noLink, "10.1.2.3 is in none of 192.168.35.0/24 (eth0)", "name one with --interface")
	p.terminate()
	h.expectClean()

	// If --interface names the interface, vipd uses it, and logs a warning.
	p = h.startFor("10.1.2.3", "--interface", "eth0")
	p.await("the VIP is in no subnet of its interface")
	p.terminate()
	h.expectClean()
}

func TestInterfaceComesAndGoes(t *testing.T) {
	h := newHost(t)
	p := h.start("--interface", "bond0")
	p.await(noLink, `"bond0"`, "there are: lo, eth0")
	must(t, h.Links.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "bond0"}, PeerName: "peer0"}))
	p.await(noLink, "bond0 is down or has no carrier")
	h.Up("bond0")
	h.Up("peer0")
	p.await(linkUsable)
	h.Down("peer0") // removes the carrier
	p.await(noLink, "bond0 is down or has no carrier")
	must(t, h.Links.LinkDel(h.Link("bond0")))
	p.await(noLink, `"bond0"`, "there are: lo, eth0")
	p.terminate()
	h.expectClean()
}

// TestSecondWaitsForTheLock: a second vipd waits for the lock, and starts when the first vipd has
// ended, in whatever way.
func TestSecondWaitsForTheLock(t *testing.T) {
	const waiting = "waiting for the lock: another vipd holds it"
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(signal.String(), func(t *testing.T) {
			h := newHost(t)
			first := h.start()
			first.await(apiNotUsable)
			second := h.start()
			second.await(waiting)
			impatient := h.start()
			impatient.await(waiting)
			impatient.terminate()
			other := h.startFor("192.168.35.101") // another address
			other.await(apiNotUsable)
			other.terminate()

			first.end(signal)
			second.await(apiNotUsable)
			second.terminate()
			if n := second.count(waiting); n != 1 {
				t.Errorf("said %d times that it waits", n)
			}
			h.expectClean()
		})
	}
}

func TestLifetimeFence(t *testing.T) {
	h := newHost(t)
	h.start("--fence", "lifetime").expectRefusal("too short without nftables", "460ms of margin", "1.3s", "500ms for answers", "use --lease-duration 4s")
	h.expectClean()
	p := h.start("--fence", "lifetime", "--lease-duration", "4s")
	p.await("fenced by the address's lifetime alone")
	p.await(apiNotUsable)
	if d := cmp.Diff(h.before, h.snapshot()); d != "" {
		t.Errorf("touched nftables although it was told not to:\n%s", d)
	}
	p.terminate()
	h.expectClean()
}

// TestKubeconfigMissing: vipd runs, logs the missing file once, and keeps trying.
func TestKubeconfigMissing(t *testing.T) {
	h := newHost(t)
	p := h.start("--log-level", "debug")
	p.await(apiNotUsable, "admin.conf", "no such file or directory", "kubeadm writes it during init or join")
	for range 5 {
		p.await("lease call failed")
	}
	p.terminate()
	if n := p.count(apiNotUsable); n != 1 {
		t.Errorf("said %d times that there is no kubeconfig, want once; log: %+v", n, p.read)
	}
	h.expectClean()
}

// TestLeavesNothing: an orderly end leaves nothing behind, however early the end comes and whatever
// an earlier process left.
func TestLeavesNothing(t *testing.T) {
	for _, after := range []string{"starting", apiNotUsable} {
		t.Run(after, func(t *testing.T) {
			h := newHost(t)
			p := h.start()
			p.await(after)
			p.terminate()
			h.expectClean()
		})
		t.Run(after+" with an address left", func(t *testing.T) {
			h := newHost(t)
			h.leave("eth0")
			p := h.start()
			p.await(after)
			p.terminate()
			h.expectClean()
		})
		t.Run(after+" with an address left on another interface", func(t *testing.T) {
			h := newHost(t)
			must(t, h.Links.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "old0"}, PeerName: "old1"}))
			h.before = h.snapshot()
			h.leave("old0")
			p := h.start()
			p.await(after)
			p.terminate()
			h.expectClean()
		})
	}
}

// TestConnectionsLeft: connections to an address that expired after a kill of vipd end when the
// next vipd starts.
func TestConnectionsLeft(t *testing.T) {
	h := newHost(t)
	var server net.Listener
	must(t, h.Do(func() (err error) {
		server, err = net.Listen("tcp", ":6443")
		return err
	}))
	defer func() { _ = server.Close() }()
	h.leave("eth0")
	var client net.Conn
	must(t, h.peer.Do(func() (err error) {
		client, err = net.Dial("tcp", testVIP+":6443")
		return err
	}))
	defer func() { _ = client.Close() }()
	conn, err := server.Accept()
	must(t, err)
	defer func() { _ = conn.Close() }()
	h.command("ip", "address", "delete", testVIP+"/32", "dev", "eth0")

	p := h.start()
	p.await("connections ended")
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNABORTED) {
		t.Errorf("read of the connection that was left: %v", err)
	}
	p.terminate()
	h.expectClean()
}

// TestKilled: the state that remains after SIGKILL drops no packet; the next vipd uses that state,
// and removes it at its end.
func TestKilled(t *testing.T) {
	h := newHost(t)
	p := h.start()
	p.await(apiNotUsable)
	p.end(syscall.SIGKILL)
	left := h.ruleset()
	if !strings.Contains(left, "table arp vipd-"+testVIP) || !strings.Contains(left, "table ip vipd-"+testVIP) {
		t.Errorf("no tables of vipd's in:\n%s", left)
	}
	// The set of the other program has one element; vipd's sets have none.
	if n := strings.Count(left, "elements ="); n != 1 {
		t.Errorf("%d sets have elements, want 1:\n%s", n, left)
	}

	next := h.start()
	next.await(apiNotUsable)
	if d := cmp.Diff(left, h.ruleset()); d != "" {
		t.Errorf("the next vipd did not take the tables over:\n%s", d)
	}
	next.terminate()
	h.expectClean()
}

// TestLogLevelChanges: the log level changes while vipd runs, and applies from the first line.
func TestLogLevelChanges(t *testing.T) {
	h := newHost(t)
	p := h.start("--log-level", "warn")
	p.await(apiNotUsable)
	must(t, p.cmd.Process.Signal(syscall.SIGUSR1))
	p.await("log level changed")
	p.await("lease call failed") // this is logged at level debug
	must(t, p.cmd.Process.Signal(syscall.SIGUSR2))
	p.await("log level changed")
	p.terminate()
	if p.count("stopped") > 0 {
		t.Errorf("the level was not put back; log: %+v", p.read)
	}
	h.expectClean()
}
