package kubeapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/vipd-io/vipd/pkg/boottime"
)

var (
	// errDenied is a refusal of something optional, which a person has to correct.
	errDenied = errors.New("not permitted, and not needed")
	// errNotYet is a refusal that may end by itself.
	errNotYet = errors.New("not permitted by an API server that has just started")
)

// remedyRBAC is the remedy for a refusal.
const remedyRBAC = "run `vipd manifest rbac` and apply its output"

// settleTime is how long an API server has to be ready before its refusals count. A server serves
// before it has read the RBAC rules, and refuses every request until then; in a new cluster it
// first has to write the rules, which took some seconds in the lab.
const settleTime = time.Minute

// SetReady sets which servers are ready, and since when. The refusals of a server do not count
// until it has been ready for settleTime.
func (c *Client) SetReady(since map[string]boottime.Instant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed := false
	for server, at := range since {
		changed = changed || c.ready[server] != at
	}
	c.ready = maps.Clone(since)
	if changed {
		close(c.becomes)
		c.becomes = make(chan struct{})
	}
}

// becomesReady returns a channel that is closed when a server becomes ready.
func (c *Client) becomesReady() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.becomes
}

// watchTime returns how long a watch that begins now can be relied on.
func (c *Client) watchTime(now boottime.Instant) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, since := range c.ready {
		if now.Sub(since) < staleTime {
			return staleWatchTime
		}
	}
	return watchTime
}

// optional marks a refusal of something that vipd does not need.
func (c *Client) optional(server string, err error) error {
	switch {
	case !apierrors.IsForbidden(err):
		return err
	case !c.refusalCounts(server):
		return fmt.Errorf("%w: %w", errNotYet, err)
	default:
		return fmt.Errorf("%w: %w", errDenied, err)
	}
}

// refusalCounts tells whether a server has been ready for long enough that its refusals count.
func (c *Client) refusalCounts(server string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	since, ready := c.ready[server]
	return ready && boottime.Now().Sub(since) >= settleTime
}

// refusal adds to an error that the refusal may end by itself.
func (c *Client) refusal(err error, server string) error {
	if (apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err)) && !c.refusalCounts(server) {
		return fmt.Errorf("%w; an API server that has just started refuses everybody for some seconds", err)
	}
	return err
}

// aboutObject tells answers about the object itself, which other credentials would not change, from
// errors of the server or the credentials.
func aboutObject(err error) bool {
	return errors.Is(err, errDenied) || apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsInvalid(err) ||
		apierrors.IsGone(err) || apierrors.IsResourceExpired(err)
}

// explain adds to an error what a person needs to fix it.
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

// kind returns the kind of an error, so that each kind is logged once.
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
		return request.Err.Error() // without the URL
	}
	return err.Error()
}

const (
	// steadyTime is how long no call may have failed before a recovery is logged that follows soon
	// after another one.
	steadyTime = 5 * time.Second
	// believeAgain is the time after which a recovery does not follow soon.
	believeAgain = time.Minute
)

// maxKinds bounds the kinds of errors that are logged between two recoveries: a server may answer
// anything.
const maxKinds = 16

// health is what was logged about a server. Reads, writes and a watch run concurrently and may
// succeed and fail differently for a long time, for example if the user may not watch. So each kind
// of error is logged once, and after a recovery that did not last, the next recovery is logged only
// after no call has failed for a while.
type health struct {
	failing   map[string]bool // the kinds logged since the last recovery
	failed    boottime.Instant
	recovered boottime.Instant // 0: never
	working   string           // the kubeconfig that was last logged as working
}

// failure tells whether a kind of error has to be logged.
func (h *health) failure(kind string, now boottime.Instant) bool {
	h.failed = now
	if h.failing[kind] || len(h.failing) == maxKinds {
		return false
	}
	if h.failing == nil {
		h.failing = make(map[string]bool)
	}
	h.failing[kind] = true
	return true
}

// success tells whether an answer with the credentials in path has to be logged.
func (h *health) success(path string, now boottime.Instant) bool {
	recovered := len(h.failing) > 0 && (h.recovered == 0 || now.Sub(h.failed) >= steadyTime || now.Sub(h.recovered) >= believeAgain)
	if recovered {
		clear(h.failing)
		h.recovered = now
	}
	changed := recovered || path != h.working
	h.working = path
	return changed
}

// loggedOf returns what was logged about a server. The caller holds the lock.
func (c *Client) loggedOf(server string) *health {
	if c.health[server] == nil {
		c.health[server] = &health{}
	}
	return c.health[server]
}

func (c *Client) succeeded(server string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.use(n)
	if path := c.sources[n].path; c.loggedOf(server).success(path, boottime.Now()) {
		c.opts.Log.Info("API server answers", zap.String("server", server), zap.String("kubeconfig", path))
	}
}

func (c *Client) failed(server string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.loggedOf(server).failure(kind(err), boottime.Now()) {
		c.opts.Log.Warn("API server not usable", zap.String("server", server), zap.Error(err))
	}
}
