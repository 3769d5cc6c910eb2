package fence

import (
	"context"
	"fmt"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// watched is a rig whose fence is watched.
type watched struct {
	*rig
	changed chan struct{}
}

func watch(t *testing.T) *watched {
	t.Helper()
	w := &watched{rig: newRig(t), changed: make(chan struct{}, 10000)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.fence.Watch(ctx, zap.NewNop(), func() { w.changed <- struct{}{} }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	w.told(t, "the start")
	return w
}

func (w *watched) told(t *testing.T, of string) {
	t.Helper()
	select {
	case <-w.changed:
	case <-time.After(10 * time.Second):
		t.Fatalf("was not told of %s", of)
	}
}

func TestWatchTellsOfDamage(t *testing.T) {
	w := watch(t)
	for name, script := range damages {
		must(t, w.fence.Mend())
		w.opened(t, 10*time.Second)
		if w.fence.named != 1 { // the damages are to slot 2
			w.opened(t, 10*time.Second)
		}
		for len(w.changed) > 0 { // the damage before may have been several messages
			<-w.changed
		}
		start := time.Now()
		w.damage(t, script)
		w.told(t, name)
		if d := time.Since(start); d > time.Second {
			t.Errorf("was told of %s after %v", name, d)
		}
		w.expectIntact(t, false, name)
	}
}

// TestWatchIsSilentAboutOwnChanges relies on the order of the kernel's messages:
// what somebody else does last is told of last.
func TestWatchIsSilentAboutOwnChanges(t *testing.T) {
	w := watch(t)
	w.opened(t, 50*time.Millisecond)
	time.Sleep(200 * time.Millisecond) // the kernel takes away what has ended
	for range 50 {
		w.opened(t, 10*time.Second)
	}
	must(t, w.fence.Forbid())
	must(t, w.fence.Rest())
	w.fence.mu.Lock()
	must(t, w.fence.rebuild())
	w.fence.mu.Unlock()
	must(t, w.fence.Remove())
	must(t, w.fence.Prepare())
	w.nft(t, "add table ip other; add set ip other fenced1 { type ipv4_addr; }; add element ip other fenced1 { 192.168.35.100 }; flush table ip other")
	w.opened(t, 10*time.Second)
	if n := len(w.changed); n > 0 {
		t.Errorf("was told of %d changes before there was one", n)
	}
	w.nft(t, "add element ip vipd-test inforce1 { 192.168.35.101 }")
	w.told(t, "a foreign element")
	if n := len(w.changed); n > 0 {
		t.Errorf("was told of %d changes besides a single foreign one", n)
	}
}

// TestWatchGetsOverAnOverrun has changed hold the receiver up while more happens
// than its buffer holds.
func TestWatchGetsOverAnOverrun(t *testing.T) {
	core, logged := observer.New(zap.DebugLevel)
	w := &watched{rig: newRig(t), changed: make(chan struct{}, 100)}
	ctx, cancel := context.WithCancel(t.Context())
	release, done, calls := make(chan struct{}), make(chan error, 1), 0
	go func() {
		done <- w.fence.Watch(ctx, zap.New(core), func() {
			w.changed <- struct{}{}
			if calls++; calls == 1 {
				<-release
			}
		})
	}()
	w.told(t, "the start")
	w.nft(t, "add table ip other; add set ip other s { type ipv4_addr; }")
	for i := range 40 {
		many := []byte("add element ip other s { ")
		for j := range 1000 {
			many = fmt.Appendf(many, "10.%d.%d.%d, ", i, j>>8, j&0xff)
		}
		w.nft(t, string(many)+"}")
	}
	w.nft(t, "flush ruleset") // is lost
	close(release)
	w.told(t, "the loss")
	w.told(t, "the new subscription")
	if logged.FilterMessage("nftables subscription lost, subscribing again").Len() != 1 {
		t.Errorf("logged: %v", logged.All())
	}
	w.nft(t, "add table ip vipd-test")
	w.told(t, "a table")
	cancel()
	must(t, <-done)
}
