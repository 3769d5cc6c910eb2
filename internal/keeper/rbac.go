package keeper

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/vipd-io/vipd/internal/credentials"
	"github.com/vipd-io/vipd/internal/manifest"
	"github.com/vipd-io/vipd/internal/version"
)

// rbacTimeout bounds one check of the rights.
const rbacTimeout = 10 * time.Second

// allow tells whether the kubeconfig may read the Lease, and applies the RBAC if not. A starting
// API server refuses all requests until it has read the RBAC rules, so a refusal counts only if the
// server was ready. Rights that an administrator removes later are not restored before the next
// start: removing them is the way to switch vipd off.
func (k *Keeper) allow(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, rbacTimeout)
	defer cancel()
	text, err := os.ReadFile(k.Out)
	if err != nil {
		return false, fmt.Errorf("read kubeconfig: %w", err)
	}
	own, err := dial(text)
	if err != nil {
		return false, err
	}
	defer own.close()
	admin, err := k.admin()
	if err != nil {
		return false, err
	}
	defer admin.close()
	// Before the request for the Lease: a refusal by a ready server is final.
	ready, err := admin.send(ctx, http.MethodGet, "/readyz", nil)
	if err != nil {
		return false, fmt.Errorf("request readiness: %w", err)
	}
	lease := fmt.Sprintf("/apis/coordination.k8s.io/v1/namespaces/%s/leases/%s", k.Config.LeaseNamespace, k.Config.LeaseName)
	switch status, err := own.send(ctx, http.MethodGet, lease, nil); {
	case err != nil:
		return false, fmt.Errorf("read lease: %w", err)
	case status == http.StatusOK, status == http.StatusNotFound:
		return true, nil
	case status != http.StatusForbidden:
		return false, fmt.Errorf("read lease: the API server on %s answered %d %s", k.Config.APIServer, status, http.StatusText(status))
	case ready != http.StatusOK:
		return false, fmt.Errorf("read lease: the API server on %s is not ready and refuses all requests", k.Config.APIServer)
	}
	rights := manifest.RBAC{LeaseNamespace: k.Config.LeaseNamespace, LeaseName: k.Config.LeaseName}
	if err := admin.apply(ctx, []byte(rights.YAML())); err != nil {
		return false, err
	}
	k.Log.Info("RBAC applied", zap.String("group", manifest.Group))
	return false, nil // the next check confirms the rights
}

// admin returns a client as system:masters, which the API server never refuses: neither during its
// start, nor before kubeadm has bound admin.conf to a role.
func (k *Keeper) admin() (apiServer, error) {
	ca, err := credentials.LoadCA(k.PKI)
	if err != nil {
		return apiServer{}, err
	}
	pair, err := ca.Mint(credentials.Subject{Name: "vipd:bootstrap", Group: "system:masters"}, k.Now(), adminLife)
	if err != nil {
		return apiServer{}, err
	}
	text, err := credentials.Kubeconfig(ca, pair, k.Config.APIServer)
	if err != nil {
		return apiServer{}, err
	}
	return dial(text)
}

// apiServer is a client of the API server of a kubeconfig.
type apiServer struct {
	url  string
	http *http.Client
}

func dial(kubeconfig []byte) (apiServer, error) {
	c, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		return apiServer{}, fmt.Errorf("use kubeconfig: %w", err)
	}
	c.UserAgent = "vipd-credentials/" + version.String()
	c.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil } // the API server is on this node
	h, err := rest.HTTPClientFor(c)
	if err != nil {
		return apiServer{}, fmt.Errorf("use kubeconfig: %w", err)
	}
	return apiServer{url: c.Host, http: h}, nil
}

// close closes the connections; http.Client does not find them behind client-go's wrappers.
func (a apiServer) close() { utilnet.CloseIdleConnectionsFor(a.http.Transport) }

// send returns the HTTP status of the answer.
func (a apiServer) send(ctx context.Context, method, path string, body []byte) (status int, err error) {
	r, err := http.NewRequestWithContext(ctx, method, a.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", "application/apply-patch+yaml")
	resp, err := a.http.Do(r)
	if err != nil {
		return 0, err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, resp.Body.Close()
}

// resources maps the kinds in manifest.RBAC to resources.
var resources = map[string]string{
	"Role": "roles", "RoleBinding": "rolebindings", "ClusterRole": "clusterroles", "ClusterRoleBinding": "clusterrolebindings",
	"FlowSchema": "flowschemas",
}

// apply applies the documents on the server, as field manager vipd.
func (a apiServer) apply(ctx context.Context, documents []byte) error {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(documents)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("apply RBAC: %w", err)
		}
		if err := a.applyOne(ctx, document); err != nil {
			return fmt.Errorf("apply RBAC: %w", err)
		}
	}
}

func (a apiServer) applyOne(ctx context.Context, document []byte) error {
	var m metav1.PartialObjectMetadata
	if err := yaml.Unmarshal(document, &m); err != nil {
		return err
	}
	path := "/apis/" + m.APIVersion
	if m.Namespace != "" {
		path += "/namespaces/" + m.Namespace
	}
	path += "/" + resources[m.Kind] + "/" + m.Name + "?fieldManager=vipd&force=true"
	status, err := a.send(ctx, http.MethodPatch, path, document)
	switch {
	case err != nil:
		return fmt.Errorf("%s %s: %w", m.Kind, m.Name, err)
	case m.Kind == "FlowSchema" && status == http.StatusNotFound:
		return nil // Kubernetes 1.28 has v1beta3; vipd works without the FlowSchema
	case status >= http.StatusMultipleChoices:
		return fmt.Errorf("%s %s: the API server answered %d %s", m.Kind, m.Name, status, http.StatusText(status))
	}
	return nil
}
