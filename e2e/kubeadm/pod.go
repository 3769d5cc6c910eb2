package kubeadm

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
)

// manifest is where the static pod of vipd lies.
const manifest = "etc/kubernetes/manifests/vipd.yaml"

// vipdPod is the static pod, by the command that people use.
func (c *Cluster) vipdPod(ctx context.Context, more ...string) ([]byte, error) {
	args := append([]string{"manifest", "pod", "--address", c.Lab.VIP.String(), "--image", vipdImage}, more...)
	cmd := exec.CommandContext(ctx, c.Lab.Nodes[0].VipdBinary(), args...)
	pod, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	if err != nil {
		return nil, fmt.Errorf("write the static pod: %w", err)
	}
	return pod, nil
}
