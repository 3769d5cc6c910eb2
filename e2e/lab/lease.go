package lab

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// The Lease that vipd and kube-vip share.
const (
	LeaseNamespace = "kube-system"
	LeaseName      = "plndr-cp-lock"
)

// apiTimeout bounds each request of the lab's own clients, because an API server may be paused.
const apiTimeout = 5 * time.Second

// RESTConfig returns the configuration of a kubeconfig of the node ("admin.conf",
// "super-admin.conf") for the node's own API server on loopback, dialled from inside the node. It
// uses HTTP/1.1, because the end of an HTTP/2 connection to a killed server is noticed by its pings
// only.
func (n *Node) RESTConfig(kubeconfig string) (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(n.Dir, kubeconfig))
	if err != nil {
		return nil, fmt.Errorf("read %s of %s: %w", kubeconfig, n.Name, err)
	}
	config.Host = fmt.Sprintf("https://127.0.0.1:%d", Port)
	config.ServerName = "kubernetes" // the certificate has no 127.0.0.1
	config.NextProtos = []string{"http/1.1"}
	config.Dial = n.NS.Dial
	config.Timeout = apiTimeout
	config.QPS = -1
	return config, nil
}

// httpClient returns a client that trusts the cluster's CA and uses the certificate of admin.conf.
func (n *Node) httpClient() (*http.Client, error) {
	config, err := n.RESTConfig("admin.conf")
	if err != nil {
		return nil, err
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	return client, nil
}

// Leases returns a client of the Leases in kube-system through this node's API server.
func (n *Node) Leases() (coordinationclient.LeaseInterface, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.leases == nil {
		config, err := n.RESTConfig("admin.conf")
		if err != nil {
			return nil, err
		}
		if n.leases, err = coordinationclient.NewForConfig(config); err != nil {
			return nil, fmt.Errorf("make client: %w", err)
		}
	}
	return n.leases.Leases(LeaseNamespace), nil
}

// Lease reads vipd's Lease.
func (n *Node) Lease(ctx context.Context) (*coordinationv1.Lease, error) {
	leases, err := n.Leases()
	if err != nil {
		return nil, err
	}
	lease, err := leases.Get(ctx, LeaseName, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("get lease on %s: %w", n.Name, err)
	}
	return lease, nil
}

// Holder returns the holder of vipd's Lease, "" if there is none.
func (n *Node) Holder(ctx context.Context) (string, error) {
	lease, err := n.Lease(ctx)
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil || lease.Spec.HolderIdentity == nil {
		return "", err
	}
	return *lease.Spec.HolderIdentity, nil
}

// EditLease changes vipd's Lease as a person would, and retries after a conflict.
func (n *Node) EditLease(ctx context.Context, edit func(*coordinationv1.Lease)) error {
	leases, err := n.Leases()
	if err != nil {
		return err
	}
	for {
		lease, err := n.Lease(ctx)
		if err != nil {
			return err
		}
		edit(lease)
		_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
		if apierrors.IsConflict(err) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return fmt.Errorf("update lease on %s: %w", n.Name, err)
		}
		return nil
	}
}

// DeleteLease deletes vipd's Lease.
func (n *Node) DeleteLease(ctx context.Context) error {
	leases, err := n.Leases()
	if err != nil {
		return err
	}
	if err := leases.Delete(ctx, LeaseName, metav1.DeleteOptions{}); err != nil {
		return fmt.Errorf("delete lease on %s: %w", n.Name, err)
	}
	return nil
}

// closeIdle closes the idle connections of a client.
func closeIdle(c rest.Interface) {
	if rc, ok := c.(*rest.RESTClient); ok && rc.Client != nil {
		utilnet.CloseIdleConnectionsFor(rc.Client.Transport)
	}
}

// Reachable tells whether a client can connect to the VIP now.
func (l *Lab) Reachable(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c, err := l.Clients[0].NS.Dial(ctx, "tcp", l.Endpoint().String())
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}
