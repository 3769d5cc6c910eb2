package doctor

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
)

// The check of the static pod of a VIP manager.

// StaticPod is a manifest of vipd or kube-vip among kubelet's static pods.
type StaticPod struct {
	// Path is the path of the file. Broken is the reason why the file is no valid pod, or "".
	Path, Broken string
	// Name is the name of the pod. VIP is the address that vipd is configured with.
	Name, VIP string
	// Vipd: the pod runs vipd, and not kube-vip.
	Vipd bool
	// References are the API objects that the pod refers to.
	References []string
	// Confined names the containers of vipd without an SELinux type of their own.
	Confined []string
}

// refusedFrom is the minor version from which kubelet does not start a static pod that refers to
// API objects (feature gate PreventStaticPodAPIReferences).
const refusedFrom = 34

var staticPodRefused = Check{ID: "D28", Title: "static pod accepted by kubelet", Modes: Node | Preflight, Cheap: true, Run: func(_ context.Context, in *Input) ([]Finding, error) {
	pods, err := in.staticPods()
	if err != nil {
		return nil, err
	}
	var out []Finding
	for i, p := range pods {
		switch {
		case p.Broken != "":
			out = append(out, Finding{Severity: Error, Kind: "broken", Seen: fmt.Sprintf("%s is no valid manifest of a pod: %s", p.Path, p.Broken), Why: "kubelet ignores the file with an error in its log only: the pod does not run",
				Remedy: []string{"find the line: kubectl create --dry-run=client -f " + p.Path, "see kubelet's error: journalctl -u kubelet | grep 'manifest file'",
					"write a correct manifest: vipd manifest pod --address " + in.Facts.VIP.String()}})
		case len(p.References) > 0:
			out = append(out, in.referencesRefused(p))
		}
		for _, earlier := range pods[:i] {
			if f, twice := duplicate(earlier, p); twice {
				out = append(out, f)
			}
		}
	}
	return out, nil
}}

// staticPods returns the static pods of VIP managers, if these can be read here.
func (in *Input) staticPods() ([]StaticPod, error) {
	if in.Queries.StaticPods == nil {
		return nil, nil
	}
	pods, err := in.Queries.StaticPods()
	if err != nil {
		return nil, fmt.Errorf("read the static pods: %w", err)
	}
	return pods, nil
}

// referencesRefused reports a manifest that refers to API objects.
func (in *Input) referencesRefused(p StaticPod) Finding {
	version, minor := "", 0
	if in.Queries.Kubernetes != nil {
		version, minor = in.Queries.Kubernetes()
	}
	f := Finding{Severity: Warning, Kind: "references", Seen: fmt.Sprintf("%s refers to %s", p.Path, strings.Join(p.References, ", ")),
		Remedy: []string{"remove these fields from the manifest, and from its source (files of the KubeadmControlPlane); provide credentials in a file on the node",
			"vipd's own manifest has no such fields: vipd manifest pod --address " + in.Facts.VIP.String(), "see kubelet's error: journalctl -u kubelet | grep 'static pods may not reference'"}}
	if minor > 0 {
		f.Seen += "; Kubernetes here is " + version
	} else {
		f.Seen += "; the version of Kubernetes is unknown here"
	}
	runs := p.Vipd && in.Facts.VipdAnswered // kubelet is older, or the feature gate is off
	switch {
	case minor >= refusedFrom && !runs:
		f.Severity = Error
		f.Why = "from 1.34 on, kubelet does not start a static pod that refers to API objects: this node cannot hold the VIP"
	case minor >= refusedFrom:
		f.Why = "this kubelet has started the pod; from 1.34 on, kubelet does so only with the feature gate PreventStaticPodAPIReferences off, and from 1.37 on not at all"
	case minor > 0:
		f.Why = "a static pod gets no ServiceAccount token, and waits for other objects while the API server does not answer; from 1.34 on, kubelet does not start such a pod at all"
	default:
		f.Why = "from 1.34 on, kubelet does not start a static pod that refers to API objects: this node then cannot hold the VIP"
	}
	return f
}

// duplicate reports two manifests that conflict. Of pods with the same name, kubelet runs the one
// whose file name sorts last (1.36: pkg/kubelet/config/file.go).
func duplicate(a, b StaticPod) (Finding, bool) {
	f := Finding{Kind: "twice", Remedy: []string{"keep one; store backups in another folder, whatever their extension: mv " + a.Path + " /root/", "kubelet ignores only names that begin with a dot"}}
	switch {
	case !a.Vipd || !b.Vipd || a.Broken != "" || b.Broken != "":
		return f, false
	case a.Name == b.Name:
		f.Severity, f.Seen = Warning, fmt.Sprintf("%s and %s are both the pod %s", a.Path, filepath.Base(b.Path), a.Name)
		f.Why = "kubelet runs one of them, after its next start the one in " + filepath.Base(b.Path) + ": changes to the other file have no effect"
		f.Remedy[0] = "compare the files and keep the correct one; store backups in another folder, whatever their extension: mv FILE /root/"
		return f, true
	case a.VIP != "" && a.VIP == b.VIP:
		f.Severity, f.Seen = Error, fmt.Sprintf("%s and %s both run vipd for %s", a.Path, filepath.Base(b.Path), a.VIP)
		f.Why = "two VIP managers on one node campaign under one identity and interfere with each other"
		return f, true
	}
	return f, false
}
