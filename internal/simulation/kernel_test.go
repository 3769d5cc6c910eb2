package simulation

import (
	"errors"
	"sync"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/vip"
)

// kernel is what goes on without a process, in one boot of a node: addresses with
// a lifetime, the link, and the tables. What ends by itself ends when it is due,
// whoever looks; so the times in which the node answers are exact.
type kernel struct {
	n     *node
	clock clock

	mu       sync.Mutex
	at       time.Duration // the state below is that of this time
	link     vip.Link
	address  address
	tables   tables
	open     *interval // the node answers since
	answered []interval
	grants   []grant
	damages  []time.Duration // to the tables, by somebody else
	expiry   *time.Timer
}

// address is the VIP on an interface.
type address struct {
	here  bool
	index int
	ends  time.Duration // when the kernel takes it away
}

// tables are those of pkg/fence (its layout.go), the ARP and the IP one in one.
type tables struct {
	there bool
	slots [2]slot
}

// slot is the sets of one ticket, by when their elements end; 0 is none.
type slot struct {
	fenced, armed time.Duration
	inForce       bool
}

// at is what counts of the tables at a time.
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

// pass is the chain: accept what has a ticket that is in force, drop what is
// fenced, accept the rest.
func (t tables) pass(now time.Duration) bool {
	a, b := t.at(now).slots[0], t.at(now).slots[1]
	return a.inForce || b.inForce || a.fenced == 0 && b.fenced == 0
}

// interval is a time in which a node answers: from, and until before to.
type interval struct {
	node     string
	from, to time.Duration
}

// grant is a right to answer that a process of this boot was told of.
type grant struct {
	told  time.Duration
	until boottime.Instant
}

var errNoLink = errors.New("no such interface")

func newKernel(n *node, c clock, link vip.Link) *kernel {
	return &kernel{n: n, clock: c, link: link, at: n.c.now()}
}

// now is the node's clock.
func (k *kernel) now() boottime.Instant { return k.clock.at(k.n.c.now()) }

// do looks at the state or changes it.
func (k *kernel) do(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.advance(k.n.c.now())
	f()
	k.note()
}

// advance lets pass what ends by itself until then.
func (k *kernel) advance(to time.Duration) {
	for k.at < to {
		next := to
		a, b := k.tables.slots[0], k.tables.slots[1]
		for _, end := range [...]time.Duration{k.address.ends, a.armed, b.armed, a.fenced, b.fenced} {
			if end > k.at {
				next = min(next, end)
			}
		}
		k.at = next
		if k.at >= k.address.ends {
			k.address = address{}
		}
		k.note()
	}
}

// note begins or ends an interval in which the node answers.
func (k *kernel) note() {
	answers := k.address.here && k.tables.pass(k.at)
	switch {
	case answers && k.open == nil:
		k.open = &interval{node: k.n.name, from: k.at}
	case !answers && k.open != nil:
		k.open.to = k.at
		if k.open.from < k.open.to {
			k.answered = append(k.answered, *k.open)
		}
		k.open = nil
	}
}

// element is when one ends that is added now. The kernel's timers are late by up to
// a tick (docs/adr/0002: under 10 ms).
func (k *kernel) element(d time.Duration) time.Duration {
	return k.clock.when(k.clock.at(k.at).Add(d)) + k.n.below(grain, drawGrain)
}

// grain is how late the end of an element is at most.
const grain = 10 * time.Millisecond

// removal is how long after its lifetime an address is there at most
// (cmd/vipd/fence.go).
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
		k.address = address{here: true, index: index, ends: k.clock.when(k.clock.at(k.at).Add(valid)) + late}
		k.remind(k.address.ends - k.at)
	})
	k.n.changed()
	return err
}

// remind has the process hear of an address that ended by itself.
func (k *kernel) remind(d time.Duration) {
	if k.expiry != nil {
		k.expiry.Stop()
	}
	k.expiry = time.AfterFunc(d, k.n.changed)
}

// remove takes the address away, whoever wants it to be.
func (k *kernel) remove() {
	k.do(func() { k.address = address{} })
	k.n.changed()
}

// look is cmd/vipd's Look.
func (k *kernel) look() (seen vip.Looked, err error) {
	k.do(func() {
		seen = vip.Looked{Link: k.link, Ours: k.address.here && k.address.index == k.link.Index, Marked: k.address.here}
		if !k.link.Up {
			err = vip.ErrNoLink
		}
	})
	return seen, err
}

// relink is what people and machines do to the interface. With a new index it is
// another one, and what was on the old one is gone.
func (k *kernel) relink(f func(*vip.Link)) {
	k.do(func() {
		index := k.link.Index
		f(&k.link)
		if k.link.Index != index {
			k.address = address{}
		}
	})
	k.n.changed()
}

// damage is what somebody else does to the tables.
func (k *kernel) damage(f func()) {
	k.do(func() {
		f()
		k.damages = append(k.damages, k.at)
	})
	k.n.changed()
}

// granted notes what a process was told.
func (k *kernel) granted(until boottime.Instant) {
	k.do(func() { k.grants = append(k.grants, grant{told: k.at, until: until}) })
}

// answering tells since when the node answers, if it does.
func (k *kernel) answering() (since time.Duration, ok bool) {
	k.do(func() {
		if k.open != nil {
			since, ok = k.open.from, true
		}
	})
	return since, ok
}

// mac is the interface's.
func (k *kernel) mac() (mac string) {
	k.do(func() { mac = k.link.MAC })
	return mac
}

// leftovers says what of vipd's is here.
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

// off is the end of this boot.
func (k *kernel) off() {
	k.do(func() {
		k.address, k.tables = address{}, tables{}
		if k.expiry != nil {
			k.expiry.Stop()
		}
	})
}
