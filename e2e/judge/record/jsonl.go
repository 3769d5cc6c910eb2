package record

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// A line of the JSONL format has exactly one record.
type line struct {
	Probe        *Probe        `json:"probe,omitempty"`
	Answer       *Answer       `json:"answer,omitempty"`
	Knock        *Knock        `json:"knock,omitempty"`
	Acceptance   *Acceptance   `json:"acceptance,omitempty"`
	Loss         *Loss         `json:"loss,omitempty"`
	Announcement *Announcement `json:"announcement,omitempty"`
	Address      *AddressEvent `json:"address,omitempty"`
	Request      *Request      `json:"request,omitempty"`
	Reconnect    *Reconnect    `json:"reconnect,omitempty"`
	Lease        *LeaseVersion `json:"lease,omitempty"`
	Neighbour    *Neighbour    `json:"neighbour,omitempty"`
	Mark         *Mark         `json:"mark,omitempty"`
	Dropped      int           `json:"dropped,omitempty"`
}

// Write writes the history as JSON, one record per line.
func Write(w io.Writer, h History) error {
	buf := bufio.NewWriter(w)
	enc := json.NewEncoder(buf)
	err := errors.Join(
		encode(enc, h.Marks, func(v *Mark) line { return line{Mark: v} }),
		encode(enc, h.Leases, func(v *LeaseVersion) line { return line{Lease: v} }),
		encode(enc, h.Neighbours, func(v *Neighbour) line { return line{Neighbour: v} }),
		encode(enc, h.Addresses, func(v *AddressEvent) line { return line{Address: v} }),
		encode(enc, h.Announcements, func(v *Announcement) line { return line{Announcement: v} }),
		encode(enc, h.Probes, func(v *Probe) line { return line{Probe: v} }),
		encode(enc, h.Answers, func(v *Answer) line { return line{Answer: v} }),
		encode(enc, h.Knocks, func(v *Knock) line { return line{Knock: v} }),
		encode(enc, h.Acceptances, func(v *Acceptance) line { return line{Acceptance: v} }),
		encode(enc, h.Losses, func(v *Loss) line { return line{Loss: v} }),
		encode(enc, h.Requests, func(v *Request) line { return line{Request: v} }),
		encode(enc, h.Reconnects, func(v *Reconnect) line { return line{Reconnect: v} }),
	)
	if h.Dropped > 0 {
		err = errors.Join(err, enc.Encode(line{Dropped: h.Dropped}))
	}
	if err := errors.Join(err, buf.Flush()); err != nil {
		return fmt.Errorf("write history: %w", err)
	}
	return nil
}

func encode[T any](enc *json.Encoder, list []T, wrap func(*T) line) error {
	for i := range list {
		if err := enc.Encode(wrap(&list[i])); err != nil {
			return err
		}
	}
	return nil
}

// Read reads the output of Write.
func Read(r io.Reader) (History, error) {
	var h History
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	for n := 1; ; n++ {
		var l line
		err := dec.Decode(&l)
		if errors.Is(err, io.EOF) {
			return h, nil
		}
		if err != nil {
			return History{}, fmt.Errorf("read history, record %d: %w", n, err)
		}
		switch {
		case l.Probe != nil:
			h.Probes = append(h.Probes, *l.Probe)
		case l.Answer != nil:
			h.Answers = append(h.Answers, *l.Answer)
		case l.Knock != nil:
			h.Knocks = append(h.Knocks, *l.Knock)
		case l.Acceptance != nil:
			h.Acceptances = append(h.Acceptances, *l.Acceptance)
		case l.Loss != nil:
			h.Losses = append(h.Losses, *l.Loss)
		case l.Announcement != nil:
			h.Announcements = append(h.Announcements, *l.Announcement)
		case l.Address != nil:
			h.Addresses = append(h.Addresses, *l.Address)
		case l.Request != nil:
			h.Requests = append(h.Requests, *l.Request)
		case l.Reconnect != nil:
			h.Reconnects = append(h.Reconnects, *l.Reconnect)
		case l.Lease != nil:
			h.Leases = append(h.Leases, *l.Lease)
		case l.Neighbour != nil:
			h.Neighbours = append(h.Neighbours, *l.Neighbour)
		case l.Mark != nil:
			h.Marks = append(h.Marks, *l.Mark)
		case l.Dropped != 0:
			h.Dropped += l.Dropped
		default:
			return History{}, fmt.Errorf("read history, record %d: empty", n)
		}
	}
}
