package doctor

import (
	"context"
	"fmt"
	"slices"
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
	// Outgoing are the rules that certainly block connections of this machine to the VIP.
	Outgoing []FirewallRule
}

// FirewallRule is a rule of nftables, or the policy of a chain.
type FirewallRule struct {
	Family, Table, Chain string
	// Handle is 0 for the policy.
	Handle uint64
	// Reject: clients get an ICMP error or a reset. Otherwise packets are dropped.
	Reject bool
	// Reply: the rule blocks the answers to clients, and not their packets.
	Reply bool
	// ARP: the rule blocks clients' ARP requests for the VIP, or with Reply the answers.
	ARP bool
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
	if rule, ok := got.keepalived(); ok {
		out = append(out, in.closedByKeepalived(rule))
	}
	for _, r := range got.Rules {
		if !r.firewalld() && !r.keepalived() {
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

// firewalld reports whether the rule is of a closed port of firewalld.
func (r FirewallRule) firewalld() bool {
	return r.Family == "inet" && r.Table == "firewalld" && !r.Reply
}

// keepalived reports whether the rule is in the table of keepalived's option vrrp_strict.
func (r FirewallRule) keepalived() bool { return r.Family == "ip" && r.Table == "keepalived" }

// firewalld returns the first blocking rule in firewalld's table.
func (f Firewall) firewalld() (FirewallRule, bool) { return f.first(FirewallRule.firewalld) }

// keepalived returns the first blocking rule in keepalived's table.
func (f Firewall) keepalived() (FirewallRule, bool) { return f.first(FirewallRule.keepalived) }

func (f Firewall) first(is func(FirewallRule) bool) (FirewallRule, bool) {
	if i := slices.IndexFunc(f.Rules, is); i >= 0 {
		return f.Rules[i], true
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

// closedByKeepalived reports the table that keepalived makes with vrrp_strict: it drops what is for
// the VIP, and what comes from the VIP. One finding for all chains: the table goes as a whole.
func (in *Input) closedByKeepalived(r FirewallRule) Finding {
	table := r.Family + " " + r.Table
	return Finding{Severity: Error, Kind: "keepalived", Seen: fmt.Sprintf("keepalived's nftables table %s drops packets to or from the VIP %s (option vrrp_strict)", table, in.Facts.VIP),
		Why: clientsKeptOut + ": they see no answer. keepalived makes the table for its own virtual addresses; a killed keepalived leaves the table",
		Remedy: []string{"does keepalived run here? systemctl status keepalived; if it has this VIP, remove it: two managers of one address interfere with each other: systemctl disable --now keepalived",
			"then, if the table is still there: nft delete table " + table, "on every control-plane node"}}
}

// closedARP reports a rule, or the policy of a chain, that keeps clients from finding the VIP by ARP.
func (in *Input) closedARP(l Link, r FirewallRule) Finding {
	f := Finding{Severity: Error, Kind: "arp rule", Seen: in.seenRule(l, r),
		Why: "hosts on this network do not learn this node's MAC for the VIP, or only from announcements: vipd holds the VIP here, and clients see no answer (\"no route to host\" after some seconds)"}
	if r.Handle == 0 {
		f.Kind = "arp policy"
	}
	chain, match := r.chain(), fmt.Sprintf("arp daddr ip %s", in.Facts.VIP)
	if r.Reply {
		match = fmt.Sprintf("arp saddr ip %s", in.Facts.VIP)
	}
	now := "now: nft add rule " + chain + " " + match + " accept"
	if r.Handle != 0 {
		now = fmt.Sprintf("now: nft insert rule %s handle %d %s accept", chain, r.Handle, match)
	}
	f.Remedy = []string{"the rules, with handles: nft -a list chain " + chain, now, "permanently, in the source of those rules (/etc/nftables.conf, /etc/sysconfig/nftables.conf, arptables)"}
	return f
}

// closedByRule reports a rule, or the policy of a chain, of a program that is not known.
func (in *Input) closedByRule(l Link, r FirewallRule) Finding {
	if r.ARP {
		return in.closedARP(l, r)
	}
	f := Finding{Severity: Error, Kind: "rule", Why: clientsKeptOut + ": they see " + r.effect(), Seen: in.seenRule(l, r)}
	if r.Handle == 0 {
		f.Kind = "policy"
	}
	chain := r.chain()
	look := "the rules, with handles: nft -a list chain " + chain
	switch {
	case r.UFW && !r.Reply:
		f.Kind = "ufw"
		f.Remedy = []string{fmt.Sprintf("ufw allow %d/tcp; ufw allow 10250/tcp; ufw allow 2379:2380/tcp; ufw allow 10257/tcp; ufw allow 10259/tcp", in.Facts.Port), podNetworkPorts, look}
	case r.Family == "ip" && strings.ToUpper(r.Chain) == r.Chain: // the naming of iptables
		f.Remedy = []string{look, fmt.Sprintf("now: iptables -t %s -I %s %s -j ACCEPT", r.Table, r.Chain, in.match(r, "-p tcp --dport %d", "-p tcp --sport %d")), "permanently, in the source of those rules (/etc/iptables, /etc/sysconfig/iptables)"}
	default:
		add := "add rule " + chain
		if r.Handle != 0 {
			add = fmt.Sprintf("insert rule %s handle %d", chain, r.Handle)
		}
		f.Remedy = []string{look, "now: nft " + add + " " + in.match(r, "tcp dport %d", "tcp sport %d") + " accept", "permanently, in the source of those rules (/etc/nftables.conf, /etc/sysconfig/nftables.conf)"}
	}
	if r.Reply {
		f.Kind = "reply " + f.Kind
		f.Why = "the answers of the API server do not leave this node, while packets of clients come in, and the firewall does not filter ARP: vipd holds the VIP here, and clients see no answer"
		f.Remedy = append(f.Remedy, "a chain of output that drops usually begins with: ct state established,related accept, which permits the answers of all ports")
	}
	return f
}

// chain names the chain as nft does.
func (r FirewallRule) chain() string {
	return strings.Join([]string{r.Family, r.Table, r.Chain}, " ")
}

// effect is what clients see of a rule.
func (r FirewallRule) effect() string {
	if r.Reject {
		return `"no route to host" or "connection refused", at once`
	}
	return "no answer"
}

func (in *Input) seenRule(l Link, r FirewallRule) string {
	port := fmt.Sprintf("packets to %d/tcp on %s", in.Facts.Port, l.Name)
	switch {
	case r.ARP && r.Reply:
		port = fmt.Sprintf("this node's ARP answers for the VIP %s by %s", in.Facts.VIP, l.Name)
	case r.ARP:
		port = fmt.Sprintf("ARP requests for the VIP %s on %s", in.Facts.VIP, l.Name)
	case r.Reply:
		port = fmt.Sprintf("the answers of %d/tcp by %s", in.Facts.Port, l.Name)
	}
	what := "drops"
	if r.Reject {
		what = "rejects"
	}
	if r.Handle == 0 {
		return fmt.Sprintf("the policy of the nftables chain %s drops %s, and no rule accepts them", r.chain(), port)
	}
	return fmt.Sprintf("the nftables rule with handle %d in chain %s %s %s", r.Handle, r.chain(), what, port)
}

// outgoing describes a rule that blocks connections of this machine.
func (r FirewallRule) outgoing() string {
	if r.Handle == 0 {
		return "the policy of the nftables chain " + r.chain() + " drops, and no rule accepts"
	}
	return fmt.Sprintf("the nftables rule with handle %d in chain %s", r.Handle, r.chain())
}

// match matches the packets that a rule blocks: those to the port, or the answers of the port.
func (in *Input) match(r FirewallRule, to, from string) string {
	if r.Reply {
		to = from
	}
	return fmt.Sprintf(to, in.Facts.Port)
}
