package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/e2e/lab"
)

// screen prints lines and, on a terminal, below them a status line that is redrawn: who holds the
// VIP now. Without a terminal, or with NO_COLOR or nocolor set, it prints plain lines only.
type screen struct {
	out  *os.File
	live bool

	mu     sync.Mutex
	status string
}

func newScreen(out *os.File) *screen {
	_, err := unix.IoctlGetTermios(int(out.Fd()), unix.TCGETS)
	_, noColor := os.LookupEnv("NO_COLOR")
	_, nocolor := os.LookupEnv("nocolor")
	return &screen{out: out, live: err == nil && !noColor && !nocolor && os.Getenv("TERM") != "dumb"}
}

const clearLine = "\r\x1b[K"

// line prints a line above the status.
func (s *screen) line(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live {
		fmt.Fprint(s.out, clearLine)
	}
	fmt.Fprintf(s.out, format+"\n", args...)
	if s.live {
		fmt.Fprint(s.out, s.status)
	}
}

func (s *screen) setStatus(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status != text {
		s.status = text
		fmt.Fprint(s.out, clearLine+text)
	}
}

func (s *screen) colour(code, text string) string {
	if !s.live {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *screen) bold(text string) string  { return s.colour("1", text) }
func (s *screen) green(text string) string { return s.colour("32", text) }
func (s *screen) red(text string) string   { return s.colour("31", text) }

// follow updates the status until stop is called, which waits for the last update.
func (s *screen) follow(ctx context.Context, l *lab.Lab) (stop func()) {
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
			s.setStatus(s.holders(l))
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

// holders draws the nodes, the one with the address filled.
func (s *screen) holders(l *lab.Lab) string {
	var b strings.Builder
	fmt.Fprintf(&b, "   %s ", l.VIP)
	for _, n := range l.Nodes {
		addrs, err := n.Addresses()
		switch {
		case err != nil:
			fmt.Fprintf(&b, "  %s ?", n.Name)
		case slices.Contains(addrs, l.VIP):
			b.WriteString("  " + s.green(n.Name+" ●"))
		case !n.APIServer.Running():
			b.WriteString("  " + s.red(n.Name+" ✗"))
		default:
			fmt.Fprintf(&b, "  %s ○", n.Name)
		}
	}
	return b.String()
}

// verdict prints the result of one fault.
func (s *screen) verdict(v seen) {
	if v.Unproven != "" {
		s.line("   this machine was too busy for a figure: %s (%s -> %s)", v.Unproven, v.Holder, v.Next)
	} else {
		s.line("   unreachable for %s over HTTPS with fresh connections (%s -> %s)", s.bold(round(v.Unreachable)), v.Holder, v.Next)
	}
	if len(v.Twice) == 0 {
		s.line("   nodes that answered ARP for the VIP at any one time: %s", s.green("never more than one"))
	} else {
		s.line("   nodes that answered ARP for the VIP at any one time: %s", s.red("TWO"))
	}
	for _, b := range v.broken {
		s.line("     %s", s.red(b))
	}
	for _, l := range v.late {
		s.line("   not as it is on an idle machine: %s", l)
	}
}

// round formats a duration for people.
func round(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}
