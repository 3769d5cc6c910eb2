package migrate

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// Templates contain placeholders that another program replaces before the text is YAML: ${A} and
// ${A:="x"} (clusterctl, envsubst), {{ .a }} (Cluster API, cloud-init). YAML would take their
// brackets, quotes and colons for its own. hide replaces each of their characters by one character
// that has no meaning in YAML, so that lines and columns stay the same, and reveal reverses that.

// hidden is added to an ASCII character. The sum is a character for private use.
const hidden = 0xF0000

// hide hides the placeholders of a text. A placeholder with quotes is hidden only if quoted is true,
// because in a quoted string its quotes may be escaped. One with an escape is never hidden.
func hide(s string, quoted bool) string {
	if strings.ContainsFunc(s, isHidden) {
		return s // the text itself has such characters
	}
	var b strings.Builder
	for s != "" {
		n := placeholderLen(s)
		if p := s[:n]; n == 0 || strings.Contains(p, `\`) || !quoted && strings.ContainsAny(p, `"'`) {
			// Copy the first character only: a placeholder may begin inside.
			_, n = utf8.DecodeRuneInString(s)
			b.WriteString(s[:n])
		} else {
			for _, c := range p {
				b.WriteRune(hidden + c)
			}
		}
		s = s[n:]
	}
	return b.String()
}

// placeholderLen returns the length of the placeholder at the beginning of s, 0 for none. A
// placeholder ends on its line, and may contain another: ${A:=${B}}.
func placeholderLen(s string) int {
	var end string
	switch {
	case strings.HasPrefix(s, "${"):
		end = "}"
	case strings.HasPrefix(s, "{{"):
		end = "}}"
	default:
		return 0
	}
	for depth, i := 0, 0; i < len(s) && ' ' <= s[i] && s[i] < 0x7f; i++ {
		switch rest := s[i:]; {
		case end == "}" && strings.HasPrefix(rest, "${"):
			depth++
		case strings.HasPrefix(rest, end):
			if depth--; depth <= 0 {
				return i + len(end)
			}
		}
	}
	return 0
}

// alone matches a placeholder on a line of its own, which may stand for any YAML.
var alone = regexp.MustCompile(`^([ \t]*)\$(\{[!-z|~]*\})(\s*)$`)

// hideLines does what hide does, and makes comments of the placeholders that are alone on their lines
// and are no value: "#" and the hidden rest, which no other text becomes.
func hideLines(s string, quoted bool) string {
	if strings.ContainsFunc(s, isHidden) {
		return s
	}
	lines := strings.SplitAfter(s, "\n")
	var b strings.Builder
	for i, line := range lines {
		at := alone.FindStringSubmatch(line)
		if at == nil || isValue(lines, i) {
			b.WriteString(hide(line, quoted))
			continue
		}
		b.WriteString(at[1] + "#" + strings.Map(func(r rune) rune { return hidden + r }, at[2]) + at[3])
	}
	return b.String()
}

// isValue tells whether a line alone is the value of the key before it.
func isValue(lines []string, i int) bool {
	near := func(step int) string {
		for k := i + step; k >= 0 && k < len(lines); k += step {
			if strings.TrimSpace(lines[k]) != "" {
				return strings.TrimRight(lines[k], " \t\r\n")
			}
		}
		return ""
	}
	before, after, indent := near(-1), near(1), indentOf(lines[i])
	return strings.HasSuffix(before, ":") && indent > indentOf(strings.Replace(before, "- ", "  ", 1)) && indent > indentOf(after)
}

// hiddenLine is the beginning of such a comment.
var hiddenLine = "#" + string(rune(hidden+'{'))

func isHidden(r rune) bool { return r >= hidden && r < hidden+utf8.RuneSelf }

// reveal returns the text with its placeholders.
func reveal(s string) string {
	s = strings.ReplaceAll(s, hiddenLine, "${")
	return strings.Map(func(r rune) rune {
		if isHidden(r) {
			return r - hidden
		}
		return r
	}, s)
}

// revealEdits converts edits of a hidden text to edits of the text itself.
func revealEdits(src string, edits []Edit) []Edit {
	var out []Edit
	from, to := 0, 0 // the same place in both texts
	at := func(offset int) int {
		to += len(reveal(src[from:offset]))
		from = offset
		return to
	}
	for _, e := range edits {
		start := at(e.Start)
		out = append(out, Edit{Start: start, End: at(e.End), Text: reveal(e.Text)})
	}
	return out
}
