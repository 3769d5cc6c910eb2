package election

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

// beginning is the resourceVersion of a store without a write: etcd's first revision is 1, and its
// first write makes 2.
const beginning = "1"

// First watches the Lease from the beginning of the store, and compares the first event with l
// (docs/adr/0019). An API server delivers every event since, or answers that the version is too old:
// if etcd has compacted the history, if the server started when the store was not empty any more, or
// if the server's cache has dropped the first events, which happens after a minute or two.
//
// Several servers may be asked: each first event that is l proves by itself that nothing was before.
func (k *KubeStore) First(ctx context.Context, l *coordinationv1.Lease) (bool, error) {
	var earliest atomic.Pointer[watch.Event]
	err := k.API.Do(ctx, func(ctx context.Context, c coordinationv1client.CoordinationV1Interface) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		w, err := c.Leases(k.Namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + k.Name, ResourceVersion: beginning})
		if err != nil {
			return err
		}
		defer w.Stop()
		ev, err := awaitEvent(ctx, w)
		if err == nil {
			earliest.CompareAndSwap(nil, &ev)
		}
		return err
	})
	if err != nil {
		return false, fmt.Errorf("read history of lease %s/%s: %w", k.Namespace, k.Name, err)
	}
	return creates(*earliest.Load(), l), nil
}

// errNoEvent means that a watch ended without an event, although the Lease exists.
var errNoEvent = errors.New("the watch ended without an event")

// awaitEvent returns the first event of a watch.
func awaitEvent(ctx context.Context, w watch.Interface) (watch.Event, error) {
	select {
	case <-ctx.Done():
		return watch.Event{}, ctx.Err()
	case ev, ok := <-w.ResultChan():
		switch {
		case !ok && ctx.Err() != nil:
			return ev, ctx.Err()
		case !ok:
			return ev, errNoEvent
		case ev.Type == watch.Error:
			return ev, apierrors.FromObject(ev.Object)
		}
		return ev, nil
	}
}

// creates tells whether an event is the creation of l, and l is the version that was created.
func creates(ev watch.Event, l *coordinationv1.Lease) bool {
	created, ok := ev.Object.(*coordinationv1.Lease)
	return ok && ev.Type == watch.Added && created.UID == l.UID && created.ResourceVersion == l.ResourceVersion
}
