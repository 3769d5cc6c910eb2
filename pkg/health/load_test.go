package health

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// load is how often servers are asked, by what they do.
type load struct {
	doing string
	// most is how often this node's own server is asked in a second of a minute
	// of it, on average, if it is the one.
	most float64
	// hastens: then a holder asks its peers as often as a server that is not ready.
	hastens bool
}

var loads = []load{
	{"", 5, false},
	{"busy", 5, false},
	{"slow", 5.1, false},
	{"late", 5.1, true},
	{"hangs", 5.1, true},
	{"flaky", 6.5, false},
	{"resets", 6, true},
	{"etcd", 5.1, true},
	{"leaving", 5.1, true},
	{"dead", 5.1, true},
}

// TestLoad: what one vipd costs the servers. Trouble of theirs is not answered with
// more of it, but for what it takes to judge this node's own.
func TestLoad(t *testing.T) {
	for _, l := range loads {
		for _, n := range []int{3, 9} {
			for _, holding := range []bool{true, false} {
				for _, who := range []string{"own", "peers", "all"} {
					t.Run(fmt.Sprintf("%s/%s/%d/holding=%t", l.doing, who, n, holding), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) { l.measure(t, who, n, holding) })
					})
				}
			}
		}
	}
}

func (l load) measure(t *testing.T, who string, n int, holding bool) {
	w := newWorldOf(t, n)
	w.monitor.Hold(holding)
	time.Sleep(7300 * time.Millisecond)
	for i := range n {
		if own := i == 0; own && who != "peers" || !own && who != "own" {
			w.set(l.doing, fmt.Sprintf("n%d", i+1))
		}
	}
	own, peer := 5.0, 0.2
	if holding {
		peer = 1
	}
	if who != "peers" {
		own = l.most
		if l.hastens && holding {
			peer = 5.1
		}
		if l.doing == "flaky" && holding {
			peer = 1.2 // each error makes one wonder
		}
	}
	const seconds = 60
	before, worst := w.counts(), 0
	for range seconds {
		second := w.count("n1")
		time.Sleep(time.Second)
		worst = max(worst, w.count("n1")-second)
	}
	after := w.counts()
	total := 0
	for server, count := range after {
		most := peer
		if server == "n1" {
			most = own
		}
		asked := count - before[server]
		if total += asked; float64(asked) > most*seconds+1 {
			t.Errorf("%s was asked %d times in %d s, want %.1f a second at most", server, asked, seconds, most)
		}
	}
	if worst > int(time.Second/minGap) {
		t.Errorf("own server was asked %d times in a second", worst)
	}
	t.Logf("%.1f requests a second, this node's own server %d in the worst", float64(total)/seconds, worst)
}

// counts is how often each was asked.
func (w *world) counts() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.asked)
}

// TestManyNudges: a server that breaks every connection is not asked for each, nor
// is a peer for any.
func TestManyNudges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		before := w.counts()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var nudging sync.WaitGroup
		nudging.Go(func() {
			for ctx.Err() == nil {
				w.monitor.Nudge("n1")
				w.monitor.Nudge("n2")
				time.Sleep(time.Millisecond)
			}
		})
		nudging.Wait()
		after := w.counts()
		if n := after["n1"] - before["n1"]; n > int(time.Second/minGap)+1 {
			t.Errorf("own server was asked %d times in a second of nudges", n)
		}
		if n := after["n2"] - before["n2"]; n > 2 {
			t.Errorf("a peer was asked %d times in a second of nudges", n)
		}
	})
}
