package logging

import (
	"bytes"
	"io"
	"testing"
)

func TestSinkNeverBlocks(t *testing.T) {
	r, w := io.Pipe()
	s := NewSink(w)
	for range 10 * logLines { // without a reader
		if _, err := s.Write([]byte("line\n")); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	_ = r.Close() // ends the writer
	<-s.done
}

func TestSinkWritesEverythingBeforeItCloses(t *testing.T) {
	var b bytes.Buffer
	s := NewSink(&b)
	line := []byte("one\n")
	_, _ = s.Write(line)
	copy(line, "two\n") // zap reuses its buffers
	_, _ = s.Write(line)
	s.Close()
	if got := b.String(); got != "one\ntwo\n" {
		t.Errorf("written: %q", got)
	}
}
