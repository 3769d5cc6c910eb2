package cli

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"
)

// screen is the destination of output: a terminal, a pipe or a file.
type screen struct {
	out    io.Writer
	fd     int    // -1 for an output without a file descriptor
	ansi   bool   // a terminal that interprets escape sequences
	colour bool   // escape sequences for colours are wanted
	frame  string // the last frame of redraw
}

// newScreen takes --color. "auto" goes by the kind of output, NO_COLOR
// (https://no-color.org) and TERM.
func newScreen(out io.Writer, color string) *screen {
	s := &screen{out: out, fd: -1}
	if f, ok := out.(*os.File); ok {
		s.fd = int(f.Fd())
	}
	s.ansi = term.IsTerminal(s.fd) && os.Getenv("TERM") != "dumb"
	s.colour = color == "always" || color == "auto" && s.ansi && os.Getenv("NO_COLOR") == ""
	return s
}

// page is an empty page for this screen.
func (s *screen) page() *page {
	width, _ := s.size()
	return &page{width: width, colour: s.colour}
}

// size is the writable part of a terminal, and 0, 0 for other output. The last column
// stays free: erasing the rest of a line that ends there would erase its last character.
func (s *screen) size() (width, height int) {
	width, height, err := term.GetSize(s.fd)
	if err != nil || width < 2 {
		return 0, 0
	}
	return width - 1, height
}

// show writes a text once.
func (s *screen) show(content string) error {
	if _, err := io.WriteString(s.out, content); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// erasePage is ECMA-48's "erase in page", which the library lacks.
const erasePage = text.EscapeStart + "J"

// redraw replaces the last frame. The new frame is written over the old one in one write,
// which does not flicker. No mode of the terminal is changed, so that nothing has to be
// restored however vipd ends. Output without escape sequences gets one frame after another.
func (s *screen) redraw(frame string) error {
	if !s.ansi {
		if s.frame != "" {
			frame = "\n" + frame
		}
		s.frame = frame
		return s.show(frame)
	}
	width, height := s.size()
	lines := strings.Split(strings.TrimSuffix(frame, "\n"), "\n")
	if height > 1 && len(lines) >= height {
		lines = append(lines[:height-2], "...") // a longer frame would scroll
	}
	back := ""
	if rows := s.rows(width); rows > 0 {
		back = "\r" + text.CursorUp.Sprintn(rows)
	}
	erase := text.EraseLine.Sprint()
	s.frame = strings.Join(lines, "\n") + "\n"
	return s.show(back + strings.ReplaceAll(s.frame, "\n", erase+"\n") + erasePage)
}

// rows is the number of rows of the last frame: a terminal that became narrower since has
// wrapped its lines.
func (s *screen) rows(width int) int {
	frame := text.StripEscape(s.frame)
	if width > 0 {
		frame = text.InsertEveryN(frame, '\n', width+1)
	}
	return strings.Count(frame, "\n")
}

// finish erases the ^C that the terminal echoed below the last frame.
func (s *screen) finish() error {
	if !s.ansi {
		return nil
	}
	return s.show("\r" + text.EraseLine.Sprint())
}
