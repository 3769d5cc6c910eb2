package lab

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/google/nftables"
)

// busyTable is the table of a program with very many rules.
const busyTable = "busy"

// HoldNftables loads a set from another program that is so large that the kernel is inside this one
// transaction for seconds, and other transactions wait. It returns once one waits. release waits
// for the end of the transaction, and removes the set.
func (n *Node) HoldNftables(ctx context.Context) (release func() error, err error) {
	loading := exec.CommandContext(ctx, "nice", "nft", "-f", "-") // takes seconds of CPU time
	loading.Stdin = strings.NewReader(largeSet(80_000))
	if err := n.NS.Do(loading.Start); err != nil {
		return nil, fmt.Errorf("load a large set: %w", err)
	}
	loaded := make(chan error, 1)
	go func() { loaded <- loading.Wait() }()
	for {
		waiting := make(chan error, 1)
		go func() { waiting <- n.deleteTable(busyTable + "-not") }()
		select {
		case err := <-waiting:
			if err != nil {
				return nil, errors.Join(err, <-loaded)
			}
		case <-time.After(150 * time.Millisecond):
			return func() error { return errors.Join(<-loaded, <-waiting, n.deleteTable(busyTable)) }, nil
		}
		select {
		case err := <-loaded:
			return nil, errors.Join(err, n.deleteTable(busyTable), errors.New("hold nftables: the large set was loaded before another transaction had to wait"))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// largeSet returns a set of ranges, which the kernel inserts in order one after the other.
func largeSet(elements int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "add table ip %s\nadd set ip %[1]s s { type ipv4_addr . inet_service; flags interval; }\nadd element ip %[1]s s { ", busyTable)
	for i := range elements {
		from := fmt.Sprintf("10.%d.%d.", i>>14&0xff, i>>6&0xff)
		port := 1000 + i%5000
		fmt.Fprintf(&b, "%s%d-%s%d . %d-%d, ", from, i&63*4, from, i&63*4+2, port, port+3)
	}
	b.WriteString("}\n")
	return b.String()
}

// deleteTable deletes a table if it exists.
func (n *Node) deleteTable(name string) error {
	return n.transaction(func(c *nftables.Conn) {
		t := &nftables.Table{Name: name, Family: nftables.TableFamilyIPv4}
		c.AddTable(t)
		c.DelTable(t)
	})
}

func (n *Node) transaction(queue func(*nftables.Conn)) error {
	c, err := nftables.New(nftables.WithNetNSFd(int(n.NS.handle)))
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	queue(c)
	if err := c.Flush(); err != nil {
		return fmt.Errorf("change nftables: %w", err)
	}
	return nil
}
