package main

import (
	"bytes"
	"io"
	"testing"
)

func TestSinkNeverBlocks(t *testing.T) {
	r, w := io.Pipe()
	s := newSink(w)
	for range 10 * logLines { // nobody reads
		if _, err := s.Write([]byte("line\n")); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	_ = r.Close() // lets the writer go
	<-s.done
}

func TestSinkWritesEverythingBeforeItCloses(t *testing.T) {
	var b bytes.Buffer
	s := newSink(&b)
	line := []byte("one\n")
	_, _ = s.Write(line)
	copy(line, "two\n") // zap reuses its buffers
	_, _ = s.Write(line)
	s.Close()
	if got := b.String(); got != "one\ntwo\n" {
		t.Errorf("written: %q", got)
	}
}
