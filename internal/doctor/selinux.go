package doctor

import (
	"context"
	"fmt"
	"strings"
)

// The check of SELinux.

// SELinux is the SELinux state of this machine.
type SELinux struct {
	// Enforcing: SELinux denies access, and does not only log.
	Enforcing bool
	// Context is the context of this process, such as system_u:system_r:spc_t:s0.
	Context string
}

// Confined reports whether a type is a default type of container runtimes. svirt_lxc_net_t is
// the former name of container_t.
func Confined(selinuxType string) bool {
	return selinuxType == "container_t" || selinuxType == "container_init_t" || selinuxType == "svirt_lxc_net_t"
}

var selinuxDenies = Check{ID: "D20", Title: "SELinux", Modes: Node | Preflight, Cheap: true, Run: func(_ context.Context, in *Input) ([]Finding, error) {
	if in.Queries.SELinux == nil {
		return nil, nil
	}
	s, err := in.Queries.SELinux()
	if err != nil {
		return nil, fmt.Errorf("read the state of SELinux: %w", err)
	}
	if !s.Enforcing {
		return nil, nil
	}
	remedy := []string{"see the denials: ausearch -m avc -ts recent | grep vipd",
		"the manifest, as `vipd manifest pod` writes it: spec.securityContext.seLinuxOptions: {type: spc_t}"}
	var out []Finding
	for _, f := range in.Facts.Kubeconfigs {
		if f.Denied {
			out = append(out, Finding{Severity: Error, Kind: "denied", Seen: "SELinux is enforcing, and reading " + f.Path + " is denied, although its mode permits reading",
				Why: "vipd cannot write the Lease without this file, and never holds the VIP", Remedy: append([]string{"ls -lZ " + f.Path}, remedy...)})
		}
	}
	if fields := strings.Split(s.Context, ":"); len(fields) >= 3 && Confined(fields[2]) {
		return append(out, Finding{Severity: Error, Kind: "confined", Seen: "SELinux is enforcing, and this container runs as " + s.Context,
			Why: "a container of that type cannot read the node's files, such as vipd's kubeconfig and the static pods", Remedy: remedy}), nil
	}
	pods, err := in.staticPods()
	for _, p := range pods {
		if len(p.Confined) > 0 {
			out = append(out, Finding{Severity: Warning, Kind: "manifest", Seen: fmt.Sprintf("SELinux is enforcing, and %s sets no type for %s", p.Path, strings.Join(p.Confined, ", ")),
				Why: "if SELinux support is enabled in the container runtime, the containers run as container_t, which cannot read the node's files, such as vipd's kubeconfig", Remedy: append(remedy, "does the runtime use SELinux? crictl info | grep -i selinux; see the type in use: ps -eZ | grep vipd")})
		}
	}
	return out, err
}}
