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
	// maxSize bounds what is read, in bytes. vSphere keeps an extraConfig of about 64 KiB.
	maxSize = 256 << 10
	// pipeTimeout is how long a child of vmtoolsd may keep the pipe after the end of vmtoolsd.
	pipeTimeout = time.Second / 2
)

// Read asks VMware's tools for guestinfo.metadata. The result is nil without tools, and without
// metadata. vmtoolsd asks the hypervisor and answers within milliseconds; ctx bounds the call.
//
// vmtoolsd is the only process that vipd ever starts, and only vipd doctor does so: see
// docs/adr/0011.
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

// ask runs vmtoolsd to print the value.
func ask(ctx context.Context, path string) ([]byte, error) {
	var out, errs bounded
	cmd := exec.CommandContext(ctx, path, "--cmd", "info-get guestinfo.metadata")
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = pipeTimeout
	err := cmd.Run()
	switch output := strings.TrimSpace(errs.buffer.String()); {
	case out.full:
		return nil, fmt.Errorf("ask vmtoolsd for guestinfo.metadata: its answer is longer than %d bytes", maxSize)
	case ctx.Err() != nil:
		return nil, fmt.Errorf("ask vmtoolsd for guestinfo.metadata: %w", ctx.Err())
	case err != nil && strings.Contains(output, "No value found"):
		return nil, nil // a virtual machine without CAPV
	case err != nil:
		first, _, _ := strings.Cut(output, "\n")
		return nil, fmt.Errorf("ask vmtoolsd for guestinfo.metadata: %w: %.200q", err, first)
	}
	return out.buffer.Bytes(), nil
}

var errFull = errors.New("too much")

// bounded is a buffer with a maximum size. The buffer is not embedded, because io.Copy would bypass
// Write through ReadFrom.
type bounded struct {
	buffer bytes.Buffer
	full   bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.buffer.Len()+len(p) > maxSize {
		b.full = true
		return 0, errFull
	}
	return b.buffer.Write(p)
}
