package kubeadm

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// rollTimeout bounds the wait for the pods of a DaemonSet, node after node.
const rollTimeout = 3 * time.Minute

// DaemonSetFaults put vipd's DaemonSet in place of the static pods, and then change the DaemonSet.
// The controller of DaemonSets and the scheduler are kubeadm's. RemoveDaemonSet follows.
func (c *Cluster) DaemonSetFaults() []failover.Fault {
	return []failover.Fault{
		c.fault(record.Promise{Name: "daemonset", Title: "DaemonSet in place of the static pods", MayMove: true, Within: handedOver}, c.replaceStaticPods, nil),
		c.fault(record.Promise{Name: "daemonsetpod", Title: "pod of the DaemonSet deleted", Moves: true, Within: handedOver}, c.deleteDaemonPod, nil),
		c.fault(record.Promise{Name: "daemonsetrolled", Title: "rollout of the DaemonSet", MayMove: true, Within: handedOver}, c.roll, nil),
	}
}

// replaceStaticPods applies the DaemonSet, whose pods wait for the locks of the static pods, and then
// takes the static pods away.
func (c *Cluster) replaceStaticPods(ctx context.Context, n *Node) error {
	objects, err := c.daemonSet(ctx)
	if err != nil {
		return err
	}
	return n.withClient(func(api client.Client) error {
		for _, o := range objects {
			// The Roles are those of the static pods as well.
			if err := api.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("kubectl"), client.ForceOwnership); err != nil {
				return fmt.Errorf("apply %s %s: %w", o.GetKind(), o.GetName(), err)
			}
		}
		if err := c.rolled(ctx, api); err != nil {
			return err
		}
		for _, m := range c.Nodes {
			if err := os.Remove(m.disk(manifest)); err != nil {
				return err
			}
			static := client.ObjectKey{Namespace: namespace, Name: "vipd-" + m.Name}
			if err := awaitGone(ctx, api, &corev1.Pod{}, static); err != nil {
				return err
			}
		}
		return wait.For(ctx, failover.PastLease)
	})
}

// daemonSet returns the objects by the command that people use.
func (c *Cluster) daemonSet(ctx context.Context) (objects []*unstructured.Unstructured, err error) {
	text, err := c.manifest(ctx, "daemonset", "--distribution", "kubeadm")
	if err != nil {
		return nil, err
	}
	for doc := range strings.SplitSeq(string(text), "\n---\n") {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &o.Object); err != nil {
			return nil, fmt.Errorf("read the DaemonSet: %w", err)
		}
		objects = append(objects, o)
	}
	return objects, nil
}

// deleteDaemonPod is `kubectl delete pod` for the holder's pod.
func (c *Cluster) deleteDaemonPod(ctx context.Context, n *Node) error {
	return n.withClient(func(api client.Client) error {
		pods, err := daemonPods(ctx, api)
		i := slices.IndexFunc(pods, func(p corev1.Pod) bool { return p.Spec.NodeName == n.Name })
		if err != nil || i < 0 {
			return errors.Join(err, fmt.Errorf("%d pods, want one on %s", len(pods), n.Name))
		}
		return api.Delete(ctx, &pods[i])
	})
}

// roll is `kubectl rollout restart`, and waits for its end.
func (c *Cluster) roll(ctx context.Context, n *Node) error {
	return n.withClient(func(api client.Client) error {
		err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
			set := &appsv1.DaemonSet{}
			if err := api.Get(ctx, daemonSetKey, set); err != nil {
				return err
			}
			set.Spec.Template.Annotations = map[string]string{"kubectl.kubernetes.io/restartedAt": time.Now().Format(time.RFC3339)}
			return api.Update(ctx, set)
		})
		if err != nil {
			return fmt.Errorf("change the template of the DaemonSet: %w", err)
		}
		return c.rolled(ctx, api)
	})
}

// RemoveDaemonSet is `kubectl delete daemonset --cascade=foreground` and then `kubectl delete -f` with
// what was applied, as docs/rke2-k3s.md says: the last holder needs its rights to release the Lease.
func (c *Cluster) RemoveDaemonSet(ctx context.Context) error {
	objects, err := c.daemonSet(ctx)
	if err != nil {
		return err
	}
	return c.Nodes[0].withClient(func(api client.Client) error {
		set := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: daemonSetKey.Namespace, Name: daemonSetKey.Name}}
		if err := api.Delete(ctx, set, client.PropagationPolicy(metav1.DeletePropagationForeground)); err != nil {
			return fmt.Errorf("delete the DaemonSet: %w", err)
		}
		if err := awaitGone(ctx, api, set, daemonSetKey); err != nil {
			return err
		}
		for _, o := range objects {
			if err := api.Delete(ctx, o); client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("delete %s %s: %w", o.GetKind(), o.GetName(), err)
			}
		}
		return nil
	})
}

// daemonSetKey names the DaemonSet.
var daemonSetKey = client.ObjectKey{Namespace: namespace, Name: "vipd"}

// rolled waits until the DaemonSet has a ready pod of its present template on each node.
func (c *Cluster) rolled(ctx context.Context, api client.Client) error {
	ctx, cancel := context.WithTimeout(ctx, rollTimeout)
	defer cancel()
	set := &appsv1.DaemonSet{}
	err := wait.Until(ctx, 100*time.Millisecond, func() (bool, error) {
		if err := api.Get(ctx, daemonSetKey, set); err != nil {
			return false, nil //nolint:nilerr // the API server of a node may be busy
		}
		s := set.Status
		return s.ObservedGeneration == set.Generation && int(s.DesiredNumberScheduled) == len(c.Nodes) &&
			s.UpdatedNumberScheduled == s.DesiredNumberScheduled && s.NumberReady == s.DesiredNumberScheduled, nil
	})
	if err != nil {
		return fmt.Errorf("wait for the pods of the DaemonSet: %w (last: %+v)", err, set.Status)
	}
	return nil
}

// daemonPods returns the pods of the DaemonSet.
func daemonPods(ctx context.Context, api client.Client) ([]corev1.Pod, error) {
	var pods corev1.PodList
	err := api.List(ctx, &pods, client.InNamespace(namespace), client.MatchingLabels{"app.kubernetes.io/name": "vipd", "app.kubernetes.io/component": "daemonset"})
	return pods.Items, err
}

func awaitGone(ctx context.Context, api client.Client, o client.Object, key client.ObjectKey) error {
	ctx, cancel := context.WithTimeout(ctx, podTimeout)
	defer cancel()
	err := wait.Until(ctx, 50*time.Millisecond, func() (bool, error) {
		return apierrors.IsNotFound(api.Get(ctx, key, o)), nil
	})
	if err != nil {
		return fmt.Errorf("wait for the end of %s: %w", key, err)
	}
	return nil
}

// withClient calls do with a client of the node's own API server for all kinds of objects.
func (n *Node) withClient(do func(client.Client) error) error {
	return n.withHTTP(func(config *rest.Config, over *http.Client) error {
		api, err := client.New(config, client.Options{HTTPClient: over})
		if err != nil {
			return fmt.Errorf("make client of %s: %w", n.Name, err)
		}
		return do(api)
	})
}

// Traces returns what a vipd has left on the nodes: addresses, tables, and a holder in the Lease.
func (c *Cluster) Traces(ctx context.Context) (traces []string, err error) {
	for _, n := range c.Nodes {
		has, hasErr := n.Has(c.Lab.VIP)
		tables, tablesErr := n.Lab.Tables()
		if err := errors.Join(hasErr, tablesErr); err != nil {
			return nil, err
		}
		if has {
			traces = append(traces, n.Name+" has the VIP")
		}
		for _, table := range tables {
			if strings.HasPrefix(table, "vipd-") {
				traces = append(traces, n.Name+" has the table "+table)
			}
		}
		if n.Lab.Vipd.Running() {
			traces = append(traces, "vipd runs on "+n.Name)
		}
	}
	holder, err := c.Nodes[0].Lab.Holder(ctx)
	if holder != "" {
		traces = append(traces, "the Lease names "+holder)
	}
	return traces, err
}
