package capi

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

const (
	// startTimeout bounds the start of each process on a busy machine.
	startTimeout = 2 * time.Minute
	// stopTimeout bounds the end of a program.
	stopTimeout = 30 * time.Second
)

// A program is a running one: a provider, or what a provider needs.
type program struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when the process has been reaped
}

// startProgram starts a program, with a log of its own.
func (m *Management) startProgram(name, file string, env []string, args ...string) error {
	p := &program{log: m.logFile(name), done: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	defer log.Close()
	p.cmd = exec.Command(file, args...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait() // the log has the reason
		close(p.done)
	}()
	m.programs = append(m.programs, p)
	return nil
}

// serves waits until a server with TLS answers on a port of the program.
func (p *program) serves(ctx context.Context, host string, port int) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	address := net.JoinHostPort(host, strconv.Itoa(port))
	// This checks only that a server answers; its clients check the certificate.
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
	err := wait.Until(ctx, 100*time.Millisecond, func() (bool, error) {
		select {
		case <-p.done:
			return false, fmt.Errorf("it ended: %v", p.cmd.ProcessState)
		default:
		}
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return false, nil //nolint:nilerr // not yet
		}
		return true, conn.Close()
	})
	if err != nil {
		log, _ := os.ReadFile(p.log)
		return fmt.Errorf("%w\n%s", err, log[max(0, len(log)-4000):])
	}
	return nil
}

func (p *program) end() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("end %s: %w", filepath.Base(p.cmd.Path), err)
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(stopTimeout):
		err := p.cmd.Process.Kill()
		<-p.done
		if err != nil {
			return fmt.Errorf("kill %s: %w", filepath.Base(p.cmd.Path), err)
		}
		return nil
	}
}
