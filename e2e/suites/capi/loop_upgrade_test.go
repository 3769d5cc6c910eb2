package capi_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/vipd-io/vipd/e2e/kubeadm"
	"github.com/vipd-io/vipd/e2e/lab"
)

var flagUpgrade = flag.Bool("upgrade", false, "upgrade Kubernetes in a cluster of Cluster API, which needs a build of the version before")

// TestLoopUpgrade: a cluster of the version of Kubernetes before the lab's gets the lab's version, by a
// new machine template and spec.version. Cluster API replaces the only control-plane node, and the VIP
// moves once.
func TestLoopUpgrade(t *testing.T) {
	if !*flagUpgrade {
		return
	}
	older, err := lab.Build(t.Context(), lab.BuildOptions{Progress: os.Stderr, Kubelet: true, KubeVip: true, Minor: lab.OlderKubernetes()})
	if err != nil {
		t.Fatal(err)
	}
	l := newLoop(t)
	if l.hypervisor.Templates[olderVMTemplate], err = kubeadm.NewTemplate(t.Context(), l.lab, older, "old"); err != nil {
		t.Fatal(err)
	}
	objects := clusterOf(t, l.ns)
	newer := objects[templateKind].DeepCopy()
	newer.SetName("uat-newer")
	objects[templateKind].Object["spec"].(object)["template"].(object)["spec"].(object)["template"] = olderVMTemplate
	objects["KubeadmControlPlane"].Object["spec"].(object)["version"] = older.Version
	l.createFrom(t, objects)
	l.baseline(t)
	if err := l.runs(t.Context(), older.Version); err != nil {
		t.Error(err)
	}
	l.step(t, "from Kubernetes "+older.Version+" to "+binaries.Lab.Version, 10*time.Minute, drainsOne, func() { l.upgrade(t, newer) },
		func() error {
			return errors.Join(l.controlPlane(t, 1), l.upToDate(t), l.runs(t.Context(), binaries.Lab.Version))
		})
	l.deleteCluster(t)
}

// upgrade gives the control plane another machine template and the lab's version of Kubernetes.
func (l *loop) upgrade(t *testing.T, template *unstructured.Unstructured) {
	t.Helper()
	create(t, template)
	u := l.object(controlPlaneGroup, "KubeadmControlPlane")
	u.SetName(uat)
	patch := fmt.Appendf(nil, `{"spec":{"version":%q,"machineTemplate":{"spec":{"infrastructureRef":{"name":%q}}}}}`, binaries.Lab.Version, template.GetName())
	if err := management.Client.Patch(t.Context(), u, client.RawPatch(types.MergePatchType, patch)); err != nil {
		t.Fatal(err)
	}
}

// runs returns an error unless the API server at the VIP and all kubelets are of a version.
func (l *loop) runs(ctx context.Context, version string) error {
	c, err := l.client(ctx)
	if err != nil {
		return err
	}
	server, err := c.Discovery().ServerVersion()
	if err != nil {
		return err
	}
	if server.GitVersion != version {
		return fmt.Errorf("the API server is of version %s, want %s", server.GitVersion, version)
	}
	nodes, err := c.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, n := range nodes.Items {
		if n.Status.NodeInfo.KubeletVersion != version {
			return fmt.Errorf("kubelet on %s is of version %s, want %s", n.Name, n.Status.NodeInfo.KubeletVersion, version)
		}
	}
	return nil
}
