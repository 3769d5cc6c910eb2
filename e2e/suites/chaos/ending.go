package chaos

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// Bounds of what a vipd that has lived through everything has of goroutines, of which
// 53 to 58 were counted at rest, and of open files, with 27 or 28. Calls that begin
// together dial as many connections, each a file and two goroutines, which Go keeps for
// 90 s: until so many are gone vipd is not at rest. The bound of goroutines leaves room
// for the two of each connection up to the bound of files.
const (
	maxGoroutines = 100
	maxFiles      = 40
	peace         = 100 * time.Second
)

// Ending looks for what should not be there: in the processes of vipd, and on the
// nodes once they have ended. It says so in words.
func Ending(ctx context.Context, l *lab.Lab) (left []string, err error) {
	add := func(n *lab.Node, format string, args ...any) {
		left = append(left, n.Name+": "+fmt.Sprintf(format, args...))
	}
	foreign := make(map[string]string)
	for _, n := range l.Nodes {
		if foreign[n.Name], err = n.Foreign(ctx); err != nil {
			return nil, err
		}
	}
	if err := rest(ctx, l); err != nil {
		return nil, err
	}
	for _, n := range l.Nodes {
		files, goroutines, err := inside(ctx, n)
		if err != nil {
			return nil, err
		}
		if files > maxFiles || goroutines > maxGoroutines {
			add(n, "vipd has %d files open and %d goroutines, at most %d and %d are to be expected", files, goroutines, maxFiles, maxGoroutines)
		}
	}
	if err := renewed(ctx, l); err != nil {
		return nil, err
	}
	for _, n := range l.Nodes {
		if err := end(ctx, n); err != nil {
			add(n, "%v", err)
		}
	}
	for _, n := range l.Nodes {
		if err := search(ctx, n, l.VIP, foreign[n.Name], add); err != nil {
			return nil, err
		}
	}
	who, err := l.Nodes[0].Holder(ctx)
	if who != "" {
		add(l.Nodes[0], "the Lease names %s", who)
	}
	return left, err
}

// renewed waits until the holder has renewed the Lease: one that ends before it has
// read it does not release it, as a namesake might be at work.
func renewed(ctx context.Context, l *lab.Lab) error {
	n, err := failover.Ready(ctx, l)
	if err != nil {
		return err
	}
	before, err := n.Lease(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return wait.Until(ctx, 50*time.Millisecond, func() (bool, error) {
		now, err := n.Lease(ctx)
		return err == nil && now.ResourceVersion != before.ResourceVersion, err
	})
}

// rest waits until every vipd is at rest, or until it cannot be put down to what went
// before that one is not.
func rest(ctx context.Context, l *lab.Lab) error {
	before := time.Now()
	return wait.Until(ctx, 100*time.Millisecond, func() (bool, error) {
		for _, n := range l.Nodes {
			if files, err := openFiles(n); err != nil || files > maxFiles && time.Since(before) < peace {
				return false, err
			}
		}
		return true, nil
	})
}

// openFiles counts what vipd has open.
func openFiles(n *lab.Node) (int, error) {
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.Vipd.Pid()))
	if err != nil {
		return 0, fmt.Errorf("count open files of vipd on %s: %w", n.Name, err)
	}
	return len(open), nil
}

// traced is the head of a goroutine in a trace. containerd puts its own words before.
var traced = regexp.MustCompile(`(?m)(^| )goroutine \d+ .*\[`)

// inside counts what vipd has open, and its goroutines by the trace that the Go
// runtime writes at SIGQUIT. vipd is started again.
func inside(ctx context.Context, n *lab.Node) (files, goroutines int, err error) {
	if files, err = openFiles(n); err != nil {
		return 0, 0, err
	}
	path := n.Vipd.Log()
	before, err := os.Stat(path)
	if err != nil {
		return 0, 0, fmt.Errorf("trace vipd on %s: %w", n.Name, err)
	}
	if _, err := n.Vipd.Signal(syscall.SIGQUIT); err != nil {
		return 0, 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := n.Vipd.Wait(ctx); err != nil {
		return 0, 0, err
	}
	log, err := os.ReadFile(path)
	if err != nil {
		return 0, 0, fmt.Errorf("trace vipd on %s: %w", n.Name, err)
	}
	goroutines = len(traced.FindAll(log[before.Size():], -1))
	if goroutines == 0 {
		return 0, 0, fmt.Errorf("trace vipd on %s: no goroutine in its log", n.Name)
	}
	return files, goroutines, n.Vipd.Start()
}

// end ends vipd in an orderly way.
func end(ctx context.Context, n *lab.Node) error {
	if _, err := n.Vipd.Stop(5 * time.Second); err != nil {
		return err
	}
	state, err := n.Vipd.Wait(ctx)
	if err == nil && state != nil && !state.Success() {
		return fmt.Errorf("vipd ended with status %d", state.ExitCode())
	}
	return err
}

// search looks on a node without a vipd.
func search(ctx context.Context, n *lab.Node, vip netip.Addr, foreign string, add func(*lab.Node, string, ...any)) error {
	has, err := n.Has(vip)
	if err != nil {
		return err
	}
	if has {
		add(n, "it still has the VIP")
	}
	tables, err := n.Tables()
	if err != nil {
		return err
	}
	for _, t := range tables {
		if strings.HasPrefix(t, "vipd") {
			add(n, "there is a table %s of nftables", t)
		}
	}
	sockets, err := n.Connections(vip)
	if err != nil {
		return err
	}
	if len(sockets) > 0 {
		add(n, "there are connections of the VIP: %s", strings.Join(sockets, ", "))
	}
	now, err := n.Foreign(ctx)
	if err == nil && now != foreign {
		add(n, "what is not vipd's is\n%s\nand was\n%s", now, foreign)
	}
	return err
}
