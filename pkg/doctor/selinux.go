package doctor

import (
	"context"
	"fmt"
	"strings"
)

// The check of SELinux.

// SELinux is what is known of it here.
type SELinux struct {
	// Enforcing: it denies, and does not only tell.
	Enforcing bool
	// Context is that of this process, such as system_u:system_r:spc_t:s0.
	Context string
}

// Confined tells whether a type is one that container runtimes give to a container
// that asks for none; svirt_lxc_net_t is what it was called before.
func Confined(selinuxType string) bool {
	return selinuxType == "container_t" || selinuxType == "container_init_t" || selinuxType == "svirt_lxc_net_t"
}

var selinuxDenies = Check{ID: "D20", Title: "SELinux", Modes: Node | Preflight, Cheap: true, Look: func(_ context.Context, c *Case) ([]Finding, error) {
	if c.Questions.SELinux == nil {
		return nil, nil
	}
	s, err := c.Questions.SELinux()
	if err != nil {
		return nil, fmt.Errorf("read the state of SELinux: %w", err)
	}
	if !s.Enforcing {
		return nil, nil
	}
	mend := []string{"what was denied: ausearch -m avc -ts recent | grep vipd",
		"the manifest, as `vipd manifest pod` writes it: spec.securityContext.seLinuxOptions: {type: spc_t}"}
	var out []Finding
	for _, f := range c.Facts.Kubeconfigs {
		if f.Denied {
			out = append(out, Finding{Severity: Error, Mark: "denied", Seen: "SELinux is enforcing, and " + f.Path + " may not be read, though its mode would allow it",
				Why: "vipd cannot write the Lease without it, and so never holds the VIP", Mend: append([]string{"ls -lZ " + f.Path}, mend...)})
		}
	}
	if fields := strings.Split(s.Context, ":"); len(fields) >= 3 && Confined(fields[2]) {
		return append(out, Finding{Severity: Error, Mark: "confined", Seen: "SELinux is enforcing, and this container runs as " + s.Context,
			Why: "a container of that type may not read the node's files, such as vipd's kubeconfig and the static pods", Mend: mend}), nil
	}
	pods, err := c.staticPods()
	for _, p := range pods {
		if len(p.Confined) > 0 {
			out = append(out, Finding{Severity: Warning, Mark: "manifest", Seen: fmt.Sprintf("SELinux is enforcing, and %s sets no type for %s", p.Path, strings.Join(p.Confined, ", ")),
				Why: "if the container runtime has SELinux switched on, they run as container_t, which may not read the node's files, such as vipd's kubeconfig", Mend: append(mend, "does the runtime use it? crictl info | grep -i selinux; how it runs: ps -eZ | grep vipd")})
		}
	}
	return out, err
}}
