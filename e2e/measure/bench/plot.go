package bench

import (
	"bytes"
	"fmt"
	"image/color"
	"io"
	"math"
	"slices"
	"time"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// The axis of time starts a little below the interval of requests, which is the resolution, and
// ends above the longest wait.
const (
	axisBegin = 7 * time.Millisecond
	shortest  = 10 * time.Millisecond
	longest   = 100 * time.Second
)

const (
	columns    = 3
	tileWidth  = 8.2 * vg.Centimeter
	tileHeight = 4.6 * vg.Centimeter
	headHeight = 1.5 * vg.Centimeter
)

// colours are distinguishable for people with colour blindness, on white.
var colours = []color.Color{
	color.RGBA{0x00, 0x72, 0xb2, 0xff},
	color.RGBA{0xe6, 0x9f, 0x00, 0xff},
	color.RGBA{0xcc, 0x3d, 0x6e, 0xff},
	color.RGBA{0x00, 0x9e, 0x73, 0xff},
	color.RGBA{0x55, 0x55, 0x55, 0xff},
}

var (
	black = color.RGBA{0x22, 0x22, 0x22, 0xff}
	grey  = color.RGBA{0xcc, 0xcc, 0xcc, 0xff}
)

// A curve is the share of runs in which the VIP was unreachable for at most that long, as steps.
type curve struct {
	contender int // index of the contender, which selects the colour
	points    plotter.XYs
	// two tells that two nodes answered in a run.
	two bool
}

// curves returns the curves of one fault.
func (r *Report) curves(fault string) []curve {
	var out []curve
	for i, c := range r.Contenders {
		results := r.of(fault, c.Name)
		if len(results) == 0 {
			continue
		}
		next := curve{contender: i, points: steps(results)}
		next.two = slices.ContainsFunc(results, func(r Result) bool { return r.Together > 0 })
		out = append(out, next)
	}
	return out
}

// steps returns the steps in the order of the times. A run that ended with the VIP unreachable
// counts for the number of runs only: the curve then reaches the edge of the plot below the top.
func steps(results []Result) plotter.XYs {
	var times []float64
	for _, r := range results {
		if !r.Open {
			times = append(times, min(max(r.Unreachable, shortest), longest).Seconds())
		}
	}
	slices.Sort(times)
	var points plotter.XYs
	share := 0.0
	for i, x := range times {
		points = append(points, plotter.XY{X: x, Y: share})
		share = float64(i+1) / float64(len(results)) * 100
		points = append(points, plotter.XY{X: x, Y: share})
	}
	if len(times) == len(results) {
		return points
	}
	if len(times) == 0 {
		points = append(points, plotter.XY{X: axisBegin.Seconds()})
	}
	return append(points, plotter.XY{X: longest.Seconds(), Y: share})
}

// Plot writes an SVG image with a plot for each fault.
func (r *Report) Plot(w io.Writer) error {
	var faults []Named
	for _, f := range r.Faults {
		if f.Name != "none" && len(r.curves(f.Name)) > 0 {
			faults = append(faults, f)
		}
	}
	rows := (len(faults) + columns - 1) / columns
	if rows == 0 {
		return fmt.Errorf("draw plot: no results")
	}
	plots := make([][]*plot.Plot, rows)
	for i := range plots {
		plots[i] = make([]*plot.Plot, columns)
	}
	for i, f := range faults {
		p, err := r.tile(f)
		if err != nil {
			return fmt.Errorf("draw %s: %w", f.Title, err)
		}
		plots[i/columns][i%columns] = p
	}
	svg := vgsvg.NewWith(vgsvg.UseWH(columns*tileWidth, vg.Length(rows)*tileHeight+headHeight))
	canvas := draw.New(svg)
	canvas.SetColor(color.White)
	canvas.Fill(canvas.Path())
	tiles := draw.Tiles{Rows: rows, Cols: columns, PadX: 6 * vg.Millimeter, PadY: 5 * vg.Millimeter,
		PadTop: headHeight, PadBottom: 3 * vg.Millimeter, PadLeft: 3 * vg.Millimeter, PadRight: 6 * vg.Millimeter}
	for i, row := range plot.Align(plots, tiles, canvas) {
		for j, c := range row {
			if plots[i][j] != nil {
				plots[i][j].Draw(c)
			}
		}
	}
	r.head(canvas)
	return writeSVG(w, svg)
}

// tile returns the plot of one fault.
func (r *Report) tile(f Named) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text = f.Title
	p.Title.TextStyle = style(10, true)
	p.Title.TextStyle.XAlign, p.Title.TextStyle.YAlign = text.XCenter, text.YTop
	p.Title.Padding = 1.5 * vg.Millimeter
	p.X.Min, p.X.Max, p.X.Scale = axisBegin.Seconds(), longest.Seconds(), plot.LogScale{}
	p.X.Tick.Marker = plot.ConstantTicks(timeTicks())
	p.Y.Min, p.Y.Max = 0, 100
	p.Y.Tick.Marker = plot.ConstantTicks{{Value: 0, Label: "0 %"}, {Value: 50, Label: "50 %"}, {Value: 100, Label: "100 %"}}
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Tick.Label.Font = style(8, false).Font
		axis.Color, axis.Tick.Color, axis.Tick.Label.Color = black, black, black
		axis.Padding = 0
	}
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = grey, grey
	p.Add(grid)
	for _, c := range r.curves(f.Name) {
		l, err := plotter.NewLine(c.points)
		if err != nil {
			return nil, err
		}
		l.LineStyle = c.style()
		p.Add(l)
	}
	return p, nil
}

func (c curve) style() draw.LineStyle {
	s := draw.LineStyle{Color: colours[c.contender%len(colours)], Width: vg.Points(2)}
	if c.two {
		s.Dashes = []vg.Length{vg.Points(4), vg.Points(4)}
		s.DashOffs = vg.Points(4 * float64(c.contender)) // so that one curve does not hide the next
	}
	return s
}

// timeTicks returns ticks with labels at powers of ten.
func timeTicks() (ticks []plot.Tick) {
	labels := map[int]string{-2: "10 ms", -1: "100 ms", 0: "1 s", 1: "10 s", 2: "100 s"}
	for power := -2; power <= 2; power++ {
		unit := math.Pow10(power)
		ticks = append(ticks, plot.Tick{Value: unit, Label: labels[power]})
		for i := 2; i < 10 && power < 2; i++ {
			ticks = append(ticks, plot.Tick{Value: float64(i) * unit})
		}
	}
	return ticks
}

// head draws the title and the legend of all plots.
func (r *Report) head(c draw.Canvas) {
	left, top := c.Min.X+4*vg.Millimeter, c.Max.Y-5*vg.Millimeter
	c.FillText(style(12, true), vg.Point{X: left, Y: top}, "Share of runs in which the VIP was unreachable for at most this long")
	y := top - 6*vg.Millimeter
	entry := func(s draw.LineStyle, name string) {
		c.StrokeLine2(s, left, y+vg.Points(3), left+8*vg.Millimeter, y+vg.Points(3))
		left += 9 * vg.Millimeter
		label := style(10, false)
		c.FillText(label, vg.Point{X: left, Y: y}, name)
		left += label.Width(name) + 8*vg.Millimeter
	}
	for i, contender := range r.Contenders {
		entry(curve{contender: i}.style(), contender.Name)
	}
	dashed := curve{two: true}.style()
	dashed.Color = black
	entry(dashed, "dashed: two nodes answered for the VIP meanwhile")
}

func style(size font.Length, bold bool) text.Style {
	f := font.From(plot.DefaultFont, size)
	f.Variant = "Sans"
	if bold {
		f.Weight = xfont.WeightBold
	}
	return text.Style{Color: black, Font: f, Handler: plot.DefaultTextHandler}
}

// writeSVG adds fallback fonts: the fonts are not embedded, because that would make the file ten
// times as large.
func writeSVG(w io.Writer, svg *vgsvg.Canvas) error {
	var buf bytes.Buffer
	_, err := svg.WriteTo(&buf)
	if err == nil {
		_, err = w.Write(bytes.ReplaceAll(buf.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;")))
	}
	if err != nil {
		return fmt.Errorf("write plot: %w", err)
	}
	return nil
}
