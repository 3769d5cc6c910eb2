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

// The checks that connect to the VIP, as a client does.

// dialTimeout is by default longer than the 3 s of the kernel's three ARP requests, after which
// connect fails with EHOSTUNREACH.
func (in *Input) dialTimeout() time.Duration { return in.checkTimeout() * 7 / 8 }

var vipUnreachable = Check{ID: "D14", Title: "connection to the VIP", Modes: Node | Worker, Run: func(ctx context.Context, in *Input) ([]Finding, error) {
	if in.Facts.reservedAs() != "" {
		return nil, nil // D08 reports it
	}
	dialing, cancel := context.WithTimeout(ctx, in.dialTimeout())
	defer cancel()
	to := netip.AddrPortFrom(in.Facts.VIP, in.Facts.Port).String()
	elsewhere, end := in.askPeersReachVIP(ctx)
	defer end()
	began := in.Queries.Now()
	conn, err := in.Queries.Dial(dialing, "tcp", to)
	took := in.Queries.Now().Sub(began)
	if err == nil {
		_ = conn.Close()
		return nil, nil
	}
	f := Finding{Severity: Error}
	own, blocks := in.ownFirewall(ctx)
	switch {
	case blocks:
		f.Kind, f.Seen = "own firewall", fmt.Sprintf("%s: no connection in %d ms, and the firewall of this machine blocks it: %s", to, took.Milliseconds(), own.outgoing())
		f.Why = "connections from this machine to the VIP do not leave it. That says nothing about other clients, or about the holder"
		f.Remedy = []string{"the rules, with handles: nft -a list chain " + own.chain(), fmt.Sprintf("permit connections to port %d/tcp there, before that rule, and the answers: ct state established,related accept", in.Facts.Port)}
	case errors.Is(err, unix.ENETUNREACH) && !in.Facts.hasRoute(in.Facts.VIP):
		f.Kind, f.Seen = "no route", fmt.Sprintf("%s: network is unreachable, without delay", to)
		f.Why = "this machine has no route to the VIP: the VIP is in none of its subnets, or that link is down, and there is no default route"
		f.Remedy = []string{"ip -4 address; ip route; see also D01, D06 and D07"}
	case errors.Is(err, unix.ENETUNREACH):
		f.Kind, f.Seen = "no route beyond", fmt.Sprintf("%s: network is unreachable, after %d ms", to, took.Milliseconds())
		f.Why = "this machine has a route to the VIP, and a router on the path answers that the router has no route, or may not use it"
		f.Remedy = []string{"see the path: ip route get " + in.Facts.VIP.String() + "; traceroute " + in.Facts.VIP.String()}
	case errors.Is(err, unix.EHOSTUNREACH) && in.arpUnanswered(ctx, took):
		f.Kind, f.Seen = "nobody", fmt.Sprintf("%s: no route to host, after %.1f s", to, took.Seconds())
		f.Why = "no machine answers ARP for the VIP: no node holds the VIP, or the holder is not on this link"
		f.Remedy = []string{"on a control-plane node: vipd status", "is vipd running there? crictl ps -a --name vipd; if not: journalctl -u kubelet",
			"if a node holds the VIP, check the link to that node: VLAN, port group"}
	case errors.Is(err, unix.EHOSTUNREACH):
		f.Kind, f.Seen = "rejected", fmt.Sprintf("%s: no route to host, after %d ms", to, took.Milliseconds())
		f.Why = "a machine rejected the connection without delay: the holder's firewall rejects the port (firewalld answers like this), or a router on the path has no route"
		port := fmt.Sprint(in.Facts.Port) + "/tcp"
		f.Remedy = []string{"firewalld, on each control-plane node: firewall-cmd --add-port=" + port + " && firewall-cmd --permanent --add-port=" + port,
			"another firewall there: nft list ruleset | grep -n reject"}
	case errors.Is(err, unix.ECONNREFUSED):
		f.Kind, f.Seen = "refused", fmt.Sprintf("%s: connection refused, after %d ms", to, took.Milliseconds())
		f.Why = "a machine has the address, and no program listens on the port there, or its firewall rejects the connection: the API server of the holder does not run, or another machine has the VIP"
		f.Remedy = []string{"which machine? ip neighbour show " + in.Facts.VIP.String(), "on that machine: vipd doctor; crictl ps -a --name kube-apiserver; nft list ruleset | grep -n reject"}
	case dialing.Err() != nil && in.arpUnanswered(ctx, 0):
		// The kernel uses the previous neighbour entry for some seconds.
		f.Kind, f.Seen = "nobody", fmt.Sprintf("%s: no answer in %.1f s, and no ARP answer", to, took.Seconds())
		f.Why = "no machine answers ARP for the VIP: the previous holder is gone, and no other node holds the VIP"
		f.Remedy = []string{"on a control-plane node: vipd status", "is vipd running there? crictl ps -a --name vipd; if not: journalctl -u kubelet"}
	default:
		f.Kind, f.Seen = "silent", fmt.Sprintf("%s: no answer in %.1f s", to, took.Seconds())
		f.Why = "packets are dropped without an error: by a firewall, or because the holder has no return route to this machine (no default route there)"
		f.Remedy = []string{"on the node that holds the VIP: vipd doctor", "from a host in the VIP's own subnet: curl -k https://" + to + "/livez; if that works, the return route is missing",
			"Ubuntu with ufw, on each control-plane node: ufw status; ufw allow " + fmt.Sprint(in.Facts.Port) + "/tcp"}
	}
	in.nameHolder(&f)
	select {
	case nodes := <-elsewhere:
		if len(nodes) > 0 {
			f.Why += fmt.Sprintf(". The VIP answers %s: check the path between this node and the holder", strings.Join(nodes, ", "))
		}
	case <-ctx.Done():
	}
	return []Finding{f}, nil
}}

// ownFirewall returns the rule of this machine that certainly blocks connections to the VIP. blocks is
// false if there is none, or if that is not known.
func (in *Input) ownFirewall(ctx context.Context) (rule FirewallRule, blocks bool) {
	local := slices.ContainsFunc(in.Facts.Addresses, func(a Address) bool { return a.Prefix.Addr() == in.Facts.VIP })
	l, ok := in.Facts.linkTo(in.Facts.VIP)
	if !ok || local || in.Queries.Firewall == nil { // the loopback leads to a local address
		return FirewallRule{}, false
	}
	got, err := in.Queries.Firewall(ctx, l)
	if err != nil || len(got.Outgoing) == 0 {
		return FirewallRule{}, false
	}
	return got.Outgoing[0], true
}

// nameHolder names the node that holds the Lease, and that renews it: the holder is there, and does
// not answer on this link.
func (in *Input) nameHolder(f *Finding) {
	by := in.Facts.LeaseHolder
	if !in.Facts.LeaseRenewed || by == "" || by == in.Facts.NodeName {
		return
	}
	if f.Kind != "nobody" {
		f.Why += fmt.Sprintf(". %s holds the Lease", by)
		return
	}
	f.Kind = "mute"
	f.Why = fmt.Sprintf("%s holds the Lease and renews it, and no machine answers ARP for the VIP on this link: the answers of %s, or the requests, are lost on the way", by, by)
	f.Remedy = []string{"on " + by + ": vipd status; vipd doctor", "between this node and " + by + ": the VLAN, the port group, a filter of ARP or of MACs (port security, anti-spoofing)",
		"until the cause is found, on a node that clients reach: vipd move --to NODE"}
}

// askPeersReachVIP asks, in the background, which peers reach the VIP by their own status. end
// cancels the query.
func (in *Input) askPeersReachVIP(ctx context.Context) (answer <-chan []string, end func()) {
	ctx, cancel := context.WithCancel(ctx)
	out := make(chan []string, 1)
	asking := make(chan struct{})
	go func() {
		defer close(asking)
		p, _ := in.peers(ctx) // peers that cannot be asked add nothing
		var nodes []string
		for _, v := range p.Views {
			if v.ReachesVIP && !v.Self {
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

// arpUnanswered reports whether ARP failed, after some time, and not a machine that answered
// without delay. If another program, such as kubelet, started ARP resolution earlier, the
// failure comes sooner; then arpUnanswered probes again.
func (in *Input) arpUnanswered(ctx context.Context, took time.Duration) bool {
	if slices.ContainsFunc(in.Facts.Addresses, func(a Address) bool { return a.Prefix.Addr() == in.Facts.VIP }) {
		return false // the kernel sends no ARP for a local address
	}
	if took > 2500*time.Millisecond { // three ARP requests take 3 s
		return true
	}
	subnet, ok := in.Facts.subnet(in.Facts.VIP)
	if !ok {
		return false
	}
	l, ok := in.Facts.link(subnet.Index)
	if !ok || !l.Up {
		return ok
	}
	macs, err := in.vipResponders(ctx, l)
	return err == nil && len(macs) == 0
}

var wrongIdentity = Check{ID: "D15", Title: "certificate at the VIP", Modes: Node | Worker, Run: func(ctx context.Context, in *Input) ([]Finding, error) {
	to := netip.AddrPortFrom(in.Facts.VIP, in.Facts.Port).String()
	conn, err := in.Queries.Dial(ctx, "tcp", to)
	if err != nil {
		return nil, nil // D14 reports it
	}
	defer func() { _ = conn.Close() }()
	// identity verifies the certificate below. The connection sends no secret.
	t := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: serverName(in.Facts)})
	err = t.HandshakeContext(ctx)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return []Finding{{Severity: Error, Kind: "silent", Seen: to + " accepts the connection, and does not answer: TLS handshake timeout", Why: "the API server of the holder hangs, or large packets are lost on the path (a tunnel, or a switch with another MTU), or the server is no API server: clients wait until their timeout",
			Remedy: append(in.mtuRemedy(), "on the node that holds the VIP: crictl ps -a --name kube-apiserver; is the machine overloaded? uptime; vmstat 1 5", "which machine? ip neighbour show "+in.Facts.VIP.String())}}, nil
	case err != nil:
		return []Finding{{Severity: Error, Kind: "no TLS", Seen: fmt.Sprintf("%s: no TLS: %v", to, err), Why: "the server that answers at the VIP is no API server",
			Remedy: []string{"which machine? ip neighbour show " + in.Facts.VIP.String(), "see its answer: curl -vk --max-time 5 https://" + to + "/livez"}}}, nil
	}
	return in.identity(to, t.ConnectionState().PeerCertificates), nil
}}

// icmpHeader is the size of the headers of IPv4 and ICMP, which ping -s does not count.
const icmpHeader = 20 + 8

// mtuRemedy is the test for a path that loses packets of the size that this machine sends.
func (in *Input) mtuRemedy() []string {
	l, ok := in.Facts.linkTo(in.Facts.VIP)
	if !ok || l.MTU <= icmpHeader {
		return nil
	}
	return []string{fmt.Sprintf("are large packets lost on the path? ping -c 3 -M do -s %d %s (the MTU of %s is %d). If only a smaller size gets an answer, the MTU of a link on the path is smaller: set the MTU of the nodes to it, or correct that link",
		l.MTU-icmpHeader, in.Facts.VIP, l.Name, l.MTU)}
}

func serverName(f Facts) string {
	if f.Name != "" {
		return f.Name
	}
	return f.VIP.String()
}

// identity checks the certificate that the server at the VIP presented.
func (in *Input) identity(to string, certs []*x509.Certificate) []Finding {
	leaf, now := certs[0], in.Queries.Now()
	var out []Finding
	if now.Before(leaf.NotBefore) {
		out = append(out, Finding{Severity: Error, Kind: "clock", Seen: fmt.Sprintf("the certificate at %s is valid from %s, and the time here is %s", to, formatTime(leaf.NotBefore), formatTime(now)),
			Why: "clients here reject the certificate: the clock of this machine is behind, or the clock of the signing machine was ahead", Remedy: []string{"which clock is wrong? date -u, here and on the node that holds the VIP", "AlmaLinux: chronyc tracking; Ubuntu: timedatectl timesync-status; see D27"}})
	}
	if now.After(leaf.NotAfter) {
		out = append(out, Finding{Severity: Error, Kind: "expired", Seen: fmt.Sprintf("the certificate at %s expired at %s", to, formatTime(leaf.NotAfter)),
			Why: "all clients reject the certificate", Remedy: []string{"is the clock here right? date -u", "on the node that holds the VIP: kubeadm certs check-expiration",
				"kubeadm certs renew all, on each control-plane node, then restart its control plane, one node at a time: vipd doctor explain D16"}})
	}
	if in.Facts.CA != nil && !signedBy(leaf, certs[1:], in.Facts.CA) {
		out = append(out, Finding{Severity: Error, Kind: "other CA", Seen: fmt.Sprintf("the certificate at %s is signed by %s (its key: sha256:%s), which is not this cluster's CA", to, leaf.Issuer, keyHash(leaf)),
			Why:    "another cluster or another machine has the VIP: clients of this cluster are rejected there, or use the wrong cluster",
			Remedy: []string{"which machine? ip neighbour show " + in.Facts.VIP.String(), "give one of the two clusters another VIP"}})
	}
	for _, name := range []string{in.Facts.Name, in.Facts.VIP.String()} {
		if name != "" && leaf.VerifyHostname(name) != nil {
			out = append(out, Finding{Severity: Error, Kind: "name", Seen: fmt.Sprintf("the certificate at %s is not valid for %s, only for %s", to, name, strings.Join(certificateNames(leaf), ", ")),
				Why: "clients that use this name reject the certificate",
				Remedy: []string{"permanently: add the name to spec.kubeadmConfigSpec.clusterConfiguration.apiServer.certSANs of the KubeadmControlPlane, which rolls out new machines",
					"on one node, until then: vipd doctor explain D15 has the commands (a certificate created without kubeadm's --config lacks other names)"}})
		}
	}
	return out
}

// signedBy ignores times and names, which are separate findings.
func signedBy(leaf *x509.Certificate, others []*x509.Certificate, ca []byte) bool {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	for _, c := range others {
		between.AddCert(c)
	}
	for _, at := range []time.Time{leaf.NotBefore.Add(time.Second), leaf.NotAfter.Add(-time.Second)} { // one of the times is within the CA's validity
		_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		if err == nil {
			return true
		}
	}
	return false
}

func certificateNames(c *x509.Certificate) []string {
	out := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		out = append(out, ip.String())
	}
	return out
}

func keyHash(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:8])
}

func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

var apiServerNotReady = Check{ID: "D16", Title: "API server of this node", Modes: Node, Run: func(ctx context.Context, in *Input) ([]Finding, error) {
	to := net.JoinHostPort("127.0.0.1", fmt.Sprint(in.Facts.Port))
	remedy := []string{"crictl ps -a --name kube-apiserver; crictl logs $(crictl ps -aq --name kube-apiserver | head -n 1)", "and etcd: crictl ps -a --name etcd"}
	conn, err := in.Queries.Dial(ctx, "tcp", to)
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return []Finding{{Severity: Error, Kind: "refused", Seen: "nothing listens on " + to, Why: "this node has no API server: vipd renews the Lease through API servers of other nodes, and does not take the VIP while one of these is ready",
			Remedy: append([]string{"kubelet starts the API server: journalctl -u kubelet; ls /etc/kubernetes/manifests"}, remedy...)}}, nil
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
		return nil, fmt.Errorf("the API server on %s denies anonymous requests to /readyz (HTTP %d: --anonymous-auth=false, or RBAC): kubectl get --raw '/readyz?verbose'", to, status)
	case err != nil:
		return []Finding{{Severity: Error, Kind: "silent", Seen: fmt.Sprintf("the API server on %s does not answer: %v", to, err), Why: "the API server or its etcd hangs: clients of a VIP on this node would get no answer", Remedy: remedy}}, nil
	case status != 200:
		return []Finding{{Severity: Error, Kind: "failing", Seen: fmt.Sprintf("the API server on %s is not ready (HTTP %d): %s", to, status, failingChecks(body)), Why: "vipd does not take the VIP here while another API server is ready", Remedy: remedy}}, nil
	}
	return nil, nil
}}

// failingChecks returns the failing checks in an API server's answer.
func failingChecks(body string) string {
	var out []string
	for line := range strings.Lines(body) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "[-]"); ok {
			name, _, _ := strings.Cut(rest, " ")
			out = append(out, name)
		}
	}
	if len(out) == 0 {
		return "the answer has no reason"
	}
	return strings.Join(out, ", ")
}
