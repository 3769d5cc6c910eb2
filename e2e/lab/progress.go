package lab

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// quickBuild is how long a build goes on before a plain log mentions it:
// vipd's is done in a second or two, and says nothing.
const quickBuild = 3 * time.Second

// progress reads what `go build -v` prints, one line per package, and shows
// how far it is: on a terminal one line that is redrawn, elsewhere a line at
// the start and one at the end.
type progress struct {
	out   io.Writer // nil: show nothing
	width int       // of the terminal; 0: it is none
	title string
	begin time.Time

	mu       sync.Mutex
	text     []byte // all that was printed; a few hundred kB at most
	packages int
	shown    bool
}

func newProgress(out *os.File, title string) *progress {
	p := &progress{title: title, begin: time.Now()}
	if out != nil {
		p.out, p.width = out, terminalWidth(out)
	}
	return p
}

func terminalWidth(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	if size.Col == 0 { // a terminal that does not know
		return 80
	}
	return int(size.Col)
}

// Write takes the output of the build.
func (p *progress) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text = append(p.text, b...)
	p.packages += bytes.Count(b, []byte("\n"))
	return len(b), nil
}

// start shows progress until the returned function is called, which waits for
// the last of it.
func (p *progress) start() (stop func()) {
	if p.out == nil {
		return func() {}
	}
	every := quickBuild
	if p.width > 0 {
		every = time.Second / 2
	}
	ticker := time.NewTicker(every)
	quit := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				p.show()
			case <-quit:
				return
			}
		}
	})
	return func() { close(quit); wg.Wait() }
}

func (p *progress) show() {
	p.mu.Lock()
	defer p.mu.Unlock()
	title, hint, _ := strings.Cut(p.title, "; ")
	if hint != "" {
		hint = " (" + hint + ")"
	}
	switch {
	case p.width > 0:
		line := []rune(fmt.Sprintf("building %s … %d packages, %v%s", title, p.packages, p.elapsed(), hint))
		// A line that wraps could not be redrawn.
		fmt.Fprint(p.out, "\r\033[K"+string(line[:min(len(line), p.width-1)]))
	case !p.shown:
		fmt.Fprintf(p.out, "building %s%s\n", title, hint)
	}
	p.shown = true
}

// done tells the end of a build that anything was shown of.
func (p *progress) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.shown {
		return
	}
	if p.width > 0 {
		fmt.Fprint(p.out, "\r\033[K")
	}
	title, _, _ := strings.Cut(p.title, "; ")
	fmt.Fprintf(p.out, "built %s: %d packages, %v\n", title, p.packages, p.elapsed())
}

func (p *progress) elapsed() time.Duration { return time.Since(p.begin).Round(time.Second) }

// tail returns the end of the output, which after a failure says why.
func (p *progress) tail() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return tail(string(p.text), 12)
}
