package fence

import (
	"net/netip"
	"testing"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// grant is a second source.
const grant Source = "grant"

var other = netip.MustParseAddr("192.168.35.101")

// again makes the rig fence other groups, with other sources.
func (r *rig) again(t *testing.T, sources []Source, groups ...[]netip.Addr) {
	t.Helper()
	must(t, r.fence.Remove())
	r.fence.Close()
	opts := r.fence.opts
	opts.Sources, opts.Groups = sources, groups
	r.restart(t, opts)
}

func (r *rig) restart(t *testing.T, opts Options) {
	t.Helper()
	r.fence = newFence(t, opts)
	must(t, r.fence.Prepare())
}

// in puts a ticket of a gate in force for d, and returns the latest end of the ticket.
func (g *Gate) in(t *testing.T, d time.Duration) (end boottime.Instant) {
	t.Helper()
	ticket, err := g.Arm(d)
	must(t, err)
	end = boottime.Now().Add(d)
	must(t, g.Permit(ticket))
	return end
}

// TestSourcesAreANDed: every source that fences the group has to permit it.
func TestSourcesAreANDed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.again(t, []Source{Lease, grant}, []netip.Addr{vip})
	lease, peers := r.fence.Gate(0, Lease), r.fence.Gate(0, grant)
	lease.in(t, 20*time.Second)
	r.expect(t, true, "the other source has no fence here")
	ticket, err := peers.Arm(10 * time.Second)
	must(t, err)
	r.expect(t, false, "one source permits, the other is armed")
	must(t, peers.Permit(ticket))
	r.expect(t, true, "both permit")
	must(t, lease.Forbid())
	r.expect(t, false, "the first forbids")
	lease.in(t, 20*time.Second)
	r.expect(t, true, "both permit again")
	r.nft(t, "flush ruleset")
	r.expectIntact(t, false, "flushed")
	must(t, r.fence.Repair())
	r.expect(t, true, "repaired, with both in force")
	must(t, peers.Forbid())
	r.expect(t, false, "the second forbids")
	r.nft(t, "flush ruleset")
	must(t, r.fence.Repair())
	r.expect(t, false, "repaired, with one in force")
	r.restart(t, r.fence.opts)
	r.expect(t, false, "restarted, with one in force")
	lease, peers = r.fence.Gate(0, Lease), r.fence.Gate(0, grant)
	r.fallsSilent(t, peers.in(t, 500*time.Millisecond))
	r.expectIntact(t, true, "one source's time is over")
	must(t, peers.Clear())
	r.expect(t, true, "the second source says nothing any more")
	r.fallsSilent(t, lease.in(t, 300*time.Millisecond))
}

// TestSourceAlone: a start on damaged tables is closed by each source.
func TestSourceAlone(t *testing.T) {
	r := newRig(t)
	r.again(t, []Source{Lease, grant}, []netip.Addr{vip})
	r.fence.Gate(0, Lease).in(t, 10*time.Second)
	r.nft(t, "insert rule arp vipd-test answers accept")
	r.restart(t, r.fence.opts)
	r.expect(t, false, "restarted on damaged tables")
	r.fence.Gate(0, Lease).in(t, 10*time.Second)
	r.expect(t, false, "one source has permitted")
	must(t, r.fence.Gate(0, grant).Clear())
	r.expect(t, true, "the other one rests")
}

// TestGroupsDoNotDisturbEachOther: a change of one group does not affect the other.
func TestGroupsDoNotDisturbEachOther(t *testing.T) {
	r := newRig(t)
	r.node.AddAddr("eth0", "192.168.35.101/32")
	r.again(t, []Source{Lease}, []netip.Addr{vip}, []netip.Addr{other})
	first, second := r.fence.Gate(0, Lease), r.fence.Gate(1, Lease)
	both := func(one, two bool, when string) {
		t.Helper()
		r.expect(t, one, when)
		if got := r.answersFor(t, other); got != two {
			t.Fatalf("%s: answers for the second group = %t, want %t", when, got, two)
		}
	}
	both(true, true, "fence at rest")
	end := second.in(t, 20*time.Second)
	both(true, true, "the second is permitted")
	for range 2 * slots { // in each slot of the other gate
		ticket, err := first.Arm(10 * time.Second)
		must(t, err)
		must(t, first.Permit(ticket))
		both(true, true, "both are permitted")
	}
	must(t, first.Forbid())
	both(false, true, "the first is forbidden")
	_, err := first.Arm(50 * time.Millisecond)
	must(t, err)
	both(false, true, "the first is armed, for less time than the second has")
	must(t, first.Clear())
	both(true, true, "the first rests")
	first.in(t, 10*time.Second)
	r.nft(t, "flush ruleset")
	must(t, r.fence.Repair())
	both(true, true, "repaired")
	must(t, first.Forbid())
	r.restart(t, r.fence.opts)
	both(false, true, "restarted")
	r.expectIntact(t, true, "restarted")
	got, err := r.fence.kernel.Look()
	must(t, err)
	for _, table := range got.Gates[1] {
		if left := table[r.fence.gates[1].permitted].Armed.Left; boottime.Now().Add(left).Sub(end) > jiffy || left < 15*time.Second {
			t.Errorf("%v is left of the second group's ticket, want %v", left, end.Sub(boottime.Now()))
		}
	}
}

// TestUpgradeClosesFirst: tables of a vipd without sources have other sets and the same name. They
// are never opened, even if this process is killed between two transactions.
func TestUpgradeClosesFirst(t *testing.T) {
	const before = `flush ruleset
table %family% vipd-test {
	set fenced1 { type ipv4_addr; flags timeout; elements = { 192.168.35.100 timeout 40s } }
	set armed1 { type ipv4_addr; flags timeout; elements = { 192.168.35.100 timeout 10s } }
	set inforce1 { type ipv4_addr; %inforce% }
	chain answers {
		type filter hook output priority filter; policy accept;
		arp saddr ip @inforce1 arp saddr ip @armed1 accept
		arp saddr ip @fenced1 drop
	}
}`
	for _, inForce := range []bool{true, false} {
		r := newRig(t)
		elements := ""
		if inForce {
			elements = "elements = { 192.168.35.100 }"
		}
		r.nft(t, replace(before, "%family%", "arp", "%inforce%", elements))
		r.expect(t, inForce, "before the upgrade")
		r.fence.Close()
		r.fence = newFence(t, r.fence.opts)
		r.spied(func(_ []Change, err error) error {
			r.expect(t, false, "between the transactions of the upgrade")
			return err
		})
		must(t, r.fence.Prepare())
		r.expect(t, false, "upgraded")
		r.fence.kernel = r.fence.nft
		r.opened(t, 10*time.Second)
		r.expect(t, true, "permitted")
		must(t, r.fence.Remove())
		if left := r.nft(t, "list ruleset"); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
	}
}

// TestUnknownTablesFenceForTheLongestTicket: the ticket in such tables is not readable, and an
// address may still have its lifetime.
func TestUnknownTablesFenceForTheLongestTicket(t *testing.T) {
	r := newRig(t)
	r.opened(t, time.Minute)
	r.damage(t, damages["set added"])
	r.fence.Close()
	r.fence = r.newFence()
	must(t, r.fence.Prepare())
	r.expect(t, false, "restarted on unknown tables")
	v, err := r.fence.nft.Look()
	must(t, err)
	for _, table := range v.Gates[0] {
		if left := table[0].Fenced.Left; left < time.Minute+5*time.Second {
			t.Errorf("fenced for %v after a ticket of a minute, want longer than its address may stay", left)
		}
	}
}

// TestFenceStaysWhileItIsForbidden: addresses that cannot be removed may stay for longer than the
// fence outlasts a ticket.
func TestFenceStaysWhileItIsForbidden(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opened(t, time.Second)
	must(t, r.gate().Forbid())
	var passed time.Duration
	r.fence.now = func() boottime.Instant { return boottime.Now().Add(passed) }
	for range 2 * slots {
		passed += linger + 2*time.Second
		for _, l := range r.fence.nft.layout {
			for _, set := range l.sets() {
				r.nft(t, "flush set "+l.name+" vipd-test "+set.Name)
			}
		}
		r.expect(t, true, "the elements have ended")
		must(t, r.gate().Forbid())
		r.expect(t, false, "forbidden again")
		r.expectIntact(t, true, "forbidden again")
	}
	r.opened(t, 10*time.Second)
	r.expect(t, true, "permitted")
	must(t, r.gate().Clear())
	must(t, r.gate().Forbid())
	r.expect(t, true, "without a fence, there is none to stay")
}
