package firewall

import (
	"fmt"
	"os/exec"
	"testing"
)

// forget makes the client forget the MAC of the address, so that its next connection begins with a
// question.
func (r *rig) forget(t *testing.T) {
	t.Helper()
	if err := r.client.Do(func() error {
		if out, err := exec.Command("ip", "neigh", "flush", "dev", "eth0").CombinedOutput(); err != nil {
			return fmt.Errorf("ip neigh flush: %w: %s", err, out)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// TestJudgeARP compares the judge with a real client that has to ask for the MAC first.
func TestJudgeARP(t *testing.T) {
	arp := func(hook, policy, rule string) string {
		return "table arp filter { chain " + hook + " { type filter hook " + hook + " priority filter; policy " + policy + "; " + rule + "; }; }"
	}
	netdev := func(hook, devices, rule string) string {
		return "table netdev guard { chain x { type filter hook " + hook + " " + devices + " priority 0; policy accept; " + rule + "; }; }"
	}
	r := newRig(t)
	for _, c := range []rulesetCase{
		{"questions for the address", arp("input", "accept", "arp daddr ip "+vip+" drop"), false, "arp filter input rule drop arp"},
		{"questions in its prefix", arp("input", "accept", "arp operation request arp daddr ip 192.168.35.0/24 drop"), false, "arp filter input rule drop arp"},
		{"questions by the interface", arp("input", "accept", `iifname "eth*" arp operation request drop`), false, "arp filter input rule drop arp"},
		{"policy", arp("input", "drop", "arp daddr ip 192.168.35.11 accept"), false, "arp filter input policy drop arp"},
		{"answers from the address", arp("output", "accept", "arp saddr ip "+vip+" drop"), false, "arp filter output rule drop arp reply"},
		{"answers", arp("output", "accept", "arp operation reply drop"), false, "arp filter output rule drop arp reply"},
		{"policy of output", arp("output", "drop", "arp operation request accept"), false, "arp filter output policy drop arp reply"},
		{"ingress", netdev("ingress", "device eth0", "arp daddr ip "+vip+" drop"), false, "netdev guard x rule drop arp"},
		{"ingress, by the protocol", netdev("ingress", "device eth0", "meta protocol arp drop"), false, "netdev guard x rule drop arp"},
		{"ingress, by the header", netdev("ingress", "device eth0", "ether type arp drop"), false, "netdev guard x rule drop arp"},
		{"ingress of packets", netdev("ingress", "device eth0", "tcp dport 6443 drop"), false, "netdev guard x rule drop"},
		{"ingress of packets to the address", netdev("ingress", "device eth0", "ip daddr "+vip+" drop"), false, "netdev guard x rule drop"},

		{"other questions", arp("input", "accept", "arp daddr ip 192.168.35.11 drop"), true, ""},
		{"announcements of others", arp("input", "accept", "arp operation reply drop"), true, ""},
		{"questions of the node", arp("output", "accept", "arp daddr ip 10.0.0.0/8 drop"), true, ""},
		{"policy with the address", arp("input", "drop", "arp daddr ip "+vip+" accept"), true, ""},
		{"another interface", arp("input", "accept", `iifname "eth1" drop`), true, ""},
		{"some clients", arp("input", "accept", "arp saddr ip 192.168.35.50 drop"), false, ""},
		{"ingress of other packets", netdev("ingress", "device eth0", "ip daddr 10.0.0.1 drop"), true, ""},
		{"ingress of another interface", netdev("ingress", "device lo", "drop"), true, ""},
		{"a dormant table", "table arp filter { flags dormant; chain input { type filter hook input priority filter; policy drop; }; }", true, ""},
		{"vipd's fence", "table arp vipd-192.168.35.100 { chain answers { type filter hook input priority filter; arp daddr ip " + vip + " drop; }; }", false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.load(t, c.rules)
			r.forget(t)
			r.check(t, c.open, c.want)
		})
	}
}
