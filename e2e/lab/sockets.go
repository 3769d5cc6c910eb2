package lab

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// timeWait is the state TIME_WAIT (net/tcp_states.h).
const timeWait = "06"

// Connections returns the TCP sockets of a host with the given local address, in the kernel's
// format (Documentation/networking/proc_net_tcp.rst), except those in TIME_WAIT. A server that
// listens on all addresses has IPv6 sockets.
func (h *Host) Connections(addr netip.Addr) (found []string, err error) {
	b := addr.As4()
	slices.Reverse(b[:]) // in the byte order of the machine, which is little-endian on all supported machines
	suffix := strings.ToUpper(hex.EncodeToString(b[:]))
	err = h.NS.Do(func() error {
		for _, table := range []string{"tcp", "tcp6"} {
			text, err := os.ReadFile("/proc/thread-self/net/" + table)
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(text)) {
				f := strings.Fields(line)
				if len(f) < 4 || f[3] == timeWait {
					continue
				}
				if local, _, _ := strings.Cut(f[1], ":"); strings.HasSuffix(local, suffix) {
					found = append(found, fmt.Sprintf("%s %s-%s state %s", table, f[1], f[2], f[3]))
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list connections on %s: %w", h.Name, err)
	}
	return found, nil
}
