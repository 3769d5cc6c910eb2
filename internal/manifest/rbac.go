package manifest

import (
	_ "embed"
	"strings"
	"text/template"
)

// RBAC is what vipd may do: write one Lease, and read the API servers and the
// control-plane nodes. The FlowSchema keeps renewals out of the queues of other requests.
type RBAC struct {
	// LeaseNamespace and LeaseName have the defaults of internal/config.
	LeaseNamespace, LeaseName string
	// ServiceAccount of kube-system has the rights, "" for the group of vipd's certificates.
	ServiceAccount string
}

// Group is the group of vipd's certificates.
const Group = "vipd:control-plane"

//go:embed rbac.yaml.tmpl
var rbacText string

var rbacTemplate = template.Must(template.New("rbac").Funcs(template.FuncMap{"quote": Scalar}).Parse(rbacText))

// YAML returns several documents, for `kubectl apply`.
func (r RBAC) YAML() string {
	if r.LeaseNamespace == "" {
		r.LeaseNamespace = "kube-system"
	}
	if r.LeaseName == "" {
		r.LeaseName = "plndr-cp-lock"
	}
	var b strings.Builder
	err := rbacTemplate.Execute(&b, map[string]any{"Group": Group, "Account": r.ServiceAccount, "Bindings": r.bindings(),
		"Namespace": r.LeaseNamespace, "Lease": r.LeaseName})
	if err != nil {
		panic("write RBAC: " + err.Error()) // strings only
	}
	return b.String()
}

// bindings is the name of the bindings. Those of the group keep theirs beside those of a
// ServiceAccount: a cluster that goes from static pods to a DaemonSet has both for a while.
func (r RBAC) bindings() string {
	if r.ServiceAccount == "" {
		return "vipd"
	}
	return "vipd-daemonset"
}
