package kubeadm

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// wholeTimeout bounds the wait for all pods of a node to be ready.
const wholeTimeout = 2 * time.Minute

// namespace is that of the static pods.
const namespace = "kube-system"

// staticPods run on each control-plane node; vipd may be of a DaemonSet.
var staticPods = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "vipd"}

// withAPI calls do with a client of the node's own API server.
func (n *Node) withAPI(do func(*coreclient.CoreV1Client) error) error {
	return n.withHTTP(func(config *rest.Config, client *http.Client) error {
		core, err := coreclient.NewForConfigAndClient(config, client)
		if err != nil {
			return fmt.Errorf("make client of %s: %w", n.Name, err)
		}
		return do(core)
	})
}

// withHTTP calls do with the settings of such a client, and ends its connections afterwards.
func (n *Node) withHTTP(do func(*rest.Config, *http.Client) error) error {
	config, err := n.Lab.RESTConfig("admin.conf")
	if err != nil {
		return err
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return fmt.Errorf("make client of %s: %w", n.Name, err)
	}
	defer utilnet.CloseIdleConnectionsFor(client.Transport)
	return do(config, client)
}

// Whole waits until all pods of the node are ready, if it belongs to the cluster.
func (n *Node) Whole(ctx context.Context) error {
	if !n.joined {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, wholeTimeout)
	defer cancel()
	var last error
	err := wait.Until(ctx, 200*time.Millisecond, func() (bool, error) {
		last = n.withAPI(func(core *coreclient.CoreV1Client) error { return n.unready(ctx, core) })
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("wait for %s to be whole: %w (last: %w)", n.Name, err, last)
	}
	return nil
}

// unready tells what of the node is not as it should be, nil if all is.
func (n *Node) unready(ctx context.Context, core *coreclient.CoreV1Client) error {
	pods, err := core.Pods(namespace).List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + n.Name})
	if err != nil {
		return fmt.Errorf("list pods of %s: %w", n.Name, err)
	}
	missing := slices.Clone(staticPods)
	for _, p := range pods.Items {
		name := strings.TrimSuffix(p.Name, "-"+n.Name)
		if slices.ContainsFunc(p.OwnerReferences, func(o metav1.OwnerReference) bool { return o.Kind == "DaemonSet" }) {
			name = "vipd" // the only one
		}
		if !isReady(p.Status.Conditions) {
			return fmt.Errorf("pod %s is not ready", p.Name)
		}
		missing = slices.DeleteFunc(missing, func(s string) bool { return s == name })
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s has no pods %v", n.Name, missing)
	}
	return nil
}

func isReady(conditions []corev1.PodCondition) bool {
	return slices.ContainsFunc(conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}
