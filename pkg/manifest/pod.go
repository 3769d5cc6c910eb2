// Package manifest writes what vipd is deployed with: the static pod, the parts of
// a KubeadmControlPlane, and the rights it needs. It is pure: text in, text out.
package manifest

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"fmt"
	"net"
	"path"
	"regexp"
	"strconv"
	"strings"
	"text/template"
)

// Pod is what is to be written into the static pod. All are strings as they are
// to stand there, so that placeholders (${CONTROL_PLANE_ENDPOINT_IP}) go through.
type Pod struct {
	// Name is "vipd" if empty. Image is required.
	Name, Image string
	// Address is the VIP, required.
	Address string
	// Kubeconfigs are credentials on the node, tried in order. Without any the pod
	// makes its own from the cluster's CA.
	Kubeconfigs []string
	// PKI is where the CA lies, DefaultPKI if empty.
	PKI string
	// Settings are others of vipd's, by their name (pkg/config), where they differ
	// from the default.
	Settings []Setting
}

// Setting is one of vipd's settings.
type Setting struct{ Name, Value string }

// Paths on a node that kubeadm has made.
const (
	DefaultPKI   = "/etc/kubernetes/pki"
	ManifestsDir = "/etc/kubernetes/manifests"
	// StateDir is where the pod keeps the credentials that it makes.
	StateDir = "/etc/vipd"
)

//go:embed pod.yaml.tmpl
var podText string

var podTemplate = template.Must(template.New("pod").Funcs(template.FuncMap{"quote": Scalar, "env": envValue}).Parse(podText))

// mount is a file of the node in the pod.
type mount struct{ Name, Path string }

// YAML is the manifest, for /etc/kubernetes/manifests.
func (p Pod) YAML() string {
	data := map[string]any{
		"Name": cmp.Or(p.Name, "vipd"), "Image": p.Image, "Address": p.Address, "Env": p.environment(), "Probe": p.probe(),
		"Own": len(p.Kubeconfigs) == 0, "Mounts": p.mounts(), "PKI": cmp.Or(p.PKI, DefaultPKI), "DefaultPKI": DefaultPKI,
		"Manifests": ManifestsDir, "State": StateDir,
	}
	var b strings.Builder
	if err := podTemplate.Execute(&b, data); err != nil {
		panic("write manifest: " + err.Error()) // strings only
	}
	return b.String()
}

// probe is where kubelet asks for the status.
type probe struct {
	Host string
	Port uint64
}

// probe is nil if there is no status, or if where it will be is not known.
func (p Pod) probe() *probe {
	address := "127.0.0.1:2112"
	for _, s := range p.Settings {
		if s.Name == "status-address" {
			address = s.Value
		}
	}
	host, port, err := net.SplitHostPort(address)
	n, perr := strconv.ParseUint(port, 10, 16)
	if err != nil || perr != nil || strings.Contains(host, "$") {
		return nil
	}
	return &probe{Host: cmp.Or(host, "127.0.0.1"), Port: n}
}

func (p Pod) mounts() (out []mount) {
	for i, file := range p.Kubeconfigs {
		out = append(out, mount{Name: "kubeconfig-" + strconv.Itoa(i+1), Path: file})
	}
	return out
}

// environment is the settings as variables, but for the address.
func (p Pod) environment() (out []Setting) {
	kubeconfigs := p.Kubeconfigs
	if len(kubeconfigs) == 0 {
		kubeconfigs = []string{Kubeconfig}
	}
	for _, s := range append([]Setting{{"kubeconfig", strings.Join(kubeconfigs, ":")}, {"manifests", ManifestsDir}}, p.Settings...) {
		out = append(out, Setting{Name: envName(s.Name), Value: s.Value})
	}
	return out
}

// Kubeconfig is the one that the pod makes for itself.
var Kubeconfig = path.Join(StateDir, "kubeconfig")

// envName is the variable of a setting, as pkg/config has it.
func envName(setting string) string {
	return "VIPD_" + strings.ToUpper(strings.ReplaceAll(setting, "-", "_"))
}

// plain are strings that are the same string as a plain YAML scalar: paths, names,
// addresses, images and placeholders, but nothing that YAML takes for a number, a
// truth value or nothing at all.
var (
	plain    = regexp.MustCompile(`^(?:[A-Za-z0-9/.$][A-Za-z0-9/._${}:=@-]*)$`)
	notPlain = regexp.MustCompile(`^(?i:[0-9.eE_+-]*|0x[0-9a-f]*|0o[0-7]*|[0-9:]*|y|n|yes|no|on|off|true|false|null|\.inf|\.nan)$|: |:$`)
)

var (
	word = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9/.-]*$`)
	// quotedDefault is a placeholder with quotes in it: ${VIP_NETWORK_INTERFACE:=""}.
	quotedDefault = regexp.MustCompile(`^\$\{\w+:?[=-](?:"[\w./:@-]*"|'[\w./:@-]*')\}$`)
)

// envValue is the value of a variable, which has to be a string whatever is put in
// for a placeholder in it: ${PORT=6443} goes in quotes. One that brings its own
// does not.
func envValue(s string) string {
	if quotedDefault.MatchString(s) || word.MatchString(s) {
		return Scalar(s)
	}
	return quoted(s)
}

// Scalar is a string as YAML.
func Scalar(s string) string {
	if quotedDefault.MatchString(s) || plain.MatchString(s) && (!notPlain.MatchString(s) || isAddress(s)) {
		return s
	}
	return quoted(s)
}

func quoted(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(fmt.Sprintf("quote %q: %v", s, err)) // it is a string
	}
	return strings.TrimSpace(b.String())
}

// isAddress: with three dots it is no number.
func isAddress(s string) bool { return strings.Count(s, ".") == 3 }
