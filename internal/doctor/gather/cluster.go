package gather

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/vipd-io/vipd/internal/config"
	"github.com/vipd-io/vipd/internal/doctor"
	"github.com/vipd-io/vipd/internal/manifest"
	"github.com/vipd-io/vipd/internal/printable"
	"github.com/vipd-io/vipd/internal/version"
	"github.com/vipd-io/vipd/pkg/election"
	"github.com/vipd-io/vipd/pkg/kubeapi"
)

// inspectTimeout bounds all requests to an API server.
const inspectTimeout = 3 * time.Second

// clusterQuery queries this node's API server, as its vipd does, once for all checks. The result
// is nil without credentials.
func (r *Request) clusterQuery(ctx context.Context) func(context.Context) (*doctor.Cluster, error) {
	paths := r.kubeconfigs()
	if len(paths) == 0 || r.Mode != doctor.Node {
		return nil
	}
	api := kubeapi.New(kubeapi.Options{Server: r.setting("apiserver", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(r.Port)))), Kubeconfigs: paths,
		UserAgent: "vipd-doctor/" + version.String()})
	namespace, name := r.setting("lease-namespace", ""), r.setting("lease-name", "")
	once := sync.OnceValues(func() (*doctor.Cluster, error) {
		ctx, cancel := context.WithTimeout(ctx, r.Scale(inspectTimeout))
		defer cancel()
		got, err := api.Inspect(ctx, namespace, name)
		return clusterOf(got, namespace, name), inspectError(err)
	})
	return func(context.Context) (*doctor.Cluster, error) { return once() }
}

// kubeconfigs returns the kubeconfigs of this node's vipd, or their default paths.
func (r *Request) kubeconfigs() []string {
	if r.Status != nil {
		return strings.FieldsFunc(r.Status.Configuration["kubeconfig"], func(r rune) bool { return r == ':' })
	}
	for _, path := range []string{manifest.Kubeconfig, r.distribution().Kubeconfig} {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return []string{path}
		}
	}
	return nil
}

// setting returns a setting of this node's vipd, its default, or fallback.
func (r *Request) setting(name, fallback string) string {
	if r.Status != nil && r.Status.Configuration[name] != "" {
		return r.Status.Configuration[name]
	}
	for _, s := range config.Settings {
		if s.Name == name && s.Default != "" {
			return s.Default
		}
	}
	return fallback
}

// inspectError classifies errors that other checks report.
func inspectError(err error) error {
	var untrusted *tls.CertificateVerificationError
	var invalid x509.CertificateInvalidError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired: // or not valid yet: a clock, and no other cluster
		return fmt.Errorf("the certificate of the API server is not valid at this time; compare the clocks (D27): %s", printable.String(err.Error()))
	case errors.As(err, &untrusted), apierrors.IsUnauthorized(err):
		return fmt.Errorf("%w: %s", doctor.ErrUntrusted, printable.String(err.Error()))
	case !clientError(err):
		return fmt.Errorf("%w: %s", doctor.ErrNoAnswer, printable.String(err.Error()))
	}
	return errors.New(printable.String(err.Error()))
}

// clientError reports whether an error is the answer of a working API server.
func clientError(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && status.Status().Code < http.StatusInternalServerError
}

func clusterOf(i kubeapi.Inspection, namespace, name string) *doctor.Cluster {
	out := &doctor.Cluster{Denied: i.Denied, NodesKnown: i.Nodes != nil}
	for _, n := range i.Nodes {
		out.Nodes = append(out.Nodes, memberOf(n))
	}
	if i.Lease != nil {
		out.Lease = leaseOf(i.Lease, namespace, name)
	}
	return out
}

func memberOf(n corev1.Node) doctor.Member {
	m := doctor.Member{Name: n.Name}
	for _, a := range n.Status.Addresses {
		if ip, err := netip.ParseAddr(a.Address); a.Type == corev1.NodeInternalIP && err == nil {
			m.InternalIPs = append(m.InternalIPs, ip)
		}
	}
	for _, text := range n.Spec.PodCIDRs {
		if p, err := netip.ParsePrefix(text); err == nil {
			m.PodCIDRs = append(m.PodCIDRs, p)
		}
	}
	return m
}

func leaseOf(l *coordinationv1.Lease, namespace, name string) *doctor.Lease {
	out := &doctor.Lease{Namespace: namespace, Name: name, ByVipd: election.ByVipd(l), Lengthened: election.Lengthened(l) != election.AsConfigured}
	if l.Spec.HolderIdentity != nil {
		out.Holder = printable.String(*l.Spec.HolderIdentity)
	}
	if l.Spec.LeaseDurationSeconds != nil {
		out.Duration = time.Duration(*l.Spec.LeaseDurationSeconds) * time.Second
	}
	if l.Spec.RenewTime != nil {
		out.Renewed = l.Spec.RenewTime.Time
	}
	return out
}
