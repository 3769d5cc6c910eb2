// Package failover breaks the node that holds the VIP, one fault at a time, and
// tells what a client on the network saw of it. The demo, the benchmark and the
// tests are all made of it.
package failover

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/record"
)

// A Fault is something that happens to the holder, or around it.
type Fault struct {
	Name  string // for the command line
	Title string // for people
	Note  string // what to expect, for the demo
	// Moves: another node is to take the VIP. Otherwise it stays, and nobody may
	// notice, save for what follows.
	Moves bool
	// Flickers: the VIP stays, with a short interruption, whose length is what is
	// measured. The holder may lose the address and put it back.
	Flickers bool
	// MayFail: the VIP stays, and requests may fail for another reason than it,
	// as API servers themselves are hampered.
	MayFail bool
	// EndsIdle: the connection of a client that lies idle is to end, so that the
	// client notices.
	EndsIdle bool
	// Stranger, if set, is the host that claims the VIP without being a node: its
	// answers are left out of the verdict on two that answer at once.
	Stranger func(*lab.Lab) *lab.Host

	// prepare, if set, brings about what the fault needs, before observation.
	prepare func(ctx context.Context, r *run) error
	// inject does it and returns the time just before. What lasts for a while
	// lasts until inject returns, and is undone by then.
	inject func(ctx context.Context, r *run) (record.Time, error)
	// after, if set, goes on once the VIP has moved, still under observation.
	after func(ctx context.Context, r *run) error
	// heal brings back what is broken still, out of observation. It is called
	// also if anything before failed.
	heal func(ctx context.Context, r *run) error
}

// settle is for how long the observers watch after the last event: long enough
// to see a second node answer.
const settle = 1500 * time.Millisecond

// None is no fault at all for a while.
func None(d time.Duration) Fault {
	return Fault{
		Name: "none", Title: fmt.Sprintf("none, %s", d),
		inject: func(ctx context.Context, _ *run) (record.Time, error) {
			at := record.Now()
			return at, pause(ctx, d)
		},
	}
}

// Faults are all of them: what happens to vipd, to the machine, to API servers,
// to etcd, and what people and their tools do.
var Faults = slices.Concat(processFaults, machineFaults, apiServerFaults, etcdFaults, plannedFaults, networkFaults)

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
// are told to.
func LabOptions(bin lab.Binaries) lab.Options {
	return lab.Options{Binaries: bin, APIServerFlags: []string{"--shutdown-delay-duration=3s"}}
}

// pause lets time pass that is itself what is to be observed.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
