// Command gotest runs `go test` with its arguments, prints each minute which package is running,
// and shows the output of failed packages as `go test` does. With $TEST_TIMES it appends to that
// file, for hack/test, how long each package took and which tests failed.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := run(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "gotest: %v\n", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// run returns the exit status of go.
func run(ctx context.Context, args []string) (code int, err error) {
	release, err := hold(os.Getenv("TEST_TIMES"))
	if err != nil {
		return 1, err
	}
	defer release()
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second // for a test that does not end
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 1, err
	}
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	r := newReport(os.Stdout)
	lines := make(chan []byte)
	go read(out, lines)
	r.follow(ctx, lines, time.Minute)
	err = errors.Join(cmd.Wait(), r.save(os.Getenv("TEST_TIMES")))
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() > 0 {
		return exit.ExitCode(), nil // go, and the report, have printed the reason
	}
	return 0, err
}

// hold locks a file, if there is one, so that readers wait until it is complete.
func hold(path string) (release func(), err error) {
	if path == "" {
		return func() {}, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("hold times: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH); err != nil {
		return nil, errors.Join(fmt.Errorf("hold times: %w", err), f.Close())
	}
	return func() { f.Close() }, nil
}

// read sends the lines until there are no more, and closes the channel.
func read(from io.Reader, lines chan<- []byte) {
	defer close(lines)
	for s := bufio.NewReader(from); ; {
		line, err := s.ReadBytes('\n')
		if len(line) > 0 {
			lines <- line
		}
		if err != nil {
			return
		}
	}
}

// follow handles all events, and regularly prints which tests run. When the tests are ended it
// prints that at once, and handles the remaining events.
func (r *report) follow(ctx context.Context, lines <-chan []byte, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	ended := ctx.Done()
	for {
		select {
		case line, more := <-lines:
			if !more {
				return
			}
			var e event
			if json.Unmarshal(line, &e) != nil {
				_, _ = r.out.Write(line) // of go itself
				continue
			}
			r.hear(e)
		case <-tick.C:
			r.say("still in")
		case <-ended:
			r.say("ended while in")
			ended = nil
		}
	}
}
