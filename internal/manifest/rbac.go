package manifest

import (
	_ "embed"
	"strings"
	"text/template"
)

// RBAC is what vipd's certificate may do: write one Lease, and read the API servers and the
// control-plane nodes. The FlowSchema keeps renewals out of the queues of other requests.
type RBAC struct {
	// LeaseNamespace and LeaseName have the defaults of internal/config.
	LeaseNamespace, LeaseName string
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
	err := rbacTemplate.Execute(&b, map[string]any{"Group": Group, "Namespace": r.LeaseNamespace, "Lease": r.LeaseName})
	if err != nil {
		panic("write RBAC: " + err.Error()) // strings only
	}
	return b.String()
}
