package doctor

import (
	"context"
	"fmt"
	"strings"
)

// The check of this machine's own firewall.

// Firewall is what it does with clients of the VIP. The zero Firewall lets them in, as
// far as can be told.
type Firewall struct {
	// Zone is that of the interface by firewalld, "" if that does not run, or was not asked.
	Zone string
	// ZoneClosed: the zone lets nobody in to the port.
	ZoneClosed bool
	// Rules are those that certainly keep clients out.
	Rules []FirewallRule
}

// FirewallRule is one of nftables, or the policy of a chain.
type FirewallRule struct {
	Family, Table, Chain string
	// Handle is 0 for the policy.
	Handle uint64
	// Reject: clients are told; else they wait.
	Reject bool
	// UFW: ufw made it.
	UFW bool
}

var portClosed = Check{ID: "D19", Title: "firewall of this node", Modes: Node | Preflight, Cheap: true, Look: func(ctx context.Context, c *Case) ([]Finding, error) {
	l, ok := c.Facts.vipLink()
	if !ok || c.Questions.Firewall == nil {
		return nil, nil // as D05 and D07 tell
	}
	got, err := c.Questions.Firewall(ctx, l)
	if err != nil {
		return nil, err
	}
	var out []Finding
	if rule, ok := got.firewalld(); ok || got.ZoneClosed {
		out = append(out, c.closedByFirewalld(l, got.Zone, rule))
	}
	for _, r := range got.Rules {
		if !r.firewalld() {
			out = append(out, c.closedByRule(l, r))
		}
	}
	if c.Mode == Preflight { // what else is not there yet may open it
		for i := range out {
			out[i].Severity = Warning
		}
	}
	return out, nil
}}

func (r FirewallRule) firewalld() bool { return r.Family == "inet" && r.Table == "firewalld" }

// firewalld is the rule of its table that keeps clients out, if one does.
func (f Firewall) firewalld() (FirewallRule, bool) {
	for _, r := range f.Rules {
		if r.firewalld() {
			return r, true
		}
	}
	return FirewallRule{}, false
}

const arpIsFine = "ARP is not filtered, so vipd holds the VIP here all the same, and clients are kept out"

// controlPlane are the ports of a control-plane node besides that of the VIP: etcd,
// kubelet, controller manager and scheduler.
var controlPlane = []string{"10250/tcp", "2379-2380/tcp", "10257/tcp", "10259/tcp"}

const networkPorts = "the pod network needs ports as well: Calico 179/tcp and 4789/udp, Cilium 4240/tcp and 8472/udp, flannel 8472/udp"

func (c *Case) closedByFirewalld(l Link, zone string, r FirewallRule) Finding {
	seen := fmt.Sprintf("firewalld keeps %d/tcp closed on %s", c.Facts.Port, l.Name)
	add := "firewall-cmd --permanent"
	if zone != "" {
		seen = fmt.Sprintf("firewalld's zone %s, which %s is in, keeps %d/tcp closed", zone, l.Name, c.Facts.Port)
		add += " --zone=" + zone
	}
	ports := append([]string{fmt.Sprintf("%d/tcp", c.Facts.Port)}, controlPlane...)
	add += " --add-port=" + strings.Join(ports, " --add-port=")
	how := `"no route to host", at once (ICMP admin-prohibited)`
	if r.Table != "" && !r.Reject {
		how = "no answer"
	}
	return Finding{Severity: Error, Mark: "firewalld", Seen: seen, Why: arpIsFine + ": they see " + how,
		Mend: []string{add + "; firewall-cmd --reload", networkPorts,
			"or do without, as the images of image-builder do: systemctl disable --now firewalld", "on every control-plane node, and in the template of the machines"}}
}

func (c *Case) closedByRule(l Link, r FirewallRule) Finding {
	port := fmt.Sprintf("%d/tcp", c.Facts.Port)
	how := "no answer"
	if r.Reject {
		how = `"no route to host" or "connection refused", at once`
	}
	f := Finding{Severity: Error, Mark: "rule", Why: arpIsFine + ": they see " + how}
	chain := strings.Join([]string{r.Family, r.Table, r.Chain}, " ")
	what := "drops"
	if r.Reject {
		what = "rejects"
	}
	add := fmt.Sprintf("nft insert rule %s handle %d tcp dport %d accept", chain, r.Handle, c.Facts.Port)
	if r.Handle == 0 {
		f.Mark, f.Seen = "policy", fmt.Sprintf("the policy of the nftables chain %s drops what comes to %s on %s, and no rule lets it in", chain, port, l.Name)
		add = fmt.Sprintf("nft add rule %s tcp dport %d accept", chain, c.Facts.Port)
	} else {
		f.Seen = fmt.Sprintf("the nftables rule with handle %d in chain %s %s what comes to %s on %s", r.Handle, chain, what, port, l.Name)
	}
	look := "the rules, with handles: nft -a list chain " + chain
	switch {
	case r.UFW:
		f.Mark = "ufw"
		f.Mend = []string{"ufw allow " + port + "; ufw allow 10250/tcp; ufw allow 2379:2380/tcp; ufw allow 10257/tcp; ufw allow 10259/tcp", networkPorts, look}
	case r.Family == "ip" && strings.ToUpper(r.Chain) == r.Chain: // as iptables names them
		f.Mend = []string{look, fmt.Sprintf("now: iptables -t %s -I %s -p tcp --dport %d -j ACCEPT", r.Table, r.Chain, c.Facts.Port), "for good: where those rules come from (/etc/iptables, /etc/sysconfig/iptables)"}
	default:
		f.Mend = []string{look, "now: " + add, "for good: where those rules come from (/etc/nftables.conf, /etc/sysconfig/nftables.conf)"}
	}
	return f
}
