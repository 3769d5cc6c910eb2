package observe

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
)

// Addresses records when the VIP is added to a node and removed from it, as the node's kernel
// reports. Refreshes of the lifetime are ignored, and so is the address that the lab's PlantCopy
// adds on another interface.
type Addresses struct {
	NS   *lab.Namespace
	Node string
	VIP  netip.Addr
}

// Run listens until ctx ends.
func (a *Addresses) Run(ctx context.Context, to *record.Recorder, ready func()) error {
	updates := make(chan netlink.AddrUpdate)
	done := make(chan struct{})
	var failure error // written before updates is closed
	handle := a.NS.Handle()
	err := netlink.AddrSubscribeWithOptions(updates, done, netlink.AddrSubscribeOptions{
		Namespace:     &handle,
		ListExisting:  true,
		ErrorCallback: func(err error) { failure = err },
	})
	if err != nil {
		return fmt.Errorf("watch addresses of %s: %w", a.Node, err)
	}
	// Closing done closes the socket; the library then closes updates.
	stop := context.AfterFunc(ctx, func() { close(done) })
	defer func() {
		if stop() {
			close(done)
		}
	}()
	ready() // the socket listens; messages wait in its buffer
	present := false
	for u := range updates {
		at := record.Now()
		ip, ok := netip.AddrFromSlice(u.LinkAddress.IP)
		if !ok || ip.Unmap() != a.VIP || u.NewAddr == present || u.LinkIndex == lab.CopyIndex {
			continue
		}
		present = u.NewAddr
		to.Address(record.AddressEvent{At: at, Node: a.Node, Added: present})
	}
	if ctx.Err() == nil {
		return fmt.Errorf("watch addresses of %s: the kernel's messages ended: %w", a.Node, failure)
	}
	return nil
}
