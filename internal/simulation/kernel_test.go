package simulation

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/vip"
)

// kernel models the state that does not depend on a process, in one boot of a node: addresses with
// a lifetime, the link, and the tables. Timeouts take effect exactly when they are due, so the
// times in which the node answers are exact.
type kernel struct {
	n     *node
	clock *clock

	mu       sync.Mutex
	at       time.Duration // the time of the state below, in jiffies, like all ends
	moment   time.Duration // the same time in simulated time, which is comparable between nodes
	asleep   bool          // the machine is suspended
	link     vip.Link
	address  address
	copies   copies
	planted  copies // copies that others added; copies is what is left of them
	tables   tables
	ended    bool
	open     *interval // since when the node answers
	answered []interval
	grants   []grant
	wakes    []time.Duration // ends of suspends
	exposed  atomic.Int64    // until when the node is spared, after damage to the tables; 0 once they are rebuilt
	expiry   *time.Timer
}

// address is the VIP on an interface.
type address struct {
	here     bool
	index    int
	ends     time.Duration // when the kernel removes it
	diverted bool          // without its local route: packets for it are neither accepted nor answered
	rerouted bool          // it was diverted, until the interface went down or up
}

// tables are the tables of pkg/fence (see its layout.go), the ARP table and the IP table in one.
type tables struct {
	there bool
	slots [3]slot
}

// slot is the sets of one ticket, as the ends of their elements; 0 for none.
type slot struct {
	fenced, armed time.Duration
	inForce       bool
}

// at returns the elements that are in force at a time.
func (t tables) at(now time.Duration) tables {
	for i, s := range t.slots {
		if now >= s.armed {
			t.slots[i].armed, t.slots[i].inForce = 0, false
		}
		if now >= s.fenced {
			t.slots[i].fenced = 0
		}
	}
	return t
}

// pass evaluates the chain: accept with a ticket in force, drop if fenced, else accept.
func (t tables) pass(now time.Duration) bool {
	fenced := false
	for _, s := range t.at(now).slots {
		if s.inForce {
			return true
		}
		fenced = fenced || s.fenced != 0
	}
	return !fenced
}

// interval is a time in which a node answers, from `from` until before `to`.
type interval struct {
	node     string
	from, to time.Duration
}

// grant is a right to answer that a process of this boot was given.
type grant struct {
	since time.Duration
	until boottime.Instant
}

var errNoLink = errors.New("no such interface")

// errShared is pkg/netif's ErrShared.
var errShared = errors.New("somebody else has the address here, too")

func newKernel(n *node, c *clock, link vip.Link) *kernel {
	return &kernel{n: n, clock: c, link: link, at: c.read(n.c.now()).jiffies, moment: n.c.now()}
}

// now returns the node's CLOCK_BOOTTIME, raw its CLOCK_MONOTONIC_RAW.
func (k *kernel) now() boottime.Instant { return k.clock.at(k.n.c.now()) }
func (k *kernel) raw() boottime.Raw     { return k.clock.read(k.n.c.now()).raw }

// do reads or changes the state.
func (k *kernel) do(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.advance(k.n.c.now())
	f()
	k.note()
}

// advance applies the timeouts until now.
func (k *kernel) advance(now time.Duration) {
	to := k.clock.read(now).jiffies
	for k.at < to {
		next := to
		ends := []time.Duration{k.address.ends}
		for _, s := range k.tables.slots {
			ends = append(ends, s.armed, s.fenced)
		}
		for _, end := range ends {
			if end > k.at {
				next = min(next, end)
			}
		}
		k.at, k.moment = next, k.clock.moment(next)
		if k.at >= k.address.ends {
			k.address = address{}
		}
		k.note()
	}
	k.moment = now
}

// note begins or ends an interval in which the node answers.
func (k *kernel) note() {
	answers := !k.ended && !k.asleep && k.address.here && !k.address.diverted && k.tables.pass(k.at)
	switch {
	case answers && k.open == nil:
		k.open = &interval{node: k.n.name, from: k.moment}
	case !answers && k.open != nil:
		k.open.to = k.moment
		if k.open.from < k.open.to {
			k.answered = append(k.answered, *k.open)
		}
		k.open = nil
	}
}

// element returns when an element ends that is added now. The kernel's timers are late by up to a
// tick (docs/adr/0002: less than 10 ms).
func (k *kernel) element(d time.Duration) time.Duration {
	return k.at + d + k.n.below(timerDelay, drawGrain)
}

// timerDelay is the maximum delay of the end of an element.
const timerDelay = 10 * time.Millisecond

// removal is the maximum time from the end of an address's lifetime to its removal
// (internal/daemon/fence.go).
const removal = 1300 * time.Millisecond

// put is pkg/netif's Put: whole seconds, rounded up.
func (k *kernel) put(index int, valid time.Duration) (err error) {
	k.do(func() {
		if index != k.link.Index {
			err = errNoLink
			return
		}
		valid = max(time.Second, (valid + time.Second - 1).Truncate(time.Second))
		late := k.n.below(300*time.Millisecond, drawRemoval)
		if k.n.oneIn(5, drawRemoval+drawAgain) { // a busy host
			late = k.n.below(removal, drawRemoval)
		}
		k.address = address{here: true, index: index, ends: k.at + valid + late}
		k.notifyExpired()
	})
	k.n.changed()
	return err
}

// notifyExpired notifies the process of an address whose lifetime ended.
func (k *kernel) notifyExpired() {
	if k.expiry != nil {
		k.expiry.Stop()
	}
	k.expiry = time.AfterFunc(k.clock.moment(k.address.ends)-k.moment, k.n.changed)
}

// divert is pkg/netif's Divert, which reports an error if there are copies of others.
func (k *kernel) divert() (err error) {
	k.do(func() {
		if k.copies != (copies{}) {
			err = errShared
			return
		}
		k.address.diverted = k.address.here
	})
	k.n.changed()
	return err
}

func (k *kernel) remove() {
	k.do(func() { k.address = address{} })
	k.n.changed()
}

// look is internal/daemon's Look.
func (k *kernel) look() (seen vip.Observation, err error) {
	k.do(func() {
		seen = vip.Observation{Places: vip.Places{{Link: k.link}}, Marked: k.address.here}
		if k.address.here && k.address.index == k.link.Index {
			seen.Present = vip.Whole
		}
		if k.copies.own {
			seen.Own = "the address on eth1"
		}
		if k.copies.onLocal {
			seen.OnLocal = "the address on kube-ipvs0"
		}
		if !k.link.Up {
			err = vip.ErrNoLink
		}
	})
	return seen, err
}

// relink changes the interface. A new index means a new interface, without the addresses of the old
// one.
func (k *kernel) relink(f func(*vip.Link)) {
	k.do(func() {
		index := k.link.Index
		f(&k.link)
		if k.link.Index != index {
			k.address = address{}
		}
		if k.address.diverted { // the kernel restores the route
			k.address.diverted, k.address.rerouted = false, true
		}
	})
	k.n.changed()
}

// damage changes the tables as another program would.
func (k *kernel) damage(f func()) {
	k.do(func() {
		f()
		k.exposed.Store(int64(k.moment + repairWithin))
	})
	k.n.changed()
}

// changeRates changes the rates of the clocks.
func (k *kernel) changeRates(how func(*mark)) {
	k.do(func() {
		k.clock.change(k.n.c.now(), how)
		if k.address.here {
			k.notifyExpired()
		}
	})
}

// sleep suspends or resumes the machine. A suspended machine does not answer, and its timers stand
// still.
func (k *kernel) sleep(asleep bool) {
	k.do(func() {
		k.clock.change(k.n.c.now(), func(m *mark) { m.asleep = asleep })
		k.asleep = asleep
	})
	k.do(func() {
		if !asleep {
			k.wakes = append(k.wakes, k.moment)
		}
		if k.address.here {
			k.notifyExpired()
		}
	})
}

func (k *kernel) sleeps() (asleep bool) {
	k.do(func() { asleep = k.asleep })
	return asleep
}

// granted records a grant that a process was given.
func (k *kernel) granted(until boottime.Instant) {
	k.do(func() { k.grants = append(k.grants, grant{since: k.moment, until: until}) })
}

// answering returns since when the node answers; ok is false if it does not.
func (k *kernel) answering() (since time.Duration, ok bool) {
	k.do(func() {
		if k.open != nil {
			since, ok = k.open.from, true
		}
	})
	return since, ok
}

// mac returns the MAC of the interface.
func (k *kernel) mac() (mac string) {
	k.do(func() { mac = k.link.MAC })
	return mac
}

// right returns the remaining time of the longest grant of a process of this boot.
func (k *kernel) right() (left time.Duration) {
	now := k.now()
	k.do(func() {
		for _, g := range k.grants {
			left = max(left, g.until.Sub(now))
		}
	})
	return left
}

// takes tells whether packets are accepted for an address that vipd added.
func (k *kernel) takes() (takes bool) {
	k.do(func() { takes = k.address.here && !k.address.diverted && !k.address.rerouted })
	return takes
}

// leftovers lists what vipd has left on the node.
func (k *kernel) leftovers() (what []string) {
	k.do(func() {
		if k.address.here {
			what = append(what, "the address")
		}
		if k.tables.there {
			what = append(what, "the tables")
		}
	})
	return what
}

// off ends this boot. A call that hangs has no effect afterwards.
func (k *kernel) off() {
	k.do(func() {
		k.address, k.tables, k.ended = address{}, tables{}, true
		if k.expiry != nil {
			k.expiry.Stop()
		}
	})
}
