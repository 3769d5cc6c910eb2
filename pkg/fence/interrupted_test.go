package fence

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/nftables"
)

// TestFlushDuringPrepare: a firewall that reloads just when vipd restarts does not end vipd.
func TestFlushDuringPrepare(t *testing.T) {
	for part := range 4 {
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			other := r.newFence()
			for i := range 100 {
				r.flushedDuringPrepare(t, other, time.Duration(i)*20*time.Microsecond)
			}
		})
	}
}

func (r *rig) flushedDuringPrepare(t *testing.T, other *Fence, after time.Duration) {
	t.Helper()
	must(t, r.fence.Remove())
	must(t, r.fence.Prepare()) // tables of an earlier process
	restarted := r.newFence()
	defer restarted.Close()
	_, _ = restarted.Intact() // opens its socket
	flushed := make(chan error)
	go func() {
		time.Sleep(after)
		flushed <- other.Remove() // as `nft flush ruleset` does
	}()
	err := restarted.Prepare()
	must(t, <-flushed)
	must(t, err) // an error would end vipd
}

// TestCallReturnsInTime: the timeout of a call includes the wait for earlier calls.
func TestCallReturnsInTime(t *testing.T) {
	t.Parallel()
	const limit, before = 4 * time.Second, 3 * time.Second
	r := newRig(t)
	r.fence.timeout = limit
	entered, release := make(chan struct{}), make(chan struct{})
	first := true
	r.spied(func(_ []Change, err error) error {
		if first {
			first = false
			close(entered)
			time.Sleep(before)
		} else {
			<-release
		}
		return err
	})
	done := make(chan struct{})
	go func() { defer close(done); _ = r.gate().Forbid() }()
	<-entered
	began := time.Now()
	_, err := r.gate().Arm(time.Minute)
	if took := time.Since(began); took >= before+limit || !errors.Is(err, ErrTimeout) {
		t.Errorf("Arm = %v after %s, want %v after %s", err, took, ErrTimeout, limit)
	}
	close(release)
	<-done
}

// TestKilledWhileLearning: the next vipd that ends in order removes the table that Learn made.
func TestKilledWhileLearning(t *testing.T) {
	r := newRig(t)
	scratch := layouts(r.fence.opts.Table+scratchSuffix, r.fence.opts.Groups, r.fence.opts.Sources)
	must(t, r.fence.nft.withConn(func(c *nftables.Conn) error { // the process is killed after this transaction
		must(t, scratch[0].create(c))
		return c.Flush()
	}))
	next := r.newFence()
	must(t, next.Prepare())
	must(t, next.Remove())
	must(t, next.nft.withConn(func(c *nftables.Conn) error {
		tables, err := c.ListTables()
		for _, left := range tables {
			t.Errorf("table %s is left", left.Name)
		}
		return err
	}))
}
