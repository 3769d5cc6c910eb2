package manifest

import "time"

// DaemonSet runs vipd's pod on each control-plane node with the rights of a ServiceAccount, for
// clusters whose kubelets reach the API server without the VIP. The pod needs no CA and no
// kubeconfig of the node; Pod.Kubeconfigs and Pod.PKI are ignored.
type DaemonSet struct {
	Pod Pod
	// LeaseNamespace and LeaseName are those of RBAC.
	LeaseNamespace, LeaseName string
}

// tokenLife is how long a token of the ServiceAccount is valid: as long as a certificate of the
// static pod. kubelet renews a token after four fifths of its life.
const tokenLife = 7 * 24 * time.Hour

// YAML returns several documents, for `kubectl apply` or the folder server/manifests of RKE2 and
// k3s.
func (d DaemonSet) YAML() string {
	d.Pod.Kubeconfigs = nil
	data := d.Pod.data()
	account := data["Name"].(string)
	data["Account"], data["TokenSeconds"] = account, int(tokenLife.Seconds())
	data["RBAC"] = RBAC{LeaseNamespace: d.LeaseNamespace, LeaseName: d.LeaseName, ServiceAccount: account}.YAML()
	data["Spec"] = execute("spec", data)
	return execute("daemonset", data)
}
