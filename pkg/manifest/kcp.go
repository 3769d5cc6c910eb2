package manifest

import (
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/template"
)

// KCP is what a KubeadmControlPlane of Cluster API needs for vipd: the static pod
// among its files, and the names of the VIP in the API servers' certificates.
// There are no commands: the pod makes its own credentials.
type KCP struct {
	Pod Pod
	// DNSName is another name of the VIP, "" for none.
	DNSName string
	// API is the version of Cluster API's objects: v1beta1 or v1beta2.
	API string
	// Name, Namespace and Version are those of a full KubeadmControlPlane.
	Name, Namespace, Version string
}

// Form is a way to hand it over.
type Form string

const (
	// Files is a piece of spec.kubeadmConfigSpec, to be pasted.
	Files Form = "files"
	// Patch is a JSON patch for `kubectl patch --type json`.
	Patch Form = "patch"
	// Full is a KubeadmControlPlane.
	Full Form = "full"
	// ClusterClass is an entry of a ClusterClass's patches, for clusters whose
	// variable controlPlaneIpAddr is the VIP, as in CAPV's.
	ClusterClass Form = "clusterclass"
)

// Forms are all of them.
var Forms = []Form{Files, Patch, Full, ClusterClass}

// APIs are the versions that a KCP can be for.
var APIs = []string{"v1beta1", "v1beta2"}

// addressVariable is that of CAPV's ClusterClass.
const addressVariable = "{{ .controlPlaneIpAddr }}"

//go:embed kcp.yaml.tmpl
var kcpText string

var kcpTemplates = template.Must(template.New("kcp").Funcs(template.FuncMap{"quote": Scalar, "indent": indent}).Parse(kcpText))

// YAML is the KCP in a form. The error says what in it would not arrive on a node.
func (k KCP) YAML(form Form) (string, error) {
	if err := k.valid(form); err != nil {
		return "", err
	}
	if err := Lint(k.path(), k.Pod.YAML(), k.placeholders()...); err != nil {
		return "", err
	}
	if form == ClusterClass {
		k.Pod.Address = addressVariable
	}
	var b strings.Builder
	err := kcpTemplates.ExecuteTemplate(&b, string(form), map[string]any{
		"KCP": k, "Path": k.path(), "Pod": k.pod(form), "SANs": k.sans(), "Registrations": []string{"initConfiguration", "joinConfiguration"},
	})
	if err != nil {
		return "", fmt.Errorf("write %s: %w", form, err)
	}
	return b.String(), nil
}

func (k KCP) path() string { return ManifestsDir + "/vipd.yaml" }

// pod is the manifest; the address of a ClusterClass is a template, not a string.
func (k KCP) pod(form Form) string {
	y := k.Pod.YAML()
	if form == ClusterClass {
		y = strings.Replace(y, Scalar(addressVariable), addressVariable, 1)
	}
	return y
}

func (k KCP) placeholders() (out []string) {
	out = []string{k.Pod.Address, k.Pod.Image, k.Pod.Name, k.Pod.PKI}
	for _, s := range k.Pod.Settings {
		out = append(out, s.Value)
	}
	return append(out, k.Pod.Kubeconfigs...)
}

// sans are the names for the certificate. kubeadm adds the control plane's
// endpoint, be it the address or the name, and not the other one.
func (k KCP) sans() []string {
	out := []string{k.Pod.Address}
	if k.DNSName != "" {
		out = append(out, k.DNSName)
	}
	return out
}

// indent puts n spaces before each line but the first.
func indent(n int, s string) string {
	return strings.ReplaceAll(strings.TrimSuffix(s, "\n"), "\n", "\n"+strings.Repeat(" ", n))
}

func (k KCP) valid(form Form) error {
	var errs []error
	if !slices.Contains(Forms, form) {
		errs = append(errs, fmt.Errorf("--as %q is not one of %v", form, Forms))
	}
	if !slices.Contains(APIs, k.API) {
		errs = append(errs, fmt.Errorf("--api %q is not one of %v", k.API, APIs))
	}
	return errors.Join(errs...)
}
