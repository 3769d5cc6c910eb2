package migrate

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Edit replaces the bytes from Start to End with Text.
type Edit struct {
	Start, End int
	Text       string
}

// apply makes the edits, which are sorted and do not overlap.
func apply(src string, edits []Edit) (string, error) {
	var b strings.Builder
	at := 0
	for _, e := range edits {
		if e.Start < at || e.End < e.Start || e.End > len(src) {
			return "", fmt.Errorf("edits overlap at byte %d", e.Start)
		}
		b.WriteString(src[at:e.Start])
		b.WriteString(e.Text)
		at = e.End
	}
	b.WriteString(src[at:])
	return b.String(), nil
}

func sortEdits(edits []Edit) {
	slices.SortFunc(edits, func(a, b Edit) int { return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.End, b.End)) })
}

// indented indents each line of s but the first by n spaces.
func indented(s string, n int) string {
	if n == 0 {
		return s
	}
	lines := strings.Split(s, "\n")
	for i := range lines {
		if i > 0 && lines[i] != "" {
			lines[i] = strings.Repeat(" ", n) + lines[i]
		}
	}
	return strings.Join(lines, "\n")
}

// embed converts edits of a scalar's value to edits of the surrounding text. result is the value
// after the edits.
func (t text) embed(n *yaml.Node, edits []Edit, result string) ([]Edit, error) {
	start := t.start(n)
	end, err := t.end(n)
	if err != nil {
		return nil, err
	}
	switch {
	case n.Style&yaml.LiteralStyle != 0:
		return t.embedLiteral(n, edits)
	case n.Style&yaml.FoldedStyle != 0:
		// A folded text cannot be changed in part, so it is replaced as a whole.
		b, err := t.block(n)
		if err != nil {
			return nil, err
		}
		header := "|"
		if !strings.HasSuffix(result, "\n") {
			header = "|-"
		}
		return []Edit{{Start: start, End: end, Text: indented(header+"\n"+strings.TrimRight(result, "\n"), b.indent)}}, nil
	case n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0:
		return []Edit{{Start: start, End: end, Text: quoted(result)}}, nil
	}
	return nil, fmt.Errorf("line %d: a manifest as a plain scalar", n.Line)
}

// embedLiteral uses that a line of the value is a line of the text after the indentation.
func (t text) embedLiteral(n *yaml.Node, edits []Edit) ([]Edit, error) {
	b, err := t.block(n)
	if err != nil {
		return nil, err
	}
	inner := newText(n.Value)
	outer := func(offset int) int {
		line := inner.line(offset)
		column := offset - inner.lineStart(line)
		at := t.lineStart(b.first + line - 1)
		if column == 0 {
			return at
		}
		return at + b.indent + column
	}
	var out []Edit
	for _, e := range edits {
		o := Edit{Start: outer(e.Start), End: outer(e.End), Text: indented(e.Text, b.indent)}
		if e.Start == inner.lineStart(inner.line(e.Start)) && e.Text != "" {
			o.Text = strings.Repeat(" ", b.indent) + o.Text
		}
		out = append(out, o)
	}
	return out, nil
}

// quoted returns a double-quoted YAML scalar.
func quoted(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(fmt.Sprintf("quote %q: %v", s, err)) // strings encode without error
	}
	return strings.TrimSuffix(b.String(), "\n")
}
