package lab

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
)

// LeadsEtcd tells whether the node's etcd member is the leader now.
func (n *Node) LeadsEtcd(ctx context.Context) (bool, error) {
	client := &http.Client{Transport: &http.Transport{DialContext: n.NS.Dial, DisableKeepAlives: true}, Timeout: apiTimeout}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:2381/metrics", nil)
	if err != nil {
		return false, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return false, fmt.Errorf("ask etcd on %s for its role: %w", n.Name, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return false, fmt.Errorf("ask etcd on %s for its role: %w", n.Name, err)
	}
	return bytes.Contains(body, []byte("\netcd_server_is_leader 1\n")), nil
}

// LeadEtcd transfers etcd's leadership to the node's member, and waits until it is the leader.
func (n *Node) LeadEtcd(ctx context.Context) error {
	return n.poll(ctx, n.Etcd, func(ctx context.Context) error {
		if leads, err := n.LeadsEtcd(ctx); leads || err != nil {
			return err
		}
		return errors.Join(n.askForEtcdLead(ctx), errors.New("another member leads still"))
	})
}

// askForEtcdLead requests the transfer from the current leader, if there is one.
func (n *Node) askForEtcdLead(ctx context.Context) error {
	for _, leader := range n.lab.Nodes {
		if !leader.Etcd.Running() {
			continue
		}
		if leads, err := leader.LeadsEtcd(ctx); err != nil || !leads {
			continue
		}
		var list struct{ Members []struct{ ID, Name string } }
		if err := leader.callEtcd(ctx, "cluster/member/list", struct{}{}, &list); err != nil {
			return err
		}
		for _, m := range list.Members {
			if m.Name == n.Name {
				to := map[string]string{"targetID": m.ID}
				return leader.callEtcd(ctx, "maintenance/transfer-leadership", to, &struct{}{})
			}
		}
	}
	return nil
}

// CompactEtcd removes the history of the store, as an API server does every five minutes.
func (n *Node) CompactEtcd(ctx context.Context) error {
	var answer struct{ Header struct{ Revision string } }
	if err := n.callEtcd(ctx, "kv/range", map[string]any{"key": []byte("/"), "count_only": true}, &answer); err != nil {
		return err
	}
	return n.callEtcd(ctx, "kv/compaction", map[string]any{"revision": answer.Header.Revision, "physical": true}, &struct{}{})
}

// callEtcd calls a method of the node's member.
func (n *Node) callEtcd(ctx context.Context, method string, in, out any) error {
	return n.Host.callEtcd(ctx, n.PKI(), method, in, out)
}

// callEtcd calls a method of the member on the host, with the certificates in kubeadm's folder pki,
// through etcd's JSON gateway, which avoids a dependency on etcd's client.
func (h *Host) callEtcd(ctx context.Context, pki, method string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	config, err := etcdTLS(pki)
	if err != nil {
		return fmt.Errorf("read etcd's certificates on %s: %w", h.Name, err)
	}
	client := &http.Client{
		Timeout:   apiTimeout,
		Transport: &http.Transport{DialContext: h.NS.Dial, TLSClientConfig: config, DisableKeepAlives: true},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://127.0.0.1:2379/v3/"+method, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("call etcd on %s: %w", h.Name, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, answer)
	}
	if err == nil {
		err = json.Unmarshal(answer, out)
	}
	if err != nil {
		return fmt.Errorf("call etcd's %s on %s: %w", method, h.Name, err)
	}
	return nil
}

// etcdTLS returns the TLS configuration with the API server's certificate for etcd.
func etcdTLS(pki string) (*tls.Config, error) {
	file := func(name string) string { return filepath.Join(pki, name) }
	cert, err := tls.LoadX509KeyPair(file("apiserver-etcd-client.crt"), file("apiserver-etcd-client.key"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(file("etcd/ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca) // without a CA, the handshake fails with an error
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}, nil
}
