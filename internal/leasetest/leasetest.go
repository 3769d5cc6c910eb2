// Package leasetest is a test double of a Kubernetes API server that knows one
// kind of object, the Lease, and one rule, compare-and-swap on resourceVersion.
// Unlike a real one it runs inside a testing/synctest bubble, and it can lose
// and delay requests before or after they are committed. What a real API server
// does is tested in the lab (module e2e).
package leasetest

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

var leases = schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}

// Server holds at most one Lease. The zero value is ready for use.
type Server struct {
	mu       sync.Mutex
	lease    *coordinationv1.Lease
	version  int
	watchers map[*watcher]bool
	history  []*coordinationv1.Lease
}

// History is every version that was committed, nil for a deletion.
func (s *Server) History() []*coordinationv1.Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.history)
}

// Fault is what befalls one request.
type Fault struct {
	// Before and After delay a request before and after its commit.
	Before, After time.Duration
	// Refuse fails the request without a commit.
	Refuse error
	// Lose commits the request and fails it all the same.
	Lose error
}

// Client reaches the server as one node does.
type Client struct {
	Server *Server
	// Hedge, if set, is after how long an unanswered call is made once more
	// beside the first, and again, as through three API servers. Each is a
	// request of its own, with faults of its own.
	Hedge time.Duration
	// WallClock, if set, is how far this node's wall clock is off at the moment.
	WallClock func() time.Duration

	mu    sync.Mutex
	fault func(verb string) Fault
}

// SetFault names what befalls each get, create, update and watch from now on;
// nil: nothing.
func (c *Client) SetFault(f func(verb string) Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = f
}

func (c *Client) drawFault(verb string) Fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fault == nil {
		return Fault{}
	}
	return c.fault(verb)
}

// Do makes a Client an election.API.
func (c *Client) Do(ctx context.Context, call func(context.Context, coordinationv1client.CoordinationV1Interface) error) error {
	if c.Hedge == 0 {
		return call(ctx, coordination{c: c})
	}
	const servers = 3
	all, cancel := context.WithCancel(ctx)
	results := make(chan error, servers)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	started, failed := 0, 0
	var conflict error
	start := func() {
		if started < servers {
			started++
			running.Go(func() { results <- call(all, coordination{c: c}) })
		}
	}
	next := time.NewTicker(c.Hedge)
	defer next.Stop()
	start()
	for {
		select {
		case <-next.C:
			if conflict == nil {
				start()
			}
		case err := <-results:
			failed++
			switch {
			case err == nil || apierrors.IsNotFound(err) || apierrors.IsAlreadyExists(err):
				return err
			case apierrors.IsConflict(err):
				conflict = err
			case conflict == nil:
				start()
			}
			switch {
			case conflict != nil && failed == started:
				return conflict
			case failed == servers:
				return err
			}
		}
	}
}

// Stream runs a call that lasts, once.
func (c *Client) Stream(ctx context.Context, call func(context.Context, coordinationv1client.CoordinationV1Interface) error) error {
	return call(ctx, coordination{c: c})
}

type coordination struct {
	coordinationv1client.CoordinationV1Interface // nil: other kinds are not served
	c                                            *Client
}

func (c coordination) Leases(ns string) coordinationv1client.LeaseInterface { return c.c.Leases(ns) }

type leaseClient struct {
	coordinationv1client.LeaseInterface // nil: other verbs are not served
	*Client
}

// Leases serves client-go's own LeaseLock.
func (c *Client) Leases(string) coordinationv1client.LeaseInterface { return leaseClient{Client: c} }

// request runs commit with the faults of one request around it.
func (c *Client) request(ctx context.Context, verb string, commit func() (*coordinationv1.Lease, error)) (*coordinationv1.Lease, error) {
	f := c.drawFault(verb)
	if f.Refuse != nil {
		return nil, f.Refuse
	}
	type answer struct {
		lease *coordinationv1.Lease
		err   error
	}
	// A request that is given up may be committed all the same.
	done := make(chan answer, 1)
	go func() {
		time.Sleep(f.Before)
		l, err := commit()
		time.Sleep(f.After)
		if f.Lose != nil {
			l, err = nil, f.Lose
		}
		done <- answer{l, err}
	}()
	select {
	case a := <-done:
		return a.lease, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c leaseClient) Get(ctx context.Context, name string, _ metav1.GetOptions) (*coordinationv1.Lease, error) {
	return c.request(ctx, "get", func() (*coordinationv1.Lease, error) {
		c.Server.mu.Lock()
		defer c.Server.mu.Unlock()
		if c.Server.lease == nil {
			return nil, apierrors.NewNotFound(leases, name)
		}
		return c.Server.lease.DeepCopy(), nil
	})
}

func (c leaseClient) Create(ctx context.Context, l *coordinationv1.Lease, _ metav1.CreateOptions) (*coordinationv1.Lease, error) {
	l = l.DeepCopy()
	return c.request(ctx, "create", func() (*coordinationv1.Lease, error) {
		c.Server.mu.Lock()
		defer c.Server.mu.Unlock()
		if c.Server.lease != nil {
			return nil, apierrors.NewAlreadyExists(leases, l.Name)
		}
		l.UID = types.UID("uid-" + strconv.Itoa(c.Server.version+1))
		return c.Server.commit(l, watch.Added), nil
	})
}

func (c leaseClient) Update(ctx context.Context, l *coordinationv1.Lease, _ metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	l = l.DeepCopy()
	return c.request(ctx, "update", func() (*coordinationv1.Lease, error) {
		c.Server.mu.Lock()
		defer c.Server.mu.Unlock()
		if c.Server.lease == nil {
			return nil, apierrors.NewNotFound(leases, l.Name)
		}
		if c.Server.lease.ResourceVersion != l.ResourceVersion {
			return nil, apierrors.NewConflict(leases, l.Name, nil)
		}
		return c.Server.commit(c.onWallClock(l), watch.Modified), nil
	})
}

// onWallClock sets the times in a record to those of the node's wall clock.
func (c *Client) onWallClock(l *coordinationv1.Lease) *coordinationv1.Lease {
	if c.WallClock == nil {
		return l
	}
	now := metav1.NewMicroTime(time.Now().Add(c.WallClock()))
	l.Spec.RenewTime, l.Spec.AcquireTime = &now, &now
	return l
}

// commit needs the lock.
func (s *Server) commit(l *coordinationv1.Lease, t watch.EventType) *coordinationv1.Lease {
	s.version++
	if l != nil {
		l.ResourceVersion = strconv.Itoa(s.version)
	}
	return s.publish(l, t)
}

func (s *Server) publish(l *coordinationv1.Lease, t watch.EventType) *coordinationv1.Lease {
	last := s.lease
	s.lease = l
	s.history = append(s.history, l.DeepCopy())
	if l == nil {
		l = last // a deletion event carries the last version
	}
	for w := range s.watchers {
		w.send(watch.Event{Type: t, Object: l.DeepCopy()})
	}
	return l.DeepCopy()
}

// Mute ends the delivery to all present watchers, whose streams stay open.
func (s *Server) Mute() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.watchers)
}

// Lease is the present version, nil if there is none.
func (s *Server) Lease() *coordinationv1.Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lease.DeepCopy()
}

// Edit changes the Lease as a person with kubectl would. It must exist.
func (s *Server) Edit(change func(*coordinationv1.Lease)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lease.DeepCopy()
	change(l)
	s.commit(l, watch.Modified)
}

// Put writes a Lease over whatever there is, also an older version: the
// resourceVersion goes back to rv, as after the restore of a snapshot.
func (s *Server) Put(l *coordinationv1.Lease, rv int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version = rv - 1
	s.commit(l.DeepCopy(), watch.Modified)
}

// Restore puts an older version back as it was, number and all. Later versions have
// numbers that none had before: a write that is tied to a reused one would go through.
func (s *Server) Restore(old *coordinationv1.Lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publish(old.DeepCopy(), watch.Modified)
}

// Delete deletes the Lease.
func (s *Server) Delete() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commit(nil, watch.Deleted)
}

func (c leaseClient) Watch(ctx context.Context, _ metav1.ListOptions) (watch.Interface, error) {
	f := c.drawFault("watch")
	if f.Refuse != nil {
		return nil, f.Refuse
	}
	s := c.Server
	w := &watcher{server: s, in: make(chan watch.Event, 1024), out: make(chan watch.Event), done: make(chan struct{}), delay: f.After}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watchers == nil {
		s.watchers = make(map[*watcher]bool)
	}
	s.watchers[w] = true
	if s.lease != nil {
		w.send(watch.Event{Type: watch.Added, Object: s.lease.DeepCopy()})
	}
	go w.run(ctx)
	return w, nil
}

// watcher delivers events in order, each delay late.
type watcher struct {
	server *Server
	in     chan watch.Event
	out    chan watch.Event
	done   chan struct{}
	once   sync.Once
	delay  time.Duration
}

func (w *watcher) send(e watch.Event) {
	select {
	case w.in <- e:
	default: // a watcher that does not keep up loses its stream in reality, too
	}
}

func (w *watcher) run(ctx context.Context) {
	defer close(w.out)
	defer func() {
		w.server.mu.Lock()
		delete(w.server.watchers, w)
		w.server.mu.Unlock()
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.done:
			return
		case e := <-w.in:
			if w.delay > 0 {
				late := time.NewTimer(w.delay)
				select {
				case <-late.C:
				case <-ctx.Done():
				case <-w.done:
				}
				late.Stop()
			}
			select {
			case w.out <- e:
			case <-ctx.Done():
				return
			case <-w.done:
				return
			}
		}
	}
}

func (w *watcher) Stop()                          { w.once.Do(func() { close(w.done) }) }
func (w *watcher) ResultChan() <-chan watch.Event { return w.out }
