package manifest

import (
	_ "embed"
	"strings"
	"text/template"
)

// RBAC is what vipd's certificate may do: one Lease, and reading who the API
// servers and the control-plane nodes are. Beside it stands the FlowSchema that
// keeps renewals out of the queue of everything else.
type RBAC struct {
	// LeaseNamespace and LeaseName are pkg/config's defaults if empty.
	LeaseNamespace, LeaseName string
}

// Group is that of vipd's certificates.
const Group = "vipd:control-plane"

//go:embed rbac.yaml.tmpl
var rbacText string

var rbacTemplate = template.Must(template.New("rbac").Funcs(template.FuncMap{"quote": Scalar}).Parse(rbacText))

// YAML is several documents, for `kubectl apply`.
func (r RBAC) YAML() string {
	if r.LeaseNamespace == "" {
		r.LeaseNamespace = "kube-system"
	}
	if r.LeaseName == "" {
		r.LeaseName = "plndr-cp-lock"
	}
	var b strings.Builder
	err := rbacTemplate.Execute(&b, map[string]any{"Group": Group, "Namespace": r.LeaseNamespace, "Lease": r.LeaseName})
	if err != nil {
		panic("write RBAC: " + err.Error()) // strings only
	}
	return b.String()
}
