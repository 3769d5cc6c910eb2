package logging

import (
	"io"
	"sync"
	"time"
)

// logLines is how many lines are buffered for a slow reader.
const logLines = 1024

// Sink writes log lines from its own goroutine: a pipe that nobody reads, for example of a hanging
// container runtime, must not block the writer and so keep the address on the node. Lines beyond
// the buffer are dropped.
type Sink struct {
	lines chan []byte
	done  chan struct{}
	once  sync.Once
}

// NewSink returns a Sink that writes to w until Close.
func NewSink(w io.Writer) *Sink {
	s := &Sink{lines: make(chan []byte, logLines), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		for line := range s.lines {
			_, _ = w.Write(line) // an error cannot be reported anywhere
		}
	}()
	return s
}

// Write queues a line. It must not be called after Close.
func (s *Sink) Write(line []byte) (int, error) {
	select {
	case s.lines <- append([]byte(nil), line...):
	default:
	}
	return len(line), nil
}

// Close writes the queued lines, but waits for 100 ms at most: a hanging reader must not keep the
// process.
func (s *Sink) Close() {
	s.once.Do(func() { close(s.lines) })
	select {
	case <-s.done:
	case <-time.After(100 * time.Millisecond):
	}
}
