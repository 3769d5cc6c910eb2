package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	rbacclient "k8s.io/client-go/kubernetes/typed/rbac/v1"
)

const (
	serviceSubnet = "10.96.0.0/12"

	// readyTimeout is generous: three API servers that start at the same time on two busy cores
	// take 20 s.
	readyTimeout  = 2 * time.Minute
	readyInterval = 100 * time.Millisecond
)

// etcdArgs returns the flags that kubeadm 1.36 writes into etcd's manifest.
func (n *Node) etcdArgs(binary string, members []*Node) []string {
	var cluster []string
	for _, m := range members {
		cluster = append(cluster, fmt.Sprintf("%s=https://%s:2380", m.Name, m.IP))
	}
	pki := filepath.Join(n.PKI(), "etcd")
	return []string{
		binary,
		"--name=" + n.Name,
		fmt.Sprintf("--listen-client-urls=https://127.0.0.1:2379,https://%s:2379", n.IP),
		fmt.Sprintf("--advertise-client-urls=https://%s:2379", n.IP),
		fmt.Sprintf("--listen-peer-urls=https://%s:2380", n.IP),
		fmt.Sprintf("--initial-advertise-peer-urls=https://%s:2380", n.IP),
		"--data-dir=" + n.etcdData(),
		"--cert-file=" + filepath.Join(pki, "server.crt"),
		"--key-file=" + filepath.Join(pki, "server.key"),
		"--trusted-ca-file=" + filepath.Join(pki, "ca.crt"),
		"--client-cert-auth=true",
		"--peer-cert-file=" + filepath.Join(pki, "peer.crt"),
		"--peer-key-file=" + filepath.Join(pki, "peer.key"),
		"--peer-trusted-ca-file=" + filepath.Join(pki, "ca.crt"),
		"--peer-client-cert-auth=true",
		"--snapshot-count=10000",
		"--listen-metrics-urls=http://127.0.0.1:2381",
		"--feature-gates=InitialCorruptCheck=true",
		"--watch-progress-notify-interval=5s",
		"--initial-cluster=" + strings.Join(cluster, ","),
	}
}

// apiServerArgs returns the flags that kubeadm 1.36 writes into the API server's
// manifest.
func (n *Node) apiServerArgs(binary string) []string {
	pki := func(name string) string { return filepath.Join(n.PKI(), name) }
	return []string{
		binary,
		"--advertise-address=" + n.IP.String(),
		"--enable-admission-plugins=NodeRestriction",
		"--service-cluster-ip-range=" + serviceSubnet,
		"--service-account-key-file=" + pki("sa.pub"),
		"--service-account-signing-key-file=" + pki("sa.key"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--client-ca-file=" + pki("ca.crt"),
		"--tls-cert-file=" + pki("apiserver.crt"),
		"--tls-private-key-file=" + pki("apiserver.key"),
		"--kubelet-client-certificate=" + pki("apiserver-kubelet-client.crt"),
		"--kubelet-client-key=" + pki("apiserver-kubelet-client.key"),
		"--enable-bootstrap-token-auth=true",
		fmt.Sprintf("--secure-port=%d", Port),
		"--allow-privileged=true",
		"--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname",
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-client-ca-file=" + pki("front-proxy-ca.crt"),
		"--requestheader-allowed-names=front-proxy-client",
		"--proxy-client-cert-file=" + pki("front-proxy-client.crt"),
		"--proxy-client-key-file=" + pki("front-proxy-client.key"),
		"--etcd-servers=https://127.0.0.1:2379",
		"--etcd-cafile=" + pki("etcd/ca.crt"),
		"--etcd-certfile=" + pki("apiserver-etcd-client.crt"),
		"--etcd-keyfile=" + pki("apiserver-etcd-client.key"),
		"--authorization-mode=Node,RBAC",
	}
}

// startControlPlane starts etcd and the API server on every node and returns
// when all three API servers are ready, admin.conf works, and the cluster has
// its Node objects.
func (l *Lab) startControlPlane(ctx context.Context) error {
	if err := l.startServers(ctx); err != nil {
		return err
	}
	if err := l.Nodes[0].bindClusterAdmins(ctx); err != nil {
		return err
	}
	return l.registerNodes(ctx)
}

func (l *Lab) startServers(ctx context.Context) error {
	for _, n := range l.Nodes {
		if err := n.Etcd.Start(); err != nil {
			return fmt.Errorf("start etcd on %s: %w", n.Name, err)
		}
	}
	// etcd answers once two members have found each other. The API server retries in steps of
	// seconds, so it is started afterwards.
	for _, n := range l.Nodes {
		if err := n.waitEtcd(ctx); err != nil {
			return err
		}
	}
	for _, n := range l.Nodes {
		if err := n.APIServer.Start(); err != nil {
			return fmt.Errorf("start API server on %s: %w", n.Name, err)
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, n := range l.Nodes {
		g.Go(func() error { return n.WaitReady(gctx) })
	}
	return g.Wait()
}

// waitEtcd waits until the member has a leader and answers.
func (n *Node) waitEtcd(ctx context.Context) error {
	client := &http.Client{
		Timeout:   time.Second,
		Transport: &http.Transport{DialContext: n.NS.Dial, DisableKeepAlives: true},
	}
	return n.poll(ctx, n.Etcd, func(ctx context.Context) error {
		return getOK(ctx, client, "http://127.0.0.1:2381/health")
	})
}

// WaitReady waits until the node's own API server is ready.
func (n *Node) WaitReady(ctx context.Context) error {
	client, err := n.httpClient()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	return n.poll(ctx, n.APIServer, func(ctx context.Context) error {
		return getOK(ctx, client, fmt.Sprintf("https://127.0.0.1:%d/readyz", Port))
	})
}

// IsReady tells whether the node's own API server answers within a second that it is ready.
func (n *Node) IsReady(ctx context.Context) (bool, error) {
	client, err := n.httpClient()
	if err != nil {
		return false, err
	}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return getOK(ctx, client, fmt.Sprintf("https://127.0.0.1:%d/readyz", Port)) == nil, nil
}

// RestartAPIServer kills the node's API server if it runs, starts it with the flags in extra in
// addition to the lab's, and waits until it is ready. APIServer.Start uses the same flags from then
// on.
func (n *Node) RestartAPIServer(ctx context.Context, extra ...string) error {
	if _, err := n.APIServer.Kill(); err != nil && !errors.Is(err, ErrNotRunning) {
		return fmt.Errorf("restart API server on %s: %w", n.Name, err)
	}
	if err := n.startAPIServer(extra); err != nil {
		return fmt.Errorf("restart API server on %s: %w", n.Name, err)
	}
	return n.WaitReady(ctx)
}

func (n *Node) startAPIServer(extra []string) error {
	if n.machine != nil && len(extra) == 0 {
		return n.APIServer.Start()
	}
	p, err := n.own(n.APIServer)
	if err != nil {
		return err
	}
	return p.startWith(slices.Concat(n.apiServerArgv, extra))
}

// poll calls ready until it returns nil, while the process runs.
func (n *Node) poll(ctx context.Context, d Daemon, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	ticker := time.NewTicker(readyInterval)
	defer ticker.Stop()
	var last error
	for {
		if last = ready(ctx); last == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-d.Done():
			return fmt.Errorf("wait for %s on %s: it ended\n%s", d, n.Name, logTail(d))
		case <-ctx.Done():
			return fmt.Errorf("wait for %s on %s: %w (last: %v)\n%s", d, n.Name, ctx.Err(), last, logTail(d))
		}
	}
}

func getOK(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, body)
	}
	return nil
}

// bindClusterAdmins gives admin.conf its rights, as kubeadm does once the first API server is up.
func (n *Node) bindClusterAdmins(ctx context.Context) error {
	config, err := n.RESTConfig("super-admin.conf")
	if err != nil {
		return err
	}
	client, err := rbacclient.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	defer closeIdle(client.RESTClient())
	_, err = client.ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "kubeadm:cluster-admins"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "kubeadm:cluster-admins"}},
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("bind kubeadm:cluster-admins: %w", err)
	}
	return nil
}
