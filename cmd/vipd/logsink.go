package main

import (
	"io"
	"sync"
	"time"
)

// logLines is how many lines wait for a reader that does not keep up.
const logLines = 1024

// sink writes log lines from a goroutine of its own, so that a pipe that nobody
// reads (a container runtime that hangs) cannot keep the address up: who logs
// never waits. Lines that find no place are dropped.
type sink struct {
	lines chan []byte
	done  chan struct{}
	once  sync.Once
}

// newSink begins to write to w; Close ends it.
func newSink(w io.Writer) *sink {
	s := &sink{lines: make(chan []byte, logLines), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		for line := range s.lines {
			_, _ = w.Write(line) // there is nowhere to say so
		}
	}()
	return s
}

// Write takes a line over. It must not be called after Close.
func (s *sink) Write(line []byte) (int, error) {
	select {
	case s.lines <- append([]byte(nil), line...):
	default:
	}
	return len(line), nil
}

// Close writes what waits, for a moment at most: a reader that hangs does not
// keep the process.
func (s *sink) Close() {
	s.once.Do(func() { close(s.lines) })
	select {
	case <-s.done:
	case <-time.After(100 * time.Millisecond):
	}
}
