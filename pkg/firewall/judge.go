package firewall

import (
	"errors"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// errTooMuch: there are more rules on the way than it is good to follow.
var errTooMuch = errors.New("too many rules")

// mostSteps bounds the rules that are looked at, each time they are met.
const mostSteps = 200_000

// ends are the ways in which a rule or a chain may end, one bit each.
type ends uint8

const (
	passes ends = 1 << iota
	blocks
	// goesOn: with the next rule.
	goesOn
	// returns: to the chain that jumped here, or to the policy.
	returns
)

// judge follows one packet.
type judge struct {
	ruleset *ruleset
	all     []*nftables.Chain
	packet  packet
	// rewritten and untracked: a rule on the way may change where the packet goes, or may
	// keep it from conntrack.
	rewritten, untracked bool

	steps   int
	early   bool  // conntrack has not seen the packet yet
	blocker Block // the last one that certainly blocks where it is met
}

// ctPriority is NF_IP_PRI_CONNTRACK.
const ctPriority = -200

// blocks judges all base chains that a packet to this machine meets.
func (j *judge) blocks() (out []Block, err error) {
	for _, c := range j.all {
		if c.Hooknum == nil || *c.Hooknum != *nftables.ChainHookPrerouting && *c.Hooknum != *nftables.ChainHookInput {
			continue
		}
		j.early = *c.Hooknum == *nftables.ChainHookPrerouting && c.Priority != nil && *c.Priority <= ctPriority
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
		if e == blocks {
			out = append(out, j.blocker)
		}
	}
	return out, nil
}

func keyOf(c *nftables.Chain) chainKey { return chainKey{c.Table.Family, c.Table.Name, c.Name} }

func (j *judge) block(k chainKey, handle uint64, reject bool) Block {
	b := Block{Family: "inet", Table: k.table, Chain: k.name, Handle: handle, Reject: reject}
	if k.family == nftables.TableFamilyIPv4 {
		b.Family = "ip"
	}
	for _, c := range j.all {
		b.UFW = b.UFW || c.Table.Name == k.table && c.Table.Family == k.family && c.Name == "ufw-user-input"
	}
	return b
}

// walk follows a chain to its end: passes, blocks, returns, or several of them.
func (j *judge) walk(k chainKey, depth int) (out ends, err error) {
	if depth > 16 { // NFT_JUMP_STACK_SIZE
		return 0, errTooMuch
	}
	rules, err := j.ruleset.of(k)
	if err != nil {
		return 0, err
	}
	for _, r := range rules {
		if j.steps++; j.steps > mostSteps {
			return 0, errTooMuch
		}
		one := &met{judge: j, key: k, rule: r, depth: depth}
		e, err := one.look()
		if err != nil {
			return 0, err
		}
		if out |= e &^ goesOn; e&goesOn == 0 {
			return out, nil
		}
	}
	return out | returns, nil
}

// verdict is what one comes to.
func (m *met) verdict(v *expr.Verdict) (ends, error) {
	j := m.judge
	switch v.Kind {
	case expr.VerdictAccept, expr.VerdictStop:
		return passes, nil
	case expr.VerdictDrop:
		return m.blocked(false), nil
	case expr.VerdictReturn:
		return returns, nil
	case expr.VerdictContinue, expr.VerdictBreak:
		return goesOn, nil
	case expr.VerdictJump, expr.VerdictGoto:
		e, err := j.walk(chainKey{m.key.family, m.key.table, v.Chain}, m.depth+1)
		if v.Kind == expr.VerdictJump && e&returns != 0 {
			e = e&^returns | goesOn
		}
		return e, err
	default: // userspace decides, or a program
		return passes | blocks, nil
	}
}

func (m *met) blocked(reject bool) ends {
	if !m.unsure {
		m.blocker = m.block(m.key, m.rule.handle, reject)
	}
	return blocks
}
