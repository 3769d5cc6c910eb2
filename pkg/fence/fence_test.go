package fence

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/packet"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/vipd-io/vipd/internal/nstest"
	"github.com/vipd-io/vipd/pkg/boottime"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var vip = netip.MustParseAddr("192.168.35.100")

// rig is a node that has the VIP for ever, so that only the fence decides
// whether it answers, and a client that asks it.
type rig struct {
	t            *testing.T
	node, client *nstest.NS
	ask          *packet.Conn
	asked        uint32
	fence        *Fence
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, node: nstest.New(t), client: nstest.New(t)}
	nstest.Pair(t, r.node, r.client, "192.168.35.11/24", "192.168.35.50/24")
	r.node.AddAddr("eth0", "192.168.35.100/32")
	r.ask = r.client.Frames("eth0", nstest.EtherTypeARP)
	r.fence = r.newFence()
	if err := r.fence.Prepare(); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) newFence() *Fence {
	f := New(Options{Table: "vipd-test", Addresses: []netip.Addr{vip}, NetNS: r.node.Fd()})
	r.t.Cleanup(f.Close)
	return f
}

func whoHas(t rapid.TB, mac []byte, target netip.Addr) []byte {
	t.Helper()
	p, err := arp.NewPacket(arp.OperationRequest, mac, netip.IPv4Unspecified(), make([]byte, 6), target)
	if err != nil {
		t.Fatal(err)
	}
	payload, _ := p.MarshalBinary()
	f := ethernet.Frame{Destination: ethernet.Broadcast, Source: mac, EtherType: ethernet.EtherTypeARP, Payload: payload}
	b, err := f.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// question asks who has an address. Its answer is known by the asker's MAC in it.
func (r *rig) question(t rapid.TB, target netip.Addr) (asker []byte) {
	t.Helper()
	r.asked++
	asker = binary.BigEndian.AppendUint32([]byte{0x06, 0x61}, r.asked)
	if _, err := r.ask.WriteTo(whoHas(t, asker, target), &packet.Addr{HardwareAddr: ethernet.Broadcast}); err != nil {
		t.Fatal(err)
	}
	return asker
}

// reply waits for the next answer of the node to anything.
func (r *rig) reply(deadline time.Time) (*arp.Packet, error) {
	_ = r.ask.SetReadDeadline(deadline)
	buf := make([]byte, 128)
	for {
		n, _, err := r.ask.ReadFrom(buf)
		if err != nil {
			return nil, err
		}
		var f ethernet.Frame
		var p arp.Packet
		if f.UnmarshalBinary(buf[:n]) == nil && p.UnmarshalBinary(f.Payload) == nil && p.Operation == arp.OperationReply {
			return &p, nil
		}
	}
}

// answers asks for the VIP and then for the node's own address: silence is known by
// the answer to the second question, however busy the machine is.
func (r *rig) answers(t rapid.TB) (yes bool) {
	t.Helper()
	var first, second []byte
	inOrder(t, func() {
		first = r.question(t, vip)
		second = r.question(t, netip.MustParseAddr("192.168.35.11"))
	})
	for deadline := time.Now().Add(5 * time.Second); ; {
		p, err := r.reply(deadline)
		if err != nil {
			t.Fatalf("the node does not answer at all: %v", err)
		}
		yes = yes || bytes.Equal(p.TargetHardwareAddr, first)
		if bytes.Equal(p.TargetHardwareAddr, second) {
			return yes
		}
	}
}

// inOrder has frames arrive in the order in which they are sent: a veth pair has a
// queue for each processor.
func inOrder(t rapid.TB, send func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, one unix.CPUSet
	must(t, unix.SchedGetaffinity(0, &all))
	for cpu := 0; one.Count() == 0; cpu++ {
		if all.IsSet(cpu) {
			one.Set(cpu)
		}
	}
	must(t, unix.SchedSetaffinity(0, &one))
	defer func() { must(t, unix.SchedSetaffinity(0, &all)) }()
	send()
}

func (r *rig) expect(t rapid.TB, want bool, when string) {
	t.Helper()
	if got := r.answers(t); got != want {
		t.Fatalf("%s: answers for the VIP = %t, want %t", when, got, want)
	}
}

func must(t rapid.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// listen opens a TCP port on the VIP; the kernel accepts by itself.
func (r *rig) listen(t *testing.T) (l net.Listener) {
	t.Helper()
	must(t, r.node.Do(func() (err error) {
		l, err = net.Listen("tcp", netip.AddrPortFrom(vip, 6443).String())
		return err
	}))
	return l
}

// fallsSilent asks until there is no answer any more, and what was asked after
// the end was not answered.
func (r *rig) fallsSilent(t *testing.T, end boottime.Instant) {
	t.Helper()
	var last boottime.Instant
	for asked := boottime.Now(); r.answers(t); asked = boottime.Now() {
		if last = asked; last.Sub(end) > 2*time.Second {
			t.Fatal("still answers long after the ticket's end")
		}
	}
	// A jiffy is at most 10 ms; the lease arithmetic keeps 150 ms for it.
	if over := last.Sub(end); over > 50*time.Millisecond {
		t.Errorf("answered %v after the ticket's end", over)
	}
}

func TestTicketOpensAndEndsByItself(t *testing.T) {
	r := newRig(t)
	r.expect(t, true, "fence at rest")
	const d = 400 * time.Millisecond
	ticket, err := r.fence.Arm(d)
	must(t, err)
	end := boottime.Now().Add(d)
	r.expect(t, false, "armed and not permitted")
	must(t, r.fence.Permit(ticket))
	r.expect(t, true, "permitted")
	r.fallsSilent(t, end)
	must(t, r.fence.Permit(ticket)) // the call may come late, as after a pause of the process
	r.expect(t, false, "ended ticket permitted again, as by a process that was paused")
	must(t, r.fence.Rest())
	r.expect(t, true, "fence at rest again")
}

func TestPermitRefusesASupersededTicket(t *testing.T) {
	r := newRig(t)
	first, err := r.fence.Arm(10 * time.Second)
	must(t, err)
	_, err = r.fence.Arm(10 * time.Second) // the retry of a write that got no answer
	must(t, err)
	if err := r.fence.Permit(first); !errors.Is(err, ErrSuperseded) {
		t.Fatalf("Permit of the first ticket = %v, want ErrSuperseded", err)
	}
	r.expect(t, false, "after a refused permit")
	must(t, r.fence.Forbid())
	if err := r.fence.Permit(0); !errors.Is(err, ErrSuperseded) {
		t.Fatalf("Permit of the zero ticket = %v, want ErrSuperseded", err)
	}
	r.expect(t, false, "the zero ticket permits nothing")
}

func TestForbidClosesAtOnce(t *testing.T) {
	r := newRig(t)
	ticket, err := r.fence.Arm(10 * time.Second)
	must(t, err)
	must(t, r.fence.Permit(ticket))
	r.expect(t, true, "permitted")
	must(t, r.fence.Forbid())
	r.expect(t, false, "forbidden")
}

func TestForbiddenPacketsDoNotReachTheNode(t *testing.T) {
	r := newRig(t)
	listener := r.listen(t)
	defer func() { _ = listener.Close() }()
	dial := func() error {
		return r.client.Do(func() error {
			c, err := net.DialTimeout("tcp", listener.Addr().String(), 300*time.Millisecond)
			if err == nil {
				_ = c.Close()
			}
			return err
		})
	}
	ticket, err := r.fence.Arm(30 * time.Second)
	must(t, err)
	must(t, r.fence.Permit(ticket))
	must(t, dial()) // fills the neighbour cache, so ARP is out of the game
	must(t, r.fence.Forbid())
	if dial() == nil {
		t.Error("a client that knows the MAC still reaches the fenced VIP")
	}
}

// TestRenewalNeverFlickers renews 200 times while a client asks without pause.
func TestRenewalNeverFlickers(t *testing.T) {
	r := newRig(t)
	ticket, err := r.fence.Arm(time.Second)
	must(t, err)
	must(t, r.fence.Permit(ticket))
	g, ctx := errgroup.WithContext(t.Context())
	var renewals atomic.Int32
	asked := 0
	done, stop := context.WithCancel(ctx)
	g.Go(func() error {
		defer stop()
		for renewals.Load() < 200 {
			ticket, err := r.fence.Arm(time.Second)
			if err != nil {
				return err
			}
			if err := r.fence.Permit(ticket); err != nil {
				return err
			}
			renewals.Add(1)
		}
		return nil
	})
	for done.Err() == nil {
		asked++
		r.expect(t, true, "during renewals")
	}
	must(t, g.Wait())
	if asked < 100 {
		t.Errorf("asked only %d times: proves nothing", asked)
	}
}

// TestMendingNeverFlickers flushes the ruleset 50 times while a client asks
// without pause.
func TestMendingNeverFlickers(t *testing.T) {
	r := newRig(t)
	r.opened(t, time.Minute)
	done, stop := context.WithCancel(t.Context())
	var g errgroup.Group
	g.Go(func() error {
		defer stop()
		for range 50 {
			r.nft(t, "flush ruleset")
			if err := r.fence.Mend(); err != nil {
				return err
			}
		}
		return nil
	})
	asked := 0
	for done.Err() == nil {
		asked++
		r.expect(t, true, "while it is mended")
	}
	must(t, g.Wait())
	if asked < 100 {
		t.Errorf("asked only %d times: proves nothing", asked)
	}
	r.expectIntact(t, true, "at the end")
}

// TestRestartWithAShorterLease: from the first write on, others wait for no longer
// than that says, whatever became of its answer.
func TestRestartWithAShorterLease(t *testing.T) {
	r := newRig(t)
	r.opened(t, time.Minute)
	again := New(r.fence.opts)
	t.Cleanup(again.Close)
	must(t, again.Prepare())
	r.fence.Close()
	r.fence = again
	r.expect(t, true, "taken over")
	_, err := r.fence.Arm(500 * time.Millisecond)
	must(t, err)
	end := boottime.Now().Add(500 * time.Millisecond)
	r.expect(t, true, "a shorter ticket waits for its permit")
	r.expectIntact(t, true, "cut")
	r.fallsSilent(t, end)
}

func TestRestartTakesOverWhatTimeIsLeft(t *testing.T) {
	r := newRig(t)
	ticket, err := r.fence.Arm(700 * time.Millisecond)
	must(t, err)
	must(t, r.fence.Permit(ticket))
	second := r.newFence()
	must(t, second.Prepare())
	r.expect(t, true, "after a restart inside the ticket")
	next, err := second.Arm(5 * time.Second)
	must(t, err)
	r.expect(t, true, "the first process' ticket still runs")
	must(t, second.Permit(next))
	time.Sleep(time.Second) // past the first ticket's end: the kernel's clock, not ours
	r.expect(t, true, "the second process' ticket runs")
}

func TestFlushedRulesetIsMadeAnew(t *testing.T) {
	r := newRig(t)
	ticket, err := r.fence.Arm(10 * time.Second)
	must(t, err)
	must(t, r.fence.Permit(ticket))
	c, err := nftables.New(nftables.WithNetNSFd(r.node.Fd()))
	must(t, err)
	c.FlushRuleset()
	must(t, c.Flush())

	next, err := r.fence.Arm(10 * time.Second)
	must(t, err)
	r.expect(t, true, "rebuilt with the ticket in force")
	must(t, r.fence.Permit(next))
	r.expect(t, true, "renewed after the rebuild")
	must(t, r.fence.Forbid())
	r.expect(t, false, "forbidden after the rebuild")
}

func TestRemoveLeavesForeignTablesAlone(t *testing.T) {
	r := newRig(t)
	ruleset := func() string {
		var out []byte
		must(t, r.node.Do(func() (err error) {
			out, err = exec.CommandContext(t.Context(), "nft", "list", "ruleset").Output()
			return err
		}))
		return string(out)
	}
	must(t, r.node.Do(func() error {
		return exec.CommandContext(t.Context(), "nft", "add table inet other; add set inet other s { type ipv4_addr; }; add element inet other s { 192.168.35.100 }").Run()
	}))
	must(t, r.fence.Remove())
	before := ruleset()
	must(t, r.fence.Prepare())
	ticket, err := r.fence.Arm(time.Second)
	must(t, err)
	must(t, r.fence.Permit(ticket))
	s := ruleset()
	for _, want := range []string{"table arp vipd-test", "table ip vipd-test", "arp saddr ip @inforce1 arp saddr ip @armed1 accept", "ip daddr @fenced1 drop"} {
		if !strings.Contains(s, want) {
			t.Errorf("nft does not list %q in:\n%s", want, s)
		}
	}
	must(t, r.fence.Remove())
	if after := ruleset(); after != before {
		t.Errorf("ruleset changed:\nbefore:\n%s\nafter:\n%s", before, after)
	}
	// What is not there has nothing to close, and can be removed again.
	must(t, r.fence.Forbid())
	must(t, r.fence.Rest())
	must(t, r.fence.Remove())
}

func TestNoRightIsNotNoKernelSupport(t *testing.T) {
	err := unsupported(errors.New("operation not permitted"))
	if errors.Is(err, ErrUnsupported) {
		t.Error("a refusal was taken for a kernel without nftables")
	}
}

// BenchmarkClaim is what the fence adds to a claim: an Arm and a Permit on
// tables at rest.
func BenchmarkClaim(b *testing.B) { benchmarkTickets(b, (*Fence).Rest) }

// BenchmarkRenew is the same for a renewal. It mostly waits for the kernel to be
// done with the elements of the renewal before, an RCU grace period.
func BenchmarkRenew(b *testing.B) { benchmarkTickets(b, func(*Fence) error { return nil }) }

func benchmarkTickets(b *testing.B, before func(*Fence) error) {
	f := New(Options{Table: "vipd-bench", Addresses: []netip.Addr{vip}, NetNS: nstest.New(b).Fd()})
	if err := f.Prepare(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		b.StopTimer()
		if err := before(f); err != nil {
			b.Fatal(err)
		}
		time.Sleep(30 * time.Millisecond) // the grace period of what came before
		b.StartTimer()
		t, err := f.Arm(3 * time.Second)
		if err != nil {
			b.Fatal(err)
		}
		if err := f.Permit(t); err != nil {
			b.Fatal(err)
		}
	}
}
