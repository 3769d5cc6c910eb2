package firewall

import (
	"errors"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// errTooMuch means that the packet passes more rules than maxSteps.
var errTooMuch = errors.New("too many rules")

// maxSteps bounds the evaluated rules, counted each time.
const maxSteps = 200_000

// ends are the possible outcomes of a rule or a chain, one bit each.
type ends uint8

const (
	passes ends = 1 << iota
	blocks
	// continues: the next rule is evaluated.
	continues
	// returns: the calling chain continues, or the policy applies.
	returns
)

// way is the way of a packet.
type way uint8

const (
	toPort   way = iota // the first packet of a client's connection
	fromPort            // the reply to that packet
	toVIP               // the first packet of a connection from this machine to the address
	asked               // a client's ARP request for the address
	answered            // the answer to that request
)

// evaluator evaluates the ruleset for one packet.
type evaluator struct {
	ruleset *ruleset
	all     []*nftables.Chain
	packet  packet
	way     way
	device  string // the interface of the packet
	changes        // by rules of any chain

	steps   int
	early   bool  // before conntrack
	routes  bool  // a chain of type route, after which a changed packet is routed again
	blocker Block // the last rule that certainly blocks when it is evaluated
}

// ctPriority is NF_IP_PRI_CONNTRACK.
const ctPriority = -200

// blocksOf evaluates all base chains for a packet, and again if a rule may have changed the packet.
func (r *ruleset) blocksOf(p packet, w way, device string, chains []*nftables.Chain) (out []Block, c changes, err error) {
	j := &evaluator{ruleset: r, all: chains, packet: p, way: w, device: device}
	out, err = j.blocks()
	if err == nil && j.changes != (changes{}) {
		j.packet = j.packet.after(j.changes)
		out, err = j.blocks()
	}
	return out, j.changes, err
}

// passes tells whether the packet passes a base chain. Chains of type nat have only the first packet
// of a connection.
func (j *evaluator) passes(c *nftables.Chain) bool {
	switch {
	case c.Hooknum == nil:
		return false
	case c.Table.Family == nftables.TableFamilyARP:
		return (j.way == asked || j.way == answered) && ofARP(c, j.way == asked)
	case c.Table.Family == nftables.TableFamilyNetdev:
		return j.ofDevice(c, j.way == asked || j.way == toPort)
	case j.way == asked || j.way == answered:
		return false
	case j.way == toPort:
		return *c.Hooknum == *nftables.ChainHookPrerouting || *c.Hooknum == *nftables.ChainHookInput
	case j.way == fromPort && c.Type == nftables.ChainTypeNAT:
		return false
	}
	return *c.Hooknum == *nftables.ChainHookOutput || *c.Hooknum == *nftables.ChainHookPostrouting
}

// blocks evaluates all base chains that the packet passes.
func (j *evaluator) blocks() (out []Block, err error) {
	for _, c := range j.all {
		if !j.passes(c) {
			continue
		}
		j.early = c.Table.Family == nftables.TableFamilyNetdev || c.Table.Family == nftables.TableFamilyARP || (*c.Hooknum == *nftables.ChainHookPrerouting || *c.Hooknum == *nftables.ChainHookOutput) && c.Priority != nil && *c.Priority <= ctPriority
		j.routes = c.Type == nftables.ChainTypeRoute
		j.blocker = Block{}
		e, err := j.walk(keyOf(c), 0)
		if err != nil {
			return nil, err
		}
		if e&returns != 0 {
			e &^= returns
			if c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop {
				e |= blocks
				j.blocker = j.block(keyOf(c), 0, false)
			} else {
				e |= passes
			}
		}
		if e == blocks && c.Type != nftables.ChainTypeNAT { // which does not see packets without conntrack
			out = append(out, j.blocker)
		}
	}
	return out, nil
}

func keyOf(c *nftables.Chain) chainKey { return chainKey{c.Table.Family, c.Table.Name, c.Name} }

func (j *evaluator) block(k chainKey, handle uint64, reject bool) Block {
	b := Block{Family: "inet", Table: k.table, Chain: k.name, Handle: handle, Reject: reject && j.way != fromPort, Reply: j.way == fromPort || j.way == answered,
		ARP: j.way == asked || j.way == answered}
	switch k.family {
	case nftables.TableFamilyIPv4:
		b.Family = "ip"
	case nftables.TableFamilyARP:
		b.Family = "arp"
	case nftables.TableFamilyNetdev:
		b.Family = "netdev"
	default:
	}
	for _, c := range j.all {
		b.UFW = b.UFW || c.Table.Name == k.table && c.Table.Family == k.family && c.Name == "ufw-user-input"
	}
	return b
}

// walk evaluates a chain and returns its possible outcomes: passes, blocks, returns.
func (j *evaluator) walk(k chainKey, depth int) (out ends, err error) {
	if depth > 16 { // NFT_JUMP_STACK_SIZE
		return 0, errTooMuch
	}
	rules, err := j.ruleset.of(k)
	if err != nil {
		return 0, err
	}
	for _, r := range rules {
		if j.steps++; j.steps > maxSteps {
			return 0, errTooMuch
		}
		one := &evaluation{evaluator: j, key: k, rule: r, depth: depth}
		e, err := one.look()
		if err != nil {
			return 0, err
		}
		if out |= e &^ continues; e&continues == 0 {
			return out, nil
		}
	}
	return out | returns, nil
}

// verdict returns the possible outcomes of a verdict.
func (m *evaluation) verdict(v *expr.Verdict) (ends, error) {
	j := m.evaluator
	switch v.Kind {
	case expr.VerdictAccept, expr.VerdictStop:
		return passes, nil
	case expr.VerdictDrop:
		return m.blocked(false), nil
	case expr.VerdictReturn:
		return returns, nil
	case expr.VerdictContinue, expr.VerdictBreak:
		return continues, nil
	case expr.VerdictJump, expr.VerdictGoto:
		e, err := j.walk(chainKey{m.key.family, m.key.table, v.Chain}, m.depth+1)
		if v.Kind == expr.VerdictJump && e&returns != 0 {
			e = e&^returns | continues
		}
		return e, err
	default: // decided in user space or by a program
		return passes | blocks, nil
	}
}

func (m *evaluation) blocked(reject bool) ends {
	if !m.unsure {
		m.blocker = m.block(m.key, m.rule.handle, reject)
	}
	return blocks
}
