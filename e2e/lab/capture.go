package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// A Capture writes frames at the switch into a ring of files, once for each port that a frame
// enters or leaves by: all of ARP, and the beginning and end of connections with the VIP.
type Capture struct {
	dir string
	p   *Process
}

// captured is the filter of a capture, without the rest of the connections.
const captured = "arp or (host %s and tcp[tcpflags] & (tcp-syn|tcp-fin|tcp-rst) != 0)"

// Capture starts a capture, and returns when no frame is missed from then on.
func (l *Lab) Capture(ctx context.Context) (*Capture, error) {
	c := &Capture{dir: filepath.Join(l.Dir, "capture")}
	if err := os.Mkdir(c.dir, 0o755); err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	c.p = l.own(newProcess(l.sw.ns, "tcpdump", l.Dir, "tcpdump", "-i", "any", "-n", "-U", "-s", "128", "-Z", "root",
		"-C", "5", "-W", "4", "-w", filepath.Join(c.dir, "frames.pcap"), fmt.Sprintf(captured, l.VIP)))
	if err := c.p.Start(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := wait.Until(ctx, 20*time.Millisecond, func() (bool, error) {
		files, err := c.files()
		return len(files) > 0, err
	})
	if err != nil {
		return nil, fmt.Errorf("capture: %w: %s", err, logTail(c.p))
	}
	return c, nil
}

func (c *Capture) files() ([]string, error) { return filepath.Glob(filepath.Join(c.dir, "*")) }

// Save copies the current files to a folder.
func (c *Capture) Save(dir string) error {
	files, err := c.files()
	if err != nil {
		return err
	}
	for _, from := range files {
		if err := copyFile(from, filepath.Join(dir, filepath.Base(from)), 0o644); err != nil {
			return fmt.Errorf("save capture: %w", err)
		}
	}
	return nil
}

// Stop ends the capture.
func (c *Capture) Stop() error {
	_, err := c.p.Signal(syscall.SIGTERM)
	return err
}
