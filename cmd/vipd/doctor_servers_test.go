package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/vipd-io/vipd/internal/ask"
	"github.com/vipd-io/vipd/internal/nstest"
	"github.com/vipd-io/vipd/internal/status"
)

// Simulated peers of a node, each a real server on a real link.

// server answers on a port; the zero value is no server.
type server struct {
	answers http.Handler
	with    *tls.Certificate // nil: without TLS
	mute    bool             // accepts connections and sends nothing
}

func serverOf(with tls.Certificate, answers http.HandlerFunc) server {
	return server{answers: answers, with: &with}
}

func ready(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, "ok\nreadyz check passed\n")
}

// failing is the answer of an API server that cannot reach its etcd.
func failing(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusInternalServerError)
	_, _ = io.WriteString(w, "[+]ping ok\n[-]etcd failed: reason withheld\n[-]poststarthook/rbac failed: reason withheld\nreadyz check failed\n")
}

func hanging(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // otherwise the server would not notice that the client is gone
	<-r.Context().Done()
}

// tells simulates the vipd of the node.
func tells(s status.Status) server {
	return server{answers: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != ask.StatusPath {
			http.NotFound(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(s)
	})}
}

// serve starts the server in a namespace; it ends with the test.
func (s server) serve(t *testing.T, ns *nstest.NS, address string) {
	t.Helper()
	if s.answers == nil && !s.mute {
		return
	}
	var l net.Listener
	must(t, ns.Do(func() (err error) {
		l, err = net.Listen("tcp", address)
		return err
	}))
	if s.mute { // the kernel accepts the connections
		t.Cleanup(func() { _ = l.Close() })
		return
	}
	web := &httptest.Server{Listener: l, Config: &http.Server{Handler: s.answers, ErrorLog: log.New(io.Discard, "", 0)}}
	if s.with == nil {
		web.Start()
	} else {
		web.TLS = &tls.Config{Certificates: []tls.Certificate{*s.with}}
		web.StartTLS()
	}
	t.Cleanup(web.Close)
}

// authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T, name string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	draft := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, draft, draft, &key.PublicKey, key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return authority{t: t, cert: cert, key: key, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// issue makes the certificate of an API server, valid between two times relative to now.
func (a authority) issue(from, until time.Duration, names ...string) tls.Certificate {
	a.t.Helper()
	draft := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "kube-apiserver"}, NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(until),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			draft.IPAddresses = append(draft.IPAddresses, ip)
		} else {
			draft.DNSNames = append(draft.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, draft, a.cert, &a.key.PublicKey, a.key)
	must(a.t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key}
}

// certificate returns a correct certificate.
func (s *site) certificate() tls.Certificate {
	return s.ca.issue(-time.Minute, time.Hour, "kubernetes", s.vip.String(), s.name)
}

// zone has the names that a name server knows.
type zone map[string]netip.Addr

// Names with special answers.
var (
	unanswered = netip.MustParseAddr("0.0.0.1")
	failure    = netip.MustParseAddr("0.0.0.2")
)

// serve answers on port 53 of a namespace.
func (z zone) serve(t *testing.T, ns *nstest.NS) {
	t.Helper()
	var l net.PacketConn
	must(t, ns.Do(func() (err error) {
		l, err = net.ListenPacket("udp4", ":53")
		return err
	}))
	var ended sync.WaitGroup
	ended.Go(func() {
		question := make([]byte, 1500)
		for {
			n, from, err := l.ReadFrom(question)
			if err != nil {
				return
			}
			if answer := z.answer(question[:n]); answer != nil {
				_, _ = l.WriteTo(answer, from)
			}
		}
	})
	t.Cleanup(func() { _ = l.Close(); ended.Wait() })
}

func (z zone) answer(question []byte) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	addr, known := z[strings.TrimSuffix(q.Name.String(), ".")]
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	switch {
	case addr == unanswered:
		return nil
	case addr == failure:
		m.RCode = dnsmessage.RCodeServerFailure
	case !known:
		m.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA:
		m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1}, Body: &dnsmessage.AResource{A: addr.As4()}}}
	}
	answer, err := m.Pack()
	if err != nil {
		return nil
	}
	return answer
}
