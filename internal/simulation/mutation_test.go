//go:build simulation

package simulation

import (
	"context"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/election"
	"github.com/vipd-io/vipd/pkg/vip"
)

// A mutation is an error in vipd, or a world that is worse than promised, made by
// putting something else into a seam. Each has to be caught within the ordinary
// number of stories: else the simulation would not see the error, either, that
// the mutation stands for.

// catch plays stories until a promise is broken.
func catch(t *testing.T, r rules, want kind) {
	t.Helper()
	if *flagSeed >= 0 {
		playAll(t, 1, r)
		return
	}
	began := time.Now()
	for seed := range uint64(*flagSeeds) {
		if o := playWatched(t, seed, r); o.has(want) {
			t.Logf("%q with seed %d, after %s", want, seed, time.Since(began).Round(10*time.Millisecond))
			return
		}
	}
	t.Errorf("%q was not seen in %d stories", want, *flagSeeds)
}

func TestMutations(t *testing.T) {
	for _, m := range []struct {
		name   string
		change func(*rules)
		want   kind
	}{
		{"release before withdrawal", func(r *rules) { r.change = releaseFirst }, twoAnswer},
		{"fence counts from the permit", func(r *rules) { r.change = fenceFromPermit }, twoAnswer},
		{"store without compare and swap", func(r *rules) { r.change = careless }, twoAnswer},
		{"clocks drift more than the margin allows", func(r *rules) { r.drift = 3 }, twoAnswer},
		{"deadline from the answer", func(r *rules) { r.change = fromTheAnswer }, lateSend},
		{"deadline from the answer, process alone", func(r *rules) { *r = processAlone(); r.change = both(r.change, fromTheAnswer) }, twoAnswer},
		{"deaf to a foreign holder", func(r *rules) { r.change = deaf }, ignored},
	} {
		t.Run(m.name, func(t *testing.T) {
			r := ordinary()
			m.change(&r)
			catch(t, r, m.want)
		})
	}
}

func both(a, b func(*process, *seams)) func(*process, *seams) {
	return func(p *process, s *seams) { a(p, s); b(p, s) }
}

// releaseFirst gives the lease back and only then does what was to be done before.
func releaseFirst(p *process, s *seams) {
	d := &delayed{Election: s.election}
	s.fence, s.network, s.election = lazyFence{s.fence, d}, lazyNetwork{s.network, d}, d
}

// delayed does later what was put off, and at once if there is no release.
type delayed struct {
	vip.Election
	mu        sync.Mutex
	due       []func() error
	releasing bool
}

func (d *delayed) put(do func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.due = append(d.due, do)
	time.AfterFunc(time.Millisecond, func() {
		d.mu.Lock()
		releasing := d.releasing
		d.mu.Unlock()
		if !releasing {
			d.catchUp()
		}
	})
	return nil
}

func (d *delayed) catchUp() {
	d.mu.Lock()
	due := d.due
	d.due, d.releasing = nil, false
	d.mu.Unlock()
	for _, do := range due {
		_ = do()
	}
}

func (d *delayed) GiveBack(ctx context.Context, successor string) error {
	d.mu.Lock()
	d.releasing = true
	d.mu.Unlock()
	defer d.catchUp()
	return d.Election.GiveBack(ctx, successor)
}

type lazyFence struct {
	fence
	d *delayed
}

func (l lazyFence) Forbid() error { return l.d.put(l.fence.Forbid) }

type lazyNetwork struct {
	vip.Network
	d *delayed
}

func (l lazyNetwork) Remove() error { return l.d.put(l.Network.Remove) }

// fenceFromPermit hands the kernel what time the process thought was left, when
// the answer has come: what pkg/fence's tickets are there to avoid. The address
// stays for long, lest its lifetime covers up for it.
func fenceFromPermit(p *process, s *seams) {
	s.fence = &lateFence{fence: s.fence}
	s.network = lasting{s.network, lingering}
}

type lateFence struct {
	fence
	mu     sync.Mutex
	ticket uint64
	d      time.Duration
}

func (l *lateFence) Arm(d time.Duration) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ticket, l.d = l.ticket+1, d
	return l.ticket, nil
}

func (l *lateFence) Permit(ticket uint64) error {
	l.mu.Lock()
	newest, d := l.ticket, l.d
	l.mu.Unlock()
	if ticket != newest {
		return nil
	}
	t, err := l.fence.Arm(d)
	if err != nil {
		return err
	}
	return l.fence.Permit(t)
}

// lasting gives addresses another lifetime.
type lasting struct {
	vip.Network
	valid time.Duration
}

// lingering is longer than any lease, and shorter than what the fence lasts.
const lingering = 25 * time.Second

func (l lasting) Put(link vip.Link, _ time.Duration) error { return l.Network.Put(link, l.valid) }

// careless writes over whatever there is.
func careless(p *process, s *seams) { s.store = overwriting{s.store, p} }

type overwriting struct {
	election.Store
	p *process
}

func (o overwriting) Write(ctx context.Context, base *coordinationv1.Lease, rec resourcelock.LeaderElectionRecord, annotations map[string]string) (*coordinationv1.Lease, error) {
	for {
		if now := o.p.n.c.server.Lease(); now != nil && base != nil {
			base = now
		}
		l, err := o.Store.Write(ctx, base, rec, annotations)
		if !apierrors.IsConflict(err) || ctx.Err() != nil {
			return l, err
		}
	}
}

// fromTheAnswer has the elector take a later time for that of the send: as late
// as an answer may be that it still waits for.
func fromTheAnswer(p *process, s *seams) {
	m := &lateClock{fence: s.fence, p: p, clock: s.clock}
	s.fence, s.clock = m, m.now
}

type lateClock struct {
	fence
	p     *process
	clock boottime.Clock
	mu    sync.Mutex
	armed bool
}

func (l *lateClock) Arm(d time.Duration) (uint64, error) {
	t, err := l.fence.Arm(d)
	l.mu.Lock()
	l.armed = true
	l.mu.Unlock()
	return t, err
}

// now is the send time when it is asked right behind Arm.
func (l *lateClock) now() boottime.Instant {
	l.mu.Lock()
	armed := l.armed
	l.armed = false
	l.mu.Unlock()
	now := l.clock()
	if armed {
		now = now.Add(l.p.n.below(l.p.n.timing.Attempt, drawMutation))
	}
	return now
}

// deaf keeps from the Manager that another node holds, until the deadline.
func deaf(p *process, s *seams) {
	notify, d := s.notify, &deafness{}
	s.notify = func(stand election.Standing) {
		d.mu.Lock()
		until := d.until
		if stand.Held {
			d.until = stand.Until
		}
		d.count++
		mine := d.count
		d.mu.Unlock()
		left := p.k.clock.when(until) - p.n.c.now()
		if stand.Held || left <= 0 {
			notify(stand)
			return
		}
		time.AfterFunc(left, func() {
			d.mu.Lock()
			newest := d.count == mine
			d.mu.Unlock()
			if newest {
				notify(stand)
			}
		})
	}
}

type deafness struct {
	mu    sync.Mutex
	until boottime.Instant
	count int
}
