package doctor

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// The check of how far the making of a Cluster API machine has come.

// Bootstrap is what cloud-init says of a machine that Cluster API makes.
type Bootstrap struct {
	// Stage is that in which cloud-init is, "" if it has ended; Since is its begin.
	Stage string
	Since time.Time
	// Output is the end of what its commands wrote.
	Output string
}

var bootstrapState = Check{ID: "D29", Title: "bootstrap of the machine", Modes: Node | Preflight, Cheap: true, Look: func(_ context.Context, c *Case) ([]Finding, error) {
	if c.Questions.Bootstrap == nil {
		return nil, nil
	}
	b, err := c.Questions.Bootstrap()
	if err != nil {
		return nil, fmt.Errorf("read the state of cloud-init: %w", err)
	}
	if b == nil {
		return nil, nil
	}
	k := kubeadmSays(b.Output)
	mend := []string{"what it says: tail -n 40 /var/log/cloud-init-output.log", "the containers: crictl ps -a; kubelet: journalctl -u kubelet --since -10min"}
	switch {
	case k.failed != "":
		return []Finding{{Severity: Warning, Mark: "failed", Seen: "kubeadm failed, in its phase " + k.failed, Why: "this machine is no control-plane node, and Cluster API does not run kubeadm on it again: no vipd here will have credentials",
			Mend: append(mend, "once the cause is mended, replace the machine: kubectl -n NAMESPACE delete machine NAME; by hand, on the first node: kubeadm reset; kubeadm init --config /run/kubeadm/kubeadm.yaml")}}, nil
	case b.Stage == "":
		return []Finding{{Severity: Warning, Mark: "ended", Seen: "cloud-init has ended, and without /run/cluster-api/bootstrap-success.complete" + k.last(), Why: "to Cluster API this machine has failed: kubeadm did not run, or not to its end",
			Mend: append([]string{"what failed: cloud-init status --long"}, mend...)}}, nil
	case k.word == "":
		return nil, nil // it has not come to kubeadm
	}
	seen := "cloud-init is in " + b.Stage
	if !b.Since.IsZero() {
		seen += " for " + c.Questions.Now().Sub(b.Since).Round(time.Second).String()
	}
	seen += k.last()
	why := "until kubeadm has finished, this machine is no control-plane node"
	if k.waits {
		why = "kubeadm waits for the control plane, through the VIP up to Kubernetes 1.34.1, and gives up after 4 minutes. It needs an API server here (D16), and a vipd that may write the Lease (D17)"
	}
	return []Finding{{Severity: Info, Mark: "running", Seen: seen, Why: why, Mend: append([]string{"wait, if it goes on; and see:"}, mend...)}}, nil
}}

// progress is what kubeadm said of its own.
type progress struct {
	// word is the last line of a phase, failed the phase in which it failed.
	word, failed string
	// waits: for the control plane to come up.
	waits bool
}

var (
	phase = regexp.MustCompile(`^\[([a-z-]+)\] .*`)
	fails = regexp.MustCompile(`^(?:error: )?error execution phase ([a-z/-]+)`)
	// token is that of a join: lines are shown to others.
	token = regexp.MustCompile(`\b[a-z0-9]{6}\.[a-z0-9]{16}\b`)
)

// kubeadmSays looks for lines of kubeadm's phases, and no others: what else is in
// there may be a secret.
func kubeadmSays(output string) progress {
	var p progress
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if m := fails.FindStringSubmatch(line); m != nil {
			p.failed = m[1]
		}
		if m := phase.FindStringSubmatch(line); m != nil {
			p = progress{word: token.ReplaceAllString(line, "(token)"), waits: m[1] == "wait-control-plane" || m[1] == "control-plane-check" || m[1] == "kubelet-check" || m[1] == "apiclient"}
		}
	}
	return p
}

func (p progress) last() string {
	if p.word == "" {
		return ""
	}
	return `; kubeadm's last word is "` + p.word + `"`
}
