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

const (
	// quickBuild is how long a build takes before a plain log mentions it: vipd's takes a second or
	// two.
	quickBuild = 3 * time.Second
	// everySoOften is how often a plain log reports a running build.
	everySoOften = time.Minute
)

// progress reads the output of `go build -v`, one line per package, and shows the progress: on a
// terminal one line that is redrawn, otherwise a line at the start, one per minute and one at the
// end.
type progress struct {
	out        io.Writer // nil: show nothing
	width      int       // of the terminal; 0 without one
	title      string
	doing, did string // "building", "built"
	begin      time.Time

	mu       sync.Mutex
	text     []byte // all output; a few hundred kB at most
	packages int
	modules  int // downloaded
	shown    bool
}

func newProgress(out *os.File, title string) *progress {
	p := &progress{title: title, doing: "building", did: "built", begin: time.Now()}
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
	if size.Col == 0 { // a terminal of unknown size
		return 80
	}
	return int(size.Col)
}

// downloading is the prefix of go's lines about modules.
const downloading = "go: downloading "

// Write handles the output of the build.
func (p *progress) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text = append(p.text, b...)
	modules := bytes.Count(b, []byte(downloading)) // go writes whole lines
	p.modules += modules
	p.packages += bytes.Count(b, []byte("\n")) - modules
	return len(b), nil
}

// start shows progress until stop is called, which waits for the last output.
func (p *progress) start() (stop func()) {
	if p.out == nil {
		return func() {}
	}
	first, every := quickBuild, everySoOften
	if p.width > 0 {
		first, every = time.Second/2, time.Second/2
	}
	timer := time.NewTimer(first)
	quit := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer timer.Stop()
		for {
			select {
			case <-timer.C:
				p.show()
				timer.Reset(every)
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
		line := []rune(fmt.Sprintf("%s %s … %s%v%s", p.doing, title, p.progressText(), p.elapsed(), hint))
		// A line that wraps could not be redrawn.
		fmt.Fprint(p.out, "\r\033[K"+string(line[:min(len(line), p.width-1)]))
	case !p.shown:
		fmt.Fprintf(p.out, "%s %s%s\n", p.doing, title, hint)
	default:
		fmt.Fprintf(p.out, "%s %s … %s%v\n", p.doing, title, p.progressText(), p.elapsed())
	}
	p.shown = true
}

// progressText returns the progress so far, "" if it is not known.
func (p *progress) progressText() string {
	switch {
	case p.packages > 0:
		return fmt.Sprintf("%d packages, ", p.packages)
	case p.modules > 0:
		return fmt.Sprintf("%d modules downloaded, ", p.modules)
	}
	return ""
}

// done reports the end of a build whose start was reported.
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
	fmt.Fprintf(p.out, "%s %s: %s%v\n", p.did, title, p.progressText(), p.elapsed())
}

func (p *progress) elapsed() time.Duration { return time.Since(p.begin).Round(time.Second) }

// tail returns the end of the output, which has the reason of a failure.
func (p *progress) tail() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var said []string
	for line := range strings.Lines(string(p.text)) {
		if !strings.HasPrefix(line, downloading) {
			said = append(said, line)
		}
	}
	return tail(strings.Join(said, ""), 12)
}
