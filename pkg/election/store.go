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

// Store is where the Lease lives.
type Store interface {
	// Get reads the newest version, nil if there is none.
	Get(ctx context.Context) (*coordinationv1.Lease, error)
	// Write writes the record and annotations (an empty one: it is to go) over
	// base, or creates the Lease (without any) if base is nil, and returns the
	// new version. If base is not the newest version any more, nothing is
	// written and the error is a Conflict, AlreadyExists or NotFound of
	// k8s.io/apimachinery/pkg/api/errors.
	Write(ctx context.Context, base *coordinationv1.Lease, rec resourcelock.LeaderElectionRecord, annotations map[string]string) (*coordinationv1.Lease, error)
	// Watch delivers the present version and each later one, with nil for a
	// deletion. It returns when the stream or ctx ends.
	Watch(ctx context.Context, deliver func(*coordinationv1.Lease)) error
}

// API runs calls against API servers.
type API interface {
	// Do may run call several times, at once and against several servers; what
	// the first to succeed came to counts.
	Do(ctx context.Context, call func(context.Context, coordinationv1client.CoordinationV1Interface) error) error
	// Stream runs a call that lasts, once.
	Stream(ctx context.Context, call func(context.Context, coordinationv1client.CoordinationV1Interface) error) error
}

// KubeStore is the Lease in a cluster. It is client-go's LeaseLock underneath,
// so the record reads as that of any other elector.
type KubeStore struct {
	API       API
	Namespace string
	Name      string
	// Establish is how long a watch may take to be answered.
	Establish time.Duration

	uid atomic.Pointer[types.UID] // as last read or written
}

// UID is that of the Lease as far as it was seen, "" before.
func (k *KubeStore) UID() types.UID {
	if uid := k.uid.Load(); uid != nil {
		return *uid
	}
	return ""
}

// note keeps what Events are tied to.
func (k *KubeStore) note(l *lease) {
	if l != nil && k.UID() != l.UID {
		uid := l.UID
		k.uid.Store(&uid)
	}
}

var _ Store = (*KubeStore)(nil)

// Get reads the Lease from the store itself, not from a cache of it.
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

// first runs a call and returns what the first to succeed came to.
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

// Write may be under way at several API servers at once: only one of them can
// commit it, since it is tied to the version of base.
func (k *KubeStore) Write(ctx context.Context, base *coordinationv1.Lease, rec resourcelock.LeaderElectionRecord, annotations map[string]string) (*coordinationv1.Lease, error) {
	out, err := first(ctx, k.API, func(ctx context.Context, c coordinationv1client.CoordinationV1Interface) (*lease, error) {
		p := &pinned{LeaseInterface: c.Leases(k.Namespace), base: base, annotations: annotations}
		lock := &resourcelock.LeaseLock{LeaseMeta: metav1.ObjectMeta{Namespace: k.Namespace, Name: k.Name}, Client: p}
		if base == nil {
			err := lock.Create(ctx, rec)
			return p.written, err
		}
		// Get answers with base: the write is tied to the very version that was
		// decided on, and not to one that is newer by now.
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

// pinned lets a LeaseLock write over one known version, with vipd's annotations.
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

// Watch begins with whatever version the server has at hand: an older one than
// is known is told from its resourceVersion.
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

// errSilent means that a server took a watch's connection and did not answer.
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

// follow delivers until the watch or ctx ends.
func follow(ctx context.Context, w watch.Interface, deliver func(*coordinationv1.Lease)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case ev, ok := <-w.ResultChan():
			if !ok {
				return nil // servers end a watch after half an hour or so
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

// draft is what a write would put into the Lease.
type draft struct {
	record      resourcelock.LeaderElectionRecord
	annotations map[string]string
}

// draft makes the record for a claim, a renewal, a release or a new Lease. The
// times in it are for people: nothing is decided on them.
//
// A Lease is never created with a name in it. Creating is not tied to a version,
// so one that was created, held and deleted behind our back would go unnoticed.
// An empty one is created instead, waited out, and claimed like any other.
func (e *Elector) draft(o op) draft {
	v, wall := &e.view, metav1.Now()
	seconds := int(e.opts.Timing.Lease / time.Second)
	rec := resourcelock.LeaderElectionRecord{LeaseDurationSeconds: seconds, AcquireTime: wall, RenewTime: wall}
	switch o {
	case opSeed:
		rec.LeaderTransitions = v.term
		return draft{record: rec}
	case opHold, opRelease:
	default:
		return draft{}
	}
	n := e.note(e.termFor())
	if o == opRelease {
		n.Released, n.Successor = true, e.release.successor
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
	return draft{record: rec, annotations: map[string]string{Annotation: string(b), MoveAnnotation: e.answer}}
}

// acquiredBy is since when the Lease is ours: as we claimed it, whatever was written
// over it since, or as a record says that we go on with.
func (e *Elector) acquiredBy(now metav1.Time) metav1.Time {
	if e.stand.Held {
		return e.acquired
	}
	if at := e.view.acquired(); e.view.adopts() && !at.IsZero() && !at.After(now.Time) {
		return metav1.Time{Time: at}
	}
	return now
}

// note is what we say of ourselves in a term.
func (e *Elector) note(term int) note {
	s := e.view.self
	return note{Holder: s.Node, Term: term, Seconds: int(e.opts.Timing.Lease / time.Second), MAC: s.MAC, BootID: s.BootID, Version: s.Version}
}

// termFor is the term of the next write: the one that is held, adopted or put
// right again, else the next.
func (e *Elector) termFor() int {
	if e.stand.Held {
		return e.stand.Term
	}
	if e.view.adopts() {
		return e.view.record.term
	}
	return next(e.view.term)
}
