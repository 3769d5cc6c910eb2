package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// screen is where output goes: a terminal, or anything else.
type screen struct {
	out      io.Writer
	terminal bool
	fd       int
	colour   bool
	drawn    int // lines
}

// newScreen takes --color: auto is by whether it is a terminal, NO_COLOR
// (https://no-color.org) and TERM.
func newScreen(out io.Writer, color string) *screen {
	s := &screen{out: out}
	if f, ok := out.(*os.File); ok {
		s.fd, s.terminal = int(f.Fd()), term.IsTerminal(int(f.Fd()))
	}
	s.colour = color == "always" || color == "auto" && s.terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return s
}

// size is what of the terminal can be written on; 0, 0 if it is none. The last column
// stays free, as to erase the rest of a line that ends there takes its character away.
func (s *screen) size() (width, height int) {
	if !s.terminal {
		return 0, 0
	}
	width, height, err := term.GetSize(s.fd)
	if err != nil || width < 2 || height < 2 {
		return 0, 0
	}
	return width - 1, height
}

// show writes a text once.
func (s *screen) show(text string) error {
	if _, err := io.WriteString(s.out, text); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// Of ECMA-48: up some lines; erase the rest of the line, of the page.
const up, eraseLine, erasePage = "\x1b[%dA", "\x1b[K", "\x1b[J"

// redraw puts a text in the place of the one before: over it and not after erasing
// it, or it would flicker. What is no terminal gets one after the other.
func (s *screen) redraw(text string) error {
	again := s.drawn > 0
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if _, height := s.size(); height > 0 && len(lines) >= height {
		lines = append(lines[:height-2], "...") // or it would scroll
	}
	back := ""
	if again {
		back = "\r" + fmt.Sprintf(up, s.drawn)
	}
	s.drawn = len(lines)
	switch {
	case s.terminal:
		return s.show(back + strings.Join(lines, eraseLine+"\n") + eraseLine + "\n" + erasePage)
	case again:
		return s.show("\n" + text)
	}
	return s.show(text)
}
