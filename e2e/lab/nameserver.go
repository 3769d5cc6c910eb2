package lab

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// A NameServer is a host with a DNS server (dnsmasq), which knows the records that it is told, and
// answers that no other name exists.
type NameServer struct {
	*Host
	records string // a folder, which the server watches
}

const (
	namePort         = 53
	nameStartTimeout = 10 * time.Second
)

// StartNameServer starts a name server at an address, without records.
func (l *Lab) StartNameServer(ctx context.Context, lastByte byte) (*NameServer, error) {
	h, err := l.AddHost("dns", lastByte)
	if err != nil {
		return nil, fmt.Errorf("start name server: %w", err)
	}
	s := &NameServer{Host: h, records: filepath.Join(h.Dir, "records")}
	if err := os.Mkdir(s.records, 0o755); err != nil {
		return nil, fmt.Errorf("start name server: %w", err)
	}
	p := l.NewProcess(h, "dnsmasq", "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file="+filepath.Join(h.Dir, "dnsmasq.pid"), "--user=root",
		"--log-facility=-", "--log-queries", "--listen-address="+h.IP.String(), "--bind-interfaces", "--no-resolv", "--no-hosts", "--local=/#/", "--hostsdir="+s.records)
	if err := p.Start(); err != nil {
		return nil, fmt.Errorf("start name server: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, nameStartTimeout)
	defer cancel()
	err = wait.Until(ctx, 50*time.Millisecond, func() (bool, error) {
		if !p.Running() {
			log, _ := os.ReadFile(p.LogPath)
			return false, fmt.Errorf("it ended: %s", log)
		}
		conn, err := h.NS.Dial(ctx, "tcp", netip.AddrPortFrom(h.IP, namePort).String())
		if err != nil {
			return false, nil //nolint:nilerr // not yet
		}
		return true, conn.Close()
	})
	if err != nil {
		return nil, fmt.Errorf("start name server: %w", err)
	}
	return s, nil
}

// SetRecord creates the record of a name.
func (s *NameServer) SetRecord(name string, to netip.Addr) error {
	line := to.String() + " " + name + "\n"
	// The server reads a file once it is closed, so nothing reads a part of the line.
	if err := os.WriteFile(filepath.Join(s.records, name), []byte(line), 0o644); err != nil {
		return fmt.Errorf("set record of %s: %w", name, err)
	}
	return nil
}
