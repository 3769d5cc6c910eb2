package main

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

	"github.com/vipd-io/vipd/pkg/credentials"
	"github.com/vipd-io/vipd/pkg/manifest"
)

// rbacTimeout bounds one look at the API server.
const rbacTimeout = 10 * time.Second

// allow tells whether the kubeconfig may read the Lease; if it is refused, it
// applies the RBAC. What an administrator takes away later is not put back before
// the next start: taking it away is the way to switch vipd off.
func (k *keeper) allow(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, rbacTimeout)
	defer cancel()
	text, err := os.ReadFile(k.out)
	if err != nil {
		return false, fmt.Errorf("read kubeconfig: %w", err)
	}
	own, err := dial(text)
	if err != nil {
		return false, err
	}
	defer own.close()
	lease := fmt.Sprintf("/apis/coordination.k8s.io/v1/namespaces/%s/leases/%s", k.config.LeaseNamespace, k.config.LeaseName)
	switch status, err := own.send(ctx, http.MethodGet, lease, nil); {
	case err != nil:
		return false, fmt.Errorf("read lease: %w", err)
	case status == http.StatusOK, status == http.StatusNotFound:
		return true, nil
	case status != http.StatusForbidden:
		return false, fmt.Errorf("read lease: the API server on %s says %d %s", k.config.APIServer, status, http.StatusText(status))
	}
	if err := k.grant(ctx); err != nil {
		return false, err
	}
	k.log.Info("RBAC applied", zap.String("group", manifest.Group))
	return false, nil // the next look tells
}

// grant applies the RBAC as system:masters, whom no API server refuses: it works
// before kubeadm has bound admin.conf to anything.
func (k *keeper) grant(ctx context.Context) error {
	ca, err := credentials.LoadCA(k.pki)
	if err != nil {
		return err
	}
	pair, err := ca.Mint(credentials.Subject{Name: "vipd:bootstrap", Group: "system:masters"}, k.now(), adminLife)
	if err != nil {
		return err
	}
	text, err := credentials.Kubeconfig(ca, pair, k.config.APIServer)
	if err != nil {
		return err
	}
	admin, err := dial(text)
	if err != nil {
		return err
	}
	defer admin.close()
	rights := manifest.RBAC{LeaseNamespace: k.config.LeaseNamespace, LeaseName: k.config.LeaseName}
	return admin.apply(ctx, []byte(rights.YAML()))
}

// apiServer is one that a kubeconfig names.
type apiServer struct {
	url  string
	http *http.Client
}

func dial(kubeconfig []byte) (apiServer, error) {
	c, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		return apiServer{}, fmt.Errorf("use kubeconfig: %w", err)
	}
	c.UserAgent = "vipd-credentials/" + versionString()
	c.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil } // the API server is on this node
	h, err := rest.HTTPClientFor(c)
	if err != nil {
		return apiServer{}, fmt.Errorf("use kubeconfig: %w", err)
	}
	return apiServer{url: c.Host, http: h}, nil
}

// close lets go of the connections; http.Client does not find them behind client-go's
// wrappers.
func (a apiServer) close() { utilnet.CloseIdleConnectionsFor(a.http.Transport) }

// send returns the status of the answer.
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

// resources are the kinds in manifest.RBAC.
var resources = map[string]string{
	"Role": "roles", "RoleBinding": "rolebindings", "ClusterRole": "clusterroles", "ClusterRoleBinding": "clusterrolebindings",
	"FlowSchema": "flowschemas",
}

// apply applies documents on the server's side, as field manager vipd.
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
		return nil // Kubernetes 1.28 has v1beta3; vipd works without
	case status >= http.StatusMultipleChoices:
		return fmt.Errorf("%s %s: the API server says %d %s", m.Kind, m.Name, status, http.StatusText(status))
	}
	return nil
}
