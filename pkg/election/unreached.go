package election

import (
	"context"
	"encoding/json"
	"fmt"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

// UnreachedAnnotation on the Lease tells the holder that another node does not reach what the
// holder holds (docs/adr/0017). The holder removes the annotation with the next write.
const UnreachedAnnotation = "vipd.io/unreached"

// unreachedBy returns the node that does not reach this holder in this term, "" for none.
func unreachedBy(l *coordinationv1.Lease, holder string, term int) string {
	return toldBy(l, UnreachedAnnotation, holder, term)
}

// ReportUnreached tells the holder of a term that the node by does not reach what the holder holds.
// Nothing is written, and written is false, if somebody else holds the Lease by now, if the holder
// is not a vipd, or if the holder has not written since the last report or request: each write
// makes the candidates wait anew, and so no write may follow a write of another candidate. An
// outcome that is not known is an error.
func (k *KubeStore) ReportUnreached(ctx context.Context, holder string, term int, by string) (written bool, err error) {
	l, err := k.Get(ctx)
	if err != nil || l == nil {
		return false, err
	}
	r := parse(l)
	if !r.noted || r.holder != holder || r.term != term || requested(l) {
		return false, nil
	}
	text, err := json.Marshal(told{By: by, Holder: holder, Term: term})
	if err != nil {
		return false, fmt.Errorf("encode annotation: %w", err)
	}
	if _, err = k.Annotate(ctx, l, map[string]string{UnreachedAnnotation: string(text)}); overtaken(err) {
		return false, nil // the holder or another node was faster
	}
	return err == nil, err
}

// update writes a version that was read, if it is still the newest.
func (k *KubeStore) update(ctx context.Context, l *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	out, err := first(ctx, k.API, func(ctx context.Context, c coordinationv1client.CoordinationV1Interface) (*lease, error) {
		// A copy for each server: client-go changes the object while it encodes the object.
		return c.Leases(k.Namespace).Update(ctx, l.DeepCopy(), metav1.UpdateOptions{})
	})
	if err != nil {
		return nil, fmt.Errorf("write lease %s/%s: %w", k.Namespace, k.Name, err)
	}
	return out, nil
}
