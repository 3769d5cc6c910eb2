package kubeadm

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
)

// manifest is where the static pod of vipd lies.
const manifest = "etc/kubernetes/manifests/vipd.yaml"

// vipdPod is the static pod, by the command that people use.
func (c *Cluster) vipdPod(ctx context.Context, more ...string) ([]byte, error) {
	return c.manifest(ctx, append([]string{"pod"}, more...)...)
}

// manifest is one that vipd generates, for the lab's VIP and image.
func (c *Cluster) manifest(ctx context.Context, kind ...string) ([]byte, error) {
	args := slices.Concat([]string{"manifest"}, kind, []string{"--address", c.Lab.VIP.String(), "--image", vipdImage})
	cmd := exec.CommandContext(ctx, c.Lab.Nodes[0].VipdBinary(), args...)
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	if err != nil {
		return nil, fmt.Errorf("generate the %s: %w", kind[0], err)
	}
	return out, nil
}
