package simulation

import (
	"context"
	"errors"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/vipd-io/vipd/internal/leasetest"
	"github.com/vipd-io/vipd/pkg/election"
)

// storeAccess is the quality of a node's access to the store.
type storeAccess uint8

const (
	fair    storeAccess = iota
	slow                // hundreds of milliseconds
	foul                // seconds late, answers lost, connections refused
	refused             // refused at once
	cut                 // without any answer
)

func (w storeAccess) String() string { return [...]string{"fair", "slow", "foul", "refused", "cut"}[w] }

func (n *node) storeAccess() storeAccess {
	if n.c.outage.Load() {
		return cut
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sky
}

func (n *node) setStoreAccess(w storeAccess) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sky = w
}

var (
	errReset   = errors.New("connection reset")
	errRefused = errors.New("connection refused")
)

// fault draws the fault of one request.
func (n *node) fault(verb string) leasetest.Fault {
	d := drawRequest
	if verb == "watch" {
		d = drawStream
	}
	f := leasetest.Fault{Before: 100*time.Microsecond + n.below(2*time.Millisecond, d), After: 100*time.Microsecond + n.below(2*time.Millisecond, d+drawAgain)}
	switch n.storeAccess() {
	case slow:
		f.Before, f.After = n.below(300*time.Millisecond, d), n.below(300*time.Millisecond, d+drawAgain)
	case foul:
		n.spoil(&f, d)
	default:
		n.hang(&f, d)
	}
	// A slow disk delays writes, and reads wait behind writes.
	if most := time.Duration(n.c.sync.Load()); most > 0 && verb != "watch" {
		f.Before += most/2 + n.below(most/2, d+drawMore)
	}
	if verb == "watch" {
		after, behind := f.After, &n.c.caches[n.random(d)%uint64(len(n.c.caches))]
		f.Lag = func() time.Duration { return after + time.Duration(behind.Load()) }
	}
	return f
}

// hang lets one request take seconds.
func (n *node) hang(f *leasetest.Fault, d draw) {
	if n.c.calm() || !n.oneIn(100, drawFault) {
		return
	}
	n.c.count("one request hangs")
	if n.oneIn(2, drawFault+drawAgain) {
		f.Before = n.below(8*time.Second, d)
	} else {
		f.After = n.below(8*time.Second, d+drawAgain)
	}
}

func (n *node) spoil(f *leasetest.Fault, d draw) {
	switch n.random(drawFault) % 8 {
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

// api models kubeapi.Client for the election, in a process that may be paused, on a node that may
// be cut off.
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

// ask sends one request to one server.
func (a api) ask(ctx context.Context, c coordinationv1client.CoordinationV1Interface, call func(context.Context, coordinationv1client.CoordinationV1Interface) error) error {
	if err := a.p.pass(drawAnswer); err != nil {
		return err
	}
	switch a.p.n.storeAccess() {
	case refused:
		time.Sleep(a.p.n.below(time.Millisecond, drawRequest))
		return errRefused
	case cut:
		<-ctx.Done()
		return ctx.Err()
	default:
	}
	err := call(ctx, c)
	if a.p.n.storeAccess() == cut {
		<-ctx.Done() // the answer is lost
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
		switch a.p.n.storeAccess() {
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

// store is the KubeStore for a process that may be paused or killed.
type store struct {
	p *process
	*election.KubeStore
}

var _ election.Store = store{}

func (s store) Get(ctx context.Context) (*coordinationv1.Lease, error) {
	s.p.mayPause(drawRequest)
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
	s.p.mayPause(drawRequest)
	if err := s.p.pass(drawRequest); err != nil {
		return nil, err
	}
	if strings.Contains(annotations[election.Annotation], `"released":true`) && s.p.k.takes() {
		s.p.n.c.wrong(earlyRelease, "%s releases the lease with the address still there", s.p.n.name)
	}
	l, err := s.KubeStore.Write(ctx, base, rec, annotations)
	s.p.mayPause(drawRequest + drawBehind)
	if err := s.p.pass(drawRequest); err != nil {
		return nil, err
	}
	return l, err
}

// Watch delivers nothing to a paused process, or to a node that is cut off.
func (s store) Watch(ctx context.Context, deliver func(*coordinationv1.Lease)) error {
	return s.KubeStore.Watch(ctx, func(l *coordinationv1.Lease) {
		for s.p.n.storeAccess() == cut && ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
		if s.p.pass(drawStream) != nil {
			return
		}
		if now := s.p.n.c.server.Lease(); now != nil && l != nil && holderOf(now) != holderOf(l) {
			s.p.n.c.count("watch is behind")
		}
		deliver(l)
		s.p.learns(l)
	})
}

// learns checks that a holder that learns of another holder falls silent at once.
func (p *process) learns(l *coordinationv1.Lease) {
	if l == nil || l.Spec.HolderIdentity == nil || *l.Spec.HolderIdentity == "" || *l.Spec.HolderIdentity == p.n.self {
		return
	}
	if _, answers := p.k.answering(); !answers || p.deadline() == 0 {
		return // it does not answer, or answers by the grant of an earlier process until that deadline
	}
	if now := p.n.c.server.Lease(); now == nil || now.ResourceVersion != l.ResourceVersion {
		return // the watch lags
	}
	ran, before := p.steady()
	status := p.electionStatus()
	time.AfterFunc(atOnce, func() {
		runs, pauses := p.steady()
		if since, answers := p.k.answering(); answers && ran && runs && pauses == before && since <= p.n.c.now()-atOnce {
			p.n.c.wrong(ignored, "%s observed that %s holds, and answers %s later; its status then was %+v", p.n.name, *l.Spec.HolderIdentity, atOnce, status)
		}
	})
}

// atOnce is the total time of some slow calls into the kernel.
const atOnce = 500 * time.Millisecond
