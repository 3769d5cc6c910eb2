package election

import (
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/vipd-io/vipd/internal/leasetest"
	"github.com/vipd-io/vipd/pkg/boottime"
)

// neverHeld are stores without a Lease, and whether the first claim waits for one lease duration.
var neverHeld = []struct {
	name string
	// prepare runs before the node starts.
	prepare func(*cluster)
	fault   func(verb string) leasetest.Fault
	waits   bool
	// says: the log explains the wait.
	says bool
}{
	{name: "a new store"},
	{name: "a new store with slow answers", fault: func(string) leasetest.Fault { return leasetest.Fault{After: 20 * time.Millisecond} }},
	{name: "another node created the Lease and ended", prepare: func(c *cluster) {
		// Its claims are refused.
		n := c.joinWith("n9", func(verb string) leasetest.Fault {
			if verb == "update" {
				return leasetest.Fault{Refuse: errors.New("connection refused")}
			}
			return leasetest.Fault{}
		})
		time.Sleep(time.Second)
		n.crash()
	}},
	{name: "held and deleted", prepare: heldAndDeleted, waits: true, says: true},
	{name: "held and deleted, and the history is compacted", prepare: func(c *cluster) {
		heldAndDeleted(c)
		c.server.Compact()
	}, waits: true, says: true},
	{name: "the history is compacted", prepare: func(c *cluster) { c.server.Compact() }, waits: true, says: true},
	{name: "the watch is refused", fault: func(verb string) leasetest.Fault {
		if verb == "watch" {
			return leasetest.Fault{Refuse: errors.New("leases is forbidden")}
		}
		return leasetest.Fault{}
	}, waits: true, says: true},
	{name: "the watch delivers nothing", fault: func(verb string) leasetest.Fault {
		if verb == "watch" {
			return leasetest.Fault{After: time.Hour}
		}
		return leasetest.Fault{}
	}, waits: true, says: true},
}

// heldAndDeleted leaves no Lease, and a holder that goes on to its deadline without being able to
// write.
func heldAndDeleted(c *cluster) {
	n := c.join("n9")
	c.awaitHolder("", 10*time.Second)
	n.client.SetFault(func(string) leasetest.Fault { return leasetest.Fault{Refuse: errors.New("connection refused")} })
	time.Sleep(time.Millisecond)
	c.server.Delete()
	c.deleted = true
}

// TestFirstClaim: the first claim of a Lease that nobody ever held waits for nothing, if the store
// shows that. Every other first claim waits for one lease duration, and the log says so once.
func TestFirstClaim(t *testing.T) {
	for _, tt := range neverHeld {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(c *cluster) {
				if tt.prepare != nil {
					tt.prepare(c)
				}
				core, logged := observer.New(zap.InfoLevel)
				c.log = zap.New(core)
				began := time.Now()
				n := c.joinWith("n1", tt.fault)
				c.awaitHolder("n9", 10*time.Second)
				took := time.Since(began)
				if waits := took >= c.timing.Lease; waits != tt.waits || took > c.timing.Lease+200*time.Millisecond {
					t.Errorf("claimed after %s, waits: %t", took, tt.waits)
				}
				want := "unheld"
				if tt.waits {
					want = "vacant"
				}
				if got := n.latest().Claim.Replaced; got != want {
					t.Errorf("replaced a Lease that was %s, want %s", got, want)
				}
				said := logged.FilterMessage("lease may have been held before").Len()
				if said > 1 || tt.says != (said == 1) {
					t.Errorf("explained the wait %d times, want it: %t", said, tt.says)
				}
			})
		})
	}
}

// TestFirstClaimOfManyNodes: compare-and-swap decides among nodes that all know that nobody held the
// Lease.
func TestFirstClaimOfManyNodes(t *testing.T) {
	inBubble(t, func(c *cluster) {
		for _, name := range []string{"n1", "n2", "n3", "n4", "n5"} {
			c.join(name)
		}
		n, took := c.awaitHolder("", 10*time.Second)
		if took > 100*time.Millisecond {
			t.Errorf("%s claimed after %s", n.name, took)
		}
		time.Sleep(10 * time.Second)
		if got := c.holder(); got != n.name {
			t.Errorf("%s holds after %s", got, n.name)
		}
	})
}

// TestFirstHoldsForOneVersion: what is known of one version is not used for another one.
func TestFirstHoldsForOneVersion(t *testing.T) {
	var b leases
	empty := func() *coordinationv1.Lease { return b.raw(new(""), new(int32(3)), new(int32(0)), "") }
	created, blanked := empty(), empty()
	at := boottime.Instant(time.Hour)
	for _, tt := range []struct {
		name     string
		observed []*coordinationv1.Lease
		want     verdict
	}{
		{"that version", []*coordinationv1.Lease{created}, unheld},
		{"read twice", []*coordinationv1.Lease{created, created}, unheld},
		{"blanked meanwhile", []*coordinationv1.Lease{created, blanked}, vacant},
		{"held and blanked meanwhile", []*coordinationv1.Lease{created, b.kubeVIP("n2", 3, 1), blanked}, vacant},
		{"an older version than the holder's", []*coordinationv1.Lease{b.kubeVIP("n2", 3, 1), created}, vacant},
		{"taken meanwhile", []*coordinationv1.Lease{created, b.kubeVIP("n2", 3, 1)}, foreign},
		{"deleted meanwhile", []*coordinationv1.Lease{created, nil}, absent},
	} {
		v := view{self: n1, own: own, named: func(string) bool { return false }}
		for _, l := range tt.observed {
			v.observe(l, at)
		}
		v.isFirst(created)
		if v.verdict != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, v.verdict, tt.want)
		}
		if free := v.from == at; v.lease != nil && free != (tt.want == unheld) {
			t.Errorf("%s: may be claimed %s after the observation", tt.name, v.from.Sub(at))
		}
		// The next version is waited out again, also once the first one was known to be the first.
		v.observe(empty(), at)
		if v.verdict != vacant {
			t.Errorf("%s, and blanked later: %s", tt.name, v.verdict)
		}
	}
}

// TestSetMACKeepsTheFact: the MAC may become known after the history.
func TestSetMACKeepsTheFact(t *testing.T) {
	var b leases
	l := b.raw(nil, new(int32(3)), nil, "")
	v := view{self: Self{Node: "n1"}, own: own, named: func(string) bool { return false }}
	v.observe(l, 1)
	v.isFirst(l)
	v.setMAC(n1.MAC)
	if v.verdict != unheld || v.from != 1 {
		t.Errorf("%s, from %d", v.verdict, v.from)
	}
}

// TestCreates: only the creation of this very version shows that nothing was before.
func TestCreates(t *testing.T) {
	var b leases
	l, later := b.raw(nil, nil, nil, ""), b.raw(nil, nil, nil, "")
	other := l.DeepCopy()
	other.UID = "another"
	for _, tt := range []struct {
		name string
		ev   watch.Event
		want bool
	}{
		{"its creation", watch.Event{Type: watch.Added, Object: l}, true},
		{"another creation", watch.Event{Type: watch.Added, Object: other}, false},
		{"the creation of an earlier version", watch.Event{Type: watch.Added, Object: later}, false},
		{"a change", watch.Event{Type: watch.Modified, Object: l}, false},
		{"a deletion", watch.Event{Type: watch.Deleted, Object: l}, false},
		{"a bookmark", watch.Event{Type: watch.Bookmark, Object: l}, false},
		{"nothing", watch.Event{}, false},
	} {
		if got := creates(tt.ev, l); got != tt.want {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
}
