package lab

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// plant adds the state of other programs to a node: of a network plugin, a service proxy, a
// firewall and a person. Each step may be repeated.
const plant = `set -e
ip address replace 192.168.36.%[1]d/24 dev eth0
ip route replace 10.245.%[1]d.0/24 via 192.168.35.1 dev eth0 onlink
ip link show cni0 >/dev/null 2>&1 || ip link add cni0 type bridge
ip link set cni0 up
ip address replace 10.244.%[1]d.1/24 dev cni0
ip route replace unreachable default table 100
ip rule show | grep -q 'lookup 100' || ip rule add from 10.0.0.0/8 lookup 100
nft -f - <<'END'
table inet firewall
delete table inet firewall
table inet firewall {
	set blocked { type ipv4_addr; flags interval; elements = { 198.51.100.0/24, 203.0.113.7 } }
	chain input { type filter hook input priority 10; policy accept; ip saddr @blocked drop; }
}
table arp filter
delete table arp filter
table arp filter {
	chain input { type filter hook input priority 0; policy accept; arp saddr ip 203.0.113.7 drop; }
}
END
`

// plantForeign adds foreign state to the node, which vipd must not change.
func (n *Node) plantForeign(ctx context.Context) error {
	if _, err := n.Run(ctx, "sh", "-c", fmt.Sprintf(plant, n.IP.As4()[3])); err != nil {
		return fmt.Errorf("plant foreign state: %w", err)
	}
	n.foreign = true
	return nil
}

// RestoreForeign restores the foreign state that was lost with its interface or with the whole
// ruleset, if the lab has foreign state.
func (n *Node) RestoreForeign(ctx context.Context) error {
	if n.routed {
		if err := n.AddDefaultRoute(); err != nil {
			return err
		}
	}
	if !n.foreign {
		return nil
	}
	return n.plantForeign(ctx)
}

// PlantCopy adds the VIP to the node on another interface, as another program would, and keeps the
// kernel from answering ARP for it on the link (as strictARP of kube-proxy does).
func (n *Node) PlantCopy(ctx context.Context) error {
	return n.copy(ctx, "plant", fmt.Sprintf(`set -e
sysctl -qw net.ipv4.conf.eth0.arp_ignore=1
ip link add copy0 index %d type bridge
ip link set copy0 up
ip address add %s/32 dev copy0`, CopyIndex, n.lab.VIP))
}

// CopyIndex is the index of PlantCopy's interface, by which observers recognize its address.
const CopyIndex = 4242

// HasCopy tells whether the address of PlantCopy still exists.
func (n *Node) HasCopy(ctx context.Context) (bool, error) {
	out, err := n.Run(ctx, "ip", "-brief", "-4", "address", "show", "dev", "copy0")
	if err != nil {
		return false, fmt.Errorf("look for a copy of the VIP: %w", err)
	}
	return strings.Contains(out, n.lab.VIP.String()), nil
}

// RemoveCopy undoes PlantCopy, even if that failed halfway.
func (n *Node) RemoveCopy(ctx context.Context) error {
	return n.copy(ctx, "remove", "ip link delete copy0; sysctl -qw net.ipv4.conf.eth0.arp_ignore=0")
}

func (n *Node) copy(ctx context.Context, what, script string) error {
	if _, err := n.Run(ctx, "sh", "-c", script); err != nil {
		return fmt.Errorf("%s a copy of the VIP: %w", what, err)
	}
	return nil
}

// vipdTables is the prefix of the names of vipd's tables.
const vipdTables = "vipd-"

// index matches the index of an interface's other end, which changes when it is created again.
var index = regexp.MustCompile(`@if[0-9]+`)

// iptablesTables are the tables of iptables, in which a kubelet has chains. A while after a
// flush the kubelet makes them again.
var iptablesTables = []string{"filter", "mangle", "nat"}

// owned tells whether an nftables table belongs to vipd, to the lab, or to a kubelet.
func (n *Node) owned(table string) bool {
	return strings.HasPrefix(table, vipdTables) || table == redirectTable || n.machine != nil && slices.Contains(iptablesTables, table)
}

// Foreign describes the node's state that belongs neither to vipd nor to the lab: addresses, rules,
// routes and nftables.
func (n *Node) Foreign(ctx context.Context) (string, error) {
	out, err := n.Run(ctx, "sh", "-c", "{ ip -brief -4 address; ip -4 rule; ip -4 route show table all; } | sort; nft list ruleset")
	if err != nil {
		return "", fmt.Errorf("look at foreign state: %w", err)
	}
	var kept []string
	ours := false // inside a table of vipd or the lab
	for line := range strings.Lines(index.ReplaceAllString(out, "")) {
		line = strings.Join(strings.Fields(line), " ") // the width of columns depends on what was removed
		if strings.HasPrefix(line, "table ") {
			ours = n.owned(strings.Fields(line)[2])
		}
		mentions := strings.Contains(line, n.lab.VIP.String())
		switch {
		case ours, strings.HasPrefix(line, "#"): // a warning of nft about tables of iptables
		case mentions && strings.HasPrefix(line, Interface): // one line for all addresses of an interface
			kept = append(kept, strings.ReplaceAll(line, " "+n.lab.VIP.String()+"/32", ""))
		case mentions:
		default:
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n"), nil
}
