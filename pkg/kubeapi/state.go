package kubeapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// aboutObject tells answers about the Lease itself, which other credentials
// would not change, from troubles with server or credentials.
func aboutObject(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsInvalid(err)
}

// explain adds to an error what a person needs to mend it.
func explain(err error, server string) error {
	var verify *tls.CertificateVerificationError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w (kubeadm writes it during init or join; waiting for it)", err)
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("%w (the certificate in it is expired or from another cluster; see `kubeadm certs check-expiration`)", err)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w (its user may not get, watch, create and update this Lease)", err)
	case apierrors.IsTooManyRequests(err):
		return fmt.Errorf("%w (the API server is overloaded, or its priority and fairness puts vipd last)", err)
	case errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("%w (no API server listens on %s; see `crictl ps -a --name kube-apiserver`)", err, server)
	case errors.As(err, &verify):
		return fmt.Errorf("%w (the API server on %s is not of the cluster that the kubeconfig is of)", err, server)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w (the API server on %s does not answer in time; it or its etcd hangs)", err, server)
	}
	return err
}

// kind names what is wrong, so that the same trouble is logged once.
func kind(err error) string {
	var verify *tls.CertificateVerificationError
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return "refused"
	case errors.As(err, &verify):
		return "untrusted"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case apierrors.ReasonForError(err) != metav1.StatusReasonUnknown:
		return string(apierrors.ReasonForError(err))
	}
	return err.Error()
}

func (c *Client) succeeded(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = n
	state := "ok " + c.sources[n].path
	if c.state != state {
		c.opts.Log.Info("API server answers", zap.String("server", c.opts.Server), zap.String("kubeconfig", c.sources[n].path))
	}
	c.state = state
}

func (c *Client) failed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	state := kind(err)
	if c.state != state {
		c.opts.Log.Warn("API server not usable", zap.String("server", c.opts.Server), zap.Error(err))
	}
	c.state = state
}
