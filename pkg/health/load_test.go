package health

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/vipd-io/vipd/internal/bubble"
)

// load is the number of probes a second, on average over half a minute in which some servers have
// trouble.
type load struct {
	doing string
	// own is the rate of probes of this node's own server in that state, on a holder; standby is
	// the rate on a standby.
	own, standby float64
	// hastens means that a holder then probes its peers as often as a server that is not ready;
	// strains means that peers in the same trouble are not probed more.
	hastens, strains bool
}

var loads = []load{
	{doing: "", own: 5, standby: 1},
	{doing: "busy", own: 5, standby: 1},
	{doing: "slow", own: 5.2, standby: 1},
	{doing: "late", own: 5.2, standby: 1.3, hastens: true, strains: true},
	{doing: "hangs", own: 5.2, standby: 1.3, hastens: true, strains: true},
	{doing: "flaky", own: 6.5, standby: 1.5},
	{doing: "resets", own: 6, standby: 6, hastens: true},
	{doing: "etcd", own: 5.2, standby: 5.2, hastens: true},
	{doing: "leaving", own: 5.2, standby: 5.2, hastens: true},
	{doing: "dead", own: 5.2, standby: 5.2, hastens: true},
}

// most is the bound for this node's own server, and for each peer.
func (l load) most(who string, holding bool) (own, peer float64) {
	of := l
	if who == "peers" {
		of = loads[0]
	}
	own = of.own
	switch {
	case !holding:
		return of.standby, 0.2
	case who == "peers":
		return own, 1
	case l.hastens && (who == "own" || !l.strains):
		return own, 5.1
	}
	return own, 1.2 // each error of this node's own server is a reason to probe the peers
}

// TestLoad bounds the load of one vipd on the servers. Servers in trouble get no more probes than
// the verdict on this node's own server needs.
func TestLoad(t *testing.T) {
	for _, l := range loads {
		for _, n := range []int{3, 9} {
			for _, holding := range []bool{true, false} {
				for _, who := range []string{"own", "peers", "all"} {
					t.Run(fmt.Sprintf("%s/%s/%d/holding=%t", l.doing, who, n, holding), func(t *testing.T) {
						bubble.Test(t, func(t *testing.T) { l.measure(t, who, n, holding) })
					})
				}
			}
		}
	}
}

func (l load) measure(t *testing.T, who string, n int, holding bool) {
	const seconds = 30
	w := newWorldOf(t, n)
	w.monitor.SetHolding(holding)
	time.Sleep(7300 * time.Millisecond)
	before, worst := w.counts(), 0
	for server := range before {
		if own := server == "n1"; own && who != "peers" || !own && who != "own" {
			w.set(l.doing, server)
		}
	}
	for range seconds {
		second := w.count("n1")
		time.Sleep(time.Second)
		worst = max(worst, w.count("n1")-second)
	}
	own, peer := l.most(who, holding)
	total := 0
	for server, count := range w.counts() {
		asked, most := count-before[server], peer
		if server == "n1" {
			most = own
		}
		if float64(asked) > most*seconds+1 {
			t.Errorf("%s was asked %d times in %d s, want %.1f a second at most", server, asked, seconds, most)
		}
		total += asked
	}
	if worst > int(time.Second/minGap) {
		t.Errorf("own server was asked %d times in a second", worst)
	}
	t.Logf("%.1f requests a second; %d to this node's own server in the worst", float64(total)/seconds, worst)
}

// counts counts the probes of each server.
func (w *world) counts() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.asked)
}

// TestManyNudges: a server that breaks every connection is not probed for each broken connection,
// and peers are not probed for it either.
func TestManyNudges(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		before := w.counts()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var nudging sync.WaitGroup
		nudging.Go(func() {
			for ctx.Err() == nil {
				w.monitor.ProbeNow("n1")
				w.monitor.ProbeNow("n2")
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
