package fence

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink" //nolint:depguard // a netlink socket as google/nftables has it; no frames
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// answerTimeout bounds one exchange with the kernel: answers that were lost to a full receive
// buffer never come. answerTimeout is less than callTimeout, so that the call itself returns the
// error.
const answerTimeout = 400 * time.Millisecond

// nft is the Kernel that uses nftables.
type nft struct {
	table   string
	groups  [][]netip.Addr
	sources []Source
	netNS   int
	log     *zap.Logger
	layout  []layout
	// first bounds the first exchange, which may wait for kernel modules. later bounds the
	// exchanges after it: answerTimeout.
	first, later time.Duration
	// port is the netlink address of the open socket, see Fence.Watch.
	port atomic.Uint32

	conn   *nftables.Conn
	socket *netlink.Conn // of conn
}

func newNft(opts Options) *nft {
	return &nft{table: opts.Table, groups: opts.Groups, sources: opts.Sources, netNS: opts.NetNS, log: opts.Log,
		layout: layouts(opts.Table, opts.Groups, opts.Sources), first: prepareTimeout / 2, later: answerTimeout}
}

// Transact sends the changes as one nftables transaction.
func (n *nft) Transact(changes ...Change) error {
	return n.withConn(func(c *nftables.Conn) error {
		for _, l := range n.layout {
			for _, change := range changes {
				group, source := n.gate(change.Gate)
				if err := l.queue(c, change, l.sources[source][change.Slot], l.of(group)); err != nil {
					return err
				}
			}
		}
		return c.Flush()
	})
}

// gate returns the group and the source of a gate.
func (n *nft) gate(i int) (group []netip.Addr, source int) {
	return n.groups[i/len(n.sources)], i % len(n.sources)
}

func (n *nft) Look() (v View, err error) {
	err = n.withConn(func(c *nftables.Conn) error {
		v, err = n.look(c)
		return err
	})
	return v, err
}

func (n *nft) look(c *nftables.Conn) (v View, err error) {
	v.Whole = true
	for _, l := range n.layout {
		got, found, err := l.list(c)
		if err != nil {
			return v, fmt.Errorf("look at nftables table %s %s: %w", l.name, n.table, err)
		}
		v.Found = v.Found || found
		v.Whole = v.Whole && found && got.equal(l.listing)
	}
	if !v.Whole {
		return v, nil
	}
	v.Gates = make([][]Contents, len(n.groups)*len(n.sources))
	for _, l := range n.layout {
		all, err := l.elements(c)
		if err != nil {
			return v, fmt.Errorf("look at elements of nftables table %s %s: %w", l.name, n.table, err)
		}
		for i := range v.Gates {
			group, source := n.gate(i)
			if addrs := l.of(group); len(addrs) > 0 {
				v.Gates[i] = append(v.Gates[i], all.take(l.sources[source], addrs))
			}
		}
		v.Whole = v.Whole && all.empty() // no gate has the elements that are left
	}
	return v, nil
}

// Learn makes the tables once more, under another name and without elements, to see how this kernel
// lists them: no other program changes those tables.
func (n *nft) Learn() error {
	scratch := layouts(n.table+scratchSuffix, n.groups, n.sources)
	return n.withConn(func(c *nftables.Conn) error {
		for i, l := range scratch {
			if err := n.learn(c, i, l); err != nil {
				return fmt.Errorf("look how the kernel lists an nftables table %s: %w", l.name, err)
			}
		}
		return nil
	})
}

func (n *nft) learn(c *nftables.Conn, i int, scratch layout) error {
	for j := range scratch.chains {
		scratch.chains[j].rules = n.layout[i].chains[j].rules
	}
	if err := scratch.create(c); err != nil {
		return err
	}
	if err := c.Flush(); err != nil {
		return err
	}
	got, _, err := scratch.list(c)
	c.DelTable(scratch.table)
	if e := c.Flush(); err == nil {
		err = e
	}
	if err == nil && !got.equal(n.layout[i].listing) {
		n.log.Warn("kernel lists the fence in another form, comparing with that form from now on",
			zap.String("table", n.layout[i].name+" "+n.table), zap.Any("listed", got.difference(n.layout[i].listing)))
		n.layout[i].listing = got
	}
	return err
}

// withConn runs one exchange with the kernel.
func (n *nft) withConn(run func(*nftables.Conn) error) error {
	err := n.open()
	if err == nil {
		err = n.socket.SetDeadline(time.Now().Add(n.first)) //nolint:forbidigo // of a socket; nothing is decided on it
	}
	if err == nil {
		err = run(n.conn)
	}
	if err != nil {
		n.Close() // so that the next exchange reads no old answer
		return err
	}
	n.first = n.later
	return nil
}

// open opens the socket. The socket stays open, because closing one after a transaction that
// deleted something waits for an RCU grace period of 5 to 17 ms (net/netfilter/nf_tables_api.c,
// nft_rcv_nl_event).
func (n *nft) open() (err error) {
	if n.conn != nil {
		return nil
	}
	opts := []nftables.ConnOption{nftables.AsLasting(), nftables.WithSockOptions(n.opened)}
	if n.netNS != 0 {
		opts = append(opts, nftables.WithNetNSFd(n.netNS))
	}
	n.conn, err = nftables.New(opts...)
	return err
}

// opened stores the socket, and its netlink address.
func (n *nft) opened(c *netlink.Conn) error {
	n.socket = c
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var name unix.Sockaddr
	if e := raw.Control(func(fd uintptr) { name, err = unix.Getsockname(int(fd)) }); e != nil {
		return e
	}
	if a, ok := name.(*unix.SockaddrNetlink); ok {
		n.port.Store(a.Pid)
	}
	return err
}

// Close closes the socket.
func (n *nft) Close() {
	if n.conn != nil {
		_ = n.conn.CloseLasting()
		n.conn, n.socket = nil, nil
	}
}
