package doctor

import (
	"context"
	"fmt"
	"strings"
)

// The checks of what kubelet, SELinux and cloud-init make of this node.

// StaticPod is what is known of a file among kubelet's static pods.
type StaticPod struct {
	Path string
	// Vipd: it is vipd's.
	Vipd bool
	// References are the API objects that it refers to: "ServiceAccount vipd".
	References []string
	// Confined: SELinux confines its containers, where it is enforcing.
	Confined bool
	// Broken says why it is no pod, "" if it is one.
	Broken string
}

// Bootstrap is how far cloud-init and kubeadm have come on a machine of Cluster API's.
type Bootstrap struct {
	// Ours: the machine is one of Cluster API's, since it booted. Done: kubeadm came to
	// its end. Running: cloud-init has not.
	Ours, Done, Running bool
	// Errors are cloud-init's.
	Errors []string
	// Last is the last line of /var/log/cloud-init-output.log.
	Last string
}

var confinedPod = Check{ID: "D20", Title: "SELinux", Modes: Node | Preflight, Cheap: true, Look: func(_ context.Context, c *Case) ([]Finding, error) {
	if c.Questions.Enforcing == nil || c.Questions.StaticPods == nil {
		return nil, nil
	}
	enforcing, err := c.Questions.Enforcing()
	if err != nil || !enforcing {
		return nil, err
	}
	pods, err := c.Questions.StaticPods()
	var out []Finding
	for _, p := range pods {
		if p.Vipd && p.Confined {
			out = append(out, Finding{Severity: Error, Seen: "SELinux is enforcing, and " + p.Path + " does not ask for seLinuxOptions.type spc_t", Why: "a confined container may not read the node's files: vipd sees no kubeconfig, and never holds the VIP",
				Mend: []string{"vipd manifest pod writes one that asks for it: in spec.securityContext, seLinuxOptions: {type: spc_t}", "what is denied: ausearch -m avc -ts recent | grep -i vipd"}})
		}
	}
	return out, err
}}

var badStaticPod = Check{ID: "D28", Title: "vipd's static pod", Modes: Node | Preflight, Cheap: true, Look: func(_ context.Context, c *Case) ([]Finding, error) {
	if c.Questions.StaticPods == nil {
		return nil, nil
	}
	pods, err := c.Questions.StaticPods()
	var out []Finding
	var ours []string
	for _, p := range pods {
		switch {
		case p.Broken != "":
			out = append(out, Finding{Severity: Error, Mark: "broken", Seen: fmt.Sprintf("%s is no pod: %s", p.Path, p.Broken), Why: "kubelet does not start it, and says so only in its log: no vipd on this node",
				Mend: []string{"journalctl -u kubelet | grep -i vipd", "write it anew: vipd manifest pod --address VIP > " + p.Path}})
		case p.Vipd:
			ours = append(ours, p.Path)
		}
		if p.Vipd && len(p.References) > 0 {
			out = append(out, Finding{Severity: Error, Mark: "refers", Seen: fmt.Sprintf("%s refers to %s", p.Path, strings.Join(p.References, ", ")), Why: "kubelet 1.34 and later does not start a static pod that refers to objects of the API; an earlier one starts it, and shows no pod of it to kubectl",
				Mend: []string{"take that out, or write it anew: vipd manifest pod --address VIP > " + p.Path, "what kubelet says: journalctl -u kubelet | grep -i vipd"}})
		}
	}
	if len(ours) > 1 {
		out = append(out, Finding{Severity: Error, Mark: "several", Seen: "there are several static pods of vipd: " + strings.Join(ours, ", "), Why: "kubelet starts each file there whose name does not begin with a dot, backups too; two vipds on a node wait for each other",
			Mend: []string{"keep one, and move the others elsewhere: mv FILE /root/"}})
	}
	return out, err
}}

var bootstrapping = Check{ID: "D29", Title: "bootstrap of this machine", Modes: Node | Worker, Look: func(_ context.Context, c *Case) ([]Finding, error) {
	if c.Questions.Bootstrap == nil {
		return nil, nil
	}
	b, err := c.Questions.Bootstrap()
	if err != nil || !b.Ours || b.Done {
		return nil, err
	}
	seen := "kubeadm has not come to its end"
	if b.Last != "" {
		seen += "; the last line of cloud-init's log: " + b.Last
	}
	if b.Running {
		return []Finding{{Severity: Info, Mark: "running", Seen: "cloud-init is at work, and " + seen, Why: "until kubeadm is done, much of what is found here may mend itself: kubeadm init waits four minutes for the API server, and workers wait for the VIP",
			Mend: []string{"tail -f /var/log/cloud-init-output.log"}}}, nil
	}
	if len(b.Errors) > 0 {
		seen += "; cloud-init's errors: " + strings.Join(b.Errors, "; ")
	}
	return []Finding{{Severity: Error, Mark: "failed", Seen: "cloud-init has ended, and " + seen, Why: "this machine is no node of the cluster, and nothing starts kubeadm again: Cluster API replaces it only if a MachineHealthCheck says so",
		Mend: []string{"why: less /var/log/cloud-init-output.log; journalctl -u kubelet", "once the cause is mended, have the machine replaced: kubectl -n NAMESPACE delete machine NAME, in the management cluster"}}}, nil
}}
