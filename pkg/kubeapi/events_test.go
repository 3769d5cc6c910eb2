package kubeapi

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// written is a request to write an Event.
type written struct {
	method string
	event  corev1.Event
}

// TestEvents: each Event is written once, similar ones are counted, a failed write is retried, and
// a forbidden write is not.
func TestEvents(t *testing.T) {
	s := newServer(t)
	got := make(chan written, 100)
	take := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		v := written{method: r.Method, event: corev1.Event{TypeMeta: metav1.TypeMeta{Kind: "Event", APIVersion: "v1"}}}
		if r.Method == http.MethodPatch {
			err = json.Unmarshal(body, &v.event)
		} else {
			_, _, err = scheme.Codecs.UniversalDeserializer().Decode(body, nil, &v.event)
		}
		if err != nil {
			t.Error(err)
		}
		got <- v
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(v.event); err != nil {
			t.Error(err)
		}
	}
	next := func() written {
		select {
		case v := <-got:
			return v
		case <-time.After(30 * time.Second):
			t.Fatal("no event was written")
			return written{}
		}
	}
	c, logs := newClient(s.addr(), s.write(t, filepath.Join(t.TempDir(), "admin.conf"), "me", nil))
	e := c.Events(EventOptions{Namespace: "kube-system", Lease: "plndr-cp-lock", Node: "n1", UID: func() types.UID { return "u" }})
	e.retry = time.Millisecond
	must(t, do(t, c, get)) // the answer is logged
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()

	s.set(take)
	e.Record(false, "VIPTaken", "n1 holds it")
	first := next()
	diff(t, "method", http.MethodPost, first.method)
	diff(t, "about", corev1.ObjectReference{Kind: "Lease", APIVersion: "coordination.k8s.io/v1", Namespace: "kube-system", Name: "plndr-cp-lock", UID: "u"},
		first.event.InvolvedObject)
	diff(t, "event", []string{"Normal", "VIPTaken", "n1 holds it", "vipd", "n1"},
		[]string{first.event.Type, first.event.Reason, first.event.Message, first.event.Source.Component, first.event.Source.Host})

	e.Record(false, "VIPTaken", "n1 holds it")
	if again := next(); again.method != http.MethodPatch || again.event.Count != 2 {
		t.Errorf("the same again: %+v", again)
	}

	failed := make(chan struct{})
	s.set(func(w http.ResponseWriter, r *http.Request) {
		s.set(take)
		close(failed)
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	e.Record(true, "VIPConflict", "another machine claims it")
	<-failed
	if again := next(); again.event.Type != "Warning" || again.event.Reason != "VIPConflict" {
		t.Errorf("after a failure: %+v", again)
	}

	// While the server starts, a refusal means nothing.
	s.set(func(w http.ResponseWriter, r *http.Request) {
		s.set(take)
		refusal(http.StatusForbidden, metav1.StatusReasonForbidden)(w, r)
	})
	e.Record(false, "VIPMoved", "n2 holds it")
	diff(t, "after a refusal by a server that starts", "VIPMoved", next().event.Reason)

	c.SetReady(map[string]boottime.Instant{s.addr(): long()})
	refused := make(chan struct{}, 10)
	s.set(func(w http.ResponseWriter, r *http.Request) {
		defer func() { refused <- struct{}{} }()
		refusal(http.StatusForbidden, metav1.StatusReasonForbidden)(w, r)
	})
	for _, reason := range []string{"VIPLost", "VIPReleased"} {
		e.Record(true, reason, "it went")
		<-refused
	}
	s.set(take)
	e.Record(true, "VIPRefused", "it stays")
	next()
	cancel()
	must(t, <-done)
	const denied = "write of an Event refused"
	if n := logs.FilterMessage(denied).Len(); n != 1 {
		t.Errorf("the refusal was logged %d times: %q", n, messages(logs))
	}
}

// TestEventToTwoServers, with the race detector: no two servers are sent the same object.
func TestEventToTwoServers(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(sink, *corev1.Event) (*corev1.Event, error){"Create": sink.Create, "Update": sink.Update} {
		t.Run(name, func(t *testing.T) {
			c, servers := cluster(t, time.Millisecond)
			asked := make(chan struct{}, len(servers))
			for _, s := range servers {
				s.set(func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body) // otherwise the end of the request is not noticed
					asked <- struct{}{}
					hang(w, r)
				})
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() {
				for range servers {
					<-asked
				}
				cancel()
			}()
			e := c.Events(EventOptions{Namespace: "kube-system", Lease: "plndr-cp-lock", Node: "n1", UID: func() types.UID { return "u" }})
			_, err := write(sink{ctx, e}, &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "e"}})
			must(t, err)
		})
	}
}
