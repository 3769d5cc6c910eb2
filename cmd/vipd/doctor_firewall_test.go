package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// Faults of this node's own firewall. internal/firewall compares the judgement of rulesets with the
// kernel.

func TestDoctorFirewall(t *testing.T) {
	const (
		later = "The VIP works until this node takes the VIP: the firewall of this node blocks clients from port 6443."
		here  = "This node holds the VIP, and the firewall of this node blocks clients from port 6443."
		well  = "All is well"
	)
	rules := func(text string) func(*site) { return func(s *site) { s.run(s.node, "nft", text) } }
	input := "table inet filter { chain input { type filter hook input priority filter; policy "
	preflight := func(s *site) {
		s.noVIP()
		s.status, s.own, s.atVIP, s.args, s.name = nil, server{}, server{}, []string{"--preflight", "--address", testVIP, "--name", siteName}, "localhost"
	}
	diagnose(t, []diagnosis{
		{name: "rejects", fault: rules(input + "accept; iif eth0 tcp dport 6443 reject; }; }"),
			want: []found{{"D19", "error", "rule", "the nftables rule with handle 2 in chain inet filter input rejects packets to 6443/tcp on eth0"}}, verdict: []string{later}},
		{name: "rejects this node, too", fault: rules(input + "accept; tcp dport 6443 reject; }; }"),
			want: []found{{"D16", "error", "refused", "nothing listens"}, {"D19", "error", "rule", "rejects"}}, verdict: []string{"The VIP works, and this node cannot take the VIP: its API server does not answer, and its firewall"}},
		{name: "rejects on the holder", fault: func(s *site) {
			s.hold()
			rules(input + "accept; iif lo accept; tcp dport 6443 reject; }; }")(s)
		}, want: []found{{"D19", "error", "rule", "the nftables rule with handle 3 in chain inet filter input rejects"}}, verdict: []string{here}},
		{name: "policy", fault: rules(input + "drop; ct state established,related accept; iif lo accept; meta l4proto icmp accept; tcp dport 22 accept; udp sport 53 accept; }; }"),
			want: []found{{"D19", "error", "policy", "the policy of the nftables chain inet filter input drops packets to 6443/tcp on eth0, and no rule accepts them"}}, verdict: []string{later}},
		{name: "set in a jump", fault: rules("table inet filter { chain closed { tcp dport { 6443, 10250 } drop; }; }; " + input + "accept; iifname eth0 jump closed; }; }"),
			want: []found{{"D19", "error", "rule", "in chain inet filter closed drops"}}, verdict: []string{later}},
		{name: "iptables", fault: func(s *site) {
			s.run(s.node, "iptables-nft", "-A", "INPUT", "-i", "eth0", "-p", "tcp", "-m", "multiport", "--dports", "6443,10250", "-j", "REJECT")
		}, want: []found{{"D19", "error", "rule", "in chain ip filter INPUT rejects"}}, verdict: []string{later}},
		{name: "ufw", fault: func(s *site) {
			for _, line := range []string{"-N ufw-user-input", "-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT", "-A INPUT -i lo -j ACCEPT", "-A INPUT -j ufw-user-input", "-A ufw-user-input -p tcp --dport 22 -j ACCEPT", "-P INPUT DROP"} {
				s.run(s.node, "iptables-nft", strings.Fields(line)...)
			}
		}, want: []found{{"D19", "error", "ufw", "the policy of the nftables chain ip filter INPUT drops"}}, verdict: []string{later}},
		{name: "here and on the holder", fault: func(s *site) {
			s.firewall(s.holder, "reject with icmp type host-prohibited")
			rules(input + "accept; iif eth0 tcp dport 6443 reject; }; }")(s)
		}, want: []found{{"D14", "error", "rejected", "no route to host"}, {"D19", "error", "rule", "rejects"}}, verdict: []string{"Firewalls block clients from port 6443: the firewall of this node does, and most likely the firewall of the holder."}},
		{name: "before kubeadm", fault: func(s *site) { preflight(s); rules(input + "accept; tcp dport 6443 reject; }; }")(s) },
			want: []found{{"D19", "warning", "rule", "rejects"}}, verdict: []string{better}},

		{name: "policy of output", fault: rules("table inet filter { chain output { type filter hook output priority filter; policy drop; oif lo accept; udp dport 53 accept; tcp dport { 443 } accept; tcp dport 6443 accept; }; }"),
			want:    []found{{"D19", "error", "reply policy", "the policy of the nftables chain inet filter output drops the answers of 6443/tcp by eth0, and no rule accepts them"}},
			verdict: []string{"The firewall of this node drops the answers of port 6443"}},
		{name: "policy of output on the holder", fault: func(s *site) {
			s.hold()
			rules("table ip f { chain out { type filter hook output priority filter; policy drop; oif lo accept; udp dport 53 accept; }; }")(s)
		}, want: []found{{"D19", "error", "reply policy", "in ip f out"}}, verdict: []string{"This node holds the VIP, and the firewall of this node drops the answers of port 6443."}},
		{name: "rule of output", fault: func(s *site) { s.run(s.node, "iptables-nft", "-A", "OUTPUT", "-s", testVIP, "-j", "DROP") },
			want: []found{{"D19", "error", "reply rule", "in chain ip filter OUTPUT drops the answers of 6443/tcp by eth0"}}, verdict: []string{"The firewall of this node drops the answers of port 6443"}},
		{name: "ARP", fault: rules("table arp f { chain in { type filter hook input priority filter; arp daddr ip " + testVIP + " drop; }; }"),
			want:    []found{{"D19", "error", "arp rule", "the nftables rule with handle 2 in chain arp f in drops ARP requests for the VIP " + testVIP + " on eth0"}},
			verdict: []string{"The firewall of this node drops ARP for the VIP"}},
		{name: "keepalived", fault: rules(keepalivedTable),
			want: []found{{"D19", "error", "keepalived", "keepalived's nftables table ip keepalived drops packets to or from the VIP " + testVIP}}, verdict: []string{"keepalived's rules on this node (vrrp_strict)"}},
		{name: "keepalived, half removed", fault: func(s *site) { rules(keepalivedTable)(s); s.run(s.node, "nft", "flush chain ip keepalived in") },
			want: []found{{"D19", "error", "keepalived", "keepalived's"}}, verdict: []string{"keepalived's rules on this node (vrrp_strict)"}},
		{name: "a worker rejects its own connections", fault: func(s *site) {
			s.status, s.own, s.args = nil, server{}, []string{"--worker", "--address", testVIP}
			rules("table inet filter { chain output { type filter hook output priority filter; tcp dport 6443 reject; }; }")(s)
		}, want: []found{{"D14", "error", "own firewall", "the nftables rule with handle 2 in chain inet filter output"}}, verdict: []string{"The firewall of this machine blocks its own connections to the VIP."}},

		{name: "policy of output with established", fault: rules("table inet filter { chain output { type filter hook output priority filter; policy drop; ct state established accept; oif lo accept; udp dport 53 accept; tcp dport { 443, 6443 } accept; }; }"), verdict: []string{well}},
		{name: "policy with an accept", fault: rules(input + "drop; ct state established,related accept; iif lo accept; meta l4proto icmp accept; tcp dport { 22, 6443 } accept; }; }"), verdict: []string{well}},
		{name: "another port", fault: rules(input + "accept; tcp dport 22 reject; }; }"), verdict: []string{well}},
		{name: "some clients", fault: rules(input + "accept; ip saddr 10.0.0.0/8 tcp dport 6443 drop; }; }"), verdict: []string{well}},
		{name: "vipd's fence", fault: rules("table ip vipd-" + testVIP + " { chain receives { type filter hook input priority filter; ip daddr " + testVIP + " drop; }; }"), verdict: []string{well}},
		{name: "worker", fault: func(s *site) {
			s.status, s.own, s.args = nil, server{}, []string{"--worker", "--address", testVIP}
			rules(input + "accept; tcp dport 6443 reject; }; }")(s)
		}, verdict: []string{well}},
	})
}

// keepalivedTable is the table that keepalived makes for vrrp_strict.
const keepalivedTable = "table ip keepalived { chain out { type filter hook output priority -1; ip saddr " + testVIP + " drop; }; chain in { type filter hook input priority -1; ip daddr " + testVIP + " drop; }; }"

// TestDoctorFirewallRemedy: after the commands that the doctor proposes, clients can connect.
func TestDoctorFirewallRemedy(t *testing.T) {
	t.Parallel()
	output := "table inet filter { chain output { type filter hook output priority filter; policy "
	for name, rules := range map[string][]string{
		"input policy":            {"nft", "table inet filter { chain input { type filter hook input priority filter; policy drop; ct state established accept; iif lo accept; }; }"},
		"input rule":              {"nft", "table inet filter { chain input { type filter hook input priority filter; iif lo accept; drop; }; }"},
		"output policy":           {"nft", output + "drop; oif lo accept; tcp dport { 443 } accept; }; }"},
		"output rule":             {"nft", output + "accept; oif lo accept; tcp sport 6443 drop; }; }"},
		"output rule of iptables": {"iptables-nft", "-A", "OUTPUT", "-o", "eth0", "-p", "tcp", "--sport", "6443", "-j", "DROP"},
		"keepalived":              {"nft", keepalivedTable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.noVIP()
			s.node.AddAddr("eth0", testVIP+"/32")
			s.args = []string{"--only", "D19"}
			s.furnish()
			getsIn := func(within time.Duration) bool {
				return s.router.Do(func() error {
					c, err := net.DialTimeout("tcp", testVIP+":6443", within)
					if err == nil {
						_ = c.Close()
					}
					return err
				}) == nil
			}
			s.await("a client before the rules", func() bool { return getsIn(time.Minute) })
			s.run(s.node, rules[0], rules[1:]...)
			if getsIn(300 * time.Millisecond) {
				t.Fatal("a client gets in, whatever the rules")
			}
			_, got := s.examine()
			if len(got.Results) != 1 || len(got.Results[0].Findings) != 1 {
				t.Fatalf("%+v; want one finding", got)
			}
			for _, line := range got.Results[0].Findings[0].Mend {
				for _, before := range []string{"now: ", "then, if the table is still there: "} {
					if command, ok := strings.CutPrefix(line, before); ok {
						s.run(s.node, "sh", "-c", strings.Replace(command, "iptables ", "iptables-nft ", 1))
					}
				}
			}
			if _, got := s.examine(); !strings.HasPrefix(got.Verdict[0], "All is well") {
				t.Errorf("after its own remedy: %+v", got)
			}
			s.await("a client after the remedy", func() bool { return getsIn(time.Minute) })
		})
	}
}

// TestDoctorFirewallD runs Debian's firewalld on the node, on a system bus of its own.
func TestDoctorFirewallD(t *testing.T) {
	const closed, later = "firewalld's zone public of eth0 keeps 6443/tcp closed", "The VIP works until this node takes the VIP"
	diagnose(t, []diagnosis{
		{name: "as installed", fault: func(s *site) { s.firewalld() }, want: []found{{"D19", "error", "firewalld", closed}}, verdict: []string{later}},
		{name: "another zone", fault: func(s *site) { s.firewalld("--zone=dmz", "--change-interface=eth0") },
			want: []found{{"D19", "error", "firewalld", "zone dmz"}}, verdict: []string{later}},
		{name: "with rules that nftables does not show", fault: func(s *site) { s.firewalld(); s.run(s.node, "nft", "flush ruleset") },
			want: []found{{"D19", "error", "firewalld", closed}}, verdict: []string{later}},
		{name: "unasked", fault: func(s *site) {
			s.firewalld()
			must(s.t, os.Remove(filepath.Join(s.volatile, "dbus/system_bus_socket")))
		},
			want: []found{{"D19", "error", "firewalld", "firewalld keeps 6443/tcp closed on eth0"}}, verdict: []string{later}},
		{name: "port open", fault: func(s *site) { s.firewalld("--add-port=6443/tcp") }, verdict: []string{"All is well"}},
		{name: "ports open", fault: func(s *site) { s.firewalld("--add-port=6000-7000/tcp"); s.run(s.node, "nft", "flush ruleset") }, verdict: []string{"All is well"}},
		{name: "service open", fault: func(s *site) { s.firewalld("--add-service=kube-control-plane"); s.run(s.node, "nft", "flush ruleset") }, verdict: []string{"All is well"}},
		{name: "zone trusted", fault: func(s *site) {
			s.firewalld("--zone=trusted", "--change-interface=eth0")
			s.run(s.node, "nft", "flush ruleset")
		}, verdict: []string{"All is well"}},
		{name: "some clients", fault: func(s *site) {
			s.firewalld(`--add-rich-rule=rule family=ipv4 source address=10.0.0.0/8 port port=6443 protocol=tcp accept`)
			s.run(s.node, "nft", "flush ruleset")
		}, verdict: []string{"All is well"}},
		{name: "a bus without firewalld", fault: func(s *site) { s.bus() }, verdict: []string{"All is well"}},
	})
}

// firewalld passes a command of firewall-cmd to the node's firewalld.
func (s *site) firewalld(words ...string) {
	s.t.Helper()
	bus := s.bus()
	socket := "DBUS_SYSTEM_BUS_ADDRESS=unix:path=" + filepath.Join(s.volatile, "dbus/system_bus_socket")
	must(s.t, bus.AddMatchSignal(dbus.WithMatchInterface("org.freedesktop.DBus"), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, "org.fedoraproject.FirewallD1")))
	owned := make(chan *dbus.Signal, 8)
	bus.Signal(owned)
	folder := s.t.TempDir()
	// Separate /etc/firewalld, /run and log; --system-config alone does not change the log.
	cmd := exec.CommandContext(s.t.Context(), "unshare", "--mount", "sh", "-c", `mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/log && exec firewalld --nofork --nopid --system-config="$1" --log-file="$1/log"`, "sh", folder)
	cmd.Env = append(os.Environ(), socket)
	must(s.t, s.node.Do(cmd.Start))
	s.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	<-owned // it takes its bus name before it has loaded its rules
	client := func(words ...string) {
		cmd := exec.CommandContext(s.t.Context(), "firewall-cmd", words...)
		cmd.Env = append(os.Environ(), socket)
		if out, err := cmd.CombinedOutput(); err != nil {
			s.t.Errorf("firewall-cmd %v: %v: %s", words, err, out)
		}
	}
	client("--state")
	if len(words) > 0 {
		client(words...)
	}
}
