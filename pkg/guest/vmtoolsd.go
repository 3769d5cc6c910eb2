package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

const (
	// patience bounds vmtoolsd, which asks the hypervisor and answers within milliseconds.
	patience = 2 * time.Second
	// most is what is read of its answer. vSphere keeps an extraConfig of some 64 KiB.
	most = 256 << 10
)

// Read asks VMware's tools for guestinfo.metadata. It is nil where there are no tools,
// and where nothing was handed over.
//
// This is the only process that vipd ever starts, and vipd doctor only: see docs/adr/0011.
func Read(ctx context.Context) (*Metadata, error) {
	path, err := exec.LookPath("vmtoolsd")
	if errors.Is(err, exec.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find vmtoolsd: %w", err)
	}
	text, err := ask(ctx, path)
	if err != nil || len(bytes.TrimSpace(text)) == 0 {
		return nil, err
	}
	return Parse(text)
}

// ask has vmtoolsd print the value.
func ask(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var out, errs bounded
	cmd := exec.CommandContext(ctx, path, "--cmd", "info-get guestinfo.metadata")
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = patience / 4 // a child of its own may keep the pipe
	err := cmd.Run()
	switch said := strings.TrimSpace(errs.buffer.String()); {
	case out.full:
		return nil, fmt.Errorf("ask vmtoolsd for guestinfo.metadata: its answer is longer than %d bytes", most)
	case ctx.Err() != nil:
		return nil, fmt.Errorf("ask vmtoolsd for guestinfo.metadata: %w", ctx.Err())
	case err != nil && strings.Contains(said, "No value found"):
		return nil, nil // a virtual machine, and not one of CAPV
	case err != nil:
		first, _, _ := strings.Cut(said, "\n")
		return nil, fmt.Errorf("ask vmtoolsd for guestinfo.metadata: %w: %.200q", err, first)
	}
	return out.buffer.Bytes(), nil
}

var errFull = errors.New("too much")

// bounded takes in so much and no more. The buffer is not embedded: io.Copy would go past
// Write, by its ReadFrom.
type bounded struct {
	buffer bytes.Buffer
	full   bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.buffer.Len()+len(p) > most {
		b.full = true
		return 0, errFull
	}
	return b.buffer.Write(p)
}
