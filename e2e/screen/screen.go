// Package screen prints the progress of a demo: lines, and on a terminal a status line below them.
package screen

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Screen prints lines and, on a terminal, below them a status line that is redrawn. Without a terminal,
// or with NO_COLOR or nocolor set, it prints plain lines only.
type Screen struct {
	Out  *os.File
	live bool

	mu     sync.Mutex
	status string
}

// New returns a Screen that prints to a file.
func New(out *os.File) *Screen {
	_, err := unix.IoctlGetTermios(int(out.Fd()), unix.TCGETS)
	_, noColor := os.LookupEnv("NO_COLOR")
	_, nocolor := os.LookupEnv("nocolor")
	return &Screen{Out: out, live: err == nil && !noColor && !nocolor && os.Getenv("TERM") != "dumb"}
}

const clearLine = "\r\x1b[K"

// Line prints a line above the status.
func (s *Screen) Line(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live {
		fmt.Fprint(s.Out, clearLine)
	}
	fmt.Fprintf(s.Out, format+"\n", args...)
	if s.live {
		fmt.Fprint(s.Out, s.status)
	}
}

func (s *Screen) setStatus(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status != text {
		s.status = text
		fmt.Fprint(s.Out, clearLine+text)
	}
}

func (s *Screen) colour(code, text string) string {
	if !s.live {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// Bold returns the text in bold type, where the screen has that.
func (s *Screen) Bold(text string) string { return s.colour("1", text) }

// Green returns the text in green, where the screen has colours.
func (s *Screen) Green(text string) string { return s.colour("32", text) }

// Red returns the text in red, where the screen has colours.
func (s *Screen) Red(text string) string { return s.colour("31", text) }

// Follow draws the status again and again until stop is called, which waits for the last update.
func (s *Screen) Follow(ctx context.Context, draw func() string) (stop func()) {
	if !s.live {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(50 * time.Millisecond)
		defer ticker.Stop()
		for {
			s.setStatus(draw())
			select {
			case <-ticker.C:
			case <-ctx.Done():
				s.setStatus("")
				return
			}
		}
	}()
	return func() { cancel(); <-done }
}
