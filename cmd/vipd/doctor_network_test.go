package main

import (
	"net/netip"
	"testing"

	"github.com/vipd-io/vipd/internal/status"
)

// Faults of this machine's network, and of machines that answer on the link.

func TestDoctorNetwork(t *testing.T) {
	const gateway, chosen, link = "This is neither Cluster API nor vipd", "The VIP is not usable", "The interface of the VIP does not exist or has no carrier."
	const lost = "This node has no address in the subnet of the VIP any more, or not yet"
	vip := func(addr string) func(*site) {
		return func(s *site) {
			s.noVIP()
			s.vip = netip.MustParseAddr(addr)
			s.names = zone{siteName: s.vip}
			s.status.Lease.Holder = ""
		}
	}
	diagnose(t, []diagnosis{
		{
			name:    "no default route",
			fault:   func(s *site) { s.route(s.node, "delete default") },
			want:    []found{{"D01", "error", "", "there is no default route; this node has eth0 (192.168.35.11/24)"}},
			verdict: []string{gateway, isFine},
		},
		{
			name: "no default route before kubeadm",
			fault: func(s *site) {
				s.route(s.node, "delete default")
				s.noVIP()
				s.args = []string{"--preflight", "--address", testVIP}
			},
			want:    []found{{"D01", "error", "", "there is no default route"}},
			verdict: []string{gateway},
		},
		{
			name:    "silent gateway",
			fault:   func(s *site) { s.route(s.node, "replace default via 192.168.35.254") },
			want:    []found{{"D02", "error", "", "the gateway 192.168.35.254 does not answer ARP on eth0"}},
			verdict: []string{gateway, isFine},
		},
		{
			name:    "gateway off-link",
			fault:   func(s *site) { s.route(s.node, "replace default via 10.9.9.1 dev eth0 onlink") },
			want:    []found{{"D03", "error", "", "the gateway 10.9.9.1 is in no subnet of eth0, which has 192.168.35.11/24"}},
			verdict: []string{gateway, isFine},
		},
		{
			name:    "two default routes",
			fault:   func(s *site) { s.secondLink(); s.route(s.node, "append default via 10.0.0.1") },
			want:    []found{{"D04", "warning", "", "the same metric 0: by 192.168.35.1 on eth0, by 10.0.0.1 on eth1"}},
			verdict: []string{better},
		},
		{
			name:    "no such interface",
			fault:   func(s *site) { s.args = []string{"--interface", "ens192"} },
			want:    []found{{"D05", "error", "", `there is no interface "ens192"; this node has eth0 (192.168.35.11/24)`}},
			verdict: []string{link},
		},
		{
			name:  "link down",
			fault: func(s *site) { s.node.Down("eth0") },
			want: []found{
				{"D01", "error", "", "there is no default route"},
				{"D06", "error", "", "eth0 is down or has no carrier"},
				{"D13", "error", "no server", "192.168.35.1:53 ...network is unreachable"},
				{"D14", "error", "no route", testVIP + ":6443: network is unreachable"},
			},
			verdict: []string{link},
		},
		{
			name: "no carrier",
			fault: func(s *site) {
				s.secondLink()
				s.cut()
				s.args = []string{"--interface", "eth1"}
			},
			want:    []found{{"D06", "error", "", "eth1 is down or has no carrier"}},
			verdict: []string{link},
		},
		{
			name: "VIP off-subnet",
			fault: func(s *site) {
				vip("10.1.2.3")(s)
				s.status.Interface = status.Interface{} // vipd found none
				s.silent()
			},
			want: []found{
				{"D07", "error", "", "the VIP 10.1.2.3 is in none of this node's subnets: eth0 (192.168.35.11/24)"},
				{"D14", "error", "silent", "10.1.2.3:6443: no answer in "},
			},
			verdict: []string{chosen},
		},
		{
			name:  "the node lost its address in the VIP's subnet",
			fault: (*site).loseAddress,
			want:  []found{{"D07", "error", "lost", "192.168.35.11, the InternalIP of this node, is on no interface of this node any more"}}, verdict: []string{lost},
		},
		{
			name:  "the node lost its address, and the cluster does not tell",
			fault: func(s *site) { s.loseAddress(); s.objects.nodes[0] = nodeAt("n1", "10.0.0.2") },
			want:  []found{{"D07", "error", "lost", "eth0 has no address in the subnet of the VIP " + testVIP + " any more; it has no address"}}, verdict: []string{lost},
		},
		{
			name: "a node of a cloud: a single address, and a route to the subnet",
			fault: func(s *site) {
				s.preflight()
				s.args = append(s.args, "--only", "D07")
				s.run(s.node, "ip", "address", "delete", "192.168.35.11/24", "dev", "eth0")
				s.run(s.node, "ip", "address", "add", "192.168.35.11/32", "dev", "eth0")
				s.run(s.node, "ip", "route", "add", "192.168.35.0/24", "dev", "eth0")
			},
			verdict: []string{"All is well: 1 checks found no problem."},
		},
		{
			name: "the node has no address yet",
			fault: func(s *site) {
				s.preflight()
				s.args = append(s.args, "--only", "D07")
				s.run(s.node, "ip", "address", "delete", "192.168.35.11/24", "dev", "eth0")
			},
			want: []found{{"D07", "error", "no address", "this node has no IPv4 address: eth0"}}, verdict: []string{lost},
		},
		{
			name:    "VIP is the node's address",
			fault:   func(s *site) { vip("192.168.35.11")(s); s.own = serverOf(s.certificate(), ready) },
			want:    []found{{"D08", "error", "", "the VIP 192.168.35.11 is this node's own address on eth0 (192.168.35.11/24)"}},
			verdict: []string{chosen},
		},
		{
			name: "VIP is the node's on another interface",
			fault: func(s *site) {
				s.secondLink()
				s.node.AddAddr("eth1", testVIP+"/32")
				s.sysctl("ipv4/conf/eth0/arp_ignore", "1")
			},
			want:    []found{{"D08", "error", "", "the VIP " + testVIP + " is this node's own address on eth1 (" + testVIP + "/32)"}},
			verdict: []string{chosen},
		},
		{
			name: "VIP on kube-ipvs0",
			fault: func(s *site) {
				s.node.Dummy("kube-ipvs0")
				s.node.AddAddr("kube-ipvs0", testVIP+"/32")
				s.sysctl("ipv4/conf/eth0/arp_ignore", "0")
			},
			want:    []found{{"D08", "error", "local", "the VIP " + testVIP + " is also on kube-ipvs0, added by kube-proxy in IPVS mode, and arp_ignore of eth0 is 0"}},
			verdict: []string{"This node answers ARP for the VIP at any time"},
		},
		{
			name: "VIP on kube-ipvs0, strict ARP",
			fault: func(s *site) {
				s.node.Dummy("kube-ipvs0")
				s.node.AddAddr("kube-ipvs0", testVIP+"/32")
				s.sysctl("ipv4/conf/eth0/arp_ignore", "1")
			},
			want:    []found{{"D08", "info", "local", "the VIP " + testVIP + " is also on kube-ipvs0, added by kube-proxy in IPVS mode"}},
			verdict: []string{better},
		},
		{
			name: "VIP on kube-ipvs0 before kubeadm",
			fault: func(s *site) {
				s.preflight()
				s.node.Dummy("kube-ipvs0")
				s.node.AddAddr("kube-ipvs0", testVIP+"/32")
				s.sysctl("ipv4/conf/eth0/arp_ignore", "0")
			},
			want:    []found{{"D08", "error", "local", "the VIP " + testVIP + " is also on kube-ipvs0, added by kube-proxy in IPVS mode, and arp_ignore of eth0 is 0"}},
			verdict: []string{"This node answers ARP for the VIP at any time"},
		},
		{
			name: "VIP on the loopback, for this host only",
			fault: func(s *site) {
				s.run(s.node, "ip", "address", "add", testVIP+"/32", "dev", "lo", "scope", "host")
				s.sysctl("ipv4/conf/eth0/arp_ignore", "1")
			},
			want:    []found{{"D08", "info", "local", "the VIP " + testVIP + " is also on lo, added by another program than vipd"}},
			verdict: []string{better},
		},
		{
			name:    "VIP with the prefix of the subnet, of another VIP manager, before kubeadm",
			fault:   func(s *site) { s.preflight(); s.node.AddAddr("eth0", testVIP+"/24") },
			want:    []found{{"D08", "warning", "leftover", "the VIP is on eth0 as " + testVIP + "/24 beside 192.168.35.11/24, without vipd's mark"}},
			verdict: []string{better},
		},
		{
			name: "VIP before the node's own address",
			fault: func(s *site) {
				s.preflight()
				s.node.AddAddr("eth0", "192.168.36.11/24")
				s.run(s.node, "ip", "address", "delete", "192.168.35.11/24", "dev", "eth0")
				s.node.AddAddr("eth0", testVIP+"/24")
				s.node.AddAddr("eth0", "192.168.35.11/24")
				s.route(s.node, "replace default via 192.168.35.1")
				s.args = append(s.args, "--interface", "eth0")
			},
			want:    []found{{"D08", "error", "", "the VIP " + testVIP + " is this node's own address on eth0 (" + testVIP + "/24, not left over by another VIP manager"}},
			verdict: []string{chosen},
		},
		{
			name:    "VIP is the network",
			fault:   vip("192.168.35.0"),
			want:    []found{{"D08", "error", "", "the address of the network 192.168.35.0/24"}},
			verdict: []string{chosen},
		},
		{
			name:    "VIP is the broadcast address",
			fault:   vip("192.168.35.255"),
			want:    []found{{"D08", "error", "", "the broadcast address of 192.168.35.0/24"}},
			verdict: []string{chosen},
		},
		{
			name:    "VIP is the gateway",
			fault:   vip("192.168.35.1"),
			want:    []found{{"D08", "error", "", "the gateway of eth0"}},
			verdict: []string{chosen},
		},
	})
}

// loseAddress removes the node's address in the VIP's subnet, as at the end of a DHCP lease. The
// node reaches other networks by its second link.
func (s *site) loseAddress() {
	s.t.Helper()
	s.secondLink()
	s.sysctlOf(s.router, "ipv4/conf/all/forwarding", "1")
	s.route(s.holder, "add default via 192.168.35.1")
	s.run(s.node, "ip", "address", "delete", "192.168.35.11/24", "dev", "eth0")
	s.route(s.node, "replace default via 10.0.0.1")
	s.servers = []string{"10.0.0.1"}
}

func TestDoctorNeighbours(t *testing.T) {
	const another = "Another machine answers for the VIP."
	takes := func(s *site) { s.stranger.AddAddr("eth0", testVIP+"/32"); s.theirs = s.atVIP }
	diagnose(t, []diagnosis{
		{
			name:    "a stranger has the VIP",
			fault:   func(s *site) { s.free(); takes(s) },
			want:    []found{{"D09", "error", "stranger", "... answers for " + testVIP + ", and nobody holds the Lease"}},
			verdict: []string{another},
		},
		{
			name:    "a stranger has it, too, that this node holds",
			fault:   func(s *site) { s.hold(); takes(s) },
			want:    []found{{"D09", "error", "stranger", "this node holds the VIP, and ... also answers for " + testVIP}},
			verdict: []string{another},
		},
		{
			name:    "two machines have the VIP",
			fault:   takes,
			want:    []found{{"D09", "error", "several", "2 machines answer for " + testVIP + ": "}},
			verdict: []string{another},
		},
		{
			name:    "the VIP answers before kubeadm",
			fault:   func(s *site) { s.args = []string{"--preflight", "--address", testVIP} },
			want:    []found{{"D09", "warning", "answered", "... already answers for " + testVIP}},
			verdict: []string{better},
		},
		{
			name:  "the VIP was left behind",
			fault: func(s *site) { s.node.AddAddr("eth0", testVIP+"/32") },
			want: []found{
				{"D08", "info", "leftover", "the VIP is on eth0 as " + testVIP + "/32 beside 192.168.35.11/24"},
				{"D10", "error", "", testVIP + "/32 is on eth0 of this node, and n2 holds the Lease"},
			},
			verdict: []string{"This node has the VIP without the Lease"},
		},
		{
			name:  "the VIP was left behind with the prefix of the subnet",
			fault: func(s *site) { s.node.AddAddr("eth0", testVIP+"/24") },
			want: []found{
				{"D08", "info", "leftover", "the VIP is on eth0 as " + testVIP + "/24 beside 192.168.35.11/24"},
				{"D10", "error", "", testVIP + "/24 is on eth0 of this node, and n2 holds the Lease"},
			},
			verdict: []string{"This node has the VIP without the Lease"},
		},
	})
}

func TestDoctorSysctls(t *testing.T) {
	diagnose(t, []diagnosis{
		{
			name:    "arp_ignore 8",
			fault:   func(s *site) { s.sysctl("ipv4/conf/eth0/arp_ignore", "8") },
			want:    []found{{"D21", "error", "arp_ignore", "net.ipv4.conf.eth0.arp_ignore is 8"}},
			verdict: []string{wrong},
		},
		{
			name: "arp_ignore 2 on an interface outside of the VIP's subnet",
			fault: func(s *site) {
				s.secondLink()
				s.sysctl("ipv4/conf/all/arp_ignore", "2")
				s.args = []string{"--interface", "eth1"}
			},
			want:    []found{{"D21", "error", "arp_ignore", "net.ipv4.conf.eth1.arp_ignore is 2"}},
			verdict: []string{wrong},
		},
		{
			name: "rp_filter with the default route elsewhere",
			fault: func(s *site) {
				s.secondLink()
				s.route(s.node, "replace default via 10.0.0.1")
				s.sysctl("ipv4/conf/all/rp_filter", "1")
			},
			want:    []found{{"D21", "warning", "rp_filter", "net.ipv4.conf.eth0.rp_filter is 1, and the default route is on eth1"}},
			verdict: []string{better},
		},
	})
}
