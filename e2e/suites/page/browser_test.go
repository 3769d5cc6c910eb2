package page

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// reports is the folder of the screenshots.
const reports = "../../reports/page"

// browser starts a headless Chromium, and returns its context.
func browser(t *testing.T) context.Context {
	t.Helper()
	found, err := exec.CommandContext(t.Context(), "../../../hack/browser").CombinedOutput()
	path := strings.TrimSpace(string(found))
	if err != nil {
		t.Fatalf("find a Chromium: %v: %s", err, path)
	}
	// Chromium has no sandbox if root starts it.
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	ctx, end := chromedp.NewExecAllocator(ctx, opts...)
	t.Cleanup(end)
	ctx, _ = chromedp.NewContext(ctx)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil && t.Context().Err() == nil {
			t.Errorf("end Chromium: %v", err)
		}
	})
	return ctx
}

// tab is a tab of the browser, with the complaints of the browser.
type tab struct {
	t   *testing.T
	ctx context.Context
	// url is the URL of the page; lossy means that the server may end: a failed request is no
	// complaint.
	url   string
	lossy bool

	mu         sync.Mutex
	complaints []string
}

// open opens a page in a new tab, after some steps.
func open(t *testing.T, browser context.Context, url string, before ...chromedp.Action[chromedp.Void]) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx, url: url}
	if err := chromedp.Listen(ctx, b.hear); err != nil {
		t.Fatal(err)
	}
	enable := chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		if _, err := cdp.Call(ctx, t, network.Enable, network.EnableParams{}); err != nil {
			return err
		}
		if _, err := cdp.Call(ctx, t, log.Enable, cdp.Empty{}); err != nil {
			return err
		}
		_, err := cdp.Call(ctx, t, audits.Enable, cdp.Empty{})
		return err
	})
	b.do(append(append([]chromedp.Action[chromedp.Void]{enable}, before...), chromedp.Navigate(url))...)
	return b
}

// hear records complaints: a line in the console, an error, a violation of the content security
// policy, a request to another server.
func (b *tab) hear(event any) {
	complain := func(format string, args ...any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if c := fmt.Sprintf(format, args...); !slices.Contains(b.complaints, c) {
			b.complaints = append(b.complaints, c)
		}
	}
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if !strings.HasPrefix(e.Request.URL, b.url) && !strings.HasPrefix(e.Request.URL, "data:") {
			complain("request to %s", e.Request.URL)
		}
	case *log.EventEntryAdded:
		if !b.lossy || e.Entry.Source != log.EntrySourceNetwork {
			complain("%s: %s (%s)", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	case *audits.EventIssueAdded:
		complain("issue %s", e.Issue.Code)
	case *runtime.EventConsoleAPICalled:
		complain("console: %s", e.Type)
	case *runtime.EventExceptionThrown:
		complain("exception: %s", e.ExceptionDetails.Text)
	}
}

// calm fails the test if there was a complaint.
func (b *tab) calm() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.complaints {
		b.t.Errorf("%s: %s", b.url, c)
	}
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// ask returns the value of an expression.
func ask[T any](b *tab, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// text returns the displayed text of the first matching element, "" if there is none.
func (b *tab) text(selector string) string {
	b.t.Helper()
	return ask[string](b, fmt.Sprintf(`document.querySelector(%q)?.innerText ?? ""`, selector))
}

// until waits until the text of an element is as expected. It polls from here: chromedp's own
// polling creates a function from text, which the policy of the page forbids.
func (b *tab) until(selector string, fits func(string) bool) string {
	b.t.Helper()
	var text string
	err := wait.Until(b.ctx, 50*time.Millisecond, func() (bool, error) {
		text = b.text(selector)
		return fits(text), nil
	})
	if err != nil {
		b.t.Fatalf("%s: %s is %q: %v", b.url, selector, text, err)
	}
	return text
}

// look is an appearance of the page.
type look struct {
	name   string
	scheme string // value of prefers-color-scheme
	width  int64
}

var looks = []look{{"light", "light", 1200}, {"dark", "dark", 1200}, {"phone", "light", 360}, {"phone-dark", "dark", 360}}

// as switches the page to that appearance.
func (b *tab) as(l look) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(l.width, 800), chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: l.scheme}}})
		return err
	}))
}

// keep saves a screenshot.
func (b *tab) keep(name string) {
	b.t.Helper()
	picture, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.MkdirAll(reports, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(reports, name+".png"), picture, 0o644)
	}
	if err != nil {
		b.t.Errorf("keep a screenshot: %v", err)
	}
}

// withoutScripts disables scripts in the browser.
var withoutScripts = chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
	_, err := cdp.Call(ctx, t, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	return err
})

// action runs an expression for its effect.
func action(expression string) chromedp.Action[chromedp.Void] {
	return chromedp.Evaluate[chromedp.Void](expression)
}
