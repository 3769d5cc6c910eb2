package kubeapi

import (
	"context"
	"fmt"
	"slices"
	"sync"

	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Inspection is an API server's state of what vipd depends on.
type Inspection struct {
	// Denied are the verbs that the credentials lack for the Lease.
	Denied []string
	// Lease is nil if there is no Lease, or vipd may not read it.
	Lease *coordinationv1.Lease
	// Nodes are the control-plane nodes, nil if vipd may not list them.
	Nodes []corev1.Node
}

// LeaseVerbs are the verbs that vipd needs for its Lease.
var LeaseVerbs = []string{"get", "list", "watch", "create", "update"}

// Inspect asks an API server, and changes nothing: an access review creates no object. The error is
// that of a server that did not answer, or that does not accept the credentials.
func (c *Client) Inspect(ctx context.Context, namespace, name string) (Inspection, error) {
	var mu sync.Mutex // several servers may be asked concurrently
	var out Inspection
	err := c.do(ctx, func(ctx context.Context, s *clients) error {
		got, err := inspect(ctx, s, namespace, name)
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			out = got
		}
		return err
	})
	return out, err
}

func inspect(ctx context.Context, s *clients, namespace, name string) (out Inspection, err error) {
	for _, verb := range LeaseVerbs {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: namespace, Name: name, Verb: verb, Group: coordinationv1.GroupName, Resource: "leases"}}}
		if verb == "create" { // the authorizer does not know the name of an object to be created
			review.Spec.ResourceAttributes.Name = ""
		}
		answer, err := s.authorization.SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		if err != nil {
			return out, fmt.Errorf("ask whether it may %s the Lease: %w", verb, err)
		}
		if !answer.Status.Allowed {
			out.Denied = append(out.Denied, verb)
		}
	}
	if len(out.Denied) > 0 {
		if err := s.ready(ctx); err != nil {
			return out, fmt.Errorf("the API server refuses access to the Lease, which does not count before the server is ready: %w", err)
		}
	}
	if !slices.Contains(out.Denied, "get") {
		lease, err := s.coordination.Leases(namespace).Get(ctx, name, metav1.GetOptions{})
		switch {
		case err == nil:
			out.Lease = lease
		case !apierrors.IsNotFound(err):
			return out, fmt.Errorf("get lease: %w", err)
		}
	}
	nodes, err := s.core.Nodes().List(ctx, controlPlaneNodes(metav1.ListOptions{}))
	switch {
	case err == nil:
		out.Nodes = nodes.Items
	case !apierrors.IsForbidden(err):
		return out, fmt.Errorf("list nodes: %w", err)
	}
	return out, nil
}
