package firewall

import (
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// evaluation is a rule during its evaluation.
type evaluation struct {
	*evaluator
	key   chainKey
	rule  rule
	depth int

	registers bits
	unsure    bool // it is not known whether the expressions so far match
	out       ends // possible outcomes so far
}

// look evaluates the expressions of the rule: each one matches, does not match, may match, or is a
// verdict.
func (m *evaluation) look() (ends, error) {
	m.registers = unknown(64)
	for _, e := range m.rule.exprs {
		t, end, err := m.one(e)
		if err != nil {
			return 0, err
		}
		if end != 0 { // a verdict
			m.out |= end
			break
		}
		if t == no {
			return m.out | continues, nil
		}
		m.unsure = m.unsure || t == maybe
	}
	if m.unsure || m.out == 0 {
		m.out |= continues
	}
	return m.out, nil
}

// one evaluates one expression. end is not 0 for a verdict.
func (m *evaluation) one(e any) (t truth, end ends, err error) {
	switch e := e.(type) {
	case *expr.Meta:
		if e.SourceRegister { // the expression sets a mark or the like
			m.rerouted = m.rerouted || m.routes
			break
		}
		if m.key.family == nftables.TableFamilyNetdev && e.Key == expr.MetaKeyNFPROTO {
			m.put(e.Register, certain([]byte{unix.NFPROTO_NETDEV}))
			break
		}
		m.put(e.Register, m.packet.meta(e.Key))
	case *expr.Payload:
		if e.OperationType == expr.PayloadWrite {
			m.rewritten = true
		} else {
			m.put(e.DestRegister, m.packet.load(e))
		}
	case *expr.Ct:
		switch {
		case e.SourceRegister:
		case m.early:
			m.put(e.Register, unknown(16))
		default:
			m.put(e.Register, m.packet.conntrack(e.Key))
		}
	case *expr.Fib:
		m.put(e.Register, m.packet.fib(e))
	case *expr.Immediate:
		m.put(e.Register, certain(e.Data))
	case *expr.Bitwise:
		m.put(e.DestRegister, m.get(e.SourceRegister, e.Len).masked(e))
	case *expr.Cmp:
		return m.compare(e), 0, nil
	case *expr.Range:
		in := m.get(e.Register, uint32(len(e.FromData))).within(e.FromData, e.ToData)
		return in.invertedIf(e.Op == expr.CmpOpNeq), 0, nil
	case *expr.Lookup:
		return m.lookup(e)
	case *expr.Verdict:
		end, err = m.verdict(e)
		return yes, end, err
	case *expr.Match:
		return m.match(e), 0, nil
	case *expr.Target:
		return yes, m.target(e), nil
	case *expr.NAT:
		m.rewritten = m.rewritten || e.Type == expr.NATTypeDestNAT
		return yes, passes, nil
	case opaque:
		return m.opaque(e)
	}
	return yes, 0, nil
}

// opaque evaluates an expression by its name.
func (m *evaluation) opaque(name opaque) (truth, ends, error) {
	switch name {
	case "counter", "log", "last", "dup":
		return yes, 0, nil
	case "reject":
		return yes, m.blocked(true), nil
	case "masq":
		return yes, passes, nil
	case "notrack":
		m.untracked = true
		return yes, 0, nil
	case "redir":
		m.rewritten = true
		return yes, passes, nil
	case "limit", "quota", "connlimit", "dynset", "objref":
		return maybe, 0, nil
	case "byteorder", "exthdr", "socket", "rt", "osf", "xfrm", "tunnel", "numgen", "hash", "inner":
		m.registers = unknown(64) // one register now has an unknown value
		return maybe, 0, nil
	}
	m.registers = unknown(64)
	m.rewritten, m.unsure = true, true
	m.out |= passes | blocks
	return maybe, 0, nil
}

// place returns the offset of a register in the file of 32-bit registers; the first four numbers
// name groups of four of these (include/uapi/linux/netfilter/nf_tables.h).
func place(register uint32) uint32 {
	if register < unix.NFT_REG32_00 {
		return (register - 1) * 16 % 64
	}
	return (register - unix.NFT_REG32_00) * 4 % 64
}

// put writes whole registers: the kernel zeroes the rest of the last one.
func (m *evaluation) put(register uint32, b bits) {
	at := place(register)
	end := min(at+(uint32(len(b.value))+3)/4*4, 64)
	for i := at; i < end; i++ {
		m.registers.value[i], m.registers.known[i] = 0, 0xff
	}
	copy(m.registers.value[at:], b.value)
	copy(m.registers.known[at:], b.known)
}

func (m *evaluation) get(register, n uint32) bits {
	at := place(register)
	if n > 64-at {
		return unknown(n)
	}
	return bits{m.registers.value[at : at+n], m.registers.known[at : at+n]}
}

// masked returns (b & mask) ^ xor. The result of a shift is unknown.
func (b bits) masked(e *expr.Bitwise) bits {
	out := unknown(e.Len)
	if len(e.Mask) != int(e.Len) || len(e.Xor) != int(e.Len) {
		return out
	}
	for i := range out.value {
		out.value[i] = b.value[i]&e.Mask[i] ^ e.Xor[i]
		out.known[i] = b.known[i] | ^e.Mask[i]
	}
	return out
}

func (m *evaluation) compare(e *expr.Cmp) truth {
	b := m.get(e.Register, uint32(len(e.Data)))
	switch e.Op {
	case expr.CmpOpEq:
		return b.equals(e.Data)
	case expr.CmpOpNeq:
		return b.equals(e.Data).not()
	case expr.CmpOpLt:
		return b.less(e.Data)
	case expr.CmpOpGte:
		return b.less(e.Data).not()
	case expr.CmpOpLte:
		return b.greater(e.Data).not()
	case expr.CmpOpGt:
		return b.greater(e.Data)
	}
	return maybe
}

// lookup evaluates a lookup in a set, or in a map of values or verdicts.
func (m *evaluation) lookup(e *expr.Lookup) (truth, ends, error) {
	s, err := m.ruleset.set(chainKey{m.key.family, m.key.table, e.SetName})
	if err != nil {
		return no, 0, err
	}
	found, t := s.find(func(n int) bits { return m.get(e.SourceRegister, uint32(n)) })
	switch {
	case !e.IsDestRegSet:
		return t.invertedIf(e.Invert), 0, nil
	case t == no:
		return no, 0, nil
	case e.DestRegister != unix.NFT_REG_VERDICT:
		if t == yes && len(found) == 1 {
			m.put(e.DestRegister, certain(found[0].Val))
		} else {
			m.registers = unknown(64)
		}
		return t, 0, nil
	}
	m.unsure = m.unsure || t == maybe
	var out ends
	for _, one := range found {
		v, ok := verdictOf(one)
		if !ok {
			v = &expr.Verdict{Kind: expr.VerdictQueue} // any outcome
		}
		end, err := m.verdict(v)
		if err != nil {
			return no, 0, err
		}
		out |= end
	}
	return t, out, nil
}

// find returns the elements that may contain a key: one element if t is yes.
func (s *set) find(key func(n int) bits) (found []nftables.SetElement, t truth) {
	if s.intervals {
		return s.findInterval(key)
	}
	var rest []nftables.SetElement // the element for all other keys
	for _, e := range s.elements {
		if len(e.Key) == 0 {
			rest = append(rest, e)
			continue
		}
		switch holds(e, key(len(e.Key))) {
		case no:
		case yes:
			return []nftables.SetElement{e}, yes
		case maybe:
			found = append(found, e)
		}
	}
	switch {
	case len(rest) > 0 && len(found) == 0:
		return rest, yes
	case len(found) > 0:
		return append(found, rest...), maybe
	}
	return nil, no
}

// holds tells whether an element of a set without intervals contains a key; an element may be a
// range in each field of a concatenation, whose fields begin at whole registers.
func holds(e nftables.SetElement, key bits) truth {
	if len(e.KeyEnd) != len(e.Key) {
		return key.equals(e.Key)
	}
	out := yes
	for i := 0; i < len(e.Key); i += 4 {
		end := min(i+4, len(e.Key))
		out = min(out, bits{key.value[i:end], key.known[i:end]}.within(e.Key[i:end], e.KeyEnd[i:end]))
	}
	return out
}

// findInterval finds the intervals that may contain a key. An interval ends before the next element.
func (s *set) findInterval(key func(n int) bits) (found []nftables.SetElement, t truth) {
	for i, e := range s.elements {
		if len(e.Key) == 0 {
			return s.elements, maybe // the element for all other keys is not supported here
		}
		if e.IntervalEnd {
			continue
		}
		one := key(len(e.Key)).less(e.Key).not()
		if i+1 < len(s.elements) {
			one = min(one, key(len(e.Key)).less(s.elements[i+1].Key))
		}
		switch one {
		case no:
		case yes:
			return []nftables.SetElement{e}, yes
		case maybe:
			found = append(found, e)
		}
	}
	if len(found) == 0 {
		return nil, no
	}
	return found, maybe
}
