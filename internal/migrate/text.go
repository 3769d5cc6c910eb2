package migrate

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// text is YAML with the offsets of its lines. A node of yaml.v3 has a position, but no end: text
// determines the end.
type text struct {
	src   string
	lines []int
}

const bom = "\ufeff"

// breaks are the line breaks of yaml.v3 (YAML 1.1).
var breaks = []string{"\r\n", "\n", "\r", "\u0085", "\u2028", "\u2029"}

func newText(src string) text {
	t := text{src: src, lines: []int{0}}
	if strings.HasPrefix(src, bom) {
		t.lines[0] = len(bom) // yaml.v3 does not count it as a column
	}
	for i := t.lines[0]; i < len(src); {
		if n := lineBreak(src[i:]); n > 0 {
			i += n
			t.lines = append(t.lines, i)
			continue
		}
		_, n := utf8.DecodeRuneInString(src[i:])
		i += n
	}
	return t
}

// lineBreak returns the length of the line break at the beginning of s, 0 for none.
func lineBreak(s string) int {
	for _, b := range breaks {
		if strings.HasPrefix(s, b) {
			return len(b)
		}
	}
	return 0
}

// offset converts a line and a column, both from 1, to an offset; columns count characters.
func (t text) offset(line, column int) int {
	if line < 1 || line > len(t.lines) {
		return len(t.src)
	}
	at := t.lines[line-1]
	for range column - 1 {
		_, n := utf8.DecodeRuneInString(t.src[at:])
		at += n
	}
	return at
}

// line returns the line, from 1, of an offset.
func (t text) line(offset int) int {
	n := 1
	for n < len(t.lines) && t.lines[n] <= offset {
		n++
	}
	return n
}

// lineStart returns the offset of a line; after the last one, the end of the text.
func (t text) lineStart(line int) int {
	if line > len(t.lines) {
		return len(t.src)
	}
	return t.lines[line-1]
}

// rest returns the rest of the line after an offset, without the line break.
func (t text) rest(offset int) string {
	end := offset
	for end < len(t.src) && lineBreak(t.src[end:]) == 0 {
		end++
	}
	return t.src[offset:end]
}

// properties matches the anchor and the tag before a node.
var properties = regexp.MustCompile(`^(?:[&!]\S*\s+)+`)

// start returns the offset of the node itself, after anchor and tag.
func (t text) start(n *yaml.Node) int {
	at := t.offset(n.Line, n.Column)
	if n.Anchor != "" || n.Style&yaml.TaggedStyle != 0 {
		at += len(properties.FindString(t.src[at:]))
	}
	return at
}

var errExtent = errors.New("its end is not to be found")

// end returns the offset after a node.
func (t text) end(n *yaml.Node) (int, error) {
	at := t.start(n)
	switch n.Kind {
	case yaml.AliasNode:
		return at + len("*") + len(n.Value), nil
	case yaml.ScalarNode:
		return t.scalarEnd(n, at)
	case yaml.MappingNode, yaml.SequenceNode:
		return t.collectionEnd(n, at)
	default:
		return 0, errExtent
	}
}

func (t text) collectionEnd(n *yaml.Node, at int) (int, error) {
	var err error
	flow := n.Style&yaml.FlowStyle != 0
	if flow {
		at++ // the bracket
	}
	if len(n.Content) > 0 {
		if at, err = t.end(n.Content[len(n.Content)-1]); err != nil {
			return 0, err
		}
	}
	if !flow {
		return at, nil
	}
	for at < len(t.src) {
		switch c := t.src[at]; {
		case c == ']' || c == '}':
			return at + 1, nil
		case c == '#':
			at += len(t.rest(at))
		case strings.ContainsRune(" \t\r\n,:", rune(c)): // an empty value may follow a colon
			at++
		default:
			return 0, errExtent
		}
	}
	return 0, errExtent
}

func (t text) scalarEnd(n *yaml.Node, at int) (int, error) {
	switch {
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		b, err := t.block(n)
		return b.end, err
	case n.Style&yaml.DoubleQuotedStyle != 0:
		return t.quoteEnd(at, '"')
	case n.Style&yaml.SingleQuotedStyle != 0:
		return t.quoteEnd(at, '\'')
	case n.Tag == "!!null" && !strings.HasPrefix(t.src[at:], n.Value), n.Value == "":
		return at, nil
	}
	return t.plainEnd(n, at)
}

func (t text) quoteEnd(at int, quote byte) (int, error) {
	for i := at + 1; i < len(t.src); i++ {
		switch {
		case t.src[i] == '\\' && quote == '"':
			i++
		case t.src[i] == quote && quote == '\'' && strings.HasPrefix(t.src[i:], "''"):
			i++
		case t.src[i] == quote:
			return i + 1, nil
		}
	}
	return 0, errExtent
}

// plainEnd compares the value with the source; for a space in the value, the source may have a line
// break and an indentation.
func (t text) plainEnd(n *yaml.Node, at int) (int, error) {
	for v := n.Value; v != ""; {
		if folded := t.fold(at); folded > 0 && (v[0] == ' ' || v[0] == '\n') {
			at += folded
			v = v[1:]
			v = strings.TrimLeft(v, "\n")
			continue
		}
		if at >= len(t.src) || t.src[at] != v[0] {
			return 0, errExtent
		}
		at, v = at+1, v[1:]
	}
	return at, nil
}

// fold returns the length of the white space at an offset if it contains a line break, else 0.
func (t text) fold(at int) int {
	space := len(t.src[at:]) - len(strings.TrimLeft(t.src[at:], " \t\r\n"))
	if !strings.ContainsAny(t.src[at:at+space], "\r\n") {
		return 0
	}
	return space
}

// block is the position of the content of a literal or folded scalar.
type block struct {
	indent int // columns before each line
	first  int // the first line of the content
	end    int // after the last line that is not blank, without its line break
}

func (t text) block(n *yaml.Node) (block, error) {
	header := t.line(t.start(n))
	b := block{first: header + 1, indent: -1, end: t.start(n) + len(strings.TrimRight(t.rest(t.start(n)), " \t"))}
	values := strings.Split(n.Value, "\n")
	for line := b.first; line <= len(t.lines); line++ {
		raw := t.rest(t.lineStart(line))
		indent := len(raw) - len(strings.TrimLeft(raw, " "))
		if strings.Trim(raw, " \t") == "" {
			continue
		}
		if b.indent < 0 {
			i := line - b.first
			if i >= len(values) || !strings.HasSuffix(raw, values[i]) {
				return b, errExtent
			}
			b.indent = len(raw) - len(values[i])
		}
		if indent < b.indent {
			break
		}
		b.end = t.lineStart(line) + len(raw)
	}
	if b.indent < 0 {
		b.indent = 0 // empty
	}
	return b, nil
}

// dash returns the offset of the dash of an item of a block sequence. The error means that the dash
// is not the first character of its line.
func (t text) dash(item *yaml.Node) (int, error) {
	before := strings.TrimRight(t.src[:t.offset(item.Line, item.Column)], " \t\r\n")
	if !strings.HasSuffix(before, "-") {
		return 0, fmt.Errorf("line %d: an item that is not behind a dash", item.Line)
	}
	at := len(before) - 1
	if start := t.lineStart(t.line(at)); strings.Trim(t.src[start:at], " ") != "" {
		return 0, fmt.Errorf("line %d: an item with something else before its dash", item.Line)
	}
	return at, nil
}

// wholeLines returns the lines from the one with the offset, which has to be the first character of
// its line, to the end of the node, after which only a comment may follow.
func (t text) wholeLines(from int, n *yaml.Node) (Edit, error) {
	end, err := t.end(n)
	if err != nil {
		return Edit{}, fmt.Errorf("line %d: %w", n.Line, err)
	}
	if rest := strings.TrimLeft(t.rest(end), " \t"); rest != "" && rest[0] != '#' {
		return Edit{}, fmt.Errorf("line %d: something else behind it on its line", t.line(end))
	}
	return Edit{Start: t.lineStart(t.line(from)), End: t.lineStart(t.line(end) + 1)}, nil
}
