package kubeapi

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
)

// EventOptions configures Events.
type EventOptions struct {
	// Namespace and Lease name the Lease that the Events are about.
	Namespace, Lease string
	// UID returns the UID of the Lease, "" while it is not known.
	UID func() types.UID
	// Node is the node that sends the Events.
	Node string
}

// Events sends Events on the Lease to the cluster. client-go's recorder writes the Events in the
// background: the recorder limits their rate, counts similar Events, and drops what it cannot
// deliver.
type Events struct {
	opts   EventOptions
	client *Client
	queue  chan event
	retry  time.Duration // the pause between two attempts
	denied atomic.Bool   // the last write was refused, and the refusal was logged
}

type event struct{ kind, reason, message string }

// Limits of Events.
const (
	// eventQueue bounds the Events that wait while no API server takes any.
	eventQueue = 32
	// eventTimeout bounds one write; eventRetry is the pause before the next attempt; eventTries
	// bounds the attempts.
	eventTimeout, eventRetry = 5 * time.Second, 10 * time.Second
	eventTries               = 12
	// A burst of eventBurst Events may be sent at once, and after that one Event per eventEvery.
	eventBurst = 20
	eventEvery = 30 * time.Second
)

// Events returns an Events that sends nothing before Run.
func (c *Client) Events(opts EventOptions) *Events {
	return &Events{opts: opts, client: c, queue: make(chan event, eventQueue), retry: eventRetry}
}

// Record queues an Event. Record does not block; if the queue is full, the Event is dropped.
func (e *Events) Record(warning bool, reason, message string) {
	kind := corev1.EventTypeNormal
	if warning {
		kind = corev1.EventTypeWarning
	}
	select {
	case e.queue <- event{kind, reason, message}:
	default:
	}
}

// Run sends until ctx ends.
func (e *Events) Run(ctx context.Context) error {
	broadcaster := record.NewBroadcaster(record.WithContext(ctx),
		record.WithCorrelatorOptions(record.CorrelatorOptions{BurstSize: eventBurst, QPS: float32(1 / eventEvery.Seconds())}))
	defer broadcaster.Shutdown()
	broadcaster.StartRecordingToSink(sink{ctx, e})
	recorder := broadcaster.NewRecorder(runtime.NewScheme(), corev1.EventSource{Component: "vipd", Host: e.opts.Node})
	for {
		select {
		case <-ctx.Done():
			return nil
		case v := <-e.queue:
			recorder.Event(&corev1.ObjectReference{Kind: "Lease", APIVersion: "coordination.k8s.io/v1",
				Namespace: e.opts.Namespace, Name: e.opts.Lease, UID: e.opts.UID()}, v.kind, v.reason, v.message)
		}
	}
}

// sink receives the Events of the recorder. Each request gets a copy of the Event: several servers
// may be asked concurrently, and client-go changes the object while it encodes the object.
type sink struct {
	ctx    context.Context
	events *Events
}

var _ record.EventSink = sink{}

func (s sink) Create(v *corev1.Event) (*corev1.Event, error) {
	return s.write(v, func(ctx context.Context, c corev1client.EventInterface) (*corev1.Event, error) {
		return c.Create(ctx, v.DeepCopy(), metav1.CreateOptions{})
	})
}

func (s sink) Update(v *corev1.Event) (*corev1.Event, error) {
	return s.write(v, func(ctx context.Context, c corev1client.EventInterface) (*corev1.Event, error) {
		return c.Update(ctx, v.DeepCopy(), metav1.UpdateOptions{})
	})
}

func (s sink) Patch(v *corev1.Event, patch []byte) (*corev1.Event, error) {
	return s.write(v, func(ctx context.Context, c corev1client.EventInterface) (*corev1.Event, error) {
		return c.Patch(ctx, v.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	})
}

// write tries until an API server takes the Event or refuses it, eventTries times at most. The
// recorder itself would log each failure as an error.
func (s sink) write(v *corev1.Event, f func(context.Context, corev1client.EventInterface) (*corev1.Event, error)) (*corev1.Event, error) {
	for try := 0; ; try++ {
		out, err := s.once(v.Namespace, f)
		switch {
		case err == nil:
			return out, nil
		case errors.Is(err, errDenied), apierrors.IsAlreadyExists(err): // AlreadyExists: two servers were asked
			return v, nil
		case aboutObject(err):
			return nil, err // the recorder handles this error
		case try == eventTries:
			s.events.client.opts.Log.Debug("event dropped", zap.Error(err))
			return v, nil
		}
		select {
		case <-s.ctx.Done():
			return v, nil
		case <-time.After(s.events.retry):
		}
	}
}

func (s sink) once(namespace string, f func(context.Context, corev1client.EventInterface) (*corev1.Event, error)) (*corev1.Event, error) {
	ctx, cancel := context.WithTimeout(s.ctx, eventTimeout)
	defer cancel()
	var out atomic.Pointer[corev1.Event] // several servers may be asked concurrently
	err := s.events.client.do(ctx, func(ctx context.Context, c *clients) error {
		written, err := f(ctx, c.core.Events(namespace))
		if err == nil {
			out.CompareAndSwap(nil, written)
		}
		return s.events.client.optional(c.server, err)
	})
	s.logDenied(err)
	return out.Load(), err
}

// logDenied logs a refusal once: a person has to correct it.
func (s sink) logDenied(err error) {
	denied := errors.Is(err, errDenied)
	if was := s.events.denied.Swap(denied); denied && !was {
		s.events.client.opts.Log.Warn("write of an Event refused", zap.Error(err), zap.String("consequence", "no Events, and nothing else"),
			zap.String("remedy", remedyRBAC))
	}
}
