package simulation

import (
	"context"
	"encoding/json"
	"maps"
	"sync/atomic"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/vipd-io/vipd/pkg/election"
)

// overwrite overwrites any version.
func overwrite(p *process, s *dependencies) { s.store = overwriting{s.store, p} }

type overwriting struct {
	election.Store
	p *process
}

func (o overwriting) Write(ctx context.Context, base *coordinationv1.Lease, rec resourcelock.LeaderElectionRecord, annotations map[string]string) (*coordinationv1.Lease, error) {
	for {
		if now := o.p.n.c.server.Lease(); now != nil && base != nil {
			base = now
		}
		l, err := o.Store.Write(ctx, base, rec, annotations)
		if !apierrors.IsConflict(err) || ctx.Err() != nil {
			return l, err
		}
	}
}

// conflictIsSuccess takes a conflict for success.
func conflictIsSuccess(p *process, s *dependencies) { s.store = ignoringConflict{s.store, p} }

type ignoringConflict struct {
	election.Store
	p *process
}

func (d ignoringConflict) Write(ctx context.Context, base *coordinationv1.Lease, rec resourcelock.LeaderElectionRecord, annotations map[string]string) (*coordinationv1.Lease, error) {
	l, err := d.Store.Write(ctx, base, rec, annotations)
	now := d.p.n.c.server.Lease()
	if !apierrors.IsConflict(err) || now == nil {
		return l, err
	}
	now.Spec, now.Annotations = resourcelock.LeaderElectionRecordToLeaseSpec(&rec), annotations
	return now, nil
}

// termStays claims without a new term.
func termStays(_ *process, s *dependencies) { s.store = sameTerm{s.store} }

type sameTerm struct{ election.Store }

func (s sameTerm) Write(ctx context.Context, base *coordinationv1.Lease, rec resourcelock.LeaderElectionRecord, annotations map[string]string) (*coordinationv1.Lease, error) {
	if base != nil {
		rec.LeaderTransitions = termOf(base)
	}
	return s.Store.Write(ctx, base, rec, annotations)
}

// once reads the Lease once, and relies on the watch from then on.
type once struct {
	election.Store
	over atomic.Bool
}

func (o *once) Get(ctx context.Context) (*coordinationv1.Lease, error) {
	if o.over.Load() {
		return nil, errRefused
	}
	l, err := o.Store.Get(ctx)
	o.over.Store(err == nil)
	return l, err
}

// misread changes the Lease that the elector sees.
type misread struct {
	election.Store
	change func(*coordinationv1.Lease)
}

func (m misread) look(l *coordinationv1.Lease) *coordinationv1.Lease {
	if l = l.DeepCopy(); l != nil {
		l.Annotations = maps.Clone(l.Annotations)
		m.change(l)
	}
	return l
}

func (m misread) Get(ctx context.Context) (*coordinationv1.Lease, error) {
	l, err := m.Store.Get(ctx)
	return m.look(l), err
}

func (m misread) Watch(ctx context.Context, deliver func(*coordinationv1.Lease)) error {
	return m.Store.Watch(ctx, func(l *coordinationv1.Lease) { deliver(m.look(l)) })
}

// blankIsFree takes a Lease without a holder for a released one.
func blankIsFree(_ *process, s *dependencies) {
	s.store = misread{s.store, func(l *coordinationv1.Lease) {
		if holderOf(l) == "" {
			annotate(l, leaseNote{Holder: nobody, Term: termOf(l), Released: true})
		}
	}}
}

// wallClockBelieved takes a Lease for released if the times in it are over.
func wallClockBelieved(p *process, s *dependencies) {
	s.store = misread{s.store, func(l *coordinationv1.Lease) {
		now := time.Now().Add(p.n.wallClock())
		if renewed := l.Spec.RenewTime; renewed != nil && now.Sub(renewed.Time) > time.Duration(seconds(l))*time.Second {
			l.Spec.HolderIdentity = nil
			annotate(l, leaseNote{Holder: nobody, Term: termOf(l), Released: true})
		}
	}}
}

// ownDuration waits for the node's own lease duration.
func ownDuration(p *process, s *dependencies) {
	own := int(p.timing.Lease / time.Second)
	s.store = misread{s.store, func(l *coordinationv1.Lease) {
		l.Spec.LeaseDurationSeconds = new(int32(own))
		if n := noteOf(l); n.Holder != p.n.self {
			n.Seconds = own
			annotate(l, n)
		}
	}}
}

// beginningInvented takes a history whose beginning is lost for one in which nothing happened before.
func beginningInvented(_ *process, s *dependencies) {
	s.store = inventing{s.store, func(first bool, err error) (bool, error) {
		if apierrors.IsResourceExpired(err) {
			return true, nil
		}
		return first, err
	}}
}

// alwaysFirst does not read the history.
func alwaysFirst(_ *process, s *dependencies) {
	s.store = inventing{s.store, func(bool, error) (bool, error) { return true, nil }}
}

// inventing changes what the elector reads of the history.
type inventing struct {
	election.Store
	change func(first bool, err error) (bool, error)
}

func (i inventing) First(ctx context.Context, l *coordinationv1.Lease) (bool, error) {
	return i.change(i.Store.First(ctx, l))
}

func annotate(l *coordinationv1.Lease, n leaseNote) {
	b, err := json.Marshal(n)
	if err != nil {
		panic(err) // strings and ints
	}
	if l.Annotations == nil {
		l.Annotations = make(map[string]string)
	}
	l.Annotations[election.Annotation] = string(b)
}
