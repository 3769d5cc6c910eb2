package daemon

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/vipd-io/vipd/internal/config"
	"github.com/vipd-io/vipd/internal/staticpod"
)

const (
	// kubeVipLook is the interval between two reads of the folder of static pods while it contains
	// a kube-vip.
	kubeVipLook = 2 * time.Second
	// kubeVipTell is the interval between two log messages about that.
	kubeVipTell = 5 * time.Minute
)

// awaitNoKubeVip returns when no static pod of this node is a kube-vip; alone is false if ctx ended
// first. Both daemons would campaign under the same name, and each would take the other's Lease for
// its own. Waiting is better than an exit: kubelet would restart vipd with growing delays.
func awaitNoKubeVip(ctx context.Context, folder string, log *zap.Logger) (alone bool, err error) {
	if folder == "" {
		return true, nil
	}
	ticker := time.NewTicker(kubeVipLook)
	defer ticker.Stop()
	for looks := 0; ; looks++ {
		file, err := staticpod.KubeVipIn(folder)
		if err != nil {
			return false, config.UsageError{Err: fmt.Errorf("--manifests: %w", err)}
		}
		if file == "" {
			return true, nil
		}
		if looks%int(kubeVipTell/kubeVipLook) == 0 {
			log.Error("waiting: kube-vip is on this node, too",
				zap.String("manifest", file), zap.String("consequence", "vipd does not start while kube-vip is here, or both would hold the VIP"),
				zap.String("remedy", "remove "+file+" here and from the files of the KubeadmControlPlane; vipd then starts by itself"))
		}
		select {
		case <-ctx.Done():
			return false, nil
		case <-ticker.C:
		}
	}
}
