package doctor

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
)

// The check of what kubelet makes of the manifest of a manager of a VIP.

// StaticPod is a manifest of vipd or kube-vip among kubelet's static pods.
type StaticPod struct {
	// Path is that of the file; Broken says why it is no pod, "" if it is one.
	Path, Broken string
	// Name and VIP are the pod's, and the address that it is to hold.
	Name, VIP string
	// Vipd: it runs vipd, and not kube-vip.
	Vipd bool
	// References are the API objects that it needs.
	References []string
	// Confined names the containers of vipd that have no SELinux type of their own.
	Confined []string
}

// refusing is the version from which on kubelet does not start a static pod that refers
// to API objects (the feature gate PreventStaticPodAPIReferences).
const refusing = 34

var staticPodRefused = Check{ID: "D28", Title: "static pod that kubelet takes", Modes: Node | Preflight, Cheap: true, Look: func(_ context.Context, c *Case) ([]Finding, error) {
	pods, err := c.staticPods()
	if err != nil {
		return nil, err
	}
	var out []Finding
	for i, p := range pods {
		switch {
		case p.Broken != "":
			out = append(out, Finding{Severity: Error, Mark: "broken", Seen: fmt.Sprintf("%s is no manifest of a pod: %s", p.Path, p.Broken), Why: "kubelet passes over it, and says so in its log only: what it is to run does not run",
				Mend: []string{"see which line: kubectl create --dry-run=client -f " + p.Path, "kubelet's word: journalctl -u kubelet | grep 'manifest file'",
					"a correct one: vipd manifest pod --address " + c.Facts.VIP.String()}})
		case len(p.References) > 0:
			out = append(out, c.refused(p))
		}
		for _, earlier := range pods[:i] {
			if f, twice := twice(earlier, p); twice {
				out = append(out, f)
			}
		}
	}
	return out, nil
}}

// staticPods are those there are, if that can be told here.
func (c *Case) staticPods() ([]StaticPod, error) {
	if c.Questions.StaticPods == nil {
		return nil, nil
	}
	pods, err := c.Questions.StaticPods()
	if err != nil {
		return nil, fmt.Errorf("read the static pods: %w", err)
	}
	return pods, nil
}

// refused tells of a manifest that refers to API objects.
func (c *Case) refused(p StaticPod) Finding {
	version, minor := "", 0
	if c.Questions.Kubernetes != nil {
		version, minor = c.Questions.Kubernetes()
	}
	f := Finding{Severity: Warning, Mark: "references", Seen: fmt.Sprintf("%s refers to %s", p.Path, strings.Join(p.References, ", ")),
		Mend: []string{"take these fields out of it, and out of what writes it (files of the KubeadmControlPlane); a pod that needs credentials has them in a file of the node",
			"vipd's own needs none of them: vipd manifest pod --address " + c.Facts.VIP.String(), "kubelet's word: journalctl -u kubelet | grep 'static pods may not reference'"}}
	if minor > 0 {
		f.Seen += "; Kubernetes here is " + version
	} else {
		f.Seen += "; which Kubernetes this is, is not known here"
	}
	runs := p.Vipd && c.Facts.Asked // kubelet is older, or its feature gate is off
	switch {
	case minor >= refusing && !runs:
		f.Severity = Error
		f.Why = "kubelet does not start a static pod that refers to API objects, from 1.34 on: nothing holds the VIP here"
	case minor >= refusing:
		f.Why = "this kubelet has started it; from 1.34 on, it does so only with the feature gate PreventStaticPodAPIReferences off, and from 1.37 on not at all"
	case minor > 0:
		f.Why = "a static pod gets no ServiceAccount token, and waits for other objects as long as the API server does not answer; from 1.34 on, kubelet does not start it at all"
	default:
		f.Why = "from 1.34 on, kubelet does not start a static pod that refers to API objects: then nothing holds the VIP here"
	}
	return f
}

// twice tells of two manifests that are in each other's way. Of pods with the same name,
// kubelet runs the one whose file's name comes last (1.36: pkg/kubelet/config/file.go).
func twice(a, b StaticPod) (Finding, bool) {
	f := Finding{Mark: "twice", Mend: []string{"keep one; a backup belongs elsewhere, whatever its name ends in: mv " + a.Path + " /root/", "kubelet passes over names that begin with a dot only"}}
	switch {
	case !a.Vipd || !b.Vipd || a.Broken != "" || b.Broken != "":
		return f, false
	case a.Name == b.Name:
		f.Severity, f.Seen = Warning, fmt.Sprintf("%s and %s are both the pod %s", a.Path, filepath.Base(b.Path), a.Name)
		f.Why = "kubelet runs one of them, after its next start that of " + filepath.Base(b.Path) + ": what is changed in the other has no effect"
		f.Mend[0] = "compare them and keep the right one; a backup belongs elsewhere, whatever its name ends in: mv FILE /root/"
		return f, true
	case a.VIP != "" && a.VIP == b.VIP:
		f.Severity, f.Seen = Error, fmt.Sprintf("%s and %s both are vipd for %s", a.Path, filepath.Base(b.Path), a.VIP)
		f.Why = "two managers of a VIP on one node campaign under one name and undo each other's work"
		return f, true
	}
	return f, false
}
