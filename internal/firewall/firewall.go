// Package firewall tells whether this machine's own firewall keeps clients from a TCP port. It
// changes nothing.
//
// Judge reads the nftables ruleset, which contains the rules of firewalld, ufw and iptables-nft as
// well, and evaluates it for the first packet of a connection, and for the reply to that packet.
// Much of these packets is not known, above all the client's address, so a rule matches, does not
// match, or may match. A port is blocked if every path through the rules ends in drop or reject; a
// port that is open to some clients is not reported, and neither is a result that depends on
// expressions which this package does not know.
//
// Judge evaluates the same rules, and those of the families arp and netdev, for a client's ARP request
// and the answer to it.
//
// Judge does not see iptables-legacy, eBPF (Cilium's host firewall), tables of the family bridge, and
// filters outside of this machine.
//
// ZoneOf asks firewalld over D-Bus for the zone of an interface.
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

// Connection is a connection from a client to this machine.
type Connection struct {
	// Interface and Index identify the interface on which the packets arrive, and by which the
	// replies leave.
	Interface string
	Index     int
	// To is the destination, an address of this machine now or later.
	To   netip.Addr
	Port uint16
}

// Block is a rule, or the policy of a chain, that blocks all such connections.
type Block struct {
	Family, Table, Chain string
	// Handle is the handle of the rule, 0 for the policy.
	Handle uint64
	// Reject tells that clients get an ICMP error or a TCP reset; else they wait.
	Reject bool
	// Reply tells that the reply is blocked, and not the first packet.
	Reply bool
	// ARP tells that clients' ARP requests for the address are blocked, or with Reply the answers.
	ARP bool
	// UFW tells that ufw created the table.
	UFW bool
}

// Options configures Judge.
type Options struct {
	// Ignore is a prefix of the names of tables to ignore.
	Ignore string
	// NetNS is a file descriptor of the network namespace; 0 is the caller's.
	NetNS int
}

// Judgement is the result for a connection.
type Judgement struct {
	// Blocks are the blocks of the connection, at most one for each base chain; empty if the
	// connection is not certainly blocked.
	Blocks []Block
	// Outgoing are the blocks of connections from this machine to the address and port, by the same
	// interface.
	Outgoing []Block
	// FirewallD tells that the ruleset has firewalld's table.
	FirewallD bool
}

// Judge evaluates the ruleset for the first packet of a connection, for the reply, and for the first
// packet of a connection in the other direction.
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
	if out.Blocks, err = r.judge(c, chains); err == nil {
		out.Outgoing, _, err = r.blocksOf(outgoingPacket(c), toVIP, c.Interface, chains)
	}
	if errors.Is(err, errTooMuch) {
		out.Blocks, out.Outgoing, err = nil, nil, nil // too many rules to evaluate
	}
	return out, err
}

func (r *ruleset) judge(c Connection, chains []*nftables.Chain) ([]Block, error) {
	out, err := r.judgeARP(c, chains)
	if err != nil {
		return out, err
	}
	first, changed, err := r.blocksOf(firstPacket(c), toPort, c.Interface, chains)
	out = append(out, first...)
	if err != nil || changed.rewritten { // another socket, or another machine, may reply
		return out, err
	}
	replies, _, err := r.blocksOf(replyPacket(c).after(changed), fromPort, c.Interface, chains)
	return append(out, replies...), err
}

// judgeARP returns what blocks a client's question for the address, and what blocks the answer.
func (r *ruleset) judgeARP(c Connection, chains []*nftables.Chain) ([]Block, error) {
	out, _, err := r.blocksOf(question(c), asked, c.Interface, chains)
	if err != nil {
		return out, err
	}
	answers, _, err := r.blocksOf(answer(c), answered, c.Interface, chains)
	return append(out, answers...), err
}

// unsupported returns nil for the errors of a kernel without nftables, which has no rules.
func unsupported(err error) error {
	for _, e := range []error{unix.EPROTONOSUPPORT, unix.EOPNOTSUPP, unix.EAFNOSUPPORT, unix.EINVAL} {
		if errors.Is(err, e) {
			return nil
		}
	}
	return fmt.Errorf("list nftables chains: %w", err)
}
