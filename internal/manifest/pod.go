// Package manifest writes the manifests of vipd: the static pod, the parts of a
// KubeadmControlPlane, and the RBAC. It is pure: text in, text out.
package manifest

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"fmt"
	"net"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"
)

// Pod configures the static pod. All values are strings and are written unchanged, so that
// placeholders (${CONTROL_PLANE_ENDPOINT_IP}) are kept.
type Pod struct {
	// Name is "vipd" by default. Image is required.
	Name, Image string
	// Address is the VIP, required.
	Address string
	// Kubeconfigs are files on the node with credentials, tried in order. Without any, the pod
	// creates its own from the cluster's CA.
	Kubeconfigs []string
	// PKI is the folder of the CA, by default that of the distribution.
	PKI string
	// Distribution is kubeadm if it is not set.
	Distribution Distribution
	// Settings are further settings of vipd by name (internal/config), where they differ from the
	// default.
	Settings []Setting
}

// Setting is one setting of vipd.
type Setting struct{ Name, Value string }

// Paths on a node that kubeadm set up, and those of vipd.
const (
	DefaultPKI   = "/etc/kubernetes/pki"
	ManifestsDir = "/etc/kubernetes/manifests"
	// StateDir is where the pod keeps the credentials that it creates.
	StateDir = "/etc/vipd"
	// LockDir is the folder of the lock files, shared by all vipd pods of a node.
	LockDir = "/run/vipd"
)

// gracePeriod is how long kubelet waits for the pod to end, unless the settings say otherwise. A kubelet
// that replaces a static pod starts the new one 10 to 15 s after the old one was told to end
// (backOffPeriod in pkg/kubelet), and up to 18 s after it on a busy machine: for so long, the pod
// keeps the VIP for the pod of another node (docs/adr/0020).
const gracePeriod = 30 * time.Second

// gracePeriod returns the grace period of the settings, rounded up to the seconds of a pod.
func (p Pod) gracePeriod() time.Duration {
	for _, s := range p.Settings {
		if d, err := time.ParseDuration(s.Value); s.Name == "grace-period" && err == nil {
			return (d + time.Second - 1).Truncate(time.Second)
		}
	}
	return gracePeriod
}

//go:embed pod.yaml.tmpl
var podText string

//go:embed daemonset.yaml.tmpl
var daemonSetText string

var podTemplates = template.Must(template.Must(template.New("pod").Funcs(template.FuncMap{"quote": Scalar, "env": envValue, "indent": indent}).
	Parse(podText)).New("daemonset").Parse(daemonSetText))

// mount is a file of the node that is mounted into the pod.
type mount struct{ Name, Path string }

// YAML returns the manifest, for the distribution's folder of static pods.
func (p Pod) YAML() string {
	data := p.data()
	data["Spec"] = execute("spec", data)
	return execute("pod", data)
}

// data is the input of the template of a pod's spec.
func (p Pod) data() map[string]any {
	return map[string]any{
		"Name": cmp.Or(p.Name, "vipd"), "Image": p.Image, "Address": p.Address, "Env": p.environment(), "Probe": p.probe(),
		"Own": len(p.Kubeconfigs) == 0, "Mounts": p.mounts(), "PKI": cmp.Or(p.PKI, p.distribution().PKI), "DefaultPKI": DefaultPKI,
		"Manifests": p.distribution().Manifests, "State": StateDir, "Locks": LockDir, "GracePeriod": int(p.gracePeriod() / time.Second),
	}
}

func execute(name string, data map[string]any) string {
	var b strings.Builder
	if err := podTemplates.ExecuteTemplate(&b, name, data); err != nil {
		panic("write manifest: " + err.Error()) // strings only
	}
	return b.String()
}

func (p Pod) distribution() Distribution { return cmp.Or(p.Distribution, Kubeadm) }

// Path is the path of the static pod on a node.
func (p Pod) Path() string { return path.Join(p.distribution().Manifests, "vipd.yaml") }

// probe is the address for kubelet's probes.
type probe struct {
	Host string
	Port uint64
}

// probe returns nil without a status server, or if its address is not known.
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

// environment returns the settings as variables, except the address.
func (p Pod) environment() (out []Setting) {
	kubeconfigs := p.Kubeconfigs
	if len(kubeconfigs) == 0 {
		kubeconfigs = []string{Kubeconfig}
	}
	own := []Setting{{"kubeconfig", strings.Join(kubeconfigs, ":")}, {"manifests", p.distribution().Manifests}, {"grace-period", gracePeriod.String()}}
	own = slices.DeleteFunc(own, func(s Setting) bool {
		return s.Name == "grace-period" && slices.ContainsFunc(p.Settings, func(t Setting) bool { return t.Name == s.Name })
	})
	for _, s := range append(own, p.Settings...) {
		out = append(out, Setting{Name: envName(s.Name), Value: s.Value})
	}
	return out
}

// Kubeconfig is the file that the pod creates for itself.
var Kubeconfig = path.Join(StateDir, "kubeconfig")

// envName returns the variable of a setting, as in internal/config.
func envName(setting string) string {
	return "VIPD_" + strings.ToUpper(strings.ReplaceAll(setting, "-", "_"))
}

// plain matches strings that are the same string as a plain YAML scalar: paths, names, addresses,
// images and placeholders. notPlain matches those that YAML takes for a number, a boolean or null.
var (
	plain    = regexp.MustCompile(`^(?:[A-Za-z0-9/.$_][A-Za-z0-9/._${}:=@-]*)$`)
	notPlain = regexp.MustCompile(`^(?i:[0-9.eE_+-]*|0x[0-9a-f]*|0o[0-7]*|[0-9:]*|y|n|yes|no|on|off|true|false|null|\.inf|\.nan)$|: |:$`)
)

var (
	word = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9/.-]*$`)
	// quotedDefault is a placeholder that contains quotes: ${VIP_NETWORK_INTERFACE:=""}.
	quotedDefault = regexp.MustCompile(`^\$\{\w+:?[=-](?:"[\w./:@-]*"|'[\w./:@-]*')\}$`)
)

// envValue returns the value of a variable as YAML. The value has to be a string whatever a
// placeholder is replaced with, so ${PORT=6443} is quoted. A placeholder that contains quotes is
// not.
func envValue(s string) string {
	if quotedDefault.MatchString(s) || word.MatchString(s) {
		return Scalar(s)
	}
	return quoted(s)
}

// Scalar returns a string as YAML.
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
		panic(fmt.Sprintf("quote %q: %v", s, err)) // strings encode without error
	}
	return strings.TrimSpace(b.String())
}

// isAddress tells that s has three dots, and so is no number.
func isAddress(s string) bool { return strings.Count(s, ".") == 3 }
