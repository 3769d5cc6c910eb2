package page

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/lab"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestPage checks the pages of three nodes while the holder's vipd is killed and started again.
func TestPage(t *testing.T) {
	err := lab.WithBeside(t.Context(), failover.LabOptions, func(l *lab.Lab) error {
		t.Run("failover", func(t *testing.T) { testFailover(t, l) })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func is(want string) func(string) bool { return func(s string) bool { return s == want } }

// marked identifies a page that was not loaded again: it has a mark, the focus on its last summary,
// which is open, and it is scrolled.
const (
	mark = `(() => { window.mark = true; const s = [...document.querySelectorAll("summary")].pop(); s.click(); s.focus(); scrollTo(0, 200);
  window.spoken = []; new MutationObserver(() => spoken.push(document.querySelector(".answer").innerText))
    .observe(document.querySelector(".answer"), { subtree: true, childList: true, characterData: true }); })()`
	marked = `window.mark === true && document.activeElement === [...document.querySelectorAll("summary")].pop() && document.activeElement.parentElement.open`
)

func testFailover(t *testing.T, l *lab.Lab) {
	for _, n := range l.Nodes {
		if err := n.StartVipd(); err != nil {
			t.Fatal(err)
		}
	}
	browser := browser(t)
	var tabs []*tab
	for _, n := range l.Nodes {
		tabs = append(tabs, open(t, browser, tunnel(t, n)))
	}
	holding := regexp.MustCompile(`^n([123]) holds the VIP$`)
	before := tabs[0].until("h1", holding.MatchString)
	for _, b := range tabs {
		b.until("h1", is(before))
		b.until("#live", is("Live"))
		b.until(".health", is("healthy"))
		b.do(action(mark))
	}
	i := int(holding.FindStringSubmatch(before)[1][0] - '1')
	holder, lost, standbys := l.Nodes[i], tabs[i], slices.Delete(slices.Clone(tabs), i, i+1)
	lost.lossy = true
	if _, err := holder.Vipd.Kill(); err != nil {
		t.Fatal(err)
	}
	live := lost.until("#live", func(s string) bool { return strings.HasPrefix(s, "Not live since ") })
	if !regexp.MustCompile(`^Not live since \d\d:\d\d:\d\d UTC: no news from vipd on ` + holder.Name + `\.`).MatchString(live) {
		t.Errorf("of the lost one: %q", live)
	}
	lost.as(looks[0])
	lost.keep("lost")

	headline := standbys[0].until("h1", func(s string) bool { return s != before && holding.MatchString(s) })
	winner, other := standbys[0], standbys[1]
	if tabs[holding.FindStringSubmatch(headline)[1][0]-'1'] != winner {
		winner, other = other, winner
	}
	other.until("h1", is(headline))
	for _, b := range standbys {
		b.until(".health", is("healthy"))
		if !ask[bool](b, marked) || ask[float64](b, "scrollY") == 0 {
			t.Errorf("%s: was loaded again, or lost the focus, what was open, or its place", b.url)
		}
		if spoken := ask[[]string](b, "spoken"); len(spoken) > 6 {
			t.Errorf("%s: a screen reader is told %q", b.url, spoken)
		}
	}
	expired := "the lease of " + holder.Name + " expired"
	shown(t, winner, ".kind-taken", headline[:2]+" took the VIP", expired, "lease free", "claim sent", "claim written", "address added", "announced")
	shown(t, other, ".kind-moved", "The VIP moved to "+headline[:2], expired, "last seen of "+holder.Name, "seen held by "+headline[:2])

	if err := holder.Vipd.Start(); err != nil {
		t.Fatal(err)
	}
	lost.until("#live", is("Live"))
	lost.until("h1", is(headline))
	if !ask[bool](lost, "window.mark === true") {
		t.Error("the page of the node that came back was loaded again")
	}
	looked(t, winner)
	scriptless(t, browser, winner.url, headline, expired)
	for _, b := range tabs {
		b.calm()
	}
}

// shown finds a change in the history, its text and its bar.
func shown(t *testing.T, b *tab, selector string, words ...string) {
	t.Helper()
	text := b.until(selector, func(s string) bool { return s != "" })
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%s does not say %q:\n%s", selector, w, text)
		}
	}
	if !regexp.MustCompile(`\d\.\d ms`).MatchString(text) {
		t.Errorf("%s does not say when:\n%s", selector, text)
	}
	phases, parts := len(words)-2, ask[[]float64](b, `[...document.querySelector("`+selector+` svg").children].map((r) => r.getBoundingClientRect().width)`)
	if len(parts) < phases-1 {
		t.Errorf("%d parts of the bar for %d phases", len(parts), phases)
	}
	for _, width := range parts {
		if width < 1 {
			t.Errorf("a part of the bar is %.2f wide", width)
		}
	}
}

// looked checks a page in each appearance, with all of its sections open.
func looked(t *testing.T, b *tab) {
	t.Helper()
	b.do(action(`document.querySelectorAll("details").forEach((d) => d.open = false); document.activeElement.blur()`))
	for _, l := range looks {
		b.as(l)
		b.keep(l.name)
	}
	b.do(action(`document.querySelectorAll("details").forEach((d) => d.open = true)`))
	for _, l := range looks {
		b.as(l)
		b.readable(l)
	}
	b.accessible()
}

// scriptless checks the page without a script.
func scriptless(t *testing.T, browser context.Context, url, headline, expired string) {
	t.Helper()
	b := open(t, browser, url, withoutScripts)
	if got := b.text("h1"); got != headline {
		t.Errorf("without a script: %q", got)
	}
	if got := b.text("#live"); !regexp.MustCompile(`^As of \d\d:\d\d:\d\d UTC\. Reload the page`).MatchString(got) {
		t.Errorf("without a script: %q", got)
	}
	shown(t, b, ".kind-taken", headline[:2]+" took the VIP", expired, "claim written", "announced")
	b.as(looks[0])
	b.keep("without-scripts")
	b.calm()
}
