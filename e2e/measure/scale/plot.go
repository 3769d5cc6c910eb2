package scale

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// The size of a plot: 700 by 400 pixels.
const (
	plotWidth  = 525 * vg.Length(1)
	plotHeight = 300 * vg.Length(1)
)

// A chart is one plot.
type chart struct {
	file  string // without .svg
	title string
	x, y  string // labels of the axes, with units
	// of selects the curves. Curves without points are omitted.
	of func(Report) []curve
}

// A curve is points with a name.
type curve struct {
	name   string
	points plotter.XYs
}

// which selects the points on a curve.
type which func(Point) bool

func shared(p Point) bool { return p.VIPs == 1 && p.Servers == planes }
func own(p Point) bool    { return p.VIPs == 1 && p.own() }
func vips(p Point) bool   { return p.Nodes == planes && p.Servers == planes }

const (
	nodesAxis = "nodes with vipd"
	vipsAxis  = "VIPs, at three nodes"
)

// measures are the values that are plotted against nodes and against VIPs.
var measures = []struct {
	file, title, y string
	nodes, vips    []part
}{
	{"requests", "Requests to all API servers", "requests a second", byServers(Figures.requests), []part{{"", vips, Figures.requests}}},
	{"events", "Watch events that API servers send", "events a second", []part{{"", shared, Figures.events}}, []part{{"", vips, Figures.events}}},
	{"packets", "Packets on the network", "packets a second", byServers(Figures.frames), []part{{"", vips, Figures.frames}}},
	{"memory", "Memory of all vipd processes", "MiB", memory(shared), memory(vips)},
}

// A part is one of the curves in a chart.
type part struct {
	name string
	at   which
	of   func(Figures) float64
}

func byServers(of func(Figures) float64) []part {
	return []part{{"three API servers", shared, of}, {"an API server on each node", own, of}}
}

func memory(at which) []part {
	return []part{
		{"resident", at, func(f Figures) float64 { return f.Vipd.Resident }},
		{"of it not shared between processes", at, func(f Figures) float64 { return f.Vipd.Anonymous }},
	}
}

func (f Figures) requests() float64 { return f.Requests.Total() }
func (f Figures) events() float64   { return f.WatchEvents }

func (f Figures) frames() float64 { return f.APIFrames + f.VIPFrames + f.ARPFrames }

// charts returns all plots of a report.
func charts() (all []chart) {
	for _, m := range measures {
		all = append(all,
			chart{m.file + "-nodes", m.title, nodesAxis, m.y, func(r Report) []curve { return r.curves(m.nodes, byNodes) }},
			chart{m.file + "-vips", m.title, vipsAxis, m.y, func(r Report) []curve { return r.curves(m.vips, byVIPs) }})
	}
	return append(all,
		chart{"takeover-nodes", "From the signal to the next holder's first answer (each run)", nodesAxis, "seconds", func(r Report) []curve {
			return []curve{r.runs("SIGKILL", Takeover.seconds), r.runs("SIGTERM", Takeover.seconds)}
		}},
		chart{"herd-nodes", "Writes of the Lease that came too late at a takeover (each run)", nodesAxis, "refused writes", func(r Report) []curve {
			return []curve{r.runs("SIGKILL", Takeover.refused), r.runs("SIGTERM", Takeover.refused)}
		}})
}

func byNodes(p Point) float64 { return float64(p.Nodes) }
func byVIPs(p Point) float64  { return float64(p.VIPs) }

func (t Takeover) seconds() float64 { return t.Seconds }
func (t Takeover) refused() float64 { return float64(t.Refused) }

func (r Report) curves(parts []part, x func(Point) float64) (out []curve) {
	for _, p := range parts {
		c := curve{name: p.name}
		for _, f := range r.at(p.at) {
			c.points = append(c.points, plotter.XY{X: x(f.Point), Y: p.of(f)})
		}
		out = append(out, c)
	}
	return out
}

// runs returns one value of each takeover by a signal.
func (r Report) runs(signal string, y func(Takeover) float64) curve {
	c := curve{name: signal}
	for _, f := range r.at(shared) {
		for _, t := range bySignal(signal, f.Takeovers) {
			c.points = append(c.points, plotter.XY{X: byNodes(f.Point), Y: y(t)})
		}
	}
	return c
}

// svg draws the chart.
func (c chart) svg(r Report) ([]byte, error) {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = c.title, c.x, c.y
	for _, text := range []*draw.TextStyle{
		&p.Title.TextStyle, &p.X.Label.TextStyle, &p.Y.Label.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label, &p.Legend.TextStyle,
	} {
		text.Font.Variant = "Sans"
	}
	p.Title.TextStyle.Font.Size, p.Title.Padding = font.Length(13), 8
	p.Legend.Top, p.Legend.Left, p.Legend.Padding = true, true, 2
	p.Legend.XOffs, p.Legend.YOffs = 8, -4
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = color.Gray{Y: 0xe0}, color.Gray{Y: 0xe0}
	p.Add(grid)
	for i, curve := range c.of(r) {
		if err := curve.add(p, i); err != nil {
			return nil, fmt.Errorf("draw %s: %w", c.file, err)
		}
	}
	p.X.Tick.Marker = plot.TickerFunc(wholes)
	p.X.Min, p.Y.Min = 0, 0
	p.X.Max *= 1.03 // otherwise the last point is on the edge
	p.Y.Max *= 1.25 // room for the legend
	canvas := vgsvg.New(plotWidth, plotHeight)
	p.Draw(draw.Crop(draw.New(canvas), 8, -12, 8, -8))
	var out bytes.Buffer
	if _, err := canvas.WriteTo(&out); err != nil {
		return nil, fmt.Errorf("draw %s: %w", c.file, err)
	}
	// Fallback fonts without serifs.
	return bytes.ReplaceAll(out.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;")), nil
}

// wholes returns at most ten ticks at whole numbers.
func wholes(least, most float64) (ticks []plot.Tick) {
	step := 1.0
	for _, next := range []float64{2, 5, 10, 20, 50} {
		if (most-least)/step > 10 {
			step = next
		}
	}
	for x := math.Ceil(least/step) * step; x <= most; x += step {
		ticks = append(ticks, plot.Tick{Value: x, Label: strconv.Itoa(int(x))})
	}
	return ticks
}

// add draws the curve, with a line if it has one value at each place.
func (c curve) add(p *plot.Plot, i int) error {
	if len(c.points) == 0 {
		return nil
	}
	line, points, err := plotter.NewLinePoints(c.points)
	if err != nil {
		return err
	}
	line.Color, line.Width, line.Dashes = plotutil.DarkColors[i], 1.5, plotutil.Dashes(i)
	points.Color, points.Shape, points.Radius = plotutil.DarkColors[i], plotutil.Shape(i), 3
	thumbs := []plot.Thumbnailer{points}
	if c.single() {
		p.Add(line)
		thumbs = append(thumbs, line)
	}
	p.Add(points)
	if c.name != "" {
		p.Legend.Add(c.name, thumbs...)
	}
	return nil
}

// single tells whether each place has one value.
func (c curve) single() bool {
	seen := make(map[float64]bool)
	for _, p := range c.points {
		if seen[p.X] {
			return false
		}
		seen[p.X] = true
	}
	return true
}
