package lab

import (
	"encoding/json"
	"net/http/httptest"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A refusal has the format that Kubernetes clients understand.
func TestRefuse(t *testing.T) {
	for code, reason := range map[int]metav1.StatusReason{
		500: metav1.StatusReasonInternalError, 429: metav1.StatusReasonTooManyRequests, 503: "",
	} {
		w := httptest.NewRecorder()
		refuse(w, code)
		var got metav1.Status
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if w.Code != code || int(got.Code) != code || got.Kind != "Status" || got.Status != metav1.StatusFailure || got.Reason != reason {
			t.Errorf("%d: answered %d, %+v", code, w.Code, got)
		}
		if wait := w.Header().Get("Retry-After"); (wait != "") != (code == 429) {
			t.Errorf("%d: Retry-After %q", code, wait)
		}
	}
}
