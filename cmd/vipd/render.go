package main

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vipd-io/vipd/pkg/status"
)

// style is an SGR parameter (ECMA-48, 8.3.117).
type style string

const (
	plain  style = ""
	bold   style = "1"
	dim    style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
)

// word is a piece of a line.
type word struct {
	text  string
	style style
}

// page is text that is being made. Its lines fit the width; 0 is without an end.
type page struct {
	width  int
	colour bool
	b      strings.Builder
}

// line writes one line, and cuts off what does not fit.
func (p *page) line(words ...word) {
	left := p.width
	var out strings.Builder
	for i, w := range words {
		if i > 0 && i == len(words)-1 {
			w.text = strings.TrimRight(w.text, " ")
		}
		n := utf8.RuneCountInString(w.text)
		if p.width > 0 {
			if n > left {
				w.text, n = cut(w.text, left), left
			}
			left -= n
		}
		if p.colour && w.style != plain && w.text != "" {
			w.text = "\x1b[" + string(w.style) + "m" + w.text + "\x1b[0m"
		}
		out.WriteString(w.text)
	}
	p.b.WriteString(strings.TrimRight(out.String(), " ") + "\n")
}

// cut shortens a text to n characters.
func cut(s string, n int) string {
	r := []rune(s)
	switch {
	case len(r) <= n:
		return s
	case n > 3:
		return string(r[:n-3]) + "..."
	}
	return string(r[:max(n, 0)])
}

// indent is where what belongs to a label begins.
const indent = 13

// field writes a label and what belongs to it, over several lines if need be.
func (p *page) field(label string, st style, text string) {
	for i, l := range wrap(text, p.width-indent) {
		if i > 0 {
			label = ""
		}
		p.line(word{fmt.Sprintf("%-*s", indent, label), bold}, word{l, st})
	}
}

// problems lists sentences.
func (p *page) problems(all []string) {
	label := "Problems"
	for _, text := range all {
		for i, l := range wrap(text, p.width-indent-2) {
			mark := "- "
			if i > 0 {
				mark = "  "
			}
			p.line(word{fmt.Sprintf("%-*s", indent, label), bold}, word{mark + l, yellow})
			label = ""
		}
	}
}

// doctor lists findings. Of one that is content there is nothing to say.
func (p *page) doctor(d *status.Doctor) {
	if d == nil {
		return
	}
	label := "Doctor"
	for _, f := range d.Findings {
		paint := yellow
		if f.Severity == "error" {
			paint = red
		}
		for i, l := range wrap(f.Seen, p.width-indent-2) {
			text := "  " + l
			if i == 0 {
				text = "- " + l
			}
			p.line(word{fmt.Sprintf("%-*s", indent, label), bold}, word{text, paint})
			label = ""
		}
		p.line(word{strings.Repeat(" ", indent), plain}, word{"  mend it: vipd doctor explain " + f.ID, plain})
	}
}

// wrap breaks a text between words where it is longer than width; not at all if
// that is too little to read.
func wrap(text string, width int) []string {
	if width < 20 {
		return []string{text}
	}
	var out []string
	line := ""
	for w := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = w
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(w) <= width:
			line += " " + w
		default:
			out, line = append(out, line), w
		}
	}
	return append(out, line)
}

// maxColumn is the widest that a column is that is not the last.
const maxColumn = 32

// table writes rows of equally many words in columns.
func (p *page) table(rows [][]word) {
	widths := make([]int, len(rows[0]))
	for _, r := range rows {
		for i, w := range r {
			widths[i] = max(widths[i], min(utf8.RuneCountInString(w.text), maxColumn))
		}
	}
	for _, r := range rows {
		for i := range r[:len(r)-1] {
			t := cut(r[i].text, widths[i])
			r[i].text = t + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(t)+2)
		}
		p.line(r...)
	}
}

// head is the first row of a table.
func head(names ...string) []word {
	var out []word
	for _, n := range names {
		out = append(out, word{n, bold})
	}
	return out
}

// clock is a time of day in UTC, as in vipd's log, or a day and a time if it is
// another day.
func clock(t, now time.Time) string {
	if t = t.UTC(); t.Format(time.DateOnly) == now.UTC().Format(time.DateOnly) {
		return t.Format("15:04:05Z")
	}
	return t.Format("2006-01-02 15:04Z")
}

// span is a length of time as it is said.
func span(d time.Duration) string {
	s := int64(max(0, d).Seconds())
	switch {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min", s/60)
	case s < 86400:
		return fmt.Sprintf("%d h %d min", s/3600, s%3600/60)
	}
	return fmt.Sprintf("%d d %d h", s/86400, s%86400/3600)
}

// seconds is a measured length of time.
func seconds(s float64) string {
	switch {
	case s == 0:
		return ""
	case s < 10:
		return fmt.Sprintf("%.3f s", s)
	}
	return fmt.Sprintf("%.1f s", s)
}

// since says when something began and how long ago that is.
func since(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return fmt.Sprintf(" since %s (%s)", clock(t, now), span(now.Sub(t)))
}
