package election

import (
	"encoding/json"

	coordinationv1 "k8s.io/api/coordination/v1"
)

// told is what another node tells a holder in an annotation of the Lease. It counts for one holder in
// one term.
type told struct {
	By     string `json:"by"`
	Holder string `json:"holder"`
	Term   int    `json:"term"`
}

// maxTold is the maximum length of such an annotation, in bytes.
const maxTold = 1024

// toldBy returns the node that tells this holder something in this term, "" for none.
func toldBy(l *coordinationv1.Lease, annotation, holder string, term int) string {
	if l == nil {
		return ""
	}
	var t told
	text := l.Annotations[annotation]
	if len(text) > maxTold || json.Unmarshal([]byte(text), &t) != nil || t.Holder != holder || t.Term != term {
		return ""
	}
	return truncate(t.By)
}

// requested tells whether somebody has asked the holder for anything since the holder's last write.
func requested(l *coordinationv1.Lease) bool {
	return l.Annotations[AcceptedAnnotation] != "" || l.Annotations[UnreachedAnnotation] != "" || l.Annotations[MoveAnnotation] != ""
}
