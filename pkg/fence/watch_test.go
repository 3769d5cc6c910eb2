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
	case <-time.After(time.Minute):
		t.Fatalf("was not told of %s", of)
	}
}

func TestWatchReportsDamage(t *testing.T) {
	t.Parallel()
	w := watch(t)
	for name, script := range damages {
		must(t, w.fence.Repair())
		w.opened(t, 10*time.Second)
		if w.gate().permitted != 1 { // the damages are in slot 2
			w.opened(t, 10*time.Second)
		}
		for len(w.changed) > 0 { // the damage before may have caused several messages
			<-w.changed
		}
		w.damage(t, script)
		w.told(t, name)
		w.expectIntact(t, false, name)
	}
}

// TestWatchIsSilentAboutOwnChanges relies on the order of the kernel's messages: the other
// program's last change is reported last.
func TestWatchIsSilentAboutOwnChanges(t *testing.T) {
	w := watch(t)
	w.opened(t, 50*time.Millisecond)
	time.Sleep(200 * time.Millisecond) // the kernel removes expired elements
	for range 50 {
		w.opened(t, 10*time.Second)
	}
	must(t, w.gate().Forbid())
	must(t, w.gate().Clear())
	must(t, w.fence.run("rebuild", w.fence.rebuild))
	must(t, w.fence.kernel.Learn())
	must(t, w.fence.Remove())
	must(t, w.fence.Prepare())
	w.nft(t, "add table ip other; add set ip other lease-fenced1 { type ipv4_addr; }; add element ip other lease-fenced1 { 192.168.35.100 }; flush table ip other")
	w.opened(t, 10*time.Second)
	if n := len(w.changed); n > 0 {
		t.Errorf("was told of %d changes before there was one", n)
	}
	w.nft(t, "add element ip vipd-test lease-inforce1 { 192.168.35.101 }")
	w.told(t, "a foreign element")
	if n := len(w.changed); n > 0 {
		t.Errorf("was told of %d changes besides a single foreign one", n)
	}
}

// TestWatchSurvivesAnOverrun blocks the receiver in changed, while there are more messages than its
// buffer holds.
func TestWatchSurvivesAnOverrun(t *testing.T) {
	t.Parallel()
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
	w.nft(t, "flush ruleset") // this message is lost
	close(release)
	w.told(t, "the loss")
	w.told(t, "the new subscription")
	if logged.FilterMessage("nftables subscription lost, resubscribing").Len() != 1 {
		t.Errorf("logged: %v", logged.All())
	}
	w.nft(t, "add table ip vipd-test")
	w.told(t, "a table")
	cancel()
	must(t, <-done)
}
