package timeline

import (
	"cmp"
	"slices"

	"github.com/vipd-io/vipd/e2e/judge/analyse"
	"github.com/vipd-io/vipd/e2e/judge/record"
)

// Heights in pixels. The labels of lines are at the top, above the axis.
const (
	labelHeight = 16
	labelRows   = 8
	axisHeight  = 22
	laneHeight  = 15
	bandGap     = 10
)

// A drawing is an episode to be drawn.
type drawing struct {
	record.Episode
	violations []analyse.Violation // sorted by time
	gaps       []analyse.Gap
}

// A chart is one SVG image.
type chart struct {
	Title               string
	From, To            float64 // in seconds since the fault
	Axis, Bottom, Right px
	Healing             px // where the healing after the fault begins
	Ticks               []tick
	Lines               []line
	Bands               []band
}

// A band is a node, or the clients, with its lanes one below the other.
type band struct {
	Name, Class string
	Y, Height   px
	Lanes       []lane
}

type lane struct {
	Name   string
	Y      px
	Shapes []shape
	latest map[string]int // index of the latest shape of each class
}

// A shape is a bar, or a marker. The title is a tooltip.
type shape struct {
	X, W        px
	Class       string
	Text, Title string
	More        int    // merged into it
	Sign        string // the path of a marker, from the top of its lane
}

// A line goes through all bands.
type line struct {
	X, Y, TextX  px
	Class        string
	Label, Title string
	Anchor       string
}

func (d drawing) chart(title string, v view) chart {
	c := chart{Title: title, From: v.from.Sub(v.zero).Seconds(), To: v.to.Sub(v.zero).Seconds(), Right: right,
		Healing: v.x(d.End), Ticks: v.ticks(), Lines: d.lines(v), Bands: d.bands(v)}
	c.Axis = px(place(c.Lines)*labelHeight + axisHeight - 6)
	y := c.Axis + 6
	for i := range c.Bands {
		b := &c.Bands[i]
		b.Y = y + bandGap
		for j := range b.Lanes {
			b.Lanes[j].Y = b.Y + px(j*laneHeight)
		}
		b.Height = px(len(b.Lanes) * laneHeight)
		y = b.Y + b.Height
	}
	c.Bottom = y + bandGap
	return c
}

// lines returns the actions of the lab, the end of the fault, and the violations. The first
// violation of each rule has a label; further ones are drawn only as far as they can be told apart.
func (d drawing) lines(v view) (out []line) {
	add := func(at record.Time, class, label, title string) {
		if v.has(at) {
			out = append(out, line{X: v.x(at), Class: class, Label: shorten(label, 60), Title: v.rel(at) + ": " + title})
		}
	}
	for _, m := range d.History.Marks {
		add(m.At, "mark", m.Text, m.Text)
	}
	add(d.End, "end", "end of the fault", "end of the fault, the lab heals")
	named := make(map[analyse.Rule]bool)
	latest := px(0)
	for _, f := range d.violations {
		if !v.has(f.At) || named[f.Rule] && v.x(f.At)-latest < mergeDistance {
			continue
		}
		label := string(f.Rule)
		if named[f.Rule] {
			label = ""
		}
		add(f.At, "violation", label, string(f.Rule)+": "+shorten(f.Why, 100))
		named[f.Rule], latest = true, v.x(f.At)
	}
	slices.SortStableFunc(out, func(a, b line) int { return cmp.Compare(a.X, b.X) })
	return out
}

// place arranges the labels in rows, and returns the number of rows. Labels without room are
// omitted.
func place(lines []line) (rows int) {
	var ends [labelRows]px
	for i := range lines {
		l := &lines[i]
		width := px(len([]rune(l.Label)))*6.3 + 12
		begin := l.X
		l.TextX, l.Anchor = l.X+4, "start"
		if begin+width > right+15 {
			begin -= width
			l.TextX, l.Anchor = l.X-4, "end"
		}
		row := slices.IndexFunc(ends[:], func(end px) bool { return end <= begin })
		if l.Label == "" || row < 0 {
			l.Label, l.Y = "", labelRows*labelHeight // set below
			continue
		}
		ends[row] = begin + width
		l.Y = px(row * labelHeight)
		rows = max(rows, row+1)
	}
	for i := range lines {
		lines[i].Y = min(lines[i].Y, px(rows*labelHeight))
	}
	return rows
}
