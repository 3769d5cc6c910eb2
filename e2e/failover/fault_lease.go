package failover

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// leaseLength is long enough for a wrong takeover: longer than the lease of 3 s.
const leaseLength = 3500 * time.Millisecond

// PastLease is how long a fault without an effect is observed: PastLease and settle, which follows,
// are leaseLength.
const PastLease = leaseLength - settle

// stolen is the minimum time for which the nodes respect a lease of 3 s under another holder's
// name.
const stolen = 2 * time.Second

// leaseFaults edit the Lease of a running holder, in ways that a real API server accepts. Clients
// must not notice invalid content. The name of another holder ends the holding at once, and the VIP
// returns when the lease under that name is over.
var leaseFaults = []Fault{
	{
		Promise: promise{Name: "leasedeleted", Title: "Lease deleted"},
		inject:  damage(func(ctx context.Context, n *lab.Node) error { return n.DeleteLease(ctx) }),
	},
	edited("leaseblank", "holder of the Lease blanked", blank),
	{
		// The others have to wait, although the holder cannot object.
		Promise: promise{Name: "blankstop", Title: "holder of the Lease blanked while its vipd is stopped for 500 ms", Crippled: true},
		touches: process | calls,
		inject: damage(func(ctx context.Context, n *lab.Node) error {
			if _, err := n.Vipd.Pause(); err != nil {
				return err
			}
			err := errors.Join(n.EditLease(ctx, blank), wait.For(ctx, 500*time.Millisecond))
			_, resumed := n.Vipd.Resume()
			return errors.Join(err, resumed)
		}),
	},
	edited("leaseempty", "Lease emptied", func(l *coordinationv1.Lease) { l.Spec = coordinationv1.LeaseSpec{} }),
	edited("leasenote", "annotation of the Lease made nonsense", func(l *coordinationv1.Lease) { annotate(l, `{"holder":[`) }),
	edited("leaselong", "duration of the Lease made huge", func(l *coordinationv1.Lease) { l.Spec.LeaseDurationSeconds = new(int32(1<<31 - 1)) }),
	edited("leaseterm", "term of the Lease made huge", func(l *coordinationv1.Lease) { l.Spec.LeaseTransitions = new(int32(1<<31 - 1)) }),
	edited("leasetimes", "times of the Lease set to the future", func(l *coordinationv1.Lease) {
		at := metav1.NewMicroTime(time.Now().AddDate(50, 0, 0))
		l.Spec.RenewTime, l.Spec.AcquireTime = &at, &at
	}),
	theft("leasestolen", "Lease taken over under an unknown name", steal),
	theft("leasenamesake", "Lease taken over by another machine with the same node name", func(l *coordinationv1.Lease) {
		annotate(l, fmt.Sprintf(`{"holder":%q,"term":%d,"leaseDurationSeconds":3,"mac":"02:ff:ff:ff:ff:ff","bootID":"b"}`,
			ptr.Deref(l.Spec.HolderIdentity, ""), ptr.Deref(l.Spec.LeaseTransitions, 0)))
	}),
	{
		// The kernel accepts no change of nftables meanwhile, and still the address has to be
		// removed at once, and not when the change of the fence succeeds.
		Promise: promise{Name: "nftbusy", Title: "Lease taken over while another program's nftables transaction takes seconds", MayMove: true, Within: ranOut, AtLeast: 2600 * time.Millisecond},
		touches: all,
		inject: func(ctx context.Context, r *run) (at record.Time, err error) {
			release, err := r.holder.HoldNftables(ctx)
			if err != nil {
				return record.Now(), err
			}
			defer func() { err = errors.Join(err, release()) }()
			at = record.Now()
			return at, errors.Join(r.holder.EditLease(ctx, steal), wait.For(ctx, leaseLength))
		},
	},
	{
		// The Lease is then an earlier one, resource versions are reused, and the API servers are
		// away during the restore.
		Promise: promise{Name: "snapshot", Title: "etcd restored from an older snapshot", MayMove: true, Within: time.Minute},
		Plain:   true,
		inject: func(ctx context.Context, r *run) (at record.Time, err error) {
			dir := filepath.Join(r.lab.Dir, "snapshot")
			if err := r.lab.SaveEtcd(dir); err != nil {
				return 0, err
			}
			defer os.RemoveAll(dir)
			if err := wait.For(ctx, leaseLength); err != nil {
				return 0, err
			}
			at = record.Now()
			return at, r.lab.RestoreEtcd(ctx, dir)
		},
	},
}

func steal(l *coordinationv1.Lease) {
	l.Spec.HolderIdentity, l.Spec.LeaseTransitions = new("stranger"), new(ptr.Deref(l.Spec.LeaseTransitions, 0)+1)
}

func blank(l *coordinationv1.Lease) { l.Spec.HolderIdentity = nil }

func edited(name, title string, edit func(*coordinationv1.Lease)) Fault {
	return Fault{
		Promise: promise{Name: name, Title: title},
		inject:  damage(func(ctx context.Context, n *lab.Node) error { return n.EditLease(ctx, edit) }),
	}
}

func theft(name, title string, edit func(*coordinationv1.Lease)) Fault {
	return Fault{
		Promise: promise{Name: name, Title: title, MayMove: true, Within: ranOut, AtLeast: stolen},
		inject:  damage(func(ctx context.Context, n *lab.Node) error { return n.EditLease(ctx, edit) }),
	}
}

// damage edits the Lease, and observes for longer than a lease.
func damage(do func(context.Context, *lab.Node) error) func(context.Context, *run) (record.Time, error) {
	return func(ctx context.Context, r *run) (record.Time, error) {
		at := record.Now()
		if err := do(ctx, r.holder); err != nil {
			return at, err
		}
		return at, wait.For(ctx, PastLease)
	}
}

// annotate replaces the holder's annotation.
func annotate(l *coordinationv1.Lease, note string) {
	metav1.SetMetaDataAnnotation(&l.ObjectMeta, "vipd.io/holder", note)
}
