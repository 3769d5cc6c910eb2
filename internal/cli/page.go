package cli

import (
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/vipd-io/vipd/internal/status"
)

// plain is the terminal's own colour.
const plain = text.Reset

// page builds text for a terminal. Lines fit the width. The width of a pipe is 0: nothing is
// wrapped or cut.
type page struct {
	width  int
	colour bool
	b      strings.Builder
}

// paint colours each line of a text. The library's Sprint is not used, because it reads NO_COLOR
// again, which --color overrides.
func (p *page) paint(c text.Color, s string) string {
	if !p.colour || c == plain || s == "" {
		return s
	}
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = text.Escape(l, c.EscapeSeq())
	}
	return strings.Join(lines, "\n")
}

// minWrap is the narrowest column that wrapped text can be read in.
const minWrap = 12

// wrap breaks a text between words where it is wider than width.
func wrap(s string, width int) string {
	if width < minWrap {
		return s
	}
	lines := strings.Split(text.WrapSoft(s, width), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " ") // the library pads
	}
	return strings.Join(lines, "\n")
}

// gap writes an empty line.
func (p *page) gap() { p.b.WriteString("\n") }

// paragraph writes a text after a head. Further lines of the text are indented.
func (p *page) paragraph(head string, indent int, c text.Color, s string) {
	lines := p.paint(c, wrap(s, p.width-indent))
	p.b.WriteString(text.Pad(head, indent, ' ') + strings.ReplaceAll(lines, "\n", "\n"+strings.Repeat(" ", indent)) + "\n")
}

// indent is the column of the text that belongs to a label.
const indent = 13

// field writes a label and its text.
func (p *page) field(label string, c text.Color, s string) {
	p.paragraph(p.paint(text.Bold, label), indent, c, s)
}

// item writes one entry of a list. The first one has the label of the list.
func (p *page) item(label string, c text.Color, s string) {
	p.paragraph(text.Pad(p.paint(text.Bold, label), indent, ' ')+p.paint(c, "-"), indent+2, c, s)
}

// problems lists sentences.
func (p *page) problems(all []string) {
	label := "Problems"
	for _, s := range all {
		p.item(label, text.FgYellow, s)
		label = ""
	}
}

// doctor lists the findings of the self-check.
func (p *page) doctor(d *status.Doctor) {
	if d == nil {
		return
	}
	label := "Doctor"
	for _, f := range d.Findings {
		c := text.FgYellow
		if f.Severity == "error" {
			c = text.FgRed
		}
		p.item(label, c, f.Seen)
		p.paragraph("", indent+2, plain, "fix: vipd doctor explain "+f.ID)
		label = ""
	}
}

// cell is a part of a table's row.
type cell struct {
	text   string
	colour text.Color
}

// head is the first row of a table.
func head(names ...string) []cell {
	var out []cell
	for _, n := range names {
		out = append(out, cell{n, text.Bold})
	}
	return out
}

// maxColumn is the greatest width of a column that is not the last.
const maxColumn = 32

// table writes rows of equally many cells in columns, without borders. The last column is
// wrapped where it is wider than the other columns leave it.
func (p *page) table(rows [][]cell) {
	t := table.NewWriter()
	t.SetStyle(table.Style{
		Box:     table.BoxStyle{MiddleVertical: "  ", UnfinishedRow: "..."},
		Options: table.Options{SeparateColumns: true},
		Size:    table.SizeOptions{WidthMax: p.width},
	})
	t.SuppressTrailingSpaces()
	left, last := p.width, len(rows[0])-1
	for i := range last {
		widest := 0
		for _, r := range rows {
			r[i].text = text.Snip(r[i].text, maxColumn, "...")
			widest = max(widest, text.StringWidth(r[i].text))
		}
		left -= widest + 2
	}
	for _, r := range rows {
		r[last].text = wrap(r[last].text, left)
		if left < minWrap {
			r[last].text = text.Snip(r[last].text, left, "...")
		}
		var row table.Row
		for _, c := range r {
			row = append(row, p.paint(c.colour, c.text))
		}
		t.AppendRow(row)
	}
	p.b.WriteString(t.Render() + "\n")
}
