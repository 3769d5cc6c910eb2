package fence

import (
	"context"
	"time"

	"github.com/mdlayher/netlink" //nolint:depguard // a netlink socket as google/nftables has it; no frames
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// receiveBuffer holds the messages of a node that loads the rules of every Service at once, in
// bytes. Watch notices an overflow.
const receiveBuffer = 1 << 20

// nfgenmsgSize is the size of struct nfgenmsg, the header of each message.
const nfgenmsgSize = 4

// Watch calls changed whenever another program changed something in vipd's tables, and once after
// each period in which a change could have been missed. changed must not block; see Intact for what
// changed. Watch returns nil when ctx ends.
func (f *Fence) Watch(ctx context.Context, log *zap.Logger, changed func()) error {
	for ctx.Err() == nil {
		began := boottime.Now()
		if err := f.watch(ctx, changed); ctx.Err() == nil {
			logLost(log, boottime.Now().Sub(began), err)
			changed()
			pause(ctx)
		}
	}
	return nil
}

func logLost(log *zap.Logger, lasted time.Duration, err error) {
	// A subscription that lasted ended by a full buffer, which is harmless.
	level := zap.DebugLevel
	if lasted < time.Second {
		level = zap.WarnLevel
	}
	log.Log(level, "nftables subscription lost, resubscribing", zap.Error(err))
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
	f.journal.subscribed()
	changed() // for changes before the subscription
	for {
		messages, err := c.Receive()
		if err != nil {
			return err
		}
		foreign := false
		for _, m := range messages {
			is := f.foreign(m)
			f.journal.read(m, is)
			foreign = foreign || is
		}
		if foreign {
			changed()
		}
	}
}

// foreign tells whether a message reports another program's change to vipd's tables. The message
// has the netlink address of the socket that sent the transaction (net/netfilter/nf_tables_api.c,
// nf_tables_fill_*_info). The kernel sends no message for an element that timed out.
func (f *Fence) foreign(m netlink.Message) bool {
	if m.Header.Type>>8 != unix.NFNL_SUBSYS_NFTABLES || m.Header.Type&0xff == unix.NFT_MSG_NEWGEN ||
		m.Header.PID == f.nft.port.Load() || len(m.Data) < nfgenmsgSize {
		return false
	}
	attributes, err := netlink.NewAttributeDecoder(m.Data[nfgenmsgSize:])
	if err != nil {
		return true
	}
	for attributes.Next() {
		// Attribute 1 is the table, whatever changed.
		if attributes.Type() == unix.NFTA_TABLE_NAME {
			return attributes.String() == f.opts.Table
		}
	}
	return attributes.Err() != nil
}
