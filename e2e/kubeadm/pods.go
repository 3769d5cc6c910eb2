package kubeadm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
)

// namespace is that of the static pods.
const namespace = "kube-system"

// staticPods run on each control-plane node.
var staticPods = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "vipd"}

// withAPI calls do with a client of the node's own API server.
func (n *Node) withAPI(do func(*coreclient.CoreV1Client) error) error {
	config, err := n.Lab.RESTConfig("admin.conf")
	if err != nil {
		return err
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return fmt.Errorf("make client of %s: %w", n.Name, err)
	}
	defer utilnet.CloseIdleConnectionsFor(client.Transport)
	core, err := coreclient.NewForConfigAndClient(config, client)
	if err != nil {
		return fmt.Errorf("make client of %s: %w", n.Name, err)
	}
	return do(core)
}

// unready tells what of the cluster is not as it should be, nil if all is.
func (c *Cluster) unready(ctx context.Context) error {
	var errs []error
	for _, n := range c.Nodes {
		errs = append(errs, n.withAPI(func(core *coreclient.CoreV1Client) error { return n.unready(ctx, core) }))
	}
	return errors.Join(errs...)
}

func (n *Node) unready(ctx context.Context, core *coreclient.CoreV1Client) error {
	pods, err := core.Pods(namespace).List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + n.Name})
	if err != nil {
		return fmt.Errorf("list pods of %s: %w", n.Name, err)
	}
	missing := slices.Clone(staticPods)
	for _, p := range pods.Items {
		name := strings.TrimSuffix(p.Name, "-"+n.Name)
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

// container is the running container of that name of vipd's pod, as containerd
// knows it.
func (m *Machine) container(ctx context.Context, name string) (string, error) {
	tasks, err := m.ctr(ctx, "tasks", "list")
	if err != nil {
		return "", err
	}
	ids, err := m.ctr(ctx, "containers", "list", "--quiet",
		fmt.Sprintf(`labels."io.kubernetes.container.name"==%s,labels."io.kubernetes.pod.name"==vipd-%s`, name, m.Name))
	if err != nil {
		return "", err
	}
	running := make(map[string]bool)
	for line := range strings.Lines(tasks) { // TASK PID STATUS
		if f := strings.Fields(line); len(f) == 3 && f[2] == "RUNNING" {
			running[f[0]] = true
		}
	}
	for id := range strings.FieldsSeq(ids) {
		if running[id] {
			return id, nil
		}
	}
	return "", fmt.Errorf("no container %s runs on %s", name, m.Name)
}
