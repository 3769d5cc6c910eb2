package observe

import (
	"context"
	"encoding/json"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/record"
)

// watchAgain is how soon a watch that ended is begun again.
const watchAgain = 200 * time.Millisecond

// Lease records each version of vipd's Lease that one node's API server delivers.
// It goes on where it was when that server or its etcd is away for a while, so
// nothing is missed, but it may be late. With one on each node, each version
// comes up to three times.
type Lease struct {
	Node *lab.Node
}

// Run watches.
func (l *Lease) Run(ctx context.Context, to *record.Recorder, ready func()) error {
	ready() // a version that was written before is delivered as well
	ticker := time.NewTicker(watchAgain)
	defer ticker.Stop()
	for version := ""; ; {
		version = l.follow(ctx, version, to)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// follow watches from a version on, "" for the present one, until the watch ends,
// and returns the last version that it saw. A server that does not answer, or has
// lost that version, is a part of what is observed.
func (l *Lease) follow(ctx context.Context, version string, to *record.Recorder) string {
	leases, err := l.Node.Leases()
	if err != nil {
		return version
	}
	if version != "" {
		now, err := leases.Get(ctx, lab.LeaseName, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return version
		case older(now.ResourceVersion, version):
			version = "" // an etcd that was restored gives the same numbers again
		}
	}
	w, err := leases.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + lab.LeaseName, ResourceVersion: version})
	if err != nil {
		return version
	}
	defer w.Stop()
	for {
		select {
		case ev, open := <-w.ResultChan():
			lease, ok := ev.Object.(*coordinationv1.Lease)
			switch {
			case ev.Type == watch.Error:
				return "" // the version is too old, or of a future that was taken back
			case !open || !ok:
				return version
			}
			version = lease.ResourceVersion
			to.Lease(leaseVersion(lease, ev.Type == watch.Deleted))
		case <-ctx.Done():
			return version
		}
	}
}

// older compares versions of one object, as its store counts them.
func older(a, b string) bool { return len(a) < len(b) || len(a) == len(b) && a < b }

func leaseVersion(l *coordinationv1.Lease, deleted bool) record.LeaseVersion {
	v := record.LeaseVersion{At: record.Now(), Version: string(l.UID) + "/" + l.ResourceVersion, Deleted: deleted}
	if l.Spec.HolderIdentity != nil {
		v.Holder = *l.Spec.HolderIdentity
	}
	if l.Spec.LeaseTransitions != nil {
		v.Term = int(*l.Spec.LeaseTransitions)
	}
	if l.Spec.LeaseDurationSeconds != nil {
		v.Seconds = int(*l.Spec.LeaseDurationSeconds)
	}
	if v.Holder == "" {
		v.Released = released(l)
	}
	if renewed := l.Spec.RenewTime; renewed != nil {
		v.Sent = record.Of(renewed.Time)
		// An etcd that was restored gives the same numbers again.
		v.Version += renewed.UTC().Format("/15:04:05.000000")
	}
	if deleted {
		v.Version += "/deleted"
	}
	return v
}

// released is whom vipd's mark of an orderly release names, "" without one.
func released(l *coordinationv1.Lease) string {
	var mark struct {
		Holder   string `json:"holder"`
		Released bool   `json:"released"`
	}
	if err := json.Unmarshal([]byte(l.Annotations["vipd.io/holder"]), &mark); err != nil || !mark.Released {
		return ""
	}
	return mark.Holder
}
