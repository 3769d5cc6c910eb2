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

// Bounds of the goroutines and open files of a vipd at the end of all faults. At rest, 53 to 58
// goroutines and 27 or 28 files were counted. Calls that start together open as many connections;
// each connection is a file and two goroutines, and Go keeps it for 90 s. vipd is not at rest until
// these connections are closed. The bound of goroutines allows two goroutines for each connection
// up to the bound of files.
const (
	maxGoroutines = 100
	maxFiles      = 40
	peace         = 100 * time.Second
)

// Ending describes everything that should not be there: in the processes of vipd, and on the nodes
// after these processes have ended.
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

// renewed waits until the holder has renewed the Lease: a holder that has not read the Lease yet
// does not release it at its end, because another machine with the same node name may hold it.
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

// rest waits until every vipd is at rest, or until earlier faults can no longer be the reason that
// one is not.
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

// openFiles counts the open files of vipd.
func openFiles(n *lab.Node) (int, error) {
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.Vipd.Pid()))
	if err != nil {
		return 0, fmt.Errorf("count open files of vipd on %s: %w", n.Name, err)
	}
	return len(open), nil
}

// traced matches the first line of a goroutine in a trace. containerd adds a prefix.
var traced = regexp.MustCompile(`(?m)(^| )goroutine \d+ .*\[`)

// inside counts the open files and the goroutines of vipd, the latter in the trace that the Go
// runtime writes at SIGQUIT. vipd is started again after that.
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
	if _, err := lab.StopNow(n.Vipd, 5*time.Second); err != nil {
		return err
	}
	state, err := n.Vipd.Wait(ctx)
	if err == nil && state != nil && !state.Success() {
		return fmt.Errorf("vipd ended with status %d", state.ExitCode())
	}
	return err
}

// search looks for leftovers on a node without a vipd.
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
