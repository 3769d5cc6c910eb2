package failover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// networkFaults happen to the holder's network while vipd runs: what a person, a
// script, a network manager or a firewall's service does behind its back. The
// node is as good as before, and the VIP stays.
var networkFaults = []Fault{
	{
		Promise: promise{Name: "addrdel", Title: "VIP removed by hand", Flickers: true, Within: repaired},
		inject: func(_ context.Context, r *run) (record.Time, error) {
			at := record.Now()
			return at, r.removeVIP()
		},
	},
	{
		Promise: promise{Name: "addrflush", Title: "all addresses flushed", Flickers: true, Within: repaired},
		touches: cable, // for a moment the node has no address of its own
		inject:  onHolder(func(n *lab.Node) error { return n.FlushAddresses() }),
		heal:    restoreForeign,
	},
	{
		Promise: promise{Name: "relink", Title: "interface made anew", Flickers: true, Within: repaired},
		touches: cable,
		inject:  onHolder(func(n *lab.Node) error { return n.RecreateLink() }),
		heal:    restoreForeign,
	},
	{
		Promise: promise{Name: "macchange", Title: "MAC changed", Flickers: true, Within: repaired},
		touches: cable,
		inject:  onHolder(func(n *lab.Node) error { return n.ChangeMAC(otherMAC(n.MAC)) }),
		heal: func(_ context.Context, r *run) error {
			// Announced, as other nodes would go on with the MAC that they know.
			return errors.Join(r.holder.ChangeMAC(r.holder.MAC), r.holder.Announce(r.holder.IP))
		},
	},
	{
		// The fence is closed for a moment when it is made anew: a SYN that comes just then
		// is sent again after a second.
		Promise: promise{Name: "nftflush", Title: "nftables flushed", Flickers: true, Within: repaired},
		touches: process, // without vipd, nobody repairs the fence (docs/guarantees.md, "Not promised")
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			at := record.Now()
			if err := r.holder.FlushNftables(); err != nil {
				return at, err
			}
			return at, wait.For(ctx, PastLease)
		},
		heal: restoreForeign,
	},
	{
		// As kube-proxy in IPVS mode or a person does, on all nodes. None of them answers
		// for it by that. It is vipd's neither to take away nor to go by as a holder.
		Promise: promise{Name: "copies", Title: "VIP put on another interface by somebody else", Copies: true},
		touches: all,
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			at := record.Now()
			for _, n := range r.lab.Nodes {
				if err := n.PlantCopy(ctx); err != nil {
					return at, err
				}
			}
			if err := wait.For(ctx, 4*time.Second); err != nil {
				return at, err
			}
			r.gone = make(map[string]string)
			for _, n := range r.lab.Nodes {
				switch here, err := n.HasCopy(ctx); {
				case err != nil:
					return at, err
				case !here:
					r.gone[n.Name] = "gone: the VIP that somebody else had put there"
				}
			}
			return at, nil
		},
		heal: func(ctx context.Context, r *run) (err error) {
			for _, n := range r.lab.Nodes {
				err = errors.Join(err, n.RemoveCopy(ctx))
			}
			return err
		},
	},
	{
		// It puts the address back a few times a second, and then leaves it to another
		// node.
		Promise: promise{Name: "fight", Title: "VIP removed again and again", Moves: true, Within: 10 * time.Second},
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			at := record.Now()
			return at, untilMoved(ctx, r, 10*time.Millisecond, r.removeVIP)
		},
	},
	{
		Promise:  promise{Name: "conflict", Title: "VIP taken by a stranger", Flickers: true, Within: repaired},
		Stranger: stranger,
		prepare:  settledIn,
		inject: func(ctx context.Context, r *run) (at record.Time, err error) {
			s := stranger(r.lab)
			at = record.Now()
			if err := s.AddAddress(r.lab.VIP); err != nil {
				return at, err
			}
			defer func() { err = errors.Join(err, s.RemoveAddress(r.lab.VIP)) }()
			if err := s.Announce(r.lab.VIP); err != nil {
				return at, err
			}
			return at, wait.For(ctx, 3*time.Second)
		},
	},
}

// removeVIP removes it from the holder, if it is there.
func (r *run) removeVIP() error {
	if err := r.holder.RemoveAddress(r.lab.VIP); !errors.Is(err, unix.EADDRNOTAVAIL) {
		return err
	}
	return nil
}

// settledIn waits until the holder announces itself but every half a minute: before
// that, it happens to answer a stranger once a second.
func settledIn(ctx context.Context, r *run) error {
	l, err := r.holder.Lease(ctx)
	if err != nil {
		return err
	}
	if l.Spec.AcquireTime == nil {
		return nil
	}
	held := time.Since(l.Spec.AcquireTime.Time)
	if held < 0 {
		return fmt.Errorf("the Lease says that it was acquired at %v, in the future", l.Spec.AcquireTime)
	}
	return wait.For(ctx, 7*time.Second-held)
}

func restoreForeign(ctx context.Context, r *run) error { return r.holder.RestoreForeign(ctx) }

// onHolder makes an inject of what happens at once.
func onHolder(do func(*lab.Node) error) func(context.Context, *run) (record.Time, error) {
	return func(_ context.Context, r *run) (record.Time, error) {
		at := record.Now()
		return at, do(r.holder)
	}
}

// otherMAC is another one that nobody has.
func otherMAC(mac net.HardwareAddr) net.HardwareAddr {
	other := slices.Clone(mac)
	other[4]++ // 0 in all of the lab's
	return other
}

// stranger is a client from which nothing is observed.
func stranger(l *lab.Lab) *lab.Host { return l.Clients[2] }
