package lab

import (
	"context"
	"fmt"
	"regexp"
	"strings"
)

// plant is what a node has of others: what a network plugin, a proxy of services,
// a firewall and a person leave there. Each step may have been done before.
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

// plantForeign gives the node state that is not vipd's, which vipd has to leave
// alone.
func (n *Node) plantForeign(ctx context.Context) error {
	if _, err := n.Run(ctx, "sh", "-c", fmt.Sprintf(plant, n.IP.As4()[3])); err != nil {
		return fmt.Errorf("plant foreign state: %w", err)
	}
	n.foreign = true
	return nil
}

// RestoreForeign puts back what of the state of others was taken away with their
// interface or the whole ruleset, if the lab has such.
func (n *Node) RestoreForeign(ctx context.Context) error {
	if !n.foreign {
		return nil
	}
	return n.plantForeign(ctx)
}

// vipdTables is how the names of vipd's tables begin.
const vipdTables = "vipd-"

// index is that of an interface's other end, which changes when it is made anew.
var index = regexp.MustCompile(`@if[0-9]+`)

// Foreign describes the node's state that is not vipd's, nor the lab's own: its
// addresses, rules, routes and nftables.
func (n *Node) Foreign(ctx context.Context) (string, error) {
	out, err := n.Run(ctx, "sh", "-c", "{ ip -brief -4 address; ip -4 rule; ip -4 route show table all; } | sort; nft list ruleset")
	if err != nil {
		return "", fmt.Errorf("look at foreign state: %w", err)
	}
	var kept []string
	ours := false // inside of a table that is vipd's or the lab's
	for line := range strings.Lines(index.ReplaceAllString(out, "")) {
		line = strings.Join(strings.Fields(line), " ") // the width of columns depends on what was cut
		if strings.HasPrefix(line, "table ") {
			fields := strings.Fields(line)
			ours = strings.HasPrefix(fields[2], vipdTables) || fields[2] == redirectTable
		}
		mentions := strings.Contains(line, VIP.String())
		switch {
		case ours:
		case mentions && strings.HasPrefix(line, Interface): // one line for all of an interface's addresses
			kept = append(kept, strings.ReplaceAll(line, " "+VIP.String()+"/32", ""))
		case mentions:
		default:
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n"), nil
}
