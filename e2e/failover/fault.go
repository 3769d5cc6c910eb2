// Package failover breaks the node that holds the VIP, one fault at a time, and
// tells what a client on the network saw of it. The demo, the benchmark and the
// tests are all made of it.
package failover

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// promise is short for what every fault has.
type promise = record.Promise

// A Fault is something that happens to the holder, or around it.
type Fault struct {
	record.Promise
	Note string // what to expect, for the demo
	// Stranger, if set, is the host that claims the VIP without being a node: its
	// answers are left out of the verdict on two that answer at once.
	Stranger func(*lab.Lab) *lab.Host
	// Plain limits the fault to nodes without a kubelet: it changes the flags of vipd or its API
	// calls, or restarts vipd sooner than a kubelet does.
	Plain bool
	// Seed decides what the fault leaves to chance.
	Seed uint64

	// touches is what it breaks, and what has to be whole for it.
	touches part
	// prepare, if set, brings about what the fault needs, before observation.
	prepare func(ctx context.Context, r *run) error
	// inject does it and returns the time just before. What lasts for a while
	// lasts until inject returns, and is undone by then.
	inject func(ctx context.Context, r *run) (record.Time, error)
	// after, if set, goes on once the VIP has moved, still under observation.
	after func(ctx context.Context, r *run) error
	// heal brings back what is broken still. It is called also if anything before
	// failed.
	heal func(ctx context.Context, r *run) error
}

// New makes a fault of two functions. heal repairs what inject broke; nil if nothing stays
// broken.
func New(p record.Promise, inject, heal func(ctx context.Context, holder *lab.Node) error) Fault {
	f := Fault{Promise: p, touches: all}
	f.inject = func(ctx context.Context, r *run) (record.Time, error) {
		at := record.Now()
		return at, inject(ctx, r.holder)
	}
	if heal != nil {
		f.heal = func(ctx context.Context, r *run) error { return heal(ctx, r.holder) }
	}
	return f
}

// settle is for how long the observers watch after the last event: long enough
// to see a second node answer.
const settle = 1500 * time.Millisecond

// Bounds of the time in which the VIP is unreachable, with a lease of 3 s and for
// a machine that has other things to do. The benchmark has what it is like.
const (
	// handedOver: one holder passes the VIP on to the next. A client whose first
	// packet is lost sends it again after a second.
	handedOver = 1500 * time.Millisecond
	// noticed: before that, the holder has to notice something that is silent.
	noticed = 3 * time.Second
	// ranOut: the others wait until the lease has run out.
	ranOut = 4500 * time.Millisecond
	// repaired: the holder puts right what others did, and announces itself.
	repaired = 1500 * time.Millisecond
)

// None is no fault at all for a while.
func None(d time.Duration) Fault {
	return Fault{
		Promise: promise{Name: "none", Title: fmt.Sprintf("none, %s", d)},
		inject: func(ctx context.Context, _ *run) (record.Time, error) {
			at := record.Now()
			return at, wait.For(ctx, d)
		},
	}
}

// part is of what a node is made of.
type part uint8

const (
	process part = 1 << iota // vipd
	calls                    // vipd's, of API servers
	server                   // API servers
	etcd
	cable
	address
	lease
	all part = 1<<iota - 1
)

// Faults are all of them: what happens to vipd, to the machine, to API servers and
// the calls of them, to etcd, to the network and the Lease, what people and their
// tools do, and what went wrong once.
var Faults = slices.Concat(
	touching(process|calls, processFaults),
	machineFaults,
	touching(server, apiServerFaults),
	touching(all&^address, startFaults),
	touching(calls, plain(callFaults)),
	touching(all&^address, plain(lateFaults)),
	touching(etcd|server, etcdFaults),
	touching(all&^address, plannedFaults),
	touching(address, networkFaults),
	touching(cable|etcd|server, partitions),
	touching(lease|etcd|server, leaseFaults),
	touching(process|calls, regressions),
)

// touching adds to what each fault touches itself.
func touching(p part, faults []Fault) []Fault {
	for i := range faults {
		faults[i].touches |= p
	}
	return faults
}

// plain limits faults to plain nodes.
func plain(faults []Fault) []Fault {
	for i := range faults {
		faults[i].Plain = true
	}
	return faults
}

// OfKubelets are the faults that are possible on nodes with a kubelet.
func OfKubelets() []Fault {
	return slices.DeleteFunc(slices.Clone(Faults), func(f Fault) bool { return f.Plain })
}

// ByName finds a fault.
func ByName(name string) (Fault, error) {
	for _, f := range Faults {
		if f.Name == name {
			return f, nil
		}
	}
	return Fault{}, fmt.Errorf("no fault %q", name)
}

// LabOptions are those of a lab in which all faults can be tried: its API
// servers serve on for a while after SIGTERM, as those behind a load balancer
// are told to, and its nodes have state of others.
func LabOptions(bin lab.Binaries) lab.Options {
	return lab.Options{Binaries: bin, Foreign: true, APIServerFlags: []string{"--shutdown-delay-duration=3s"}}
}
