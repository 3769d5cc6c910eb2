package election

import (
	"context"
	"errors"
	"fmt"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MoveAnnotation on the Lease asks the holder to hand over to the node that the annotation names,
// or with AnyNode to the best candidate (docs/adr/0006). The holder removes the annotation with the
// next write. If the holder refuses, it leaves refusalPrefix and the reason there until the write
// after that.
const MoveAnnotation = "vipd.io/move"

// AnyNode leaves the choice of the candidate to the holder.
const AnyNode = "*"

const refusalPrefix = "refused: "

// maxRequest is the maximum length of a node's name in bytes, as in Kubernetes.
const maxRequest = 253

// request returns the node that a request to move names, "" for no request.
func request(l *coordinationv1.Lease) string {
	if l == nil {
		return ""
	}
	to := l.Annotations[MoveAnnotation]
	if len(to) > maxRequest || strings.HasPrefix(to, refusalPrefix) {
		return ""
	}
	return to
}

// Errors of RequestMove.
var (
	ErrNoHolder = errors.New("nobody holds the lease")
	ErrNotVipd  = errors.New("the holder is not a vipd")
	ErrRefused  = errors.New("the holder refuses")
)

// Move is a completed move that somebody asked for.
type Move struct {
	// From held the Lease before, To holds the Lease now.
	From, To string
	Term     int
}

// RequestMove asks the holder to hand over to a node or to AnyNode, and waits until the Lease has
// another holder, the holder refuses (ErrRefused), or ctx ends. If the node holds the Lease
// already, RequestMove returns at once. Other errors: ErrNoHolder, ErrNotVipd.
func (k *KubeStore) RequestMove(ctx context.Context, to string) (Move, error) {
	asked, err := k.ask(ctx, to)
	if err != nil {
		return Move{}, err
	}
	m := Move{From: *asked.Spec.HolderIdentity}
	if m.From == to {
		m.To = to
		return m, nil
	}
	err = k.await(ctx, asked, &m)
	return m, err
}

// ask writes the annotation and returns the Lease as written.
func (k *KubeStore) ask(ctx context.Context, to string) (*coordinationv1.Lease, error) {
	for {
		l, err := k.Get(ctx)
		if err != nil {
			return nil, err
		}
		switch r := parse(l); {
		case r.holder == "":
			return nil, ErrNoHolder
		case !r.noted:
			return nil, fmt.Errorf("%w: %s", ErrNotVipd, r.holder)
		case r.holder == to:
			return l, nil
		}
		metav1.SetMetaDataAnnotation(&l.ObjectMeta, MoveAnnotation, to)
		out, err := k.update(ctx, l)
		if apierrors.IsConflict(err) && ctx.Err() == nil {
			continue // a renewal was committed in between
		}
		if err != nil {
			return nil, err
		}
		return out, nil
	}
}

// await watches the Lease until another node holds it or the holder refuses.
func (k *KubeStore) await(ctx context.Context, asked *coordinationv1.Lease, m *Move) error {
	watching, done := context.WithCancel(ctx)
	defer done()
	refusal := ""
	for watching.Err() == nil {
		err := k.Watch(watching, func(l *coordinationv1.Lease) {
			if watching.Err() != nil || l == nil || before(l, asked) {
				return
			}
			r := parse(l)
			if why, ok := strings.CutPrefix(l.Annotations[MoveAnnotation], refusalPrefix); ok && r.holder == m.From {
				refusal = why
				done()
			}
			if r.holder != "" && r.holder != m.From {
				m.To, m.Term = r.holder, r.term
				done()
			}
		})
		if err != nil && watching.Err() == nil {
			return err
		}
	}
	switch {
	case refusal != "":
		return fmt.Errorf("%w: %s", ErrRefused, refusal)
	case m.To == "":
		return fmt.Errorf("wait for another holder than %s: %w", m.From, ctx.Err())
	}
	return nil
}
