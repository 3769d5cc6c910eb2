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

// networkFaults are changes of the holder's network while vipd runs, as an administrator, a script,
// a network manager or a firewall makes them. The node works as before, and the VIP stays.
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
		Promise: promise{Name: "relink", Title: "interface recreated", Flickers: true, Within: repaired},
		touches: cable,
		inject:  onHolder(func(n *lab.Node) error { return n.RecreateLink() }),
		heal:    restoreForeign,
	},
	{
		Promise: promise{Name: "macchange", Title: "MAC changed", Flickers: true, Within: repaired},
		touches: cable,
		inject:  onHolder(func(n *lab.Node) error { return n.ChangeMAC(otherMAC(n.MAC)) }),
		heal: func(_ context.Context, r *run) error {
			// The node announces its address, because other nodes would otherwise use the MAC that
			// they know.
			return errors.Join(r.holder.ChangeMAC(r.holder.MAC), r.holder.Announce(r.holder.IP))
		},
	},
	{
		// The fence is closed for a moment while it is made anew: a SYN that arrives in this moment
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
		// As kube-proxy in IPVS mode or an administrator does, on all nodes. The nodes do not
		// answer for the VIP because of these copies. vipd must neither remove them nor count as a
		// holder because of them.
		Promise: promise{Name: "copies", Title: "VIP added to another interface by another program", Copies: true},
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
		// vipd adds the address again a few times a second, and then hands the VIP over to another
		// node.
		Promise: promise{Name: "fight", Title: "VIP removed repeatedly", Moves: true, Within: 10 * time.Second},
		inject: func(ctx context.Context, r *run) (record.Time, error) {
			at := record.Now()
			return at, untilMoved(ctx, r, 10*time.Millisecond, r.removeVIP)
		},
	},
	{
		Promise:  promise{Name: "conflict", Title: "VIP claimed by another machine", Flickers: true, Within: repaired},
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

// removeVIP removes the VIP from the holder, if it is there.
func (r *run) removeVIP() error {
	if err := r.holder.RemoveAddress(r.lab.VIP); !errors.Is(err, unix.EADDRNOTAVAIL) {
		return err
	}
	return nil
}

// settledIn waits until the holder announces itself only every half a minute: before that, its
// announcements happen to answer another machine's claims once a second.
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

// onHolder makes an inject function of an operation without a duration.
func onHolder(do func(*lab.Node) error) func(context.Context, *run) (record.Time, error) {
	return func(_ context.Context, r *run) (record.Time, error) {
		at := record.Now()
		return at, do(r.holder)
	}
}

// otherMAC returns a MAC that no machine has.
func otherMAC(mac net.HardwareAddr) net.HardwareAddr {
	other := slices.Clone(mac)
	other[4]++ // this byte is 0 in all MACs of the lab
	return other
}

// stranger returns a client without observers.
func stranger(l *lab.Lab) *lab.Host { return l.Clients[2] }
