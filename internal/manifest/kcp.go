package manifest

import (
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/template"
)

// KCP is what a KubeadmControlPlane of Cluster API needs for vipd: the static pod among its files,
// and the names of the VIP in the certificates of the API servers. No commands are needed, because
// the pod creates its own credentials.
type KCP struct {
	Pod Pod
	// DNSName is another name of the VIP, "" for none.
	DNSName string
	// API is the version of Cluster API's objects: v1beta1 or v1beta2.
	API string
	// Name, Namespace and Version are those of a Full KubeadmControlPlane.
	Name, Namespace, Version string
}

// Form is an output format.
type Form string

const (
	// Files is a part of spec.kubeadmConfigSpec, to be pasted.
	Files Form = "files"
	// Patch is a JSON patch for `kubectl patch --type json`.
	Patch Form = "patch"
	// Full is a whole KubeadmControlPlane.
	Full Form = "full"
	// ClusterClass is an entry for the patches of a ClusterClass, for clusters whose variable
	// controlPlaneIpAddr is the VIP, as with CAPV's.
	ClusterClass Form = "clusterclass"
)

// Forms are all forms.
var Forms = []Form{Files, Patch, Full, ClusterClass}

// APIs are the versions that a KCP supports.
var APIs = []string{"v1beta1", "v1beta2"}

// addressVariable is the address in CAPV's ClusterClass.
const addressVariable = "{{ .controlPlaneIpAddr }}"

//go:embed kcp.yaml.tmpl
var kcpText string

var kcpTemplates = template.Must(template.New("kcp").Funcs(template.FuncMap{"quote": Scalar, "indent": indent}).Parse(kcpText))

// YAML returns the KCP in a form. The error names content that would reach a node changed, see
// Lint.
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

// pod returns the manifest; in a ClusterClass, the address is a template and no string.
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

// sans returns the names for the certificate. kubeadm adds the control-plane endpoint, which is
// either the address or the name.
func (k KCP) sans() []string {
	out := []string{k.Pod.Address}
	if k.DNSName != "" {
		out = append(out, k.DNSName)
	}
	return out
}

// indent indents each line but the first by n spaces.
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
