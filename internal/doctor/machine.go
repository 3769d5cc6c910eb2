package doctor

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// The checks of this machine: credentials, other VIP managers, the clock.

// File is the state of a kubeconfig.
type File struct {
	Path string
	// Missing: there is no file at Path.
	Mode    fs.FileMode
	Missing bool
	Size    int64
	// Expires is the end of the client certificate, or zero without a certificate.
	Expires time.Time
	// Denied: reading failed although the mode permits reading.
	Denied bool
	// Broken is the reason why the file is no valid kubeconfig, or "".
	Broken string
}

// expiryWarning is the remaining life of a certificate below which D17 warns. Certificates of
// kubeadm last a year and are renewed by upgrades; certificates of vipd last a week and are
// renewed automatically.
func expiryWarning(path string) time.Duration {
	if writtenByKubeadm(path) {
		return 30 * 24 * time.Hour
	}
	return 48 * time.Hour
}

var badCredentials = Check{ID: "D17", Title: "credentials", Modes: Node, Cheap: true, Run: func(ctx context.Context, in *Input) ([]Finding, error) {
	var out []Finding
	usable := 0
	for _, f := range in.Facts.Kubeconfigs {
		finding, ok := credential(f, in.Queries.Now())
		if ok {
			usable++
		}
		if finding != nil {
			out = append(out, *finding)
		}
	}
	if usable > 0 {
		for i := range out { // vipd uses another kubeconfig
			out[i].Severity = min(out[i].Severity, Warning)
		}
	}
	more, err := in.permissions(ctx)
	return append(out, more...), err
}}

// credential checks one kubeconfig. ok reports whether the kubeconfig is usable.
func credential(f File, now time.Time) (finding *Finding, ok bool) {
	const why = "vipd cannot write the Lease with this kubeconfig, and never holds the VIP without the Lease"
	switch {
	case f.Missing:
		return &Finding{Severity: Error, Kind: "missing", Seen: f.Path + " does not exist", Why: why,
			Remedy: creationRemedy(f.Path)}, false
	case f.Mode.IsDir():
		return &Finding{Severity: Error, Kind: "directory", Seen: f.Path + " is a directory", Why: why + ". The container runtime created the directory, because the file did not exist when a container mounted the path",
			Remedy: append([]string{"rmdir " + f.Path + "; a hostPath of type File prevents this"}, creationRemedy(f.Path)...)}, false
	case f.Size == 0:
		return &Finding{Severity: Error, Kind: "empty", Seen: f.Path + " is empty", Why: why, Remedy: append([]string{"rm " + f.Path}, creationRemedy(f.Path)...)}, false
	case f.Denied:
		return &Finding{Severity: Error, Kind: "denied", Seen: "reading " + f.Path + " is denied, although its mode permits reading", Why: why,
			Remedy: []string{"check SELinux (D20) and AppArmor: ls -lZ " + f.Path + "; journalctl -k | grep -i denied"}}, false
	case f.Broken != "":
		return &Finding{Severity: Error, Kind: "broken", Seen: f.Path + " is no valid kubeconfig: " + f.Broken, Why: why, Remedy: []string{"kubectl --kubeconfig " + f.Path + " config view"}}, false
	case !f.Expires.IsZero() && now.After(f.Expires):
		return &Finding{Severity: Error, Kind: "expired", Seen: fmt.Sprintf("the certificate in %s expired at %s", f.Path, formatTime(f.Expires)), Why: why, Remedy: renewalRemedy(f.Path)}, false
	case !f.Expires.IsZero() && f.Expires.Sub(now) < expiryWarning(f.Path):
		return &Finding{Severity: Warning, Kind: "expires", Seen: fmt.Sprintf("the certificate in %s expires at %s", f.Path, formatTime(f.Expires)), Why: "after that, " + why, Remedy: renewalRemedy(f.Path)}, true
	case f.Mode.Perm()&0o004 != 0:
		return &Finding{Severity: Warning, Kind: "readable", Seen: fmt.Sprintf("every user of this node can read %s (mode %04o)", f.Path, f.Mode.Perm()),
			Why: "a reader can write the Lease and take the VIP from all nodes; with a kubeconfig of kubeadm, a reader controls the whole cluster", Remedy: []string{"chmod 600 " + f.Path, "also change the source that sets the mode: files of the KubeadmControlPlane, or a command"}}, true
	}
	return nil, true
}

const credentialsLog = "crictl logs $(crictl ps -aq --name credentials | head -n 1)"

// writtenByKubeadm reports whether kubeadm, and not vipd, writes a kubeconfig.
func writtenByKubeadm(path string) bool {
	return slices.Contains([]string{"admin.conf", "super-admin.conf"}, filepath.Base(path))
}

// creationRemedy names the program that writes a kubeconfig.
func creationRemedy(path string) []string {
	if writtenByKubeadm(path) {
		return []string{"kubeadm writes admin.conf in init and in control-plane join, and super-admin.conf in init only (from 1.29 on)",
			"or let vipd create its own credentials: vipd manifest pod --help, without --kubeconfig"}
	}
	return []string{"vipd's container `credentials` writes this file; if not, its log states the reason: " + credentialsLog}
}

// renewalRemedy states how to renew a certificate.
func renewalRemedy(path string) []string {
	if writtenByKubeadm(path) {
		return []string{"on this node: kubeadm certs check-expiration; kubeadm certs renew " + filepath.Base(path)}
	}
	return []string{"vipd's container `credentials` renews the certificate long before its end; if not, its log states the reason: " + credentialsLog}
}

var otherManager = Check{ID: "D25", Title: "one VIP manager", Modes: Node | Preflight | Management, Cheap: true, Run: func(_ context.Context, in *Input) ([]Finding, error) {
	if in.Mode == Management {
		return in.Facts.Management.ControlPlane.kubeVipFindings(), nil
	}
	path, err := in.Queries.KubeVip()
	if err != nil {
		return nil, fmt.Errorf("look for kube-vip: %w", err)
	}
	if path == "" {
		return nil, nil
	}
	f := Finding{Severity: Error, Seen: path + " runs kube-vip", Why: "two VIP managers on one node interfere with each other; vipd waits until kube-vip is removed",
		Remedy: []string{"remove kube-vip from the KubeadmControlPlane: vipd manifest migrate CLUSTER.yaml", "on this node, after adding vipd's manifest: mv " + path + " /root/"}}
	if in.Mode == Preflight {
		f.Severity = Warning
		f.Why = "vipd on this node will wait until kube-vip is removed"
	}
	return []Finding{f}, nil
}}

var clockUnsynchronised = Check{ID: "D27", Title: "clock", Modes: everywhere, Cheap: true, Run: func(_ context.Context, in *Input) ([]Finding, error) {
	synchronised, off, err := in.Queries.Clock()
	if err != nil {
		return nil, fmt.Errorf("ask the kernel about its clock: %w", err)
	}
	rate, err := in.Queries.Slew()
	if err != nil {
		return nil, err
	}
	found := clockSlew(rate)
	if synchronised {
		return found, nil
	}
	return append(found, Finding{Severity: Warning, Seen: fmt.Sprintf("the kernel's clock is not synchronised; the error may be up to %s", off),
		Why:    "vipd does not use the wall clock, but certificates do: a certificate that another machine has just signed may not be valid here yet, and kubeadm join fails",
		Remedy: []string{"chronyc tracking, or timedatectl timesync-status", "in the KubeadmControlPlane: spec.kubeadmConfigSpec.ntp.servers"}}), nil
}}

const (
	// normalSlew is the largest correction of a crystal, in ppm; a larger slew corrects an
	// offset.
	normalSlew = 500
	// slowestSlew is the slew that the margin of a lease covers (pkg/election, MaxSlew).
	slowestSlew = -100_000
)

// clockSlew reports a clock that is slewed by more than its crystal needs.
func clockSlew(rate boottime.PPM) []Finding {
	seen := fmt.Sprintf("the kernel's clock is slewed by %+d ppm", rate)
	switch {
	case rate < slowestSlew:
		return []Finding{{Severity: Warning, Seen: seen,
			Why:    "the timers that remove the VIP here are slower by the same rate; the margin of a lease covers -100000 ppm, and vipd shortens the fence's tickets by the excess",
			Remedy: []string{"find the program that slews the clock: chronyc tracking, timedatectl timesync-status, adjtimex --print", "chronyc makestep sets the clock at once; vipd is not affected"}}}
	case rate > normalSlew || rate < -normalSlew:
		return []Finding{{Severity: Info, Seen: seen,
			Why: "an NTP client corrects an offset; vipd has a margin for that. Meanwhile, a takeover by a node with a slowed clock takes up to a tenth longer"}}
	}
	return nil
}
