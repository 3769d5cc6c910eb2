package fence

import (
	"context"
	"slices"
	"time"

	"github.com/mdlayher/netlink" //nolint:depguard // a netlink socket as google/nftables has it; no frames
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// receiveBuffer holds the messages of a node on which every Service's rules are
// loaded at once; what overflows it all the same is noticed, see Watch.
const receiveBuffer = 1 << 20

// Watch calls changed whenever somebody else changed something in our tables, and
// once after it could have missed that. changed must not block; it is told that
// something changed, not what: see Intact. Watch returns nil when ctx ends.
func (f *Fence) Watch(ctx context.Context, log *zap.Logger, changed func()) error {
	for ctx.Err() == nil {
		began := boottime.Now()
		if err := f.watch(ctx, changed); ctx.Err() == nil {
			lost(log, boottime.Now().Sub(began), err)
			changed()
			pause(ctx)
		}
	}
	return nil
}

func lost(log *zap.Logger, lasted time.Duration, err error) {
	// One that lasted is lost to a full buffer: nothing to wake somebody for.
	level := zap.DebugLevel
	if lasted < time.Second {
		level = zap.WarnLevel
	}
	log.Log(level, "nftables subscription lost, subscribing again", zap.Error(err))
}

func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(100 * time.Millisecond):
	}
}

// watch runs until ctx or the subscription ends.
func (f *Fence) watch(ctx context.Context, changed func()) error {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: f.opts.NetNS})
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	defer func() { _ = c.Close() }()
	if err := c.SetReadBuffer(receiveBuffer); err != nil {
		return err
	}
	if err := c.JoinGroup(unix.NFNLGRP_NFTABLES); err != nil {
		return err
	}
	changed() // what happened before the subscription
	for {
		messages, err := c.Receive()
		if err != nil {
			return err
		}
		if slices.ContainsFunc(messages, f.foreign) {
			changed()
		}
	}
}

// foreign tells whether a message is of somebody else's change to our tables. It
// bears the address of the socket that sent the transaction
// (net/netfilter/nf_tables_api.c, nf_tables_fill_*_info). Elements whose time is
// over go without a message.
func (f *Fence) foreign(m netlink.Message) bool {
	const headerSize = 4 // struct nfgenmsg
	if m.Header.Type>>8 != unix.NFNL_SUBSYS_NFTABLES || m.Header.Type&0xff == unix.NFT_MSG_NEWGEN ||
		m.Header.PID == f.port.Load() || len(m.Data) < headerSize {
		return false
	}
	attributes, err := netlink.NewAttributeDecoder(m.Data[headerSize:])
	if err != nil {
		return true
	}
	for attributes.Next() {
		// Whatever changed, attribute 1 is its table.
		if attributes.Type() == unix.NFTA_TABLE_NAME {
			return attributes.String() == f.opts.Table
		}
	}
	return attributes.Err() != nil
}

// keepPort notes the address that the kernel gave to the socket for changes.
func (f *Fence) keepPort(c *netlink.Conn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var name unix.Sockaddr
	if e := raw.Control(func(fd uintptr) { name, err = unix.Getsockname(int(fd)) }); e != nil {
		return e
	}
	if a, ok := name.(*unix.SockaddrNetlink); ok {
		f.port.Store(a.Pid)
	}
	return err
}
