package lab

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

// Spin keeps loops busy on each processor, beside the processes of the host, until ctx ends.
func (l *Lab) Spin(ctx context.Context, h *Host, perProcessor int) (err error) {
	for i := range perProcessor * runtime.NumCPU() {
		p := l.NewProcess(h, fmt.Sprintf("spin-%d", i), "sh", "-c", "while :; do :; done")
		if err := p.Start(); err != nil {
			return err
		}
		defer func() {
			if _, killed := p.Kill(); !errors.Is(killed, ErrNotRunning) {
				err = errors.Join(err, killed)
			}
		}()
	}
	<-ctx.Done()
	return nil
}
