// Package firewall tells whether this machine's own firewall keeps clients from a TCP
// port, and changes nothing.
//
// Judge reads the nftables ruleset, in which firewalld, ufw and iptables-nft show up as
// well, and follows the first packet of a connection through it. It does so with three
// values, as much of that packet is not known (from where it comes, above all): a rule
// matches, does not, or may. A port is blocked if every way through the rules ends in
// drop or reject; what is open to some clients only is not judged, and neither is what
// depends on expressions that this package does not know.
//
// It does not see: iptables-legacy, eBPF (Cilium's host firewall), tables of the families
// netdev and bridge, and what filters outside of this machine.
//
// ZoneOf asks firewalld over D-Bus for the words in which its operator thinks.
package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Connection is one that a client makes to this machine.
type Connection struct {
	// Interface and Index are where it comes in.
	Interface string
	Index     int
	// To is where it goes, an address that this machine has, or will have.
	To   netip.Addr
	Port uint16
}

// Block is what keeps all such connections out: a rule, or the policy of a chain.
type Block struct {
	Family, Table, Chain string
	// Handle is that of the rule, 0 for the policy.
	Handle uint64
	// Reject: clients are told, by ICMP or a TCP reset; else they wait.
	Reject bool
	// UFW: ufw made the table.
	UFW bool
}

// Options say where to look.
type Options struct {
	// Ignore has the prefix of the names of tables to leave out.
	Ignore string
	// NetNS is a file descriptor of the network namespace; 0 is the caller's.
	NetNS int
}

// Judgement is what the ruleset comes to.
type Judgement struct {
	// Blocks are what keeps the connection out, one at most for each base chain. There are
	// none if nothing certainly does.
	Blocks []Block
	// FirewallD: firewalld has its table there.
	FirewallD bool
}

// Judge follows the first packet of a connection through the rules.
func Judge(c Connection, opts Options) (out Judgement, err error) {
	r, err := openRuleset(opts.NetNS)
	if err != nil {
		return out, err
	}
	defer r.close()
	chains, err := r.chains()
	if err != nil {
		return out, unsupported(err)
	}
	out.FirewallD = slices.ContainsFunc(chains, func(c *nftables.Chain) bool {
		return c.Table.Family == nftables.TableFamilyINet && c.Table.Name == "firewalld"
	})
	chains = slices.DeleteFunc(chains, func(c *nftables.Chain) bool {
		return opts.Ignore != "" && strings.HasPrefix(c.Table.Name, opts.Ignore)
	})
	j := &judge{ruleset: r, all: chains, packet: firstPacket(c)}
	out.Blocks, err = j.blocks()
	if err == nil && (j.rewritten || j.untracked) {
		// What a rule may have changed is not known in any; look again.
		j.packet = j.packet.changed(j.rewritten, j.untracked)
		out.Blocks, err = j.blocks()
	}
	if errors.Is(err, errTooMuch) {
		out.Blocks, err = nil, nil // not judged
	}
	return out, err
}

// unsupported takes the error of a kernel without nftables for no rules.
func unsupported(err error) error {
	for _, e := range []error{unix.EPROTONOSUPPORT, unix.EOPNOTSUPP, unix.EAFNOSUPPORT, unix.EINVAL} {
		if errors.Is(err, e) {
			return nil
		}
	}
	return fmt.Errorf("list nftables chains: %w", err)
}
