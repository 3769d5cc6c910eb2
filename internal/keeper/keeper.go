// Package keeper maintains a kubeconfig with access to the Lease: it renews the certificate from
// the cluster's CA, and applies the RBAC that the certificate needs.
package keeper

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/vipd-io/vipd/internal/config"
	"github.com/vipd-io/vipd/internal/credentials"
	"github.com/vipd-io/vipd/internal/manifest"
)

const (
	// CertificateLife is the lifetime of vipd's certificate: long enough for a control plane that
	// was off over a weekend, or whose container `credentials` fails, and short enough to be no
	// lasting secret. The certificate is renewed after two thirds.
	CertificateLife = 7 * 24 * time.Hour
	// adminLife is the lifetime of the certificate that applies the RBAC. That certificate never
	// leaves the process.
	adminLife = 10 * time.Minute
	// keepRetry is the pause after an error.
	keepRetry = time.Second
	// allowRetry is the pause while the kubeconfig has no access to the Lease: clients of a new cluster
	// wait for the VIP, and the VIP waits for the RBAC.
	allowRetry = 250 * time.Millisecond
	// keepLook is the interval between two checks of the kubeconfig: the file may be removed, and
	// the CA may be replaced.
	keepLook = time.Minute
)

// Keeper maintains one kubeconfig.
type Keeper struct {
	PKI  string // folder of the CA
	Out  string // path of the kubeconfig
	Node string
	// Config has the API server and the Lease.
	Config config.Config
	// RBAC tells whether to apply the RBAC if it is missing.
	RBAC bool
	Log  *zap.Logger
	Now  func() time.Time
}

// Subject returns the subject of the certificate.
func (k *Keeper) Subject() credentials.Subject {
	return credentials.Subject{Name: "vipd:" + k.Node, Group: manifest.Group}
}

// WallClock returns the time of day, by which certificates are valid.
func WallClock() time.Time { return time.Now() } //nolint:forbidigo // validity is wall-clock time (RFC 5280, 4.1.2.5)

// Write creates a certificate and writes the kubeconfig.
func (k *Keeper) Write(ca credentials.CA) error {
	pair, err := ca.Mint(k.Subject(), k.Now(), CertificateLife)
	if err != nil {
		return err
	}
	b, err := credentials.Kubeconfig(ca, pair, k.Config.APIServer)
	if err != nil {
		return err
	}
	return credentials.Write(k.Out, b)
}

// Run maintains the kubeconfig until ctx ends. The error is always nil: the CA exists once kubeadm
// has written it, the API server once kubelet has started it.
func (k *Keeper) Run(ctx context.Context) error {
	logged := ""
	allowed := !k.RBAC
	for {
		pause := keepLook
		err := k.renew()
		switch {
		case err != nil:
			pause = keepRetry
		case !allowed:
			if allowed, err = k.allow(ctx); !allowed {
				pause = allowRetry
			}
		}
		if err != nil && ctx.Err() == nil {
			if text := err.Error(); text != logged {
				k.Log.Warn("credentials not ready, retrying", zap.Error(err))
				logged = text
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// renew writes a new kubeconfig if it is due.
func (k *Keeper) renew() error {
	ca, err := credentials.LoadCA(k.PKI)
	if err != nil {
		return err
	}
	at, why := credentials.Due(k.Out, ca, k.Subject())
	if k.Now().Before(at) {
		return nil
	}
	if err := k.Write(ca); err != nil {
		return err
	}
	if why == "" {
		why = "two thirds of the certificate's lifetime are over"
	}
	k.Log.Info("kubeconfig written", zap.String("file", k.Out), zap.String("reason", why), zap.Duration("life", CertificateLife))
	return nil
}
