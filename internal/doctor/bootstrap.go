package doctor

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// The check of the bootstrap of a Cluster API machine.

// Bootstrap is the state of cloud-init on a machine that Cluster API creates.
type Bootstrap struct {
	// Stage is the current stage of cloud-init, or "" after its end. Since is the start of the
	// stage.
	Stage string
	Since time.Time
	// Output is the tail of the output of cloud-init's commands.
	Output string
}

var bootstrapState = Check{ID: "D29", Title: "bootstrap of the machine", Modes: Node | Worker | Preflight, Cheap: true, Run: func(_ context.Context, in *Input) ([]Finding, error) {
	if in.Queries.Bootstrap == nil {
		return nil, nil
	}
	b, err := in.Queries.Bootstrap()
	if err != nil {
		return nil, fmt.Errorf("read the state of cloud-init: %w", err)
	}
	if b == nil {
		return nil, nil
	}
	k := kubeadmProgress(b.Output)
	remedy := []string{"the output: tail -n 40 /var/log/cloud-init-output.log", "the containers: crictl ps -a; kubelet: journalctl -u kubelet --since -10min"}
	switch {
	case k.failed != "" && in.Mode == Worker:
		return []Finding{{Severity: Warning, Kind: "failed", Seen: "kubeadm failed in phase " + k.failed, Why: "this machine is no node of the cluster, and Cluster API does not run kubeadm again",
			Remedy: append(remedy, "after fixing the cause, replace the machine: kubectl -n NAMESPACE delete machine NAME", "or by hand: kubeadm reset; kubeadm join --config /run/kubeadm/kubeadm-join-config.yaml")}}, nil
	case k.failed != "":
		return []Finding{{Severity: Warning, Kind: "failed", Seen: "kubeadm failed in phase " + k.failed, Why: "this machine is no control-plane node, and Cluster API does not run kubeadm again: vipd will get no credentials here",
			Remedy: append(remedy, "after fixing the cause, replace the machine: kubectl -n NAMESPACE delete machine NAME", "or by hand, on the first node: kubeadm reset; kubeadm init --config /run/kubeadm/kubeadm.yaml")}}, nil
	case b.Stage == "":
		return []Finding{{Severity: Warning, Kind: "ended", Seen: "cloud-init has ended without /run/cluster-api/bootstrap-success.complete" + k.suffix(), Why: "to Cluster API this machine has failed: kubeadm did not run, or did not finish",
			Remedy: append([]string{"what failed: cloud-init status --long"}, remedy...)}}, nil
	case k.lastLine == "":
		return nil, nil // kubeadm has not started
	}
	seen := "cloud-init is in " + b.Stage
	if !b.Since.IsZero() {
		seen += " for " + in.Queries.Now().Sub(b.Since).Round(time.Second).String()
	}
	seen += k.suffix()
	why := "until kubeadm has finished, this machine is no control-plane node"
	if in.Mode == Worker {
		why = "until kubeadm has finished, this machine is no node of the cluster"
	} else if k.waits {
		why = "kubeadm waits for the control plane, through the VIP up to Kubernetes 1.34.1, and gives up after 4 minutes. The VIP needs an API server here (D16), and a vipd with permissions for the Lease (D17)"
	}
	return []Finding{{Severity: Info, Kind: "running", Seen: seen, Why: why, Remedy: append([]string{"wait while kubeadm makes progress; to see the progress:"}, remedy...)}}, nil
}}

// progress is the progress of kubeadm by its output.
type progress struct {
	// lastLine is the last line of a phase. failed is the phase that failed, or "".
	lastLine, failed string
	// waits: kubeadm waits for the control plane.
	waits bool
}

var (
	phase   = regexp.MustCompile(`^\[([a-z-]+)\] .*`)
	failure = regexp.MustCompile(`^(?:error: )?error execution phase ([a-z/-]+)`)
	// token matches bootstrap tokens, which must not appear in a report.
	token = regexp.MustCompile(`\b[a-z0-9]{6}\.[a-z0-9]{16}\b`)
)

// kubeadmProgress extracts lines of kubeadm's phases only: other output may contain secrets.
func kubeadmProgress(output string) progress {
	var p progress
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if m := failure.FindStringSubmatch(line); m != nil {
			p.failed = m[1]
		}
		if m := phase.FindStringSubmatch(line); m != nil {
			p = progress{lastLine: token.ReplaceAllString(line, "(token)"), waits: m[1] == "wait-control-plane" || m[1] == "control-plane-check" || m[1] == "kubelet-check" || m[1] == "apiclient"}
		}
	}
	return p
}

func (p progress) suffix() string {
	if p.lastLine == "" {
		return ""
	}
	return `; the last line of kubeadm is "` + p.lastLine + `"`
}
