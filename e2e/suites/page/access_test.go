package page

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/chromedp"
)

// faint finds text with a contrast of less than 4.5:1 to its background (WCAG 2.2, 1.4.3), by the
// colours that the browser computed. Nothing on the page has an opacity or a background picture.
const faint = `(() => {
  const parse = (c) => { const n = c.match(/[\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const light = (c) => { const [r, g, b] = c.map((v) => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
    return .2126 * r + .7152 * g + .0722 * b; };
  const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] === 1) return c; } return [255, 255, 255]; };
  const out = new Set(), texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (texts.nextNode()) {
    const e = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !e.checkVisibility() || e.closest("script, svg")) continue;
    seen++;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) out.add(ratio.toFixed(2) + " " + e.outerHTML.slice(0, 120));
  }
  return seen < 50 ? ["only " + seen + " texts"] : [...out];
})()`

// wide finds elements that are wider than the window.
const wide = `[...document.querySelectorAll("body *")].filter((e) => e.checkVisibility() && e.getBoundingClientRect().right > document.documentElement.clientWidth + .5)
  .map((e) => e.outerHTML.slice(0, 120)).concat(document.documentElement.scrollWidth > innerWidth ? ["the page scrolls"] : [])`

// readable checks for text that is hard to read, in one appearance of the page.
func (b *tab) readable(l look) {
	b.t.Helper()
	for _, f := range ask[[]string](b, faint) {
		b.t.Errorf("%s: contrast %s", l.name, f)
	}
	for _, w := range ask[[]string](b, wide) {
		b.t.Errorf("%s: too wide: %s", l.name, w)
	}
}

// named are the roles that must have a name; landmarks must exist exactly once (WAI-ARIA 1.2).
var (
	named     = []string{"link", "button", "DisclosureTriangle", "region", "navigation", "heading", "columnheader", "rowheader"}
	landmarks = []string{"main", "banner", "contentinfo", "navigation"}
)

// accessible checks the page as a screen reader gets it.
func (b *tab) accessible() {
	b.t.Helper()
	var nodes []*accessibility.Node
	b.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		tree, err := cdp.Call(ctx, t, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
		nodes = tree.Nodes
		return err
	}))
	count := map[string]int{}
	for _, n := range nodes {
		if n.Ignored {
			continue
		}
		role := value(n.Role)
		count[role]++
		if slices.Contains(named, role) && value(n.Name) == "" {
			b.t.Errorf("a %s without a name", role)
		}
	}
	for _, role := range landmarks {
		if count[role] != 1 {
			b.t.Errorf("%d times %s", count[role], role)
		}
	}
	for _, role := range []string{"region", "columnheader", "rowheader", "status", "DisclosureTriangle"} {
		if count[role] == 0 {
			b.t.Errorf("no %s; there are %v", role, count)
		}
	}
}

func value(v *accessibility.Value) string {
	if v == nil {
		return ""
	}
	var s string
	_ = json.Unmarshal([]byte(v.Value), &s)
	return strings.TrimSpace(s)
}
