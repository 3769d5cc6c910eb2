package main

import (
	"context"
	"crypto/tls"
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

	"github.com/vipd-io/vipd/pkg/config"
	"github.com/vipd-io/vipd/pkg/doctor"
	"github.com/vipd-io/vipd/pkg/election"
	"github.com/vipd-io/vipd/pkg/kubeapi"
	"github.com/vipd-io/vipd/pkg/manifest"
)

// inspectTimeout bounds all that an API server is asked for.
const inspectTimeout = 3 * time.Second

// inspector asks this node's API server, as its vipd does. The checks that need the
// answer share it. It is nil where there are no credentials to ask with.
func (c *consultation) inspector(ctx context.Context) func(context.Context) (*doctor.Cluster, error) {
	paths := c.kubeconfigs()
	if len(paths) == 0 || c.mode() != doctor.Node {
		return nil
	}
	api := kubeapi.New(kubeapi.Options{Server: c.inForce("apiserver", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(c.port)))), Kubeconfigs: paths,
		UserAgent: "vipd-doctor/" + versionString()})
	namespace, name := c.inForce("lease-namespace", ""), c.inForce("lease-name", "")
	once := sync.OnceValues(func() (*doctor.Cluster, error) {
		ctx, cancel := context.WithTimeout(ctx, inspectTimeout)
		defer cancel()
		got, err := api.Inspect(ctx, namespace, name)
		return clusterOf(got, namespace, name), inspectError(err)
	})
	return func(context.Context) (*doctor.Cluster, error) { return once() }
}

// kubeconfigs are those of the node's vipd, or those that it would have.
func (c *consultation) kubeconfigs() []string {
	if c.asked != nil {
		return strings.FieldsFunc(c.asked.Configuration["kubeconfig"], func(r rune) bool { return r == ':' })
	}
	for _, path := range []string{manifest.Kubeconfig, "/etc/kubernetes/admin.conf"} {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return []string{path}
		}
	}
	return nil
}

// inForce is a setting of the node's vipd, or what it would be.
func (c *consultation) inForce(name, otherwise string) string {
	if c.asked != nil && c.asked.Configuration[name] != "" {
		return c.asked.Configuration[name]
	}
	for _, s := range config.Settings {
		if s.Name == name && s.Default != "" {
			return s.Default
		}
	}
	return otherwise
}

// inspectError tells what other checks see as well from what only this one does.
func inspectError(err error) error {
	var untrusted *tls.CertificateVerificationError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &untrusted), apierrors.IsUnauthorized(err):
		return fmt.Errorf("%w: %s", doctor.ErrUntrusted, printable(err.Error()))
	case !answered(err):
		return fmt.Errorf("%w: %s", doctor.ErrNoAnswer, printable(err.Error()))
	}
	return errors.New(printable(err.Error()))
}

// answered tells whether it is what an API server says that could do what it was asked.
func answered(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && status.Status().Code < http.StatusInternalServerError
}

func clusterOf(i kubeapi.Inspection, namespace, name string) *doctor.Cluster {
	out := &doctor.Cluster{Denied: i.Denied, NodesKnown: i.Nodes != nil}
	for _, n := range i.Nodes {
		out.Nodes = append(out.Nodes, member(n))
	}
	if i.Lease != nil {
		out.Lease = leaseOf(i.Lease, namespace, name)
	}
	return out
}

func member(n corev1.Node) doctor.Member {
	m := doctor.Member{Name: n.Name}
	for _, a := range n.Status.Addresses {
		if ip, err := netip.ParseAddr(a.Address); a.Type == corev1.NodeInternalIP && err == nil {
			m.InternalIPs = append(m.InternalIPs, ip)
		}
	}
	return m
}

func leaseOf(l *coordinationv1.Lease, namespace, name string) *doctor.Lease {
	out := &doctor.Lease{Namespace: namespace, Name: name, ByVipd: election.ByVipd(l)}
	if l.Spec.HolderIdentity != nil {
		out.Holder = printable(*l.Spec.HolderIdentity)
	}
	if l.Spec.LeaseDurationSeconds != nil {
		out.Duration = time.Duration(*l.Spec.LeaseDurationSeconds) * time.Second
	}
	if l.Spec.RenewTime != nil {
		out.Renewed = l.Spec.RenewTime.Time
	}
	return out
}
