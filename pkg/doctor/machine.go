package doctor

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"
)

// The checks of what lies on this machine: credentials, other managers, the clock.

// File is what is known of a kubeconfig.
type File struct {
	Path string
	// Mode is that of what is there; Missing: nothing is.
	Mode    fs.FileMode
	Missing bool
	Size    int64
	// Expires is the end of the client certificate in it, zero if there is none.
	Expires time.Time
	// Denied: it may not be read, though its mode would allow it.
	Denied bool
	// Broken says why it is not readable as a kubeconfig, "" if it is.
	Broken string
}

// soon is when the end of a certificate is worth a word: one of kubeadm's lasts a
// year and is renewed by an upgrade, one of vipd's lasts a week and is renewed by itself.
func soon(path string) time.Duration {
	if kubeadms(path) {
		return 30 * 24 * time.Hour
	}
	return 48 * time.Hour
}

var badCredentials = Check{ID: "D17", Title: "credentials", Modes: Node, Cheap: true, Look: func(ctx context.Context, c *Case) ([]Finding, error) {
	var out []Finding
	usable := 0
	for _, f := range c.Facts.Kubeconfigs {
		finding, ok := credential(f, c.Questions.Now())
		if ok {
			usable++
		}
		if finding != nil {
			out = append(out, *finding)
		}
	}
	if usable > 0 {
		for i := range out { // another one serves
			out[i].Severity = min(out[i].Severity, Warning)
		}
	}
	more, err := c.allowed(ctx)
	return append(out, more...), err
}}

// credential judges one kubeconfig; ok tells whether it is of use.
func credential(f File, now time.Time) (finding *Finding, ok bool) {
	const why = "vipd cannot write the Lease with it, and without that it never holds the VIP"
	switch {
	case f.Missing:
		return &Finding{Severity: Error, Mark: "missing", Seen: f.Path + " is not there", Why: why,
			Mend: written(f.Path)}, false
	case f.Mode.IsDir():
		return &Finding{Severity: Error, Mark: "directory", Seen: f.Path + " is a directory", Why: why + ". The container runtime made it, as the file was not there when a container asked for it to be mounted",
			Mend: append([]string{"rmdir " + f.Path + "; a hostPath of type File instead of none keeps it from happening again"}, written(f.Path)...)}, false
	case f.Size == 0:
		return &Finding{Severity: Error, Mark: "empty", Seen: f.Path + " is empty", Why: why, Mend: append([]string{"rm " + f.Path}, written(f.Path)...)}, false
	case f.Denied:
		return &Finding{Severity: Error, Mark: "denied", Seen: f.Path + " may not be read, though its mode would allow it", Why: why,
			Mend: []string{"is it SELinux (D20) or AppArmor? ls -lZ " + f.Path + "; journalctl -k | grep -i denied"}}, false
	case f.Broken != "":
		return &Finding{Severity: Error, Mark: "broken", Seen: f.Path + " is no kubeconfig: " + f.Broken, Why: why, Mend: []string{"kubectl --kubeconfig " + f.Path + " config view"}}, false
	case !f.Expires.IsZero() && now.After(f.Expires):
		return &Finding{Severity: Error, Mark: "expired", Seen: fmt.Sprintf("the certificate in %s ended at %s", f.Path, stamp(f.Expires)), Why: why, Mend: renewed(f.Path)}, false
	case !f.Expires.IsZero() && f.Expires.Sub(now) < soon(f.Path):
		return &Finding{Severity: Warning, Mark: "expires", Seen: fmt.Sprintf("the certificate in %s ends at %s", f.Path, stamp(f.Expires)), Why: "after that, " + why, Mend: renewed(f.Path)}, true
	case f.Mode.Perm()&0o004 != 0:
		return &Finding{Severity: Warning, Mark: "readable", Seen: fmt.Sprintf("%s may be read by every user of this node (mode %04o)", f.Path, f.Mode.Perm()),
			Why: "who reads it may write the Lease, and take the VIP from all nodes; with one of kubeadm's, all of the cluster", Mend: []string{"chmod 600 " + f.Path, "and where it is written with that mode: files of the KubeadmControlPlane, or a command"}}, true
	}
	return nil, true
}

const credentialsLog = "crictl logs $(crictl ps -aq --name credentials | head -n 1)"

// kubeadms tells whether kubeadm writes a kubeconfig, and not vipd.
func kubeadms(path string) bool {
	return slices.Contains([]string{"admin.conf", "super-admin.conf"}, filepath.Base(path))
}

// written says who writes a kubeconfig.
func written(path string) []string {
	if kubeadms(path) {
		return []string{"kubeadm writes admin.conf in init and in the join of a control plane, and super-admin.conf in init only, from 1.29 on",
			"or have vipd make its own credentials: vipd manifest pod --help, without --kubeconfig"}
	}
	return []string{"vipd's container `credentials` writes it; its log says why not: " + credentialsLog}
}

// renewed says how a certificate is made anew.
func renewed(path string) []string {
	if kubeadms(path) {
		return []string{"on this node: kubeadm certs check-expiration; kubeadm certs renew " + filepath.Base(path)}
	}
	return []string{"vipd's container `credentials` renews it long before; its log says why not: " + credentialsLog}
}

var otherManager = Check{ID: "D25", Title: "one manager of the VIP", Modes: Node | Preflight | Management, Cheap: true, Look: func(_ context.Context, c *Case) ([]Finding, error) {
	if c.Mode == Management {
		return c.Facts.Management.ControlPlane.leftKubeVip(), nil
	}
	path, err := c.Questions.KubeVip()
	if err != nil {
		return nil, fmt.Errorf("look for kube-vip: %w", err)
	}
	if path == "" {
		return nil, nil
	}
	f := Finding{Severity: Error, Seen: path + " is a kube-vip", Why: "two managers of a VIP on one node undo each other's work; vipd waits while it is there",
		Mend: []string{"take it out of the KubeadmControlPlane: vipd manifest migrate CLUSTER.yaml", "on this node, once vipd's manifest is there, too: mv " + path + " /root/"}}
	if c.Mode == Preflight {
		f.Severity = Warning
		f.Why = "if this node is to run vipd, it will wait while that is there"
	}
	return []Finding{f}, nil
}}

var clockUnsynchronised = Check{ID: "D27", Title: "clock", Modes: everywhere, Cheap: true, Look: func(_ context.Context, c *Case) ([]Finding, error) {
	synchronised, off, err := c.Questions.Clock()
	if err != nil {
		return nil, fmt.Errorf("ask the kernel about its clock: %w", err)
	}
	if synchronised {
		return nil, nil
	}
	return []Finding{{Severity: Warning, Seen: fmt.Sprintf("the kernel's clock is not synchronised; it may be off by %s", off),
		Why:  "vipd does not go by it, and certificates do: what another machine signed a moment ago may not be valid here yet, and kubeadm join fails",
		Mend: []string{"chronyc tracking, or timedatectl timesync-status", "in the KubeadmControlPlane: spec.kubeadmConfigSpec.ntp.servers"}}}, nil
}}
