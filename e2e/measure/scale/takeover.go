package scale

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"syscall"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/analyse"
	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/observe"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

const (
	takeoverTimeout = 30 * time.Second
	// aftermath is how long to observe after a takeover: until all candidates that were too late
	// know it.
	aftermath = 1500 * time.Millisecond
)

// signals end a holder: in order, and at once.
var signals = map[string]syscall.Signal{"SIGTERM": syscall.SIGTERM, "SIGKILL": syscall.SIGKILL}

// takeover ends the first VIP's holder, observes the takeover, and starts the holder again.
func (c *cluster) takeover(ctx context.Context, signal string) (Takeover, error) {
	h, err := c.holder(ctx, 0)
	if err != nil {
		return Takeover{}, err
	}
	if h == nil {
		return Takeover{}, errors.New("nobody has the VIP")
	}
	before, err := scrape(ctx, c.lab)
	if err != nil {
		return Takeover{}, err
	}
	var at record.Time
	seen, err := observe.ARPs(c.lab).During(ctx, func(ctx context.Context, rec *record.Recorder) (err error) {
		if at, err = h.vipds[0].Signal(signals[signal]); err != nil {
			return err
		}
		return awaitNext(ctx, rec, h.MAC.String(), at)
	})
	if err != nil {
		return Takeover{}, fmt.Errorf("%s to %s: %w", signal, h.Name, err)
	}
	after, err := scrapeLater(ctx, c.lab)
	if err != nil {
		return Takeover{}, err
	}
	t := Takeover{
		Signal: signal, From: h.Name, Twice: len(analyse.Overlap(seen.Probes, seen.Answers, nil)),
		Refused: int(after.refused - before.refused), Reads: int(after.requests[reads] - before.requests[reads]),
	}
	next, _ := firstOther(seen.Answers, h.MAC.String(), at)
	t.Seconds = next.At.Sub(at).Seconds()
	for _, m := range c.machines {
		if m.MAC.String() == next.MAC {
			t.To = m.Name
		}
	}
	if err := h.vipds[0].Start(); err != nil {
		return t, err
	}
	return t, c.complete(ctx)
}

const reads = http.MethodGet + " leases"

// firstOther returns the first answer of another MAC after a moment.
func firstOther(answers []record.Answer, mac string, at record.Time) (record.Answer, bool) {
	for _, a := range answers {
		if a.At >= at && a.MAC != mac {
			return a, true
		}
	}
	return record.Answer{}, false
}

// awaitNext waits for that answer, and then for the aftermath.
func awaitNext(ctx context.Context, rec *record.Recorder, mac string, at record.Time) error {
	short, cancel := context.WithTimeout(ctx, takeoverTimeout)
	defer cancel()
	err := wait.Until(short, 50*time.Millisecond, func() (bool, error) {
		_, ok := firstOther(rec.History().Answers, mac, at)
		return ok, nil
	})
	if err != nil {
		return fmt.Errorf("wait for another to answer: %w", err)
	}
	return wait.For(ctx, aftermath)
}
