package simulation

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/vipd-io/vipd/internal/leasetest"
	"github.com/vipd-io/vipd/pkg/election"
)

// weather is how a node reaches the store.
type weather uint8

const (
	fair    weather = iota
	slow            // hundreds of milliseconds
	foul            // late by seconds, answers lost, connections refused
	refused         // not at all, and it is told so
	cut             // not at all: nothing comes back
)

func (w weather) String() string { return [...]string{"fair", "slow", "foul", "refused", "cut"}[w] }

func (n *node) weather() weather {
	if n.c.outage.Load() {
		return cut
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sky
}

func (n *node) setWeather(w weather) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sky = w
}

var (
	errReset   = errors.New("connection reset")
	errRefused = errors.New("connection refused")
)

// fault is what befalls one request.
func (n *node) fault(verb string) leasetest.Fault {
	d := drawRequest
	if verb == "watch" {
		d = drawStream
	}
	f := leasetest.Fault{Before: 100*time.Microsecond + n.below(2*time.Millisecond, d), After: 100*time.Microsecond + n.below(2*time.Millisecond, d+drawAgain)}
	switch n.weather() {
	case slow:
		f.Before, f.After = n.below(300*time.Millisecond, d), n.below(300*time.Millisecond, d+drawAgain)
	case foul:
		n.spoil(&f, d)
	default:
	}
	return f
}

func (n *node) spoil(f *leasetest.Fault, d draw) {
	switch n.lot(drawFault) % 8 {
	case 0:
		n.c.count("request late")
		f.Before = n.below(4*time.Second, d)
	case 1:
		n.c.count("answer late")
		f.After = n.below(4*time.Second, d+drawAgain)
	case 2:
		n.c.count("answer lost")
		f.Lose = errReset
	case 3:
		n.c.count("request refused")
		f.Refuse = errRefused
	default:
		f.Before, f.After = n.below(50*time.Millisecond, d), n.below(50*time.Millisecond, d+drawAgain)
	}
}

// api is what kubeapi.Client is to the election, in a process that may be paused,
// on a node that may be cut off.
type api struct {
	p      *process
	client *leasetest.Client
}

func (a api) Do(ctx context.Context, call func(context.Context, coordinationv1client.CoordinationV1Interface) error) error {
	ctx, cancel := a.p.hold(ctx)
	defer cancel()
	err := a.client.Do(ctx, func(ctx context.Context, c coordinationv1client.CoordinationV1Interface) error {
		return a.ask(ctx, c, call)
	})
	if err := a.p.pass(drawAnswer); err != nil {
		return err
	}
	return err
}

// ask is one request to one server.
func (a api) ask(ctx context.Context, c coordinationv1client.CoordinationV1Interface, call func(context.Context, coordinationv1client.CoordinationV1Interface) error) error {
	if err := a.p.pass(drawAnswer); err != nil {
		return err
	}
	switch a.p.n.weather() {
	case refused:
		time.Sleep(a.p.n.below(time.Millisecond, drawRequest))
		return errRefused
	case cut:
		<-ctx.Done()
		return ctx.Err()
	default:
	}
	err := call(ctx, c)
	if a.p.n.weather() == cut {
		<-ctx.Done() // the answer does not come through
		return ctx.Err()
	}
	if err := a.p.pass(drawAnswer); err != nil {
		return err
	}
	return err
}

// Stream runs a watch until the server or a proxy ends it.
func (a api) Stream(ctx context.Context, call func(context.Context, coordinationv1client.CoordinationV1Interface) error) error {
	if err := a.p.pass(drawStream); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second+a.p.n.below(time.Minute, drawStream))
	defer cancel()
	return a.client.Stream(ctx, func(ctx context.Context, c coordinationv1client.CoordinationV1Interface) error {
		switch a.p.n.weather() {
		case refused:
			return errRefused
		case cut:
			<-ctx.Done()
			return ctx.Err()
		default:
			return call(ctx, c)
		}
	})
}

// store is the KubeStore as a process that may be paused or killed sees it.
type store struct {
	p *process
	*election.KubeStore
}

var _ election.Store = store{}

func (s store) Get(ctx context.Context) (*coordinationv1.Lease, error) {
	s.p.stumble(drawRequest)
	if err := s.p.pass(drawRequest); err != nil {
		return nil, err
	}
	l, err := s.KubeStore.Get(ctx)
	if err := s.p.pass(drawRequest); err != nil {
		return nil, err
	}
	s.p.learns(l)
	return l, err
}

func (s store) Write(ctx context.Context, base *coordinationv1.Lease, rec resourcelock.LeaderElectionRecord, annotations map[string]string) (*coordinationv1.Lease, error) {
	s.p.mu.Lock()
	s.p.wrote = s.p.k.now()
	s.p.mu.Unlock()
	s.p.stumble(drawRequest)
	if err := s.p.pass(drawRequest); err != nil {
		return nil, err
	}
	if strings.Contains(annotations[election.Annotation], `"released":true`) && slices.Contains(s.p.k.leftovers(), "the address") {
		s.p.n.c.wrong(earlyRelease, "%s releases the lease with the address still there", s.p.n.name)
	}
	l, err := s.KubeStore.Write(ctx, base, rec, annotations)
	s.p.stumble(drawRequest + drawBehind)
	if err := s.p.pass(drawRequest); err != nil {
		return nil, err
	}
	return l, err
}

// Watch delivers nothing to a process that is paused, or on a node that is cut off.
func (s store) Watch(ctx context.Context, deliver func(*coordinationv1.Lease)) error {
	return s.KubeStore.Watch(ctx, func(l *coordinationv1.Lease) {
		for s.p.n.weather() == cut && ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
		if s.p.pass(drawStream) != nil {
			return
		}
		deliver(l)
		s.p.learns(l)
	})
}

// learns looks whether a holder that is told of another one falls silent at once.
func (p *process) learns(l *coordinationv1.Lease) {
	if l == nil || l.Spec.HolderIdentity == nil || *l.Spec.HolderIdentity == "" || *l.Spec.HolderIdentity == p.n.self {
		return
	}
	if _, answers := p.k.answering(); !answers || p.deadline() == 0 {
		return // it does not, or goes on by the right of an earlier process, to that one's deadline
	}
	if now := p.n.c.server.Lease(); now == nil || now.ResourceVersion != l.ResourceVersion {
		return // what it was told lags behind
	}
	ran, before := p.steady()
	stand := p.standing()
	time.AfterFunc(atOnce, func() {
		runs, pauses := p.steady()
		if since, answers := p.k.answering(); answers && ran && runs && pauses == before && since <= p.n.c.now()-atOnce {
			p.n.c.wrong(ignored, "%s was told that %s holds, and answers %s later; it stood at %+v", p.n.name, *l.Spec.HolderIdentity, atOnce, stand)
		}
	})
}

// atOnce is the time that some slow calls into the kernel may take together.
const atOnce = 500 * time.Millisecond
