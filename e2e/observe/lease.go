package observe

import (
	"context"
	"encoding/json"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
)

// watchAgain is the pause before a watch that ended is restarted.
const watchAgain = 200 * time.Millisecond

// Lease records each version of vipd's Lease that one node's API server delivers. After an outage
// of that server or its etcd it continues from the last version, so no version is missed, but
// versions may be late. With one on each node, each version is recorded up to three times.
type Lease struct {
	Node *lab.Node
}

// Run watches until ctx ends.
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

// follow watches from a version on, "" for the current one, until the watch ends, and returns the
// last version that it got. Errors of the server are ignored: they are part of the fault.
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
			version = "" // a restored etcd uses numbers again
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
				return "" // the version is too old, or was undone by a restore
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

// older compares resource versions of one object.
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
	n := noteOf(l)
	v.Lengthened = n.Reason != "" && n.Holder == v.Holder && n.Seconds == v.Seconds // after an edit, the note is not about this version
	if v.Holder == "" && n.Released {
		v.Released = n.Holder
	}
	if renewed := l.Spec.RenewTime; renewed != nil {
		v.Sent = record.Of(renewed.Time)
		// A restored etcd uses numbers again.
		v.Version += renewed.UTC().Format("/15:04:05.000000")
	}
	if deleted {
		v.Version += "/deleted"
	}
	return v
}

// note is vipd's annotation of a Lease.
type note struct {
	Holder   string `json:"holder"`
	Seconds  int    `json:"leaseDurationSeconds"`
	Released bool   `json:"released"`
	Reason   string `json:"reason"`
}

// noteOf returns the note, or an empty one if it is missing or invalid.
func noteOf(l *coordinationv1.Lease) (n note) {
	if json.Unmarshal([]byte(l.Annotations["vipd.io/holder"]), &n) != nil {
		return note{}
	}
	return n
}
