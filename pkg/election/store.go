package election

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

type lease = coordinationv1.Lease

// Store stores the Lease.
type Store interface {
	// Get returns the newest version, nil if there is no Lease.
	Get(ctx context.Context) (*coordinationv1.Lease, error)
	// Write writes the record and the annotations over base, and returns the new version. An empty
	// annotation is removed. If base is nil, Write creates the Lease, without annotations. If base
	// is not the newest version any more, nothing is written, and the error is a Conflict,
	// AlreadyExists or NotFound of k8s.io/apimachinery/pkg/api/errors.
	Write(ctx context.Context, base *coordinationv1.Lease, rec resourcelock.LeaderElectionRecord, annotations map[string]string) (*coordinationv1.Lease, error)
	// First tells whether l is the first version that the store ever had of this Lease. An error
	// means that it is not known.
	First(ctx context.Context, l *coordinationv1.Lease) (bool, error)
	// Annotate sets annotations of base, and changes nothing else. Otherwise, Annotate is like Write.
	Annotate(ctx context.Context, base *coordinationv1.Lease, annotations map[string]string) (*coordinationv1.Lease, error)
	// Watch delivers the present version and each later one, nil for a deletion. Watch returns when
	// the stream or ctx ends.
	Watch(ctx context.Context, deliver func(*coordinationv1.Lease)) error
}

// API runs calls against API servers.
type API interface {
	// Do may run call several times, concurrently and against several servers; the result of the
	// first success counts.
	Do(ctx context.Context, call func(context.Context, coordinationv1client.CoordinationV1Interface) error) error
	// Stream runs a long call, once.
	Stream(ctx context.Context, call func(context.Context, coordinationv1client.CoordinationV1Interface) error) error
}

// KubeStore stores the Lease in a cluster. KubeStore uses client-go's LeaseLock, so the record
// reads like that of any other elector.
type KubeStore struct {
	API       API
	Namespace string
	Name      string
	// Establish is how long a server may take to answer a watch.
	Establish time.Duration

	uid atomic.Pointer[types.UID] // as last read or written
}

// UID returns the UID of the Lease as last seen, "" before the first read.
func (k *KubeStore) UID() types.UID {
	if uid := k.uid.Load(); uid != nil {
		return *uid
	}
	return ""
}

// note keeps the UID, which Events refer to.
func (k *KubeStore) note(l *lease) {
	if l != nil && k.UID() != l.UID {
		uid := l.UID
		k.uid.Store(&uid)
	}
}

var _ Store = (*KubeStore)(nil)

// Get reads the Lease from etcd, not from an API server's cache.
func (k *KubeStore) Get(ctx context.Context) (*coordinationv1.Lease, error) {
	out, err := first(ctx, k.API, func(ctx context.Context, c coordinationv1client.CoordinationV1Interface) (*lease, error) {
		return c.Leases(k.Namespace).Get(ctx, k.Name, metav1.GetOptions{})
	})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read lease %s/%s: %w", k.Namespace, k.Name, err)
	}
	k.note(out)
	return out, nil
}

// first runs a call and returns the result of the first success.
func first(ctx context.Context, api API, call func(context.Context, coordinationv1client.CoordinationV1Interface) (*lease, error)) (*lease, error) {
	var out atomic.Pointer[lease]
	err := api.Do(ctx, func(ctx context.Context, c coordinationv1client.CoordinationV1Interface) error {
		l, err := call(ctx, c)
		if err == nil {
			out.CompareAndSwap(nil, l)
		}
		return err
	})
	return out.Load(), err
}

// Write may be in flight at several API servers at once: only one of them can commit the write,
// because it is conditional on the version of base.
func (k *KubeStore) Write(ctx context.Context, base *coordinationv1.Lease, rec resourcelock.LeaderElectionRecord, annotations map[string]string) (*coordinationv1.Lease, error) {
	out, err := first(ctx, k.API, func(ctx context.Context, c coordinationv1client.CoordinationV1Interface) (*lease, error) {
		p := &pinned{LeaseInterface: c.Leases(k.Namespace), base: base, annotations: annotations}
		lock := &resourcelock.LeaseLock{LeaseMeta: metav1.ObjectMeta{Namespace: k.Namespace, Name: k.Name}, Client: p}
		if base == nil {
			err := lock.Create(ctx, rec)
			return p.written, err
		}
		// Get answers with base: the write has to be conditional on the version that the decision
		// was made on, not on a newer one.
		if _, _, err := lock.Get(ctx); err != nil {
			return nil, err
		}
		err := lock.Update(ctx, rec)
		return p.written, err
	})
	if err != nil {
		return nil, fmt.Errorf("write lease %s/%s: %w", k.Namespace, k.Name, err)
	}
	k.note(out)
	return out, nil
}

// Annotate writes a copy of base.
func (k *KubeStore) Annotate(ctx context.Context, base *coordinationv1.Lease, annotations map[string]string) (*coordinationv1.Lease, error) {
	l := base.DeepCopy()
	for key, value := range annotations {
		metav1.SetMetaDataAnnotation(&l.ObjectMeta, key, value)
	}
	return k.update(ctx, l)
}

// pinned makes a LeaseLock write over one known version, with vipd's annotations.
type pinned struct {
	coordinationv1client.LeaseInterface
	base        *coordinationv1.Lease
	annotations map[string]string
	written     *coordinationv1.Lease
}

func (p *pinned) Leases(string) coordinationv1client.LeaseInterface { return p }

func (p *pinned) Get(context.Context, string, metav1.GetOptions) (*coordinationv1.Lease, error) {
	return p.base.DeepCopy(), nil
}

func (p *pinned) Create(ctx context.Context, l *coordinationv1.Lease, opts metav1.CreateOptions) (*coordinationv1.Lease, error) {
	out, err := p.LeaseInterface.Create(ctx, l, opts)
	p.written = out
	return out, err
}

func (p *pinned) Update(ctx context.Context, l *coordinationv1.Lease, opts metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	for key, value := range p.annotations {
		metav1.SetMetaDataAnnotation(&l.ObjectMeta, key, value)
		if value == "" {
			delete(l.Annotations, key)
		}
	}
	out, err := p.LeaseInterface.Update(ctx, l, opts)
	p.written = out
	return out, err
}

// Watch begins with the version in the server's cache. The caller detects an older version than the
// known one by its resourceVersion.
func (k *KubeStore) Watch(ctx context.Context, deliver func(*coordinationv1.Lease)) error {
	err := k.API.Stream(ctx, func(ctx context.Context, c coordinationv1client.CoordinationV1Interface) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		w, err := k.establish(ctx, cancel, c)
		if err != nil {
			return err
		}
		defer w.Stop()
		return follow(ctx, w, deliver)
	})
	if err != nil {
		return fmt.Errorf("watch lease %s/%s: %w", k.Namespace, k.Name, err)
	}
	return nil
}

// errSilent means that a server accepted the connection of a watch and did not answer.
var errSilent = errors.New("no answer to the watch in time")

func (k *KubeStore) establish(ctx context.Context, cancel func(), c coordinationv1client.CoordinationV1Interface) (watch.Interface, error) {
	hung := time.AfterFunc(k.Establish, cancel)
	w, err := c.Leases(k.Namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + k.Name, ResourceVersion: "0"})
	if !hung.Stop() {
		if err == nil {
			w.Stop()
		}
		return nil, errSilent
	}
	return w, err
}

// follow delivers versions until the watch or ctx ends.
func follow(ctx context.Context, w watch.Interface, deliver func(*coordinationv1.Lease)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case ev, ok := <-w.ResultChan():
			if !ok {
				return nil // servers end a watch after about half an hour
			}
			if ev.Type == watch.Error {
				return apierrors.FromObject(ev.Object)
			}
			l, ok := ev.Object.(*coordinationv1.Lease)
			if !ok {
				continue // a bookmark
			}
			if ev.Type == watch.Deleted {
				l = nil
			}
			deliver(l)
		}
	}
}

// draft is the content of a write.
type draft struct {
	record      resourcelock.LeaderElectionRecord
	annotations map[string]string
}

// draft makes the record for a claim, a renewal, a release or a new Lease. The times in the record
// are for people: no decision uses them.
//
// A new Lease never names a holder. Creating is not conditional on a version, so a Lease that was
// created, held and deleted unobserved would go unnoticed. An empty Lease is created instead,
// waited out, and claimed like any other.
func (e *Elector) draft(o op) draft {
	v, wall := &e.view, metav1.Now()
	seconds := int(e.inFlight.timing.Lease / time.Second)
	rec := resourcelock.LeaderElectionRecord{LeaseDurationSeconds: seconds, AcquireTime: wall, RenewTime: wall}
	switch o {
	case opCreate:
		rec.LeaderTransitions, rec.LeaseDurationSeconds = v.term, int(e.emptyLeaseDuration()/time.Second)
		return draft{record: rec}
	case opAccept:
		return draft{annotations: e.accept()}
	case opHold, opRelease:
	default:
		return draft{}
	}
	n := e.note(e.termFor())
	n.Seconds, n.Reason = seconds, e.inFlight.reason
	n.Offered = o == opHold && e.offering
	if o == opRelease {
		n.Released, n.Successor, n.Reported = true, e.release.to.Successor, e.release.to.Reported
	}
	rec.HolderIdentity, rec.LeaderTransitions = v.self.Node, n.Term
	rec.AcquireTime = e.acquiredBy(wall)
	if o == opHold {
		e.acquired = rec.AcquireTime
	}
	if n.Released {
		// As client-go's electors release: no name, one second.
		rec.HolderIdentity, rec.LeaseDurationSeconds = "", 1
	}
	b, err := json.Marshal(n)
	if err != nil {
		panic("encode annotation: " + err.Error()) // strings and ints
	}
	return draft{record: rec, annotations: map[string]string{Annotation: string(b), MoveAnnotation: e.answer, UnreachedAnnotation: "", AcceptedAnnotation: ""}}
}

// emptyLeaseDuration is how long the candidates wait out an empty Lease that this node creates. A
// holder knows the length of its own lease. A node that observed other holders does not: the newest
// record may have been deleted unobserved.
func (e *Elector) emptyLeaseDuration() time.Duration {
	switch {
	case e.status.Held:
		return e.timing.Lease
	case e.view.term > 0:
		return e.length.most
	}
	return e.opts.Timing.Lease
}

// acquiredBy returns the acquireTime of the next write: the time of the claim, whatever was written
// over it since, or the time in an adopted record.
func (e *Elector) acquiredBy(now metav1.Time) metav1.Time {
	if e.status.Held {
		return e.acquired
	}
	if at := e.view.acquired(); e.view.adopts() && !at.IsZero() && !at.After(now.Time) {
		return metav1.Time{Time: at}
	}
	return now
}

// note returns this node's note for a term.
func (e *Elector) note(term int) note {
	s := e.view.self
	return note{Holder: s.Node, Term: term, Machine: s.Machine, MAC: s.MAC, BootID: s.BootID, Version: s.Version}
}

// termFor returns the term of the next write: the held, adopted or repaired one, else the next.
func (e *Elector) termFor() int {
	if e.status.Held {
		return e.status.Term
	}
	if e.view.adopts() {
		return e.view.record.term
	}
	return next(e.view.term)
}
