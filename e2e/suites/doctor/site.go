// Package doctor runs `vipd doctor` on real control planes, healthy ones and ones with a real
// fault.
package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/lab"
)

// Site is a lab with the network of a healthy cluster: with a router, and a default route on each
// node.
type Site struct {
	*lab.Lab
	// Worker is a machine that is a client of the VIP.
	Worker *lab.Host
}

// New makes a site from a lab and starts vipd on its nodes.
func New(ctx context.Context, l *lab.Lab) (*Site, error) {
	if _, err := l.AddHost("router", 1); err != nil {
		return nil, err
	}
	for _, n := range l.Nodes {
		if err := n.AddDefaultRoute(); err != nil {
			return nil, err
		}
	}
	s := &Site{Lab: l, Worker: l.Clients[0]}
	if err := s.Worker.AddDefaultRoute(); err != nil {
		return nil, err
	}
	if err := failover.Start(l); err != nil {
		return nil, err
	}
	_, err := failover.Ready(ctx, l)
	return s, err
}

// Found is a finding, without its text.
type Found struct{ ID, Severity, Mark, Seen string }

// Report is the part of the document of `vipd doctor -o json` that these tests use.
type Report struct {
	Verdict []string
	Results []struct {
		ID, Unknown string
		Findings    []Found
	}
}

// Findings returns the findings of all checks.
func (r Report) Findings() (out []Found) {
	for _, res := range r.Results {
		out = append(out, res.Findings...)
	}
	return out
}

// etc replaces a host's /etc, in the mount namespace of the programs that run there.
func etc(h *lab.Host) string { return filepath.Join(h.Dir, "etc") }

// Put writes a file in a host's /etc; remove removes it.
func Put(h *lab.Host, name string, content []byte) (remove func() error, err error) {
	path := filepath.Join(etc(h), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	return func() error { return os.Remove(path) }, os.WriteFile(path, content, 0o600)
}

// Consult runs the doctor on a host. The exit status of the doctor is no error.
func (s *Site) Consult(ctx context.Context, h *lab.Host, args ...string) (text string, exit int, err error) {
	if err := s.servesStatus(ctx); err != nil {
		return "", 0, err
	}
	if err := os.MkdirAll(etc(h), 0o755); err != nil {
		return "", 0, err
	}
	argv := []string{"unshare", "--mount", "sh", "-c", `mount --bind "$1" /etc && shift && exec "$@"`, "sh", etc(h), s.Nodes[0].VipdBinary(), "doctor",
		"--ca", s.Nodes[0].CAFile(), "--skip", "D27"} // the clock is that of the machine that runs the lab
	text, err = h.Run(ctx, append(argv, args...)...)
	var status *exec.ExitError
	if errors.As(err, &status) && status.ExitCode() <= 2 {
		return text, status.ExitCode(), nil
	}
	return text, 0, err
}

// Examine runs the doctor and returns its report.
func (s *Site) Examine(ctx context.Context, h *lab.Host, args ...string) (r Report, exit int, err error) {
	text, exit, err := s.Consult(ctx, h, append(args, "-o", "json")...)
	if err != nil {
		return r, exit, err
	}
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return r, exit, fmt.Errorf("read report: %w\n%s", err, text)
	}
	return r, exit, nil
}

// AsWorker are the flags for a client of the VIP.
func (s *Site) AsWorker() []string { return []string{"--worker", "--address", s.VIP.String()} }
