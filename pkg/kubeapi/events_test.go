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
)

// written is what an API server was asked to write.
type written struct {
	method string
	event  corev1.Event
}

// TestEvents: written once, counted when alike, tried again while the server is
// not itself, and let go where it is forbidden.
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
	must(t, do(t, c, get)) // that it answers is logged
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()

	s.set(take)
	e.Say(false, "VIPTaken", "n1 holds it")
	first := next()
	diff(t, "method", http.MethodPost, first.method)
	diff(t, "about", corev1.ObjectReference{Kind: "Lease", APIVersion: "coordination.k8s.io/v1", Namespace: "kube-system", Name: "plndr-cp-lock", UID: "u"},
		first.event.InvolvedObject)
	diff(t, "event", []string{"Normal", "VIPTaken", "n1 holds it", "vipd", "n1"},
		[]string{first.event.Type, first.event.Reason, first.event.Message, first.event.Source.Component, first.event.Source.Host})

	e.Say(false, "VIPTaken", "n1 holds it")
	if again := next(); again.method != http.MethodPatch || again.event.Count != 2 {
		t.Errorf("the same again: %+v", again)
	}

	failed := make(chan struct{})
	s.set(func(w http.ResponseWriter, r *http.Request) {
		s.set(take)
		close(failed)
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	e.Say(true, "VIPConflict", "another machine claims it")
	<-failed
	if again := next(); again.event.Type != "Warning" || again.event.Reason != "VIPConflict" {
		t.Errorf("after a failure: %+v", again)
	}

	refused := make(chan struct{}, 10)
	s.set(func(w http.ResponseWriter, r *http.Request) {
		defer func() { refused <- struct{}{} }()
		refusal(http.StatusForbidden, metav1.StatusReasonForbidden)(w, r)
	})
	for _, reason := range []string{"VIPLost", "VIPReleased"} {
		e.Say(true, reason, "it went")
		<-refused
	}
	s.set(take)
	e.Say(true, "VIPRefused", "it stays")
	next()
	cancel()
	must(t, <-done)
	const denied = "no Events can be written, nothing else is amiss: `vipd manifest rbac` has the right that is missing"
	if n := logs.FilterMessage(denied).Len(); n != 1 {
		t.Errorf("the refusal was logged %d times: %q", n, messages(logs))
	}
}
