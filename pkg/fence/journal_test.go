package fence

import (
	"testing"
	"time"
)

// countedLooks counts the looks at the tables.
type countedLooks struct {
	Kernel
	looks int
}

func (c *countedLooks) Look() (View, error) {
	c.looks++
	return c.Kernel.Look()
}

// counted makes the fence of w count its looks.
func counted(w *watched) *countedLooks {
	c := &countedLooks{Kernel: w.fence.kernel}
	w.fence.kernel = c
	return c
}

// withoutLook waits until Intact needs no look, which means that Watch has read all messages so
// far. On a busy machine, a look may be too slow to decide.
func (c *countedLooks) withoutLook(t *testing.T, w *watched, when string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		before := c.looks
		intact, err := w.fence.Intact()
		must(t, err)
		if intact && c.looks == before {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: Intact always looks at the tables", when)
		}
	}
}

// TestNoLookWithoutChanges: after renewals and changes of other tables, Intact soon needs no look,
// until lookInterval has passed.
func TestNoLookWithoutChanges(t *testing.T) {
	t.Parallel()
	w := watch(t)
	c := counted(w)
	w.opened(t, 10*time.Second)
	c.withoutLook(t, w, "in force")
	for range 10 {
		w.opened(t, 10*time.Second)
		w.nft(t, "add table ip other; add set ip other lease-fenced1 { type ipv4_addr; }; delete table ip other")
		c.withoutLook(t, w, "renewed")
	}
	looks := c.looks
	w.fence.looked.at = w.fence.looked.at.Add(-lookInterval)
	if _, err := w.fence.Intact(); err != nil || c.looks == looks {
		t.Errorf("no look after a long time: %v", err)
	}
}

// TestNoDamageIsMissedWithoutLooks damages the tables when Intact needs no look. Intact detects the
// damage at once, whether or not Watch has read the message.
func TestNoDamageIsMissedWithoutLooks(t *testing.T) {
	t.Parallel()
	w := watch(t)
	c := counted(w)
	for name, script := range damages {
		must(t, w.fence.Repair())
		const right = 10 * time.Minute // a ticket that is prolonged to an hour has to be out of place
		w.opened(t, right)
		if w.gate().permitted != 1 { // the damages are in slot 2
			w.opened(t, right)
		}
		c.withoutLook(t, w, "before: "+name)
		w.damage(t, script)
		w.expectIntact(t, false, name)
		w.expectIntact(t, false, "again: "+name)
	}
}

// TestLookAfterLostMessages: a subscription that was lost may have missed changes.
func TestLookAfterLostMessages(t *testing.T) {
	t.Parallel()
	w := watch(t)
	c := counted(w)
	w.opened(t, time.Hour)
	c.withoutLook(t, w, "in force")
	w.fence.journal.subscribed()
	w.opened(t, time.Hour)
	looks := c.looks
	if _, err := w.fence.Intact(); err != nil || c.looks == looks {
		t.Errorf("no look after a subscription: %v", err)
	}
	c.withoutLook(t, w, "after a look")
}
