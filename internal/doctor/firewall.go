package doctor

import (
	"context"
	"fmt"
	"strings"
)

// The check of this machine's firewall.

// Firewall is the effect of this machine's firewall on clients of the VIP. The zero Firewall
// blocks nobody, as far as known.
type Firewall struct {
	// Zone is firewalld's zone of the interface, or "" if firewalld does not run or was not
	// asked.
	Zone string
	// ZoneClosed: the zone does not allow the port.
	ZoneClosed bool
	// Rules are the rules that certainly block clients.
	Rules []FirewallRule
}

// FirewallRule is a rule of nftables, or the policy of a chain.
type FirewallRule struct {
	Family, Table, Chain string
	// Handle is 0 for the policy.
	Handle uint64
	// Reject: clients get an ICMP error or a reset. Otherwise packets are dropped.
	Reject bool
	// UFW: ufw created the rule.
	UFW bool
}

var portClosed = Check{ID: "D19", Title: "firewall of this node", Modes: Node | Preflight, Cheap: true, Run: func(ctx context.Context, in *Input) ([]Finding, error) {
	l, ok := in.Facts.vipLink()
	if !ok || in.Queries.Firewall == nil {
		return nil, nil // D05 and D07 report it
	}
	got, err := in.Queries.Firewall(ctx, l)
	if err != nil {
		return nil, err
	}
	var out []Finding
	if rule, ok := got.firewalld(); ok || got.ZoneClosed {
		out = append(out, in.closedByFirewalld(l, got.Zone, rule))
	}
	for _, r := range got.Rules {
		if !r.firewalld() {
			out = append(out, in.closedByRule(l, r))
		}
	}
	if in.Mode == Preflight { // a later step of the installation may open the port
		for i := range out {
			out[i].Severity = Warning
		}
	}
	return out, nil
}}

func (r FirewallRule) firewalld() bool { return r.Family == "inet" && r.Table == "firewalld" }

// firewalld returns the first blocking rule in firewalld's table.
func (f Firewall) firewalld() (FirewallRule, bool) {
	for _, r := range f.Rules {
		if r.firewalld() {
			return r, true
		}
	}
	return FirewallRule{}, false
}

const clientsKeptOut = "the firewall does not filter ARP, so vipd holds the VIP here, and clients are blocked"

// controlPlanePorts are the other ports of a control-plane node: kubelet, etcd, controller
// manager and scheduler.
var controlPlanePorts = []string{"10250/tcp", "2379-2380/tcp", "10257/tcp", "10259/tcp"}

const podNetworkPorts = "the pod network also needs ports: Calico 179/tcp and 4789/udp, Cilium 4240/tcp and 8472/udp, flannel 8472/udp"

func (in *Input) closedByFirewalld(l Link, zone string, r FirewallRule) Finding {
	seen := fmt.Sprintf("firewalld keeps %d/tcp closed on %s", in.Facts.Port, l.Name)
	add := "firewall-cmd --permanent"
	if zone != "" {
		seen = fmt.Sprintf("firewalld's zone %s of %s keeps %d/tcp closed", zone, l.Name, in.Facts.Port)
		add += " --zone=" + zone
	}
	ports := append([]string{fmt.Sprintf("%d/tcp", in.Facts.Port)}, controlPlanePorts...)
	add += " --add-port=" + strings.Join(ports, " --add-port=")
	how := `"no route to host", at once (ICMP admin-prohibited)`
	if r.Table != "" && !r.Reject {
		how = "no answer"
	}
	return Finding{Severity: Error, Kind: "firewalld", Seen: seen, Why: clientsKeptOut + ": they see " + how,
		Remedy: []string{add + "; firewall-cmd --reload", podNetworkPorts,
			"or disable firewalld, as the images of image-builder do: systemctl disable --now firewalld", "on every control-plane node, and in the VM template"}}
}

func (in *Input) closedByRule(l Link, r FirewallRule) Finding {
	port := fmt.Sprintf("%d/tcp", in.Facts.Port)
	how := "no answer"
	if r.Reject {
		how = `"no route to host" or "connection refused", at once`
	}
	f := Finding{Severity: Error, Kind: "rule", Why: clientsKeptOut + ": they see " + how}
	chain := strings.Join([]string{r.Family, r.Table, r.Chain}, " ")
	what := "drops"
	if r.Reject {
		what = "rejects"
	}
	add := fmt.Sprintf("nft insert rule %s handle %d tcp dport %d accept", chain, r.Handle, in.Facts.Port)
	if r.Handle == 0 {
		f.Kind, f.Seen = "policy", fmt.Sprintf("the policy of the nftables chain %s drops packets to %s on %s, and no rule accepts them", chain, port, l.Name)
		add = fmt.Sprintf("nft add rule %s tcp dport %d accept", chain, in.Facts.Port)
	} else {
		f.Seen = fmt.Sprintf("the nftables rule with handle %d in chain %s %s packets to %s on %s", r.Handle, chain, what, port, l.Name)
	}
	look := "the rules, with handles: nft -a list chain " + chain
	switch {
	case r.UFW:
		f.Kind = "ufw"
		f.Remedy = []string{"ufw allow " + port + "; ufw allow 10250/tcp; ufw allow 2379:2380/tcp; ufw allow 10257/tcp; ufw allow 10259/tcp", podNetworkPorts, look}
	case r.Family == "ip" && strings.ToUpper(r.Chain) == r.Chain: // the naming of iptables
		f.Remedy = []string{look, fmt.Sprintf("now: iptables -t %s -I %s -p tcp --dport %d -j ACCEPT", r.Table, r.Chain, in.Facts.Port), "permanently, in the source of those rules (/etc/iptables, /etc/sysconfig/iptables)"}
	default:
		f.Remedy = []string{look, "now: " + add, "permanently, in the source of those rules (/etc/nftables.conf, /etc/sysconfig/nftables.conf)"}
	}
	return f
}
