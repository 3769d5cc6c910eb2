package election

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/vipd-io/vipd/internal/leasetest"
)

// TestReportUnreached: a report reaches the holder of that term once, and the next write removes it.
func TestReportUnreached(t *testing.T) {
	inBubble(t, func(c *cluster) {
		store := &KubeStore{API: &leasetest.Client{Server: &c.server}, Namespace: "kube-system", Name: leaseName, Establish: time.Second}
		report := func(holder string, term int, by string, want bool) {
			t.Helper()
			if written, err := store.ReportUnreached(c.t.Context(), holder, term, by); written != want || err != nil {
				t.Errorf("report of %s about %s in term %d: written = %t, %v, want %t", by, holder, term, written, err, want)
			}
		}
		report("n1", 1, "n2", false) // no Lease
		n1, n2, _ := three(c)
		report("n1", 1, "n2", true)
		time.Sleep(100 * time.Millisecond)
		if d := cmp.Diff([]string{"n2"}, n1.reporters()); d != "" {
			t.Errorf("reported (-want +got):\n%s", d)
		}
		if v, ok := c.server.Lease().Annotations[UnreachedAnnotation]; ok {
			t.Errorf("the report stays: %q", v)
		}
		report("n1", 2, "n2", false)
		report("n2", 1, "n3", false)
		n1.client.SetFault(func(string) leasetest.Fault { return leasetest.Fault{Refuse: errors.New("etcdserver: no leader")} })
		report("n1", 1, "n2", true)
		report("n1", 1, "n3", false) // n1 has not written since
		if got := append(n1.reporters(), n2.reporters()...); len(got) > 2 {
			t.Errorf("reported: %v", got)
		}
	})
}

// TestReportedIsPassedOn: the next holder learns that the Lease was released because of reports, and
// only the next one.
func TestReportedIsPassedOn(t *testing.T) {
	inBubble(t, func(c *cluster) {
		n1, n2, _ := three(c)
		if n1.latest().Claim.Reported {
			t.Error("the first claim follows no reports")
		}
		if err := n1.releaseTo(Handover{Successor: "n2", Reported: true}); err != nil {
			t.Error(err)
		}
		c.awaitHolder("n1", time.Second)
		time.Sleep(5 * time.Second)
		if s := n2.latest(); !s.Held || !s.Claim.Reported {
			t.Errorf("after reports: %+v", s)
		}
		if err := n2.releaseTo(Handover{Successor: "n3"}); err != nil {
			t.Error(err)
		}
		if n3, _ := c.awaitHolder("n2", time.Second); n3.latest().Claim.Reported {
			t.Error("the Lease was not released because of reports")
		}
	})
}

// TestReportsDoNotAddUp: the candidates wait for a dead holder once more after its last write at
// most, however often the others report.
func TestReportsDoNotAddUp(t *testing.T) {
	inBubble(t, func(c *cluster) {
		store := &KubeStore{API: &leasetest.Client{Server: &c.server}, Namespace: "kube-system", Name: leaseName, Establish: time.Second}
		n1, _, _ := three(c)
		n1.stop()
		<-n1.done
		died := time.Now()
		for c.holder() != "n2" && c.holder() != "n3" && time.Since(died) < time.Minute {
			if _, err := store.ReportUnreached(c.t.Context(), "n1", 1, "n2"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if took := time.Since(died); took > c.timing.Lease+time.Second {
			t.Errorf("the next holder after %s", took)
		}
	})
}

// TestUnreachedThatIsNone: other content that a person or program may leave in the annotation.
func TestUnreachedThatIsNone(t *testing.T) {
	for value, want := range map[string]string{
		"": "", "n2": "", `{"by":"n2","holder":"n1","term":7}`: "n2", `{"by":"n2","holder":"n3","term":7}`: "", `{"by":"n2","holder":"n1","term":8}`: "",
		`{"by":"` + strings.Repeat("a", maxTold) + `","holder":"n1","term":7}`: "", `{"by":3}`: "",
	} {
		l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{UnreachedAnnotation: value}}}
		if got := unreachedBy(l, "n1", 7); got != want {
			t.Errorf("unreachedBy(%q) = %q, want %q", value, got, want)
		}
	}
	if unreachedBy(nil, "n1", 7) != "" {
		t.Error("a deleted Lease has a report")
	}
}

func (n *node) reporters() []string {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	return n.reports
}
