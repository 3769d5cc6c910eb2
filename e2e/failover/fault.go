// Package failover injects faults into the node that holds the VIP, one at a time, and reports the
// observations of clients on the network. The demo, the benchmark and the tests use it.
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

// promise is an alias of the promise that every fault makes.
type promise = record.Promise

// A Fault is a fault of the holder, or of its environment.
type Fault struct {
	record.Promise
	Note string // the expected effect, for the demo
	// Stranger, if set, is the host that claims the VIP without being a node: the rule that two
	// nodes never answer ignores the answers of this host.
	Stranger func(*lab.Lab) *lab.Host
	// Plain limits the fault to nodes without a kubelet: it changes the flags of vipd or its API
	// calls, or restarts vipd sooner than a kubelet does.
	Plain bool
	// Seed determines the random decisions of the fault.
	Seed uint64

	// touches are the parts that the fault breaks or needs.
	touches part
	// prepare, if set, creates the preconditions of the fault, before the observation.
	prepare func(ctx context.Context, r *run) error
	// inject injects the fault and returns the time just before. A fault that lasts for some time
	// lasts until inject returns, and is undone by then.
	inject func(ctx context.Context, r *run) (record.Time, error)
	// after, if set, runs once the VIP has moved, still under observation.
	after func(ctx context.Context, r *run) error
	// heal repairs what is still broken. It also runs if an earlier step failed.
	heal func(ctx context.Context, r *run) error
}

// New makes a fault from two functions. heal repairs what inject broke; nil if nothing stays
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

// settle is how long the observers watch after the last event: long enough to see a second node
// answer.
const settle = 1500 * time.Millisecond

// Bounds of the time in which the VIP is unreachable, with a lease of 3 s and on a busy machine.
// The benchmark has the usual times.
const (
	// handedOver: one holder hands the VIP over to the next. A client whose first packet is lost
	// sends it again after a second.
	handedOver = 1500 * time.Millisecond
	// noticed: before that, the holder has to notice that a server does not answer.
	noticed = 3 * time.Second
	// ranOut: the others wait until the lease has expired.
	ranOut = 4500 * time.Millisecond
	// repaired: the holder repairs what another program changed, and announces itself.
	repaired = 1500 * time.Millisecond
)

// None is the absence of a fault for some time.
func None(d time.Duration) Fault {
	return Fault{
		Promise: promise{Name: "none", Title: fmt.Sprintf("none, %s", d)},
		inject: func(ctx context.Context, _ *run) (record.Time, error) {
			at := record.Now()
			return at, wait.For(ctx, d)
		},
	}
}

// part is a set of the parts of a node.
type part uint8

const (
	process part = 1 << iota // vipd
	calls                    // API calls of vipd
	server                   // API servers
	etcd
	cable
	address
	lease
	all part = 1<<iota - 1
)

// Faults are all faults: of vipd, of the machine, of API servers and of calls to them, of etcd, of
// the network and of the Lease; operations of administrators and their tools; and faults that
// revealed errors before.
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

// touching adds parts to those that each fault touches itself.
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

// ByName returns the fault of that name.
func ByName(name string) (Fault, error) {
	for _, f := range Faults {
		if f.Name == name {
			return f, nil
		}
	}
	return Fault{}, fmt.Errorf("no fault %q", name)
}

// LabOptions are the options of a lab in which all faults are possible: its API servers serve for
// some time after SIGTERM, as is usual behind a load balancer, and its nodes have state of other
// programs.
func LabOptions(bin lab.Binaries) lab.Options {
	return lab.Options{Binaries: bin, Foreign: true, APIServerFlags: []string{"--shutdown-delay-duration=3s"}}
}
