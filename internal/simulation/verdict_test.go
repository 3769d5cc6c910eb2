package simulation

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/election"
)

// kind is a broken promise (docs/guarantees.md).
type kind string

const (
	twoAnswer    kind = "two nodes answer"                                 // G1
	lateEnd      kind = "answers after the deadline"                       // G2, G3
	lateSend     kind = "lease counts from after the send"                 // G2
	earlyRelease kind = "releases the Lease before the node is silent"     // G4
	overwritten  kind = "releases the record of another node"              // G4
	ignored      kind = "goes on although another node holds the Lease"    // G7
	leftBehind   kind = "leaves state behind"                              // G9
	slowExit     kind = "exits too slowly"                                 // G9
	stranded     kind = "no node answers"                                  // G15
	needless     kind = "moves without a reason"                           // G5, G6, G14
	dark         kind = "is away while all processes restart"              // G27
	touched      kind = "removes foreign state"                            // G10
	staleFrame   kind = "announces without the right to"                   // docs/architecture.md
	staleTerm    kind = "claims without a higher term"                     // docs/architecture.md
	staleRefresh kind = "adds or refreshes the address after the deadline" // docs/guarantees.md
)

var kinds = []kind{twoAnswer, lateEnd, lateSend, earlyRelease, overwritten, ignored, leftBehind, slowExit, stranded, needless, dark, touched, staleFrame, staleTerm, staleRefresh}

// wrong is an instance of a broken promise.
type wrong struct {
	kind kind
	at   time.Duration
	text string
}

func (w wrong) String() string { return fmt.Sprintf("%12.6f  %s: %s", w.at.Seconds(), w.kind, w.text) }

func (c *cluster) wrong(k kind, format string, args ...any) {
	w := wrong{kind: k, at: c.now(), text: fmt.Sprintf(format, args...)}
	c.mu.Lock()
	c.wrongs = append(c.wrongs, w)
	c.mu.Unlock()
	c.note("WRONG: %s", w.text)
}

// has tells whether a promise was broken.
func (o outcome) has(k kind) bool {
	return slices.ContainsFunc(o.wrongs, func(w wrong) bool { return w.kind == k })
}

// verdict checks the whole scenario.
func (c *cluster) verdict() {
	var answered []interval
	for _, n := range c.nodes {
		for _, k := range append(n.past, n.k) {
			for _, i := range k.answered {
				if woke, ok := k.answersAfterWakeUp(i); ok {
					c.count("woke up past the deadline")
					if d := i.to - woke; d > wakeUpDelay {
						c.wrong(lateEnd, "%s woke up past its deadline, and answers for %s", n.name, d)
					}
					continue // for a moment, two may answer
				}
				answered = append(answered, i)
				if late := k.beyond(i); late > 0 {
					c.wrong(lateEnd, "%s answers until %.6f, which is %s too long", n.name, i.to.Seconds(), late)
				}
			}
		}
	}
	for _, o := range overlaps(answered) {
		c.wrong(twoAnswer, "%s from %.6f to %.6f, and %s from %.6f to %.6f", o[0].node, o[0].from.Seconds(), o[0].to.Seconds(),
			o[1].node, o[1].from.Seconds(), o[1].to.Seconds())
	}
	if *flagSeed >= 0 {
		c.tell()
	}
	c.events.takings(c.server.History())
	for _, text := range terms(c.server.History(), c.resets) {
		c.wrong(staleTerm, "%s", text)
	}
	for _, text := range releases(c.server.History(), c.resets) {
		c.wrong(overwritten, "%s", text)
	}
}

// tell adds the versions of the Lease to the notes.
func (c *cluster) tell() {
	for i, l := range c.server.History() {
		if l == nil {
			c.note("version %d: deleted", i)
		} else {
			c.note("version %d: %q, term %d, %s", i, holderOf(l), termOf(l), l.Annotations)
		}
	}
}

// beyond returns by how much the answers of a node exceeded its right, which at each instant is the
// newest deadline that a process was given.
func (k *kernel) beyond(i interval) (most time.Duration) {
	allowed := timerDelay + k.n.c.rules.late
	if slices.ContainsFunc(k.wakes, func(at time.Duration) bool { return at >= i.from-2*k.n.c.most && at <= i.to }) {
		allowed += wakeUpDelay // the kernel's timers are late by the suspend
	}
	var until boottime.Instant
	for _, g := range append(slices.Clone(k.grants), grant{since: i.to}) {
		if g.since > i.from && g.since <= i.to {
			most = max(most, k.clock.at(g.since).Sub(until)-allowed)
		}
		if g.since <= i.to {
			until = max(until, g.until)
		}
	}
	return most
}

// answersAfterWakeUp tells whether the node answers since it woke up past its deadline, or was
// about to just before, and returns when it woke up.
func (k *kernel) answersAfterWakeUp(i interval) (woke time.Duration, ok bool) {
	var until boottime.Instant // of the newest grant: an earlier one may have been released
	for _, g := range k.grants {
		if g.since <= i.from {
			until = g.until
		}
	}
	for _, w := range k.wakes {
		if w <= i.from && i.from <= w+wakeUpDelay {
			woke, ok = w, true
		}
	}
	return woke, ok && k.clock.at(i.from) >= until
}

// overlaps returns the pairs of intervals of two nodes that overlap.
func overlaps(all []interval) (found [][2]interval) {
	all = slices.SortedFunc(slices.Values(all), func(a, b interval) int { return int(a.from - b.from) })
	for i, a := range all {
		for _, b := range all[i+1:] {
			if b.from >= a.to {
				break
			}
			if a.node != b.node {
				found = append(found, [2]interval{a, b})
			}
		}
	}
	return found
}

// terms returns the holders that took over without a higher term. At a reset, given as an index of
// the history, the term may restart. A thief is a person's edit, which may be undone before any
// node notices.
func terms(history []*coordinationv1.Lease, resets map[int]bool) (found []string) {
	holder, term := "", -1
	for i, l := range history {
		if resets[i] || l == nil {
			holder, term = "", -1
		}
		if l != nil && holderOf(l) == "" && noteOf(l).Released {
			holder = "nobody" // who released it takes it in a new term, too
		}
		if l == nil || holderOf(l) == "" || holderOf(l) == thief {
			continue
		}
		now := holderOf(l) // with the boot, as far as the record tells
		if n := noteOf(l); n.Term == termOf(l) {
			now += " " + n.BootID
		}
		if next := termOf(l); !strings.HasPrefix(holder, now) && !strings.HasPrefix(now, holder) && next <= term {
			found = append(found, fmt.Sprintf("%s took over from %s in term %d, after term %d", now, holder, next, term))
		}
		holder, term = now, termOf(l)
	}
	return found
}

// leaseNote is the annotation that vipd writes.
type leaseNote struct {
	Holder   string `json:"holder"`
	Term     int    `json:"term"`
	Seconds  int    `json:"leaseDurationSeconds"`
	BootID   string `json:"bootID"`
	Released bool   `json:"released"`
}

func noteOf(l *coordinationv1.Lease) (n leaseNote) {
	if json.Unmarshal([]byte(l.Annotations[election.Annotation]), &n) != nil {
		return leaseNote{}
	}
	return n
}

func seconds(l *coordinationv1.Lease) int32 {
	if l.Spec.LeaseDurationSeconds == nil {
		return 0
	}
	return *l.Spec.LeaseDurationSeconds
}

// releases returns the releases that overwrote another node's record.
func releases(history []*coordinationv1.Lease, resets map[int]bool) (found []string) {
	last := ""
	for i, l := range history {
		if resets[i] || l == nil {
			last = ""
		}
		if l == nil {
			continue
		}
		if n := noteOf(l); holderOf(l) == "" && last != "" && n.Released && n.Term == termOf(l) && n.Holder != last {
			found = append(found, fmt.Sprintf("%s released the lease of %s", n.Holder, last))
		}
		last = holderOf(l)
	}
	return found
}

func holderOf(l *coordinationv1.Lease) string {
	if l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

func termOf(l *coordinationv1.Lease) int {
	if l.Spec.LeaseTransitions == nil {
		return 0
	}
	return int(*l.Spec.LeaseTransitions)
}

// TestOverlaps: overlaps finds what it must find, and nothing else.
func TestOverlaps(t *testing.T) {
	for _, tt := range []struct {
		all  []interval
		want int
	}{
		{nil, 0},
		{[]interval{{node: "a", from: 0, to: 10}, {node: "b", from: 10, to: 20}, {node: "a", from: 20, to: 30}}, 0},
		{[]interval{{node: "a", from: 0, to: 10}, {node: "a", from: 5, to: 8}}, 0},
		{[]interval{{node: "b", from: 9, to: 20}, {node: "a", from: 0, to: 10}}, 1},
		{[]interval{{node: "a", from: 0, to: 100}, {node: "a", from: 2, to: 3}, {node: "b", from: 50, to: 51}, {node: "c", from: 50, to: 60}}, 3},
	} {
		if got := overlaps(tt.all); len(got) != tt.want {
			t.Errorf("%v: %v, want %d", tt.all, got, tt.want)
		}
	}
}

// TestTermsAndReleases does the same with histories.
func TestTermsAndReleases(t *testing.T) {
	held := func(by string, term int32) *coordinationv1.Lease {
		return &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{HolderIdentity: &by, LeaseTransitions: &term}}
	}
	released := func(by string, term int32) *coordinationv1.Lease {
		l := held("", term)
		l.Annotations = map[string]string{election.Annotation: fmt.Sprintf(`{"holder":%q,"term":%d,"released":true}`, by, term)}
		return l
	}
	good := []*coordinationv1.Lease{held("a", 1), held("a", 1), released("a", 1), held("b", 2), nil, held("c", 1), held("b", 1), held("c", 2)}
	if got := append(terms(good, map[int]bool{6: true}), releases(good, map[int]bool{6: true})...); len(got) > 0 {
		t.Errorf("a history in order: %v", got)
	}
	bad := []*coordinationv1.Lease{held("a", 1), held("b", 1), released("a", 1), held("c", 1), released("c", 1), held("c", 1)}
	if got := terms(bad, nil); len(got) != 3 {
		t.Errorf("terms: %v, want 3", got)
	}
	if got := releases(bad, nil); len(got) != 1 {
		t.Errorf("releases: %v, want 1", got)
	}
}
