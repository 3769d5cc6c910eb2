package migrate

import (
	"regexp"
	"strings"
)

// sedOp is one operation of a script of sed.
type sedOp struct {
	// patterns are those of the addresses, and what s replaces.
	patterns []*regexp.Regexp
	// match is what s replaces, and replacement with what; match is nil for other operations.
	match       *regexp.Regexp
	replacement string
	// structural tells that the operation deletes or inserts lines; numbered, that it counts lines.
	structural, numbered bool
}

// sedOps reads the scripts of a call of sed. ok is false if one is not known, or contains a variable
// of the shell in a pattern.
func sedOps(statement string) (ops []sedOp, ok bool) {
	words := shellWords(statement)
	var scripts []string
	extended, given := false, false
	for i := 1; i < len(words); i++ {
		switch w := words[i]; {
		case w == "-e" || w == "--expression":
			if i++; i < len(words) {
				scripts, given = append(scripts, words[i]), true
			}
		case strings.HasPrefix(w, "--expression="):
			scripts, given = append(scripts, strings.TrimPrefix(w, "--expression=")), true
		case w == "-f" || strings.HasPrefix(w, "--file"):
			return nil, false
		case strings.HasPrefix(w, "--"):
			extended = extended || w == "--regexp-extended"
		case strings.HasPrefix(w, "-") && len(w) > 1:
			extended = extended || !strings.HasPrefix(w, "-i") && strings.ContainsAny(w, "rE") || w == "-ir" || w == "-iE"
			if strings.HasSuffix(w, "e") && !strings.HasPrefix(w, "-i") && i+1 < len(words) {
				i++
				scripts, given = append(scripts, words[i]), true
			}
		case !given:
			scripts, given = append(scripts, w), true
		}
	}
	for _, script := range scripts {
		p := sedParser{rest: script, extended: extended}
		for p.op() {
		}
		if p.failed {
			return nil, false
		}
		ops = append(ops, p.ops...)
	}
	return ops, len(ops) > 0
}

type sedParser struct {
	rest     string
	extended bool
	ops      []sedOp
	failed   bool
	within   []sedOp // the addresses of the open braces
}

// op reads one operation; false at the end.
func (p *sedParser) op() bool {
	p.rest = strings.TrimLeft(p.rest, " \t\n;")
	if p.rest == "" || p.failed {
		return false
	}
	if p.rest[0] == '}' {
		p.rest = p.rest[1:]
		if len(p.within) > 0 {
			p.within = p.within[:len(p.within)-1]
		}
		return true
	}
	op := p.addresses()
	p.rest = strings.TrimLeft(p.rest, " \t!")
	if p.rest == "" {
		p.failed = true
		return false
	}
	command := p.rest[0]
	p.rest = p.rest[1:]
	switch command {
	case '{':
		p.within = append(p.within, op)
		return true
	case 's', 'y':
		p.substitution(&op, command)
	case 'a', 'i', 'c', 'r', 'R', 'w':
		op.structural = true
		if n := strings.IndexByte(p.rest, '\n'); n >= 0 && !strings.HasPrefix(p.rest, "\\\n") {
			p.rest = p.rest[n:]
		} else {
			p.rest = ""
		}
	case 'd', 'D':
		op.structural = true
	case 'n', 'N', 'p', 'P', 'h', 'H', 'g', 'G', 'x', '=', 'q', 'Q', 'l':
	default:
		p.failed = true
		return false
	}
	for _, around := range p.within {
		op.patterns = append(op.patterns, around.patterns...)
		op.numbered = op.numbered || around.numbered
	}
	p.ops = append(p.ops, op)
	return true
}

// count matches an address that counts lines.
var count = regexp.MustCompile(`^[+~]?\d+(?:~\d+)?|^\$`)

func (p *sedParser) addresses() (op sedOp) {
	for {
		p.rest = strings.TrimLeft(p.rest, " \t")
		switch {
		case p.rest == "":
			return op
		case p.rest[0] == '/' || p.rest[0] == '\\' && len(p.rest) > 1:
			p.rest = strings.TrimPrefix(p.rest, "\\")
			delimiter := p.rest[0]
			p.rest = p.rest[1:]
			op.patterns = p.pattern(op.patterns, p.until(delimiter))
			p.rest = strings.TrimLeft(p.rest, "I")
		case count.MatchString(p.rest):
			found := count.FindString(p.rest)
			p.rest = p.rest[len(found):]
			op.numbered = op.numbered || len(op.patterns) == 0
		default:
			return op
		}
		p.rest = strings.TrimLeft(p.rest, " \t")
		if !strings.HasPrefix(p.rest, ",") {
			return op
		}
		p.rest = p.rest[1:]
	}
}

func (p *sedParser) substitution(op *sedOp, command byte) {
	if p.rest == "" {
		p.failed = true
		return
	}
	delimiter := p.rest[0]
	p.rest = p.rest[1:]
	from := p.until(delimiter)
	op.replacement = p.until(delimiter)
	p.rest = strings.TrimLeft(p.rest, "gIipeMm0123456789")
	if command == 's' && from != "" {
		before := len(op.patterns)
		if op.patterns = p.pattern(op.patterns, from); len(op.patterns) > before {
			op.match = op.patterns[before]
		}
	}
}

// until reads to the delimiter.
func (p *sedParser) until(delimiter byte) string {
	for i := 0; i < len(p.rest); i++ {
		switch {
		case p.rest[i] == '\\' && i+1 < len(p.rest):
			i++
		case p.rest[i] == delimiter:
			s := p.rest[:i]
			p.rest = p.rest[i+1:]
			if delimiter != '\\' {
				s = strings.ReplaceAll(s, `\`+string(delimiter), string(delimiter))
			}
			return s
		}
	}
	p.failed = true
	return ""
}

// pattern adds a pattern; one with a variable of the shell is not known.
func (p *sedParser) pattern(to []*regexp.Regexp, s string) []*regexp.Regexp {
	if strings.ContainsAny(s, "\x00`") {
		return to
	}
	re, err := regexp.Compile(basic(s, p.extended))
	if err != nil {
		p.failed = true
		return to
	}
	return append(to, re)
}

// basic converts a pattern of sed to one of package regexp: without -E, the brackets and signs that
// have a meaning are those behind a backslash.
func basic(s string, extended bool) string {
	if extended {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			i++
			if !strings.ContainsRune("(){}|+?", rune(s[i])) {
				b.WriteByte('\\')
			}
			b.WriteByte(s[i])
		case c == '[':
			// A class ends at the next bracket, which is not its first character.
			end := i + 1 + strings.IndexByte(s[min(i+2, len(s)):], ']') + 1
			if end <= i+1 || end >= len(s) {
				b.WriteString(`\[`)
				continue
			}
			b.WriteString(s[i : end+1])
			i = end
		case strings.IndexByte("(){}|+?", c) >= 0:
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '*' && b.Len() == 0:
			b.WriteString(`\*`)
		case c == '$' && i+1 < len(s) || c == '^' && i > 0:
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// shellWords splits a statement into its words, without their quotes. A variable or command whose
// value is not known becomes a zero byte.
func shellWords(s string) (out []string) {
	var b strings.Builder
	started := false
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == ' ' || c == '\t' || c == '\n':
			if started {
				out = append(out, b.String())
			}
			b.Reset()
			started = false
			i++
			continue
		case c == '\'':
			quoted := token(s[i:])
			b.WriteString(strings.Trim(quoted, "'"))
			i += len(quoted)
		case c == '"':
			quoted := token(s[i:])
			b.WriteString(unquoted(strings.TrimSuffix(quoted[1:], `"`)))
			i += len(quoted)
		case c == '\\' && i+1 < len(s):
			b.WriteByte(s[i+1])
			i += 2
		case c == '$':
			n := len(expansion.FindString(s[i:]))
			if strings.HasPrefix(s[i:], "$(") {
				n = len(token(s[i:]))
			}
			if n == 0 {
				b.WriteByte(c)
				n = 1
			} else {
				b.WriteByte(0)
			}
			i += n
		default:
			b.WriteByte(c)
			i++
		}
		started = true
	}
	if started {
		out = append(out, b.String())
	}
	return out
}

var expansion = regexp.MustCompile(`^\$(?:\w+|\{[^}]*\})`)

// unquoted returns the content of double quotes.
func unquoted(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		switch {
		case s[i] == '\\' && i+1 < len(s) && strings.IndexByte("$`\"\\\n", s[i+1]) >= 0:
			b.WriteByte(s[i+1])
			i += 2
		case strings.HasPrefix(s[i:], "$("):
			b.WriteByte(0)
			i += len(token(s[i:]))
		case expansion.MatchString(s[i:]):
			b.WriteByte(0)
			i += len(expansion.FindString(s[i:]))
		default:
			b.WriteByte(s[i])
			i++
		}
	}
	return b.String()
}
