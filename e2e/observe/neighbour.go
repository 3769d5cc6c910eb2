package observe

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
)

// Neighbour records the entry for the VIP in a host's ARP table. It makes the host resolve the VIP
// once, and then the host sends nothing to it: only announcements change the entry.
type Neighbour struct {
	Host *lab.Host
	VIP  netip.Addr
}

// Run listens until ctx ends.
func (n *Neighbour) Run(ctx context.Context, to *record.Recorder, ready func()) error {
	updates := make(chan netlink.NeighUpdate)
	done := make(chan struct{})
	var failure error // written before updates is closed
	handle := n.Host.NS.Handle()
	err := netlink.NeighSubscribeWithOptions(updates, done, netlink.NeighSubscribeOptions{
		Namespace:     &handle,
		ListExisting:  true,
		ErrorCallback: func(err error) { failure = err },
	})
	if err != nil {
		return fmt.Errorf("watch neighbours of %s: %w", n.Host.Name, err)
	}
	// Closing done closes the socket; the library then closes updates.
	stop := context.AfterFunc(ctx, func() { close(done) })
	defer func() {
		if stop() {
			close(done)
		}
	}()
	lookErr := n.resolve()
	ready()
	known := ""
	for u := range updates {
		at := record.Now()
		if ip, ok := netip.AddrFromSlice(u.IP); !ok || ip.Unmap() != n.VIP {
			continue
		}
		mac := ""
		if u.Type == unix.RTM_NEWNEIGH && u.State&(netlink.NUD_FAILED|netlink.NUD_INCOMPLETE) == 0 {
			mac = u.HardwareAddr.String()
		}
		if mac != known {
			known = mac
			to.Neighbour(record.Neighbour{At: at, Host: n.Host.Name, MAC: mac})
		}
	}
	if ctx.Err() == nil {
		return fmt.Errorf("watch neighbours of %s: the kernel's messages ended: %w", n.Host.Name, failure)
	}
	return lookErr
}

// resolve sends a datagram to the VIP, for which the host has to resolve its neighbour.
func (n *Neighbour) resolve() error {
	err := n.Host.NS.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		const discard = 9
		err = unix.Sendto(fd, nil, 0, &unix.SockaddrInet4{Addr: n.VIP.As4(), Port: discard})
		return errors.Join(err, unix.Close(fd))
	})
	if err != nil {
		return fmt.Errorf("look for %s from %s: %w", n.VIP, n.Host.Name, err)
	}
	return nil
}
