package bench

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// A Report is the result of a benchmark, from which all documents are made.
type Report struct {
	About
	Costs   []Cost
	Results []Result
}

// About describes the measurement.
type About struct {
	Date       string        `json:"date"`
	Machine    Machine       `json:"machine"`
	Contenders []Named       `json:"contenders"`
	Faults     []Named       `json:"faults"`
	Runs       int           `json:"runs"`
	Rest       time.Duration `json:"rest"`
	Wait       time.Duration `json:"wait"`
	// Discarded counts the runs that could not be observed and were repeated.
	Discarded int `json:"discarded"`
}

// Named is a contender or a fault.
type Named struct {
	Name  string `json:"name"`
	Title string `json:"title,omitempty"`
	// Vipd tells that the fault applies to vipd only.
	Vipd bool `json:"vipd,omitempty"`
}

func newReport(opts Options) *Report {
	r := &Report{About: About{
		Date: time.Now().Format(time.DateOnly), Machine: opts.Machine, Runs: opts.Runs, Rest: opts.Rest, Wait: opts.Wait,
	}}
	for _, c := range opts.Contenders {
		r.Contenders = append(r.Contenders, Named{Name: c.Name, Title: c.Note})
	}
	faults := opts.Faults
	if opts.Quiet > 0 {
		faults = append([]Fault{none(opts.Quiet)}, faults...)
	}
	for _, f := range faults {
		r.Faults = append(r.Faults, Named{Name: f.Name, Title: f.Title, Vipd: f.only != nil})
	}
	return r
}

// A line of the file has one of these.
type line struct {
	About  *About  `json:"about,omitempty"`
	Cost   *Cost   `json:"cost,omitempty"`
	Result *Result `json:"result,omitempty"`
}

// Write writes the report as compressed JSON lines.
func (r *Report) Write(w io.Writer) error {
	zip := gzip.NewWriter(w)
	enc := json.NewEncoder(zip)
	err := enc.Encode(line{About: &r.About})
	for i := range r.Costs {
		err = errors.Join(err, enc.Encode(line{Cost: &r.Costs[i]}))
	}
	for i := range r.Results {
		err = errors.Join(err, enc.Encode(line{Result: &r.Results[i]}))
	}
	if err := errors.Join(err, zip.Close()); err != nil {
		return fmt.Errorf("write records: %w", err)
	}
	return nil
}

// Read reads the output of Write.
func Read(from io.Reader) (*Report, error) {
	zip, err := gzip.NewReader(bufio.NewReader(from))
	if err != nil {
		return nil, fmt.Errorf("read records: %w", err)
	}
	var r Report
	dec := json.NewDecoder(zip)
	dec.DisallowUnknownFields()
	for n := 1; ; n++ {
		var l line
		err := dec.Decode(&l)
		if errors.Is(err, io.EOF) {
			return &r, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read records, line %d: %w", n, err)
		}
		switch {
		case l.About != nil:
			r.About = *l.About
		case l.Cost != nil:
			r.Costs = append(r.Costs, *l.Cost)
		case l.Result != nil:
			r.Results = append(r.Results, *l.Result)
		default:
			return nil, fmt.Errorf("read records, line %d: empty", n)
		}
	}
}
