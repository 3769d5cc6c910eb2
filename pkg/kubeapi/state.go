package kubeapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// errDenied is a refusal of what vipd can do without.
var errDenied = errors.New("not permitted, and not needed")

// optional marks a refusal as one.
func optional(err error) error {
	if apierrors.IsForbidden(err) {
		return fmt.Errorf("%w: %w", errDenied, err)
	}
	return err
}

// aboutObject tells answers about the Lease itself, which other credentials
// would not change, from troubles with server or credentials.
func aboutObject(err error) bool {
	return errors.Is(err, errDenied) || apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsInvalid(err) ||
		apierrors.IsGone(err) || apierrors.IsResourceExpired(err)
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
	var errno unix.Errno
	var request *url.Error
	switch {
	case errors.As(err, &verify):
		return "untrusted"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case apierrors.ReasonForError(err) != metav1.StatusReasonUnknown:
		return string(apierrors.ReasonForError(err))
	case errors.As(err, &errno):
		return errno.Error() // without addresses and ports
	case errors.As(err, &request):
		return request.Err.Error() // without what was asked for
	}
	return err.Error()
}

const (
	// steady is how long nothing may fail before a recovery is believed that
	// follows soon after another one.
	steady = 5 * time.Second
	// often is how soon that is.
	often = time.Minute
)

// health is what was logged of the server's state. Reads, writes and a watch go
// on side by side and may fare differently, for long (think of a user that may
// not watch): so each kind of trouble is logged once, and a recovery that did
// not last is not believed a second time before nothing has failed for a while.
type health struct {
	failing   map[string]bool // the kinds that were logged since the last recovery
	failed    boottime.Instant
	recovered boottime.Instant // 0: never
	working   string           // the kubeconfig that was logged as working
}

// failure tells whether a kind of trouble is news.
func (h *health) failure(kind string, now boottime.Instant) bool {
	h.failed = now
	if h.failing[kind] {
		return false
	}
	if h.failing == nil {
		h.failing = make(map[string]bool)
	}
	h.failing[kind] = true
	return true
}

// success tells whether an answer, by the credentials in path, is news.
func (h *health) success(path string, now boottime.Instant) bool {
	recovered := len(h.failing) > 0 && (h.recovered == 0 || now.Sub(h.failed) >= steady || now.Sub(h.recovered) >= often)
	if recovered {
		clear(h.failing)
		h.recovered = now
	}
	news := recovered || path != h.working
	h.working = path
	return news
}

// of returns what was logged of a server. It needs the lock.
func (c *Client) of(server string) *health {
	if c.health[server] == nil {
		c.health[server] = &health{}
	}
	return c.health[server]
}

func (c *Client) succeeded(server string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = n
	if path := c.sources[n].path; c.of(server).success(path, boottime.Now()) {
		c.opts.Log.Info("API server answers", zap.String("server", server), zap.String("kubeconfig", path))
	}
}

func (c *Client) failed(server string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of(server).failure(kind(err), boottime.Now()) {
		c.opts.Log.Warn("API server not usable", zap.String("server", server), zap.Error(err))
	}
}
