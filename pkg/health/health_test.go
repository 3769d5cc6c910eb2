package health

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/internal/bubble"
	"github.com/vipd-io/vipd/pkg/boottime"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is the API servers of some nodes, in a synctest bubble. The monitor runs on n1.
type world struct {
	t       *testing.T
	monitor *Monitor

	mu    sync.Mutex
	doing map[string]string // by server; "" means that the server is healthy
	asked map[string]int
	state State
}

// newWorld has three nodes, and n1 holds.
func newWorld(t *testing.T) *world {
	w := newWorldOf(t, 3)
	w.monitor.SetHolding(true)
	time.Sleep(3 * time.Second)
	return w
}

// newWorldOf has n nodes, and n1 is a standby.
func newWorldOf(t *testing.T, n int) *world {
	w := &world{t: t, doing: make(map[string]string), asked: make(map[string]int)}
	start := time.Now()
	w.monitor = New(Options{Local: "n1", Ask: w.ask, Observe: w.notify,
		Now: func() boottime.Instant { return boottime.Instant(time.Since(start) + time.Hour) }})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = w.monitor.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	var peers []string
	for i := range n - 1 {
		peers = append(peers, fmt.Sprintf("n%d", i+2))
	}
	w.monitor.SetPeers(peers)
	return w
}

// ask simulates the server, with a delay of a millisecond. A broken or cancelled connection is
// reported, as kubeapi does.
func (w *world) ask(ctx context.Context, server string) (int, string, bool, error) {
	w.mu.Lock()
	w.asked[server]++
	doing, fifth := w.doing[server], w.asked[server]%5 == 0
	w.mu.Unlock()
	wait := time.Millisecond
	switch doing {
	case "hangs":
		wait = time.Hour
	case "slow":
		wait = 500 * time.Millisecond
	case "late":
		wait = 1200 * time.Millisecond
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		w.monitor.ProbeNow(server)
		return 0, "", true, ctx.Err()
	}
	switch doing {
	case "flaky":
		if fifth {
			w.monitor.ProbeNow(server)
			return 0, "", true, fmt.Errorf("ask: %w", unix.ECONNRESET)
		}
	case "resets":
		w.monitor.ProbeNow(server)
		return 0, "", true, fmt.Errorf("ask: %w", unix.ECONNRESET)
	case "busy":
		return 429, "Too many requests, please try again later.", true, nil
	case "dead":
		return 0, "", true, fmt.Errorf("ask: %w", unix.ECONNREFUSED)
	case "leaving":
		return 500, "[-]shutdown failed: reason withheld\n", true, nil
	case "etcd":
		return 500, "[-]etcd failed: reason withheld\n", true, nil
	}
	return 200, "ok", true, nil
}

func (w *world) notify(s State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state = State{Local: s.Local, Peers: slices.Clone(s.Peers)}
}

func (w *world) now() State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state
}

func (w *world) count(server string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked[server]
}

func (w *world) set(doing string, servers ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range servers {
		w.doing[s] = doing
	}
}

// await waits in steps of a millisecond and returns how long it took.
func (w *world) await(what string, ok func(State) bool) time.Duration {
	w.t.Helper()
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(time.Millisecond) {
		if ok(w.now()) {
			return time.Since(began)
		}
	}
	w.t.Fatalf("never: %s; state %+v", what, w.now())
	return 0
}

// never asserts that the state is not reached for a while.
func (w *world) never(what string, d time.Duration, bad func(State) bool) {
	w.t.Helper()
	for began := time.Now(); time.Since(began) < d; time.Sleep(time.Millisecond) {
		if s := w.now(); bad(s) {
			w.t.Fatalf("%s after %s: %+v", what, time.Since(began), s)
		}
	}
}

// moves tells whether there is a reason to hand over, and a better server.
func moves(s State) bool {
	return s.Local.Verdict == NotReady && slices.ContainsFunc(s.Peers, func(p Server) bool { return p.Better })
}

func TestReadyAtFirst(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		since := boottime.Instant(time.Hour) // the time at which a world begins
		want := State{Local: Server{Name: "n1", Verdict: Ready, Since: since}, Peers: []Server{{Name: "n2", Verdict: Ready, Since: since}, {Name: "n3", Verdict: Ready, Since: since}}}
		if d := cmp.Diff(want, w.now()); d != "" {
			t.Errorf("state (-want +got):\n%s", d)
		}
	})
}

// TestReadySince: the time since the last recovery, and 0 while the server is not ready.
func TestReadySince(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		first := w.now().Local.Since
		w.set("dead", "n1")
		w.await("not ready", func(s State) bool { return s.Local.Verdict == NotReady })
		if since := w.now().Local.Since; since != 0 {
			t.Errorf("ready since %d, and it is not", since)
		}
		w.set("", "n1")
		w.await("ready", func(s State) bool { return s.Local.Verdict == Ready })
		if since := w.now().Local.Since; since <= first {
			t.Errorf("ready since %d after a recovery, and since %d before", since, first)
		}
	})
}

// TestTimeToMove measures the time from the failure of this node's own server until the monitor
// knows that another server is better.
func TestTimeToMove(t *testing.T) {
	for doing, most := range map[string]time.Duration{
		"dead":    holderOwn + 10*time.Millisecond,
		"leaving": holderOwn + 10*time.Millisecond,
		"etcd":    holderOwn + errorInterval + 10*time.Millisecond,
		"hangs":   holderOwn + maxWait + 2*silentInterval,
	} {
		t.Run(doing, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := newWorld(t)
				for i := range 20 { // at any point between two probes
					time.Sleep(time.Duration(i) * 37 * time.Millisecond)
					w.set(doing, "n1")
					if took := w.await("move", moves); took > most {
						t.Errorf("took %s, want %s at most", took, most)
					}
					w.set("", "n1")
					w.await("recovery", func(s State) bool { return s.Local.Verdict == Ready })
				}
			})
		})
	}
}

// TestStandby measures the time until a standby knows that its own server fails, and checks that a
// new holder probes at once.
func TestStandby(t *testing.T) {
	failed := func(s State) bool { return s.Local.Verdict == NotReady }
	for doing, most := range map[string]time.Duration{
		"dead":    standbyOwn + 10*time.Millisecond,
		"leaving": standbyOwn + 10*time.Millisecond,
		"etcd":    standbyOwn + errorInterval + 10*time.Millisecond,
		"hangs":   2*standbyOwn + (minFailures-2)*silentInterval + lateAfter + 10*time.Millisecond,
	} {
		t.Run(doing, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := newWorldOf(t, 3)
				for i := range 20 {
					w.await("recovery", func(s State) bool { return s.Local.Verdict == Ready })
					time.Sleep(3*time.Second + time.Duration(i)*71*time.Millisecond)
					w.set(doing, "n1")
					if took := w.await("failure", failed); took > most {
						t.Errorf("took %s, want %s at most", took, most)
					}
					w.set("", "n1")
				}
			})
		})
	}
	bubble.Test(t, func(t *testing.T) {
		w := newWorldOf(t, 3)
		time.Sleep(3500 * time.Millisecond)
		w.set("dead", "n1")
		w.monitor.SetHolding(true)
		if took := w.await("failure", failed); took > 10*time.Millisecond {
			t.Errorf("the new holder looked after %s", took)
		}
	})
}

// TestNudge: a connection broke; the server is probed at once.
func TestNudge(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for range 10 {
			time.Sleep(71 * time.Millisecond)
			w.set("dead", "n1")
			w.monitor.ProbeNow("n1")
			if took := w.await("move", moves); took > minGap+10*time.Millisecond {
				t.Errorf("took %s after a nudge", took)
			}
			w.set("", "n1")
			w.await("recovery", func(s State) bool { return s.Local.Verdict == Ready })
		}
	})
}

// TestAllServersFailAlike: if all servers fail in the same way, the VIP does not move.
func TestAllServersFailAlike(t *testing.T) {
	for _, doing := range []string{"dead", "leaving", "etcd", "hangs", "slow"} {
		t.Run(doing, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := newWorld(t)
				for range 5 {
					time.Sleep(73 * time.Millisecond)
					w.set(doing, "n1", "n2", "n3")
					w.never("moves", 10*time.Second, moves)
					w.set("", "n1", "n2", "n3")
					time.Sleep(3 * time.Second)
				}
			})
		})
	}
}

// TestPeerComesBackFirst: a peer that recovers first is the better one at once.
func TestPeerComesBackFirst(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.set("etcd", "n1", "n2", "n3")
		w.await("trouble", func(s State) bool { return s.Local.Verdict == NotReady && s.Peers[0].Verdict == NotReady })
		w.set("", "n2")
		if took := w.await("move", moves); took > time.Second {
			t.Errorf("took %s", took)
		}
		if p := w.now().Peers; !p[0].Better || p[1].Better {
			t.Errorf("peers = %+v", p)
		}
	})
}

// TestPeerFails: the holder detects the failure of a peer in time, without more probes.
func TestPeerFails(t *testing.T) {
	for doing, most := range map[string]time.Duration{
		"dead":    holderPeer + 10*time.Millisecond,
		"leaving": holderPeer + 10*time.Millisecond,
		"etcd":    fall*holderPeer + 10*time.Millisecond,
		"busy":    minFailures*holderPeer + 10*time.Millisecond,
		"hangs":   minFailures*holderPeer + timeout + 10*time.Millisecond,
	} {
		t.Run(doing, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := newWorld(t)
				for range 10 {
					time.Sleep(137 * time.Millisecond)
					w.set(doing, "n2")
					if took := w.await("verdict", func(s State) bool { return s.Peers[0].Verdict == NotReady }); took > most {
						t.Errorf("took %s, want %s at most", took, most)
					}
					w.set("", "n2")
					w.await("recovery", func(s State) bool { return s.Peers[0].Verdict == Ready })
				}
			})
		})
	}
}

// TestHold: a standby that becomes the holder probes its peers at once.
func TestHold(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorldOf(t, 3)
		for range 10 {
			w.await("peers", func(s State) bool { return len(s.Peers) == 2 && s.Peers[0].Verdict == Ready })
			before := w.count("n2")
			w.await("a probe", func(State) bool { return w.count("n2") > before })
			time.Sleep(371 * time.Millisecond)
			w.set("dead", "n2")
			w.monitor.SetHolding(true)
			if took := w.await("verdict", func(s State) bool { return s.Peers[0].Verdict == NotReady }); took > minGap+10*time.Millisecond {
				t.Errorf("took %s", took)
			}
			w.set("", "n2")
			w.monitor.SetHolding(false)
		}
	})
}

// TestPeersChange: a removed peer is no longer probed.
func TestPeersChange(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.monitor.SetPeers([]string{"n3", "n4", "n1"})
		w.await("n4", func(s State) bool { return len(s.Peers) == 2 && s.Peers[1].Name == "n4" && s.Peers[1].Verdict == Ready })
		before := w.count("n2")
		time.Sleep(10 * time.Second)
		if n := w.count("n2") - before; n > 0 {
			t.Errorf("n2 was asked %d times after it left", n)
		}
	})
}

func TestOrder(t *testing.T) {
	s := func(name string, v Verdict) Server { return Server{Name: name, Verdict: v} }
	for _, tt := range []struct {
		local Verdict
		want  []string
	}{
		{Ready, []string{"n1", "n3", "n2", "n4"}},
		{Unknown, []string{"n1", "n3", "n2", "n4"}},
		{NotReady, []string{"n3", "n1", "n2", "n4"}},
	} {
		got := State{Local: s("n1", tt.local), Peers: []Server{s("n2", NotReady), s("n3", Ready), s("n4", Unknown)}}.Order()
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("local %s (-want +got):\n%s", tt.local, d)
		}
	}
}
