package lab

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// Spin keeps loops busy on each processor, as processes of the host, until ctx ends.
func (l *Lab) Spin(ctx context.Context, h *Host, perProcessor int) error {
	var g errgroup.Group
	for i := range perProcessor * runtime.NumCPU() {
		g.Go(func() error { return l.spin(ctx, h, i) })
	}
	return g.Wait()
}

func (l *Lab) spin(ctx context.Context, h *Host, number int) error {
	p := l.NewProcess(h, fmt.Sprintf("spin-%d", number), "sh", "-c", "while :; do :; done")
	if err := p.Start(); err != nil {
		return err
	}
	<-ctx.Done()
	if _, err := p.Kill(); !errors.Is(err, ErrNotRunning) {
		return err
	}
	return nil
}
