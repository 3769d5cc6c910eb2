package main

import (
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/vipd-io/vipd/internal/nstest"
	"github.com/vipd-io/vipd/internal/status"
)

// Faults of the name, of the path to the VIP, and of the server at the VIP.

func TestDoctorName(t *testing.T) {
	const onlyName = "The VIP is healthy; only its DNS name is wrong."
	other := netip.MustParseAddr("192.168.35.77")
	hosts := func(addr string) string { return addr + " " + siteName + "\n" }
	diagnose(t, []diagnosis{
		{
			name:  "the name server is wrong",
			fault: func(s *site) { s.names = zone{siteName: other} },
			want: []found{
				{"D13", "error", "wrong", "the name server 192.168.35.1:53 resolves " + siteName + " to 192.168.35.77, and the VIP is " + testVIP},
				{"D13", "error", "elsewhere", "programs on this machine resolve " + siteName + " to 192.168.35.77"},
			},
			verdict: []string{onlyName},
		},
		{
			name:    "the name server has no record",
			fault:   func(s *site) { s.names = nil },
			want:    []found{{"D13", "error", "no record", "the name server 192.168.35.1:53 has no record of " + siteName}},
			verdict: []string{onlyName},
		},
		{
			name:    "the name server does not answer",
			fault:   func(s *site) { s.names = zone{siteName: unanswered}; s.silent() },
			want:    []found{{"D13", "error", "no server", "the name server 192.168.35.1:53 ...no answer within 6s"}},
			verdict: []string{onlyName},
		},
		{
			name:    "the name server fails",
			fault:   func(s *site) { s.names = zone{siteName: failure} },
			want:    []found{{"D13", "error", "no server", "the name server 192.168.35.1:53 gives no address: the server answers ServerFailure"}},
			verdict: []string{onlyName},
		},
		{
			name:  "one of two name servers does not answer",
			fault: func(s *site) { s.servers = []string{"192.168.35.1", "192.168.35.253"}; s.silent() },
			want:  []found{{"D13", "warning", "no server", "the name server 192.168.35.253:53 "}}, verdict: []string{better},
		},
		{
			name:    "/etc/hosts repairs it",
			fault:   func(s *site) { s.names, s.hosts = nil, hosts(testVIP) },
			want:    []found{{"D13", "warning", "no record", "the name server 192.168.35.1:53 has no record"}},
			verdict: []string{better},
		},
		{
			name: "/etc/hosts repairs it while all name servers are dead",
			fault: func(s *site) {
				s.servers, s.hosts = []string{"192.168.35.251", "192.168.35.252", "192.168.35.253"}, hosts(testVIP)
				s.silent()
			},
			want:    []found{{"D13", "warning", "no server", "35.251"}, {"D13", "warning", "no server", "35.252"}, {"D13", "warning", "no server", "35.253"}},
			verdict: []string{better},
		},
		{
			name:    "/etc/hosts breaks it",
			fault:   func(s *site) { s.hosts = hosts("192.168.35.77") },
			want:    []found{{"D13", "error", "elsewhere", "programs on this machine resolve " + siteName + " to 192.168.35.77, not to the VIP " + testVIP}},
			verdict: []string{onlyName},
		},
		{
			name: "the name is wrong before kubeadm",
			fault: func(s *site) {
				s.names, s.args = nil, []string{"--preflight", "--address", testVIP}
				s.noVIP()
			},
			want:    []found{{"D13", "error", "no record", "has no record"}},
			verdict: []string{"Only the DNS name of the VIP is wrong, as far as can be checked before kubeadm."},
		},
	})
}

// firewall applies a verdict of a machine to packets for the API server's port.
func (s *site) firewall(of *nstest.NS, verdict string) {
	s.t.Helper()
	s.run(of, "nft", "add table inet firewalld; add chain inet firewalld input { type filter hook input priority filter; }; add rule inet firewalld input tcp dport 6443 "+verdict)
}

func TestDoctorConnection(t *testing.T) {
	const firewall = "A firewall rejects port 6443 of the VIP, most likely the firewall of the holder."
	diagnose(t, []diagnosis{
		{
			name: "no route",
			fault: func(s *site) {
				s.vip, s.args = netip.MustParseAddr("10.1.2.3"), []string{"--worker", "--address", "10.1.2.3"}
				s.names = zone{siteName: s.vip}
				s.route(s.node, "delete default")
			},
			want:    []found{{"D01", "error", "", "no default route"}, {"D14", "error", "no route", "10.1.2.3:6443: network is unreachable"}},
			verdict: []string{"This is neither Cluster API nor vipd"},
		},
		{
			name: "a router has no route",
			fault: func(s *site) {
				s.vip, s.args = netip.MustParseAddr("10.1.2.3"), []string{"--worker", "--address", "10.1.2.3"}
				s.names = zone{siteName: s.vip}
				s.sysctlOf(s.router, "ipv4/conf/all/forwarding", "1")
			},
			want:    []found{{"D14", "error", "no route beyond", "10.1.2.3:6443: network is unreachable, after "}},
			verdict: []string{"This machine, or a router on the path, has no route to the VIP."},
		},
		{
			name:    "nobody holds the VIP",
			fault:   (*site).free,
			want:    []found{{"D14", "error", "nobody", testVIP + ":6443: no route to host, after "}},
			verdict: []string{"No node holds the VIP."},
		},
		{
			name: "the holder is not heard",
			fault: func(s *site) {
				s.noVIP()
				s.status.Health = status.Healthy // n2 holds and renews the Lease, and its answers are lost
			},
			want:    []found{{"D14", "error", "mute", testVIP + ":6443: no route to host, after "}},
			verdict: []string{"n2 holds the VIP by the Lease, and does not answer for the VIP on this link."},
		},
		{
			name:    "firewalld rejects",
			fault:   func(s *site) { s.firewall(s.holder, "reject with icmpx type admin-prohibited") },
			want:    []found{{"D14", "error", "rejected", testVIP + ":6443: no route to host, after "}},
			verdict: []string{firewall},
		},
		{
			name:    "iptables rejects",
			fault:   func(s *site) { s.firewall(s.holder, "reject with icmp type host-prohibited") },
			want:    []found{{"D14", "error", "rejected", testVIP + ":6443: no route to host, after "}},
			verdict: []string{firewall},
		},
		{
			name: "this node holds it, and its own firewall rejects",
			fault: func(s *site) {
				s.hold()
				s.firewall(s.node, "ip daddr "+testVIP+" reject with icmp type host-prohibited")
			},
			want:    []found{{"D14", "error", "rejected", testVIP + ":6443: no route to host, after "}, {"D19", "error", "firewalld", "firewalld keeps 6443/tcp closed on eth0"}},
			verdict: []string{"This node holds the VIP, and the firewall of this node blocks clients from port 6443."},
		},
		{
			name:    "a firewall drops",
			fault:   func(s *site) { s.firewall(s.holder, "drop"); s.silent() },
			want:    []found{{"D14", "error", "silent", testVIP + ":6443: no answer in "}},
			verdict: []string{"Packets to the VIP are dropped"},
		},
		{
			name:    "nothing listens",
			fault:   func(s *site) { s.atVIP = server{} },
			want:    []found{{"D14", "error", "refused", testVIP + ":6443: connection refused, after "}},
			verdict: []string{"A machine has the VIP, and no API server runs on it"},
		},
		{
			name:  "this node holds it without an API server",
			fault: func(s *site) { s.hold(); s.own = server{} },
			want: []found{{"D14", "error", "refused", testVIP + ":6443: connection refused, after "},
				{"D16", "error", "refused", "nothing listens on 127.0.0.1:6443"}},
			verdict: []string{"The VIP is held, and the API server behind it does not run."},
		},
	})
}

func TestDoctorCertificate(t *testing.T) {
	const foreign = "Another cluster or another machine has the VIP"
	issued := func(from, until time.Duration, names ...string) func(*site) {
		return func(s *site) { s.atVIP = serverOf(s.ca.issue(from, until, names...), ready) }
	}
	diagnose(t, []diagnosis{
		{
			name: "of another cluster",
			fault: func(s *site) {
				s.atVIP = serverOf(newAuthority(t, "kubernetes").issue(-time.Minute, time.Hour, testVIP, siteName), ready)
			},
			want:    []found{{"D15", "error", "other CA", "the certificate at " + testVIP + ":6443 is signed by CN=kubernetes (its key: sha256:"}},
			verdict: []string{foreign},
		},
		{
			name:    "without the name",
			fault:   issued(-time.Minute, time.Hour, testVIP, "kubernetes"),
			want:    []found{{"D15", "error", "name", "is not valid for " + siteName + ", only for kubernetes, " + testVIP}},
			verdict: []string{wrong},
		},
		{
			name:    "without the VIP",
			fault:   issued(-time.Minute, time.Hour, siteName),
			want:    []found{{"D15", "error", "name", "is not valid for " + testVIP + ", only for " + siteName}},
			verdict: []string{wrong},
		},
		{
			name:    "expired",
			fault:   issued(-time.Hour, -time.Minute, testVIP, siteName),
			want:    []found{{"D15", "error", "expired", "the certificate at " + testVIP + ":6443 expired at "}},
			verdict: []string{wrong},
		},
		{
			name:    "not yet valid",
			fault:   issued(30*time.Minute, time.Hour, testVIP, siteName),
			want:    []found{{"D15", "error", "clock", "is valid from ..., and the time here is "}},
			verdict: []string{wrong},
		},
		{
			name:    "outlives its CA",
			fault:   issued(-time.Minute, 10*time.Hour, testVIP, siteName),
			verdict: []string{"All is well"},
		},
		{
			name:    "no TLS",
			fault:   func(s *site) { s.atVIP = server{answers: http.NotFoundHandler()} },
			want:    []found{{"D15", "error", "no TLS", testVIP + ":6443: no TLS: "}},
			verdict: []string{foreign},
		},
		{
			name:    "hangs",
			fault:   func(s *site) { s.atVIP = server{mute: true}; s.silent() },
			want:    []found{{"D15", "error", "silent", testVIP + ":6443 accepts the connection, and does not answer: TLS handshake timeout"}},
			verdict: []string{"The machine with the VIP accepts connections and does not answer"},
		},
		{
			name: "large packets are lost",
			fault: func(s *site) {
				s.silent()
				s.run(s.node, "ip", "link", "set", "eth0", "mtu", "1450")
				s.run(s.hub, "nft", "table bridge path { chain forward { type filter hook forward priority 0; meta length > 1000 drop; }; }")
			},
			want:    []found{{"D15", "error", "silent", testVIP + ":6443 accepts the connection, and does not answer: TLS handshake timeout"}},
			verdict: []string{"The machine with the VIP accepts connections and does not answer"},
			mend:    "ping -c 3 -M do -s 1422 " + testVIP + " (the MTU of eth0 is 1450)",
		},
	})
}

func TestDoctorAPIServer(t *testing.T) {
	own := func(h http.HandlerFunc) func(*site) {
		return func(s *site) { s.own = serverOf(s.certificate(), h) }
	}
	diagnose(t, []diagnosis{
		{
			name:    "absent",
			fault:   func(s *site) { s.own = server{} },
			want:    []found{{"D16", "error", "refused", "nothing listens on 127.0.0.1:6443"}},
			verdict: []string{"The VIP works, and the API server of this node does not"},
		},
		{
			name:    "without its etcd",
			fault:   own(failing),
			want:    []found{{"D16", "error", "failing", "the API server on 127.0.0.1:6443 is not ready (HTTP 500): etcd, poststarthook/rbac"}},
			verdict: []string{"The VIP works, and the API server of this node does not"},
		},
		{
			name:    "hangs in its answer",
			fault:   func(s *site) { own(hanging)(s); s.silent() },
			want:    []found{{"D16", "error", "silent", "the API server on 127.0.0.1:6443 does not answer: "}},
			verdict: []string{"The VIP works, and the API server of this node does not"},
		},
		{
			name:    "frozen",
			fault:   func(s *site) { s.own = server{mute: true}; s.silent() },
			want:    []found{{"D16", "error", "silent", "the API server on 127.0.0.1:6443 does not answer: "}},
			verdict: []string{"The VIP works, and the API server of this node does not"},
		},
		{
			name: "tells nothing to strangers",
			fault: func(s *site) {
				s.own = serverOf(s.certificate(), func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/readyz" {
						w.WriteHeader(http.StatusUnauthorized)
						return
					}
					s.objects.answer(w, r)
				})
			},
			unknown: []string{"D16"},
			verdict: []string{"No problems found; 1 of "},
		},
	})
}
