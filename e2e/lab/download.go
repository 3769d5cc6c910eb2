package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

const (
	// downloadTries bounds the attempts to download modules: a registry may be unavailable for a
	// moment, and go does not retry.
	downloadTries = 3
	downloadPause = 5 * time.Second
)

// download downloads the modules in a folder's go.mod, and prints one line, not one for each
// module. Errors of the compiler are not retried.
func download(ctx context.Context, dir string, pause time.Duration, out *os.File) error {
	var err error
	for try := range downloadTries {
		if try > 0 {
			if err := wait.For(ctx, pause); err != nil {
				return err
			}
		}
		p := newProgress(out, "Go modules; the first time, 0.8 GB on the disk")
		p.doing, p.did = "downloading", "downloaded"
		cmd := exec.CommandContext(ctx, "go", "mod", "download")
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off")
		cmd.Stdout, cmd.Stderr = p, p
		stop := p.start()
		err = cmd.Run()
		stop()
		switch {
		case err == nil:
			p.done()
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		}
		err = fmt.Errorf("download Go modules of %s: %w\n%s", dir, err, p.tail())
	}
	return err
}
