package doctor

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The checks that reach out for the VIP, as a client does.

// dialPatience is more than three ARP requests of the kernel's take, after which a
// host that nobody answers for is unreachable.
const dialPatience = 3500 * time.Millisecond

var vipUnreachable = Check{ID: "D14", Title: "connection to the VIP", Modes: Node | Worker, Look: func(ctx context.Context, c *Case) ([]Finding, error) {
	if c.Facts.special() != "" {
		return nil, nil // as D08 tells
	}
	dialing, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	to := netip.AddrPortFrom(c.Facts.VIP, c.Facts.Port).String()
	elsewhere, end := c.elsewhere(ctx)
	defer end()
	began := c.Questions.Now()
	conn, err := c.Questions.Dial(dialing, "tcp", to)
	took := c.Questions.Now().Sub(began)
	if err == nil {
		_ = conn.Close()
		return nil, nil
	}
	f := Finding{Severity: Error}
	switch {
	case errors.Is(err, unix.ENETUNREACH) && !c.Facts.routed(c.Facts.VIP):
		f.Mark, f.Seen = "no route", fmt.Sprintf("%s: network is unreachable, at once", to)
		f.Why = "this machine has no route to the VIP: it is in none of its subnets, or that link is down, and there is no default route"
		f.Mend = []string{"ip -4 address; ip route; see also D01, D06 and D07"}
	case errors.Is(err, unix.ENETUNREACH):
		f.Mark, f.Seen = "no route beyond", fmt.Sprintf("%s: network is unreachable, after %d ms", to, took.Milliseconds())
		f.Why = "this machine has a route to the VIP, and a router on the way says that it has none, or is not to use it"
		f.Mend = []string{"which way it goes: ip route get " + c.Facts.VIP.String() + "; traceroute " + c.Facts.VIP.String()}
	case errors.Is(err, unix.EHOSTUNREACH) && c.nobody(ctx, took):
		f.Mark, f.Seen = "nobody", fmt.Sprintf("%s: no route to host, after %.1f s", to, took.Seconds())
		f.Why = "nobody answers ARP for the VIP: no node holds it, or the one that does is not on this link"
		f.Mend = []string{"on a control-plane node: vipd status", "there, is vipd running? crictl ps -a --name vipd; if it is not: journalctl -u kubelet",
			"if a node holds it, the link between is at fault: VLAN, port group"}
	case errors.Is(err, unix.EHOSTUNREACH):
		f.Mark, f.Seen = "rejected", fmt.Sprintf("%s: no route to host, after %d ms", to, took.Milliseconds())
		f.Why = "a machine said so, and at once: the holder's firewall rejects the port (firewalld does it like this), or a router on the way has no route"
		port := fmt.Sprint(c.Facts.Port) + "/tcp"
		f.Mend = []string{"firewalld, on each control-plane node: firewall-cmd --add-port=" + port + " && firewall-cmd --permanent --add-port=" + port,
			"another firewall there: nft list ruleset | grep -n reject"}
	case errors.Is(err, unix.ECONNREFUSED):
		f.Mark, f.Seen = "refused", fmt.Sprintf("%s: connection refused, after %d ms", to, took.Milliseconds())
		f.Why = "a machine has the address, and nothing listens on the port there, or its firewall rejects it: the API server of the holder does not run, or the machine is another one"
		f.Mend = []string{"which machine: ip neighbour show " + c.Facts.VIP.String(), "on it: vipd doctor; crictl ps -a --name kube-apiserver; nft list ruleset | grep -n reject"}
	case dialing.Err() != nil && c.nobody(ctx, 0):
		// The kernel goes by the neighbour that it had, for some seconds.
		f.Mark, f.Seen = "nobody", fmt.Sprintf("%s: no answer in %.1f s, and none by ARP", to, took.Seconds())
		f.Why = "nobody answers ARP for the VIP: the node that held it is gone, and no other one holds it"
		f.Mend = []string{"on a control-plane node: vipd status", "there, is vipd running? crictl ps -a --name vipd; if it is not: journalctl -u kubelet"}
	default:
		f.Mark, f.Seen = "silent", fmt.Sprintf("%s: no answer in %.1f s", to, took.Seconds())
		f.Why = "what is sent is dropped without a word: by a firewall, or since the holder has no way back to this machine (no default route there)"
		f.Mend = []string{"on the node that holds the VIP: vipd doctor", "from a host in the VIP's own subnet: curl -k https://" + to + "/livez; if that works, it is the way back",
			"Ubuntu with ufw, on each control-plane node: ufw status; ufw allow " + fmt.Sprint(c.Facts.Port) + "/tcp"}
	}
	select {
	case nodes := <-elsewhere:
		if len(nodes) > 0 {
			f.Why += fmt.Sprintf(". It answers %s: look for what is between this node and the holder", strings.Join(nodes, ", "))
		}
	case <-ctx.Done():
	}
	return []Finding{f}, nil
}}

// elsewhere sends the peers that the VIP answers, by their own word, asked meanwhile. end
// ends the question.
func (c *Case) elsewhere(ctx context.Context) (answer <-chan []string, end func()) {
	ctx, cancel := context.WithCancel(ctx)
	out := make(chan []string, 1)
	asking := make(chan struct{})
	go func() {
		defer close(asking)
		p, _ := c.peers(ctx) // who cannot be asked has nothing to add
		var nodes []string
		for _, v := range p.Views {
			if v.Reaches && !v.Self {
				nodes = append(nodes, v.Node)
			}
		}
		out <- nodes
	}()
	return out, func() {
		cancel()
		<-asking
	}
}

// nobody tells whether it is ARP that failed, after some time, and not a machine that
// said something, at once. If another program asked already, as kubelet does again and
// again, ARP fails sooner for us; then it is asked once more.
func (c *Case) nobody(ctx context.Context, took time.Duration) bool {
	if slices.ContainsFunc(c.Facts.Addresses, func(a Address) bool { return a.Prefix.Addr() == c.Facts.VIP }) {
		return false // nobody is asked for an address that is here
	}
	if took > 2500*time.Millisecond { // of the 3 s of three requests
		return true
	}
	subnet, ok := c.Facts.subnet(c.Facts.VIP)
	if !ok {
		return false
	}
	l, ok := c.Facts.link(subnet.Index)
	if !ok || !l.Up {
		return ok
	}
	macs, err := c.whoHasVIP(ctx, l)
	return err == nil && len(macs) == 0
}

var wrongIdentity = Check{ID: "D15", Title: "certificate at the VIP", Modes: Node | Worker, Look: func(ctx context.Context, c *Case) ([]Finding, error) {
	to := netip.AddrPortFrom(c.Facts.VIP, c.Facts.Port).String()
	conn, err := c.Questions.Dial(ctx, "tcp", to)
	if err != nil {
		return nil, nil // as D14 tells
	}
	defer func() { _ = conn.Close() }()
	// What is presented is looked at below, and nothing is told to who presents it.
	t := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: serverName(c.Facts)})
	err = t.HandshakeContext(ctx)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return []Finding{{Severity: Error, Mark: "silent", Seen: to + " takes the connection, and says nothing", Why: "the API server that has the VIP hangs, or it is none: clients wait until they give up",
			Mend: []string{"on the node that holds the VIP: crictl ps -a --name kube-apiserver; is the machine starved? uptime; vmstat 1 5", "which machine: ip neighbour show " + c.Facts.VIP.String(),
				"is it large packets that get lost on the way? ping -c 3 -M do -s 1472 " + c.Facts.VIP.String() + " (less than 1472 if the link's MTU is below 1500)"}}}, nil
	case err != nil:
		return []Finding{{Severity: Error, Mark: "no TLS", Seen: fmt.Sprintf("%s: no TLS: %v", to, err), Why: "what answers at the VIP is no API server",
			Mend: []string{"which machine: ip neighbour show " + c.Facts.VIP.String(), "what does it say? curl -vk --max-time 5 https://" + to + "/livez"}}}, nil
	}
	return c.identity(to, t.ConnectionState().PeerCertificates), nil
}}

func serverName(f Facts) string {
	if f.Name != "" {
		return f.Name
	}
	return f.VIP.String()
}

// identity judges what was presented at the VIP.
func (c *Case) identity(to string, certs []*x509.Certificate) []Finding {
	leaf, now := certs[0], c.Questions.Now()
	var out []Finding
	if now.Before(leaf.NotBefore) {
		out = append(out, Finding{Severity: Error, Mark: "clock", Seen: fmt.Sprintf("the certificate at %s is valid from %s, and it is %s here", to, stamp(leaf.NotBefore), stamp(now)),
			Why: "clients here refuse it: the clock of this machine is behind, or that of the machine that made it was ahead", Mend: []string{"which clock is wrong? date -u, here and on the node that holds the VIP", "AlmaLinux: chronyc tracking; Ubuntu: timedatectl timesync-status; see D27"}})
	}
	if now.After(leaf.NotAfter) {
		out = append(out, Finding{Severity: Error, Mark: "expired", Seen: fmt.Sprintf("the certificate at %s ended at %s", to, stamp(leaf.NotAfter)),
			Why: "no client accepts it", Mend: []string{"is the clock here right? date -u", "on the node that holds the VIP: kubeadm certs check-expiration",
				"kubeadm certs renew all, on each control-plane node, then restart its control plane, one node at a time: vipd doctor explain D16"}})
	}
	if c.Facts.CA != nil && !signedBy(leaf, certs[1:], c.Facts.CA) {
		out = append(out, Finding{Severity: Error, Mark: "other CA", Seen: fmt.Sprintf("the certificate at %s is signed by %s (its key: sha256:%s), which is not this cluster's CA", to, leaf.Issuer, pin(leaf)),
			Why:  "another cluster, or another machine, has the VIP: clients of this one are refused there, or talk to the wrong one",
			Mend: []string{"which machine: ip neighbour show " + c.Facts.VIP.String(), "give one of the two clusters another VIP"}})
	}
	for _, name := range []string{c.Facts.Name, c.Facts.VIP.String()} {
		if name != "" && leaf.VerifyHostname(name) != nil {
			out = append(out, Finding{Severity: Error, Mark: "name", Seen: fmt.Sprintf("the certificate at %s is not for %s; it is for %s", to, name, strings.Join(names(leaf), ", ")),
				Why: "clients that use this name refuse it",
				Mend: []string{"for good: add it to spec.kubeadmConfigSpec.clusterConfiguration.apiServer.certSANs of the KubeadmControlPlane, which rolls the machines",
					"on one node, until then: vipd doctor explain D15 has the commands (a certificate made without kubeadm's --config would lack other names)"}})
		}
	}
	return out
}

// signedBy leaves times and names aside, which are findings of their own.
func signedBy(leaf *x509.Certificate, others []*x509.Certificate, ca []byte) bool {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	for _, c := range others {
		between.AddCert(c)
	}
	for _, at := range []time.Time{leaf.NotBefore.Add(time.Second), leaf.NotAfter.Add(-time.Second)} { // one of them is in the CA's time
		_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		if err == nil {
			return true
		}
	}
	return false
}

func names(c *x509.Certificate) []string {
	out := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		out = append(out, ip.String())
	}
	return out
}

func pin(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:8])
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

var apiServerNotReady = Check{ID: "D16", Title: "API server of this node", Modes: Node, Look: func(ctx context.Context, c *Case) ([]Finding, error) {
	to := net.JoinHostPort("127.0.0.1", fmt.Sprint(c.Facts.Port))
	mend := []string{"crictl ps -a --name kube-apiserver; crictl logs $(crictl ps -aq --name kube-apiserver | head -n 1)", "and etcd: crictl ps -a --name etcd"}
	conn, err := c.Questions.Dial(ctx, "tcp", to)
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return []Finding{{Severity: Error, Mark: "refused", Seen: "nothing listens on " + to, Why: "this node has no API server: vipd renews through those of others, and does not take the VIP while one of them is ready",
			Mend: append([]string{"kubelet starts it: journalctl -u kubelet; ls /etc/kubernetes/manifests"}, mend...)}}, nil
	case err != nil && ctx.Err() == nil:
		return nil, fmt.Errorf("connect to %s: %w", to, err)
	}
	status, body := 0, ""
	if err == nil {
		defer func() { _ = conn.Close() }()
		status, body, err = readyz(ctx, conn)
	}
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return nil, fmt.Errorf("the API server on %s does not tell strangers whether it is ready (HTTP %d: --anonymous-auth=false, or RBAC): kubectl get --raw '/readyz?verbose'", to, status)
	case err != nil:
		return []Finding{{Severity: Error, Mark: "silent", Seen: fmt.Sprintf("the API server on %s does not answer: %v", to, err), Why: "it, or its etcd, hangs: a VIP held here would lead nowhere", Mend: mend}}, nil
	case status != 200:
		return []Finding{{Severity: Error, Mark: "failing", Seen: fmt.Sprintf("the API server on %s is not ready (HTTP %d): %s", to, status, failing(body)), Why: "vipd does not take the VIP here while another one is ready", Mend: mend}}, nil
	}
	return nil, nil
}}

// failing are the checks that an API server says fail.
func failing(body string) string {
	var out []string
	for line := range strings.Lines(body) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "[-]"); ok {
			name, _, _ := strings.Cut(rest, " ")
			out = append(out, name)
		}
	}
	if len(out) == 0 {
		return "it does not say why"
	}
	return strings.Join(out, ", ")
}
