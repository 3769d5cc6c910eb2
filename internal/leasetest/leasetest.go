// Package leasetest is a test double of a Kubernetes API server with one kind of object, the Lease,
// and one rule, compare-and-swap on the resourceVersion. Unlike a real API server, it runs inside a
// testing/synctest bubble, and can lose and delay requests before or after their commit. The lab
// (module e2e) tests with real API servers.
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

	"github.com/vipd-io/vipd/pkg/kubeapi"
)

var leases = schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}

// Server holds at most one Lease. The zero value is ready for use.
type Server struct {
	mu       sync.Mutex
	lease    *coordinationv1.Lease
	version  int
	watchers map[*watcher]bool
	history  []*coordinationv1.Lease
	times    []time.Time // of history
	// compacted tells that the history is not delivered from its beginning any more.
	compacted bool
}

// Compact forgets the history: a watch from the beginning gets the answer that the version is too
// old, as after a compaction of etcd, or from an API server that has started since.
func (s *Server) Compact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.compacted = true
}

// beginning is the resourceVersion before the first write, as of etcd.
const beginning = "1"

// History returns all committed versions, nil for a deletion.
func (s *Server) History() []*coordinationv1.Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.history)
}

// Fault is a fault of one request.
type Fault struct {
	// Before and After delay a request before and after its commit.
	Before, After time.Duration
	// Refuse fails the request without a commit.
	Refuse error
	// Lose commits the request and returns this error.
	Lose error
	// Lag, if set, returns by how much the cache behind a watch lags: the watch begins with the
	// version of that time ago, and each later version arrives with that delay. Other verbs read
	// the store itself.
	Lag func() time.Duration
}

// Client is a client on one node.
type Client struct {
	Server *Server
	// Hedge, if set, sends each call to three API servers as pkg/kubeapi does, each with its own
	// request and its own faults.
	Hedge time.Duration
	// WallClock, if set, returns the current offset of this node's wall clock.
	WallClock func() time.Duration

	mu    sync.Mutex
	fault func(verb string) Fault
}

// SetFault sets the fault of each later get, create, update and watch; nil for no faults.
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

// Do implements election.API.
func (c *Client) Do(ctx context.Context, call func(context.Context, coordinationv1client.CoordinationV1Interface) error) error {
	servers := 1
	if c.Hedge > 0 {
		servers = 3
	}
	return kubeapi.Race(ctx, servers, c.Hedge, func(ctx context.Context, _ int) error { return call(ctx, coordination{c: c}) })
}

// Stream runs a long-lasting call, once.
func (c *Client) Stream(ctx context.Context, call func(context.Context, coordinationv1client.CoordinationV1Interface) error) error {
	return call(ctx, coordination{c: c})
}

type coordination struct {
	coordinationv1client.CoordinationV1Interface // nil: other kinds are not supported
	c                                            *Client
}

func (c coordination) Leases(ns string) coordinationv1client.LeaseInterface { return c.c.Leases(ns) }

type leaseClient struct {
	coordinationv1client.LeaseInterface // nil: other verbs are not supported
	*Client
}

// Leases returns a client of the Lease, also for client-go's LeaseLock.
func (c *Client) Leases(string) coordinationv1client.LeaseInterface { return leaseClient{Client: c} }

// request runs commit with the faults of one request.
func (c *Client) request(ctx context.Context, verb string, commit func() (*coordinationv1.Lease, error)) (*coordinationv1.Lease, error) {
	f := c.drawFault(verb)
	if f.Refuse != nil {
		return nil, f.Refuse
	}
	type answer struct {
		lease *coordinationv1.Lease
		err   error
	}
	// A cancelled request may still be committed.
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
		l.UID = types.UID("uid-" + strconv.Itoa(max(c.Server.version, 1)+1))
		return c.Server.commit(l), nil
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
		return c.Server.commit(c.onWallClock(l)), nil
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

// commit stores a new version. The caller holds the lock.
func (s *Server) commit(l *coordinationv1.Lease) *coordinationv1.Lease {
	s.version = max(s.version, 1) + 1
	if l != nil {
		l.ResourceVersion = strconv.Itoa(s.version)
	}
	return s.publish(l)
}

func (s *Server) publish(l *coordinationv1.Lease) *coordinationv1.Lease {
	s.lease = l
	s.history, s.times = append(s.history, l.DeepCopy()), append(s.times, time.Now())
	for w := range s.watchers {
		w.send(s.event(len(s.history)-1), time.Now())
	}
	return l.DeepCopy()
}

// Mute stops the delivery to all current watchers without closing their streams.
func (s *Server) Mute() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.watchers)
}

// Lease returns the current version, nil for none.
func (s *Server) Lease() *coordinationv1.Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lease.DeepCopy()
}

// Edit changes the Lease as a person with kubectl would. The Lease must exist.
func (s *Server) Edit(change func(*coordinationv1.Lease)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lease.DeepCopy()
	change(l)
	s.commit(l)
}

// Put overwrites the Lease, also with an older version: the resourceVersion goes back to rv, as
// after the restore of a snapshot.
func (s *Server) Put(l *coordinationv1.Lease, rv int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version, s.compacted = rv-1, true
	s.commit(l.DeepCopy())
}

// Restore restores an older version with its resourceVersion. Later versions get new numbers: a
// write that is based on a reused number would succeed.
func (s *Server) Restore(old *coordinationv1.Lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.compacted = true
	s.publish(old.DeepCopy())
}

// Delete deletes the Lease.
func (s *Server) Delete() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commit(nil)
}

func (c leaseClient) Watch(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	f := c.drawFault("watch")
	if f.Refuse != nil {
		return nil, f.Refuse
	}
	s := c.Server
	w := &watcher{server: s, in: make(chan late, 1024), out: make(chan watch.Event), done: make(chan struct{}), lag: f.Lag}
	if w.lag == nil {
		w.lag = func() time.Duration { return f.After }
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watchers == nil {
		s.watchers = make(map[*watcher]bool)
	}
	switch {
	case opts.ResourceVersion != beginning:
		s.begin(w, f.Lag != nil)
	case s.compacted:
		w.send(watch.Event{Type: watch.Error, Object: &tooOld}, time.Now())
	default:
		for i, at := range s.times {
			w.send(s.event(i), at)
		}
	}
	s.watchers[w] = true
	go w.run(ctx)
	return w, nil
}

// tooOld is the answer to a watch whose first events are not known any more.
var tooOld = apierrors.NewResourceExpired("too old resource version").ErrStatus

// begin sends the newest version to a new watch; from a cache, the version of its lag ago, and then
// the later ones.
func (s *Server) begin(w *watcher, cached bool) {
	first := len(s.history) - 1
	for cached && first >= 0 && time.Since(s.times[first]) < w.lag() {
		first--
	}
	if first >= 0 && s.history[first] != nil {
		w.send(watch.Event{Type: watch.Added, Object: s.history[first].DeepCopy()}, time.Now())
	}
	for i := first + 1; i < len(s.history); i++ {
		w.send(s.event(i), s.times[i])
	}
}

// event returns the watch event for a version in the history.
func (s *Server) event(i int) watch.Event {
	switch before := i > 0 && s.history[i-1] != nil; {
	case s.history[i] == nil:
		// The event of a deletion carries the last version.
		for i > 0 && s.history[i] == nil {
			i--
		}
		return watch.Event{Type: watch.Deleted, Object: s.history[i].DeepCopy()}
	case before:
		return watch.Event{Type: watch.Modified, Object: s.history[i].DeepCopy()}
	}
	return watch.Event{Type: watch.Added, Object: s.history[i].DeepCopy()}
}

// late is an event with the time of its delivery.
type late struct {
	watch.Event
	due time.Time
}

// watcher delivers events in order, each with the lag at the time of its send.
type watcher struct {
	server *Server
	in     chan late
	out    chan watch.Event
	done   chan struct{}
	once   sync.Once
	lag    func() time.Duration
}

// send queues an event that happened at the given time.
func (w *watcher) send(e watch.Event, at time.Time) {
	select {
	case w.in <- late{e, at.Add(w.lag())}:
	default: // a real API server also ends the stream of a slow watcher
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
			w.await(ctx, e.due)
			select {
			case w.out <- e.Event:
			case <-ctx.Done():
				return
			case <-w.done:
				return
			}
		}
	}
}

// await waits until due, or the end of the watch.
func (w *watcher) await(ctx context.Context, due time.Time) {
	left := time.Until(due)
	if left <= 0 {
		return
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-w.done:
	}
}

func (w *watcher) Stop()                          { w.once.Do(func() { close(w.done) }) }
func (w *watcher) ResultChan() <-chan watch.Event { return w.out }
