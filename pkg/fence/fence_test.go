package fence

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os/exec"
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
	"pgregory.net/rapid"

	"github.com/vipd-io/vipd/internal/nstest"
	"github.com/vipd-io/vipd/pkg/boottime"
)

func TestMain(m *testing.M) {
	nstest.AtOnce(4)
	goleak.VerifyTestMain(m)
}

var vip = netip.MustParseAddr("192.168.35.100")

// rig is a node that always has the VIP, so that only the fence decides whether the node answers,
// and a client that sends ARP requests to it.
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
	return newFence(r.t, Options{Table: "vipd-test", Groups: [][]netip.Addr{{vip}}, Sources: []Source{Lease}, NetNS: r.node.Fd()})
}

// newFence has timeouts that are long enough for a busy machine. Tests of a timeout or of lost
// answers set the usual timeouts.
func newFence(t *testing.T, opts Options) *Fence {
	f := New(opts)
	f.timeout, f.nft.later = time.Minute, 30*time.Second
	t.Cleanup(f.Close)
	return f
}

// gate returns the gate of the Lease for the VIP.
func (r *rig) gate() *Gate { return r.fence.Gate(0, Lease) }

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

// question is an ARP request; its answer is recognized by the requester's MAC.
func (r *rig) question(t rapid.TB, target netip.Addr) (asker []byte) {
	t.Helper()
	r.asked++
	asker = binary.BigEndian.AppendUint32([]byte{0x06, 0x61}, r.asked)
	if _, err := r.ask.WriteTo(whoHas(t, asker, target), &packet.Addr{HardwareAddr: ethernet.Broadcast}); err != nil {
		t.Fatal(err)
	}
	return asker
}

// reply waits for the next answer of the node to any request.
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

// answers requests the VIP and then the node's own address: silence is known from the answer to the
// second request, however busy the machine is.
func (r *rig) answers(t rapid.TB) bool { t.Helper(); return r.answersFor(t, vip) }

func (r *rig) answersFor(t rapid.TB, addr netip.Addr) (yes bool) {
	t.Helper()
	var first, second []byte
	nstest.InOrder(t, func() {
		first = r.question(t, addr)
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

// listen opens a TCP port on the VIP; the kernel accepts connections.
func (r *rig) listen(t *testing.T) (l net.Listener) {
	t.Helper()
	must(t, r.node.Do(func() (err error) {
		l, err = net.Listen("tcp", netip.AddrPortFrom(vip, 6443).String())
		return err
	}))
	return l
}

// fallsSilent sends requests until there is no answer any more, and checks that no request after
// the end was answered.
func (r *rig) fallsSilent(t *testing.T, end boottime.Instant) {
	t.Helper()
	var last boottime.Instant
	for asked := boottime.Now(); r.answers(t); asked = boottime.Now() {
		if last = asked; last.Sub(end) > 2*time.Second {
			t.Fatal("still answers long after the ticket's end")
		}
	}
	// A jiffy is at most 10 ms, which the lease arithmetic assumes; the rest is for a busy machine.
	if over := last.Sub(end); over > 50*time.Millisecond {
		t.Errorf("answered %v after the ticket's end", over)
	}
}

func TestTicketOpensAndEndsByItself(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.expect(t, true, "fence at rest")
	const d = 2 * time.Second
	ticket, err := r.gate().Arm(d)
	must(t, err)
	end := boottime.Now().Add(d)
	r.expect(t, false, "armed and not permitted")
	must(t, r.gate().Permit(ticket))
	r.expect(t, true, "permitted")
	r.fallsSilent(t, end)
	must(t, r.gate().Permit(ticket)) // the call may come late, as after a pause of the process
	r.expect(t, false, "ended ticket permitted again, as by a process that was paused")
	must(t, r.gate().Clear())
	r.expect(t, true, "fence at rest again")
}

func TestPermitRefusesASupersededTicket(t *testing.T) {
	r := newRig(t)
	first, err := r.gate().Arm(10 * time.Second)
	must(t, err)
	for range slots - 1 {
		_, err = r.gate().Arm(10 * time.Second) // retries of a write that got no answer
		must(t, err)
	}
	if err := r.gate().Permit(first); !errors.Is(err, ErrSuperseded) {
		t.Fatalf("Permit of the first ticket = %v, want ErrSuperseded", err)
	}
	r.expect(t, false, "after a refused permit")
	must(t, r.gate().Forbid())
	if err := r.gate().Permit(0); !errors.Is(err, ErrSuperseded) {
		t.Fatalf("Permit of the zero ticket = %v, want ErrSuperseded", err)
	}
	r.expect(t, false, "the zero ticket permits nothing")
}

func TestForbidClosesAtOnce(t *testing.T) {
	r := newRig(t)
	ticket, err := r.gate().Arm(10 * time.Second)
	must(t, err)
	must(t, r.gate().Permit(ticket))
	r.expect(t, true, "permitted")
	must(t, r.gate().Forbid())
	r.expect(t, false, "forbidden")
}

func TestForbiddenPacketsDoNotReachTheNode(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	listener := r.listen(t)
	defer func() { _ = listener.Close() }()
	ticket, err := r.gate().Arm(30 * time.Second)
	must(t, err)
	must(t, r.gate().Permit(ticket))
	must(t, r.dial(listener, answered)) // fills the neighbour cache, so the client needs no ARP any more
	must(t, r.gate().Forbid())
	if r.dial(listener, silence) == nil {
		t.Error("a client that knows the MAC still reaches the fenced VIP")
	}
}

// Timeouts of a client's connection.
const (
	answered = 30 * time.Second // for a busy machine
	silence  = 300 * time.Millisecond
)

// dial has the client connect.
func (r *rig) dial(to net.Listener, limit time.Duration) error {
	return r.client.Do(func() error {
		c, err := net.DialTimeout("tcp", to.Addr().String(), limit)
		if err == nil {
			_ = c.Close()
		}
		return err
	})
}

// TestRenewalNeverFlickers renews 200 times while a client sends requests without a pause.
func TestRenewalNeverFlickers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const d = 5 * time.Second
	ticket, err := r.gate().Arm(d)
	must(t, err)
	must(t, r.gate().Permit(ticket))
	g, ctx := errgroup.WithContext(t.Context())
	var renewals atomic.Int32
	asked := 0
	done, stop := context.WithCancel(ctx)
	g.Go(func() error {
		defer stop()
		for renewals.Load() < 200 {
			ticket, err := r.gate().Arm(d)
			if err != nil {
				return err
			}
			if err := r.gate().Permit(ticket); err != nil {
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

// TestRestartWithAShorterLease: from the first write on, other nodes wait no longer than the new
// lease says, whatever happened to the answer.
func TestRestartWithAShorterLease(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opened(t, time.Minute)
	again := newFence(t, r.fence.opts)
	must(t, again.Prepare())
	r.fence.Close()
	r.fence = again
	r.expect(t, true, "taken over")
	const short = 2 * time.Second
	_, err := r.gate().Arm(short)
	must(t, err)
	end := boottime.Now().Add(short)
	r.expect(t, true, "a shorter ticket waits for its permit")
	r.expectIntact(t, true, "cut")
	r.fallsSilent(t, end)
}

// TestShorterLeaseAfterAPause: a process that was stopped just before it read how long a ticket
// lasts, or before it started a ticket, underestimates its length. The ticket is replaced all the
// same.
func TestShorterLeaseAfterAPause(t *testing.T) {
	t.Parallel()
	for name, paused := range map[string]func(*rig){
		"before a look": func(r *rig) {
			r.opened(t, 2*time.Second)
			r.fence = r.newFence()
			r.pauseAt(2)
			must(t, r.fence.Prepare())
		},
		"before a start": func(r *rig) {
			r.pauseAt(2)
			r.opened(t, 2*time.Second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			paused(r)
			r.expect(t, true, "after the pause")
			_, err := r.gate().Arm(1500 * time.Millisecond)
			must(t, err)
			r.fallsSilent(t, boottime.Now().Add(1500*time.Millisecond))
		})
	}
}

// paused stops the process before each of the next transactions, for some time.
type paused struct {
	Kernel
	pauses *[]time.Duration
}

func (p paused) Transact(changes ...Change) error {
	if next := *p.pauses; len(next) > 0 {
		time.Sleep(next[0])
		*p.pauses = next[1:]
	}
	return p.Kernel.Transact(changes...)
}

// TestPausedShorteningExtendsNothing: the ticket in force is longer than the new one, and the
// process is stopped before the transaction that should end it earlier.
func TestPausedShorteningExtendsNothing(t *testing.T) {
	t.Parallel()
	const long, short = 1500 * time.Millisecond, 700 * time.Millisecond
	for name, pauses := range map[string][]time.Duration{
		"before the first":            {long + 200*time.Millisecond},
		"before the first, for less":  {long - 400*time.Millisecond},
		"before the second":           {0, long + 200*time.Millisecond},
		"before the second, for less": {0, short + 100*time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			end := r.opened(t, long)
			r.fence.timeout = callTimeout
			r.fence.kernel = paused{r.fence.kernel, &pauses}
			_, err := r.gate().Arm(short)
			if err != nil && !errors.Is(err, ErrTimeout) {
				t.Fatal(err)
			}
			must(t, patiently(func() error { _, err := r.fence.Intact(); return err })) // after the call in flight
			r.fallsSilent(t, end)
		})
	}
}

// TestFenceOutlastsALongerTicket: the address may have the lifetime of a ticket that was much
// longer than those since, like the tickets of a lone holder.
func TestFenceOutlastsALongerTicket(t *testing.T) {
	const long = time.Minute
	r := newRig(t)
	r.opened(t, long)
	least := func(when string) {
		t.Helper()
		for range 2 * slots { // overwrites all earlier tickets
			_, err := r.gate().Arm(time.Second)
			must(t, err)
		}
		s, err := r.fence.look()
		must(t, err)
		var left time.Duration
		for _, slot := range s.Gates[0][0] {
			left = max(left, slot.Fenced.Left)
		}
		if want := long + linger - 10*time.Second; left < want { // the test may take that long
			t.Errorf("%s: the fence ends in %s, want %s at least", when, left, want)
		}
	}
	least("shorter tickets")
	r.fence = r.newFence()
	must(t, r.fence.Prepare())
	least("after a restart")
	c, err := nftables.New(nftables.WithNetNSFd(r.node.Fd()))
	must(t, err)
	c.FlushRuleset()
	must(t, c.Flush())
	must(t, r.fence.Repair())
	least("after a flush")
}

// pauseAt stops the process for a second after a reading of its clock.
func (r *rig) pauseAt(call int) {
	calls := 0
	r.fence.now = func() boottime.Instant {
		if calls++; calls <= call {
			return boottime.Now().Add(-time.Second)
		}
		return boottime.Now()
	}
}

func TestRestartTakesOverTheRemainingTime(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	end := r.opened(t, 3*time.Second)
	second := r.newFence()
	must(t, second.Prepare())
	r.expect(t, true, "after a restart inside the ticket")
	next, err := second.Gate(0, Lease).Arm(time.Minute)
	must(t, err)
	r.expect(t, true, "the first process' ticket still runs")
	must(t, second.Gate(0, Lease).Permit(next))
	time.Sleep(end.Sub(boottime.Now()) + 100*time.Millisecond) // the kernel decides by its own clock
	r.expect(t, true, "the second process' ticket runs")
}

func TestFlushedRulesetIsMadeAnew(t *testing.T) {
	r := newRig(t)
	ticket, err := r.gate().Arm(10 * time.Second)
	must(t, err)
	must(t, r.gate().Permit(ticket))
	c, err := nftables.New(nftables.WithNetNSFd(r.node.Fd()))
	must(t, err)
	c.FlushRuleset()
	must(t, c.Flush())

	next, err := r.gate().Arm(10 * time.Second)
	must(t, err)
	r.expect(t, true, "rebuilt with the ticket in force")
	must(t, r.gate().Permit(next))
	r.expect(t, true, "renewed after the rebuild")
	must(t, r.gate().Forbid())
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
	ticket, err := r.gate().Arm(time.Second)
	must(t, err)
	must(t, r.gate().Permit(ticket))
	s := ruleset()
	for _, want := range []string{"table arp vipd-test", "table ip vipd-test", "arp saddr ip @lease-inforce1 arp saddr ip @lease-armed1 return", "ip daddr @lease-fenced1 drop"} {
		if !strings.Contains(s, want) {
			t.Errorf("nft does not list %q in:\n%s", want, s)
		}
	}
	must(t, r.fence.Remove())
	if after := ruleset(); after != before {
		t.Errorf("ruleset changed:\nbefore:\n%s\nafter:\n%s", before, after)
	}
	// Tables that do not exist need not be closed, and can be removed again.
	must(t, r.gate().Forbid())
	must(t, r.gate().Clear())
	must(t, r.fence.Remove())
}

func TestNoRightIsNotNoKernelSupport(t *testing.T) {
	err := unsupported(errors.New("operation not permitted"))
	if errors.Is(err, ErrUnsupported) {
		t.Error("a refusal was taken for a kernel without nftables")
	}
}

// BenchmarkClaim measures what the fence adds to a claim: an Arm and a Permit.
func BenchmarkClaim(b *testing.B) { benchmarkTickets(b, (*Gate).Clear) }

// BenchmarkRenew measures the same for a renewal. Most of the time is the wait for an RCU grace
// period, which the kernel needs for the elements of the renewal before.
func BenchmarkRenew(b *testing.B) { benchmarkTickets(b, func(*Gate) error { return nil }) }

func benchmarkTickets(b *testing.B, before func(*Gate) error) {
	f := New(Options{Table: "vipd-bench", Groups: [][]netip.Addr{{vip}}, Sources: []Source{Lease}, NetNS: nstest.New(b).Fd()})
	if err := f.Prepare(); err != nil {
		b.Fatal(err)
	}
	g := f.Gate(0, Lease)
	for b.Loop() {
		b.StopTimer()
		if err := before(g); err != nil {
			b.Fatal(err)
		}
		time.Sleep(30 * time.Millisecond) // the grace period of earlier changes
		b.StartTimer()
		t, err := g.Arm(3 * time.Second)
		if err != nil {
			b.Fatal(err)
		}
		if err := g.Permit(t); err != nil {
			b.Fatal(err)
		}
	}
}
