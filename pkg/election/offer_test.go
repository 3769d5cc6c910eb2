package election

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/vipd-io/vipd/internal/leasetest"
)

// acceptors returns the candidates that accepted this node's offer.
func (n *node) acceptors() []string {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	return append([]string(nil), n.accepted...)
}

func (n *node) ready(c Candidate) {
	c.Eligible, c.MAC = true, "mac-of-"+n.name
	n.elector.SetCandidate(n.c.t.Context(), c)
}

// TestOffer: one candidate accepts, the holder goes on as the holder, and the Lease then goes to that
// candidate.
func TestOffer(t *testing.T) {
	inBubble(t, func(c *cluster) {
		n1, n2, n3 := three(c)
		n3.ready(Candidate{Yield: 100 * time.Millisecond})
		n1.elector.Offer(c.t.Context())
		time.Sleep(10 * time.Millisecond)
		if d := cmp.Diff([]string{"n2"}, n1.acceptors()); d != "" {
			t.Fatalf("accepted (-want +got):\n%s", d)
		}
		if !n2.latest().Pledged || n3.latest().Pledged || n1.latest().Pledged {
			t.Errorf("pledged: n2 %t, n3 %t", n2.latest().Pledged, n3.latest().Pledged)
		}
		writes := len(c.server.History())
		if err := n1.releaseFor("n2"); err != nil {
			t.Fatal(err)
		}
		if n, took := c.awaitHolder("n1", time.Second); n != n2 || took > 10*time.Millisecond || n2.latest().Pledged {
			t.Errorf("%s took it after %s, %+v", n.name, took, n.latest())
		}
		if n := len(c.server.History()) - writes; n != 2 {
			t.Errorf("%d writes after the acceptance, want a release and a claim", n)
		}
		time.Sleep(5 * time.Second)
		if l := c.server.Lease(); parse(l).note.Offered || l.Annotations[AcceptedAnnotation] != "" {
			t.Errorf("left in the Lease: %v", l.Annotations)
		}
	})
}

// TestSilentWatch: a candidate that accepted claims soon after the release, also while its watch delivers
// nothing.
func TestSilentWatch(t *testing.T) {
	inBubble(t, func(c *cluster) {
		n1, n2, n3 := three(c)
		n3.crash()
		c.server.Mute()
		n1.elector.Offer(c.t.Context())
		for !n2.latest().Pledged {
			time.Sleep(time.Millisecond)
		}
		if err := n1.releaseFor("n2"); err != nil {
			t.Fatal(err)
		}
		if _, took := c.awaitHolder("n1", 5*time.Second); took > 2*pledgedRead {
			t.Errorf("taken after %s", took)
		}
	})
}

// TestOfferWithoutAnAnswer: the holder goes on while no candidate accepts, and a candidate that starts
// later accepts then.
func TestOfferWithoutAnAnswer(t *testing.T) {
	inBubble(t, func(c *cluster) {
		n1, n2, n3 := three(c)
		n2.crash()
		n3.ready(Candidate{Ending: true})
		n1.elector.Offer(c.t.Context())
		time.Sleep(10 * time.Second)
		if s := n1.latest(); !s.Held || len(n1.acceptors()) > 0 {
			t.Fatalf("%+v, accepted by %q", s, n1.acceptors())
		}
		again := c.join("n2")
		time.Sleep(10 * time.Millisecond)
		if got := n1.acceptors(); len(got) != 1 || got[0] != "n2" || !again.latest().Pledged {
			t.Errorf("accepted by %q", got)
		}
	})
}

// TestAcceptsLikeAClaim: candidates accept after the time for which they let others go first.
func TestAcceptsLikeAClaim(t *testing.T) {
	inBubble(t, func(c *cluster) {
		n1, n2, n3 := three(c)
		n2.ready(Candidate{HoldBack: 3 * time.Second})
		n3.ready(Candidate{NotBefore: c.now().Add(2 * time.Second)})
		n1.elector.Offer(c.t.Context())
		began := c.now()
		for len(n1.acceptors()) == 0 && c.now().Sub(began) < 10*time.Second {
			time.Sleep(time.Millisecond)
		}
		if took := c.now().Sub(began); took < 2*time.Second || took > 2*time.Second+10*time.Millisecond || n1.acceptors()[0] != "n3" {
			t.Errorf("%q accepted after %s", n1.acceptors(), took)
		}
	})
}

// TestOfferAfterAnotherRequest: a candidate does not write before the holder has answered others, and
// the holder learns of the acceptance then.
func TestOfferAfterAnotherRequest(t *testing.T) {
	inBubble(t, func(c *cluster) {
		n1, n2, _ := three(c)
		n1.elector.Offer(c.t.Context())
		n1.client.SetFault(func(string) leasetest.Fault { return leasetest.Fault{Refuse: errors.New("etcdserver: no leader")} })
		time.Sleep(100 * time.Millisecond)
		rv := c.server.Lease().ResourceVersion
		time.Sleep(time.Second)
		if got := c.server.Lease().ResourceVersion; got != rv {
			t.Errorf("version %s follows %s without a write of the holder", got, rv)
		}
		n1.client.SetFault(nil)
		time.Sleep(time.Second)
		if len(n1.acceptors()) == 0 || !n1.latest().Held {
			t.Errorf("accepted by %q, %+v", n1.acceptors(), n1.latest())
		}
		_ = n2
	})
}

// TestPledgeEnds: a candidate is no longer pledged once the holder has gone on, or another node holds.
func TestPledgeEnds(t *testing.T) {
	for name, ends := range map[string]func(c *cluster, n1, n3 *node){
		"released for another": func(_ *cluster, n1, _ *node) { _ = n1.releaseFor("n3") },
		"restarted":            func(c *cluster, n1, _ *node) { n1.crash(); c.join("n1") },
		"stolen": func(c *cluster, _, _ *node) {
			c.server.Edit(func(l *coordinationv1.Lease) { l.Spec.HolderIdentity = new("thief") })
		},
		"deleted": func(c *cluster, n1, _ *node) { c.deleted = true; n1.crash(); c.server.Delete() },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(c *cluster) {
				n1, n2, n3 := three(c)
				n3.ready(Candidate{HoldBack: time.Second})
				n1.elector.Offer(c.t.Context())
				time.Sleep(10 * time.Millisecond)
				if !n2.latest().Pledged {
					t.Fatal("not pledged")
				}
				ends(c, n1, n3)
				time.Sleep(100 * time.Millisecond)
				if n2.latest().Pledged {
					t.Errorf("still pledged: %+v", n2.latest())
				}
			})
		})
	}
}

// TestStrangeAcceptances: whatever is in the annotation, a holder that offers nothing ignores it, and
// one that offers counts only what names this holder and term.
func TestStrangeAcceptances(t *testing.T) {
	o := offer{holder: "n1", term: 3}
	for text, want := range map[string]string{
		`{"by":"n2","holder":"n1","term":3}`: "n2",
		`{"by":"n2","holder":"n1","term":2}`: "",
		`{"by":"n2","holder":"n3","term":3}`: "",
		`{"by":"","holder":"n1","term":3}`:   "",
		`{`:                                  "",
		``:                                   "",
		`{"holder":"n1","term":3,"by":"` + fmt.Sprintf("%01024d", 0) + `"}`: "",
	} {
		l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{AcceptedAnnotation: text}}}
		if got := o.acceptedBy(l); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	inBubble(t, func(c *cluster) {
		n1, _, _ := three(c)
		c.server.Edit(func(l *coordinationv1.Lease) {
			metav1.SetMetaDataAnnotation(&l.ObjectMeta, AcceptedAnnotation, `{"by":"n2","holder":"n1","term":1}`)
		})
		time.Sleep(time.Second)
		if got := n1.acceptors(); len(got) > 0 || c.server.Lease().Annotations[AcceptedAnnotation] != "" {
			t.Errorf("accepted by %q, %v", got, c.server.Lease().Annotations)
		}
	})
}

// TestAcceptanceWithoutAnAnswer: a server writes the acceptance and loses the answer, and the next one
// answers that the version is not the newest. The candidate keeps its word.
func TestAcceptanceWithoutAnAnswer(t *testing.T) {
	inBubble(t, func(c *cluster) {
		n1, n2, n3 := three(c)
		n3.ready(Candidate{Ending: true})
		writes := 0
		n2.client.SetFault(func(verb string) leasetest.Fault {
			if verb != "update" {
				return leasetest.Fault{}
			}
			if writes++; writes == 1 {
				return leasetest.Fault{Lose: errors.New("connection reset by peer")}
			}
			return leasetest.Fault{}
		})
		n1.elector.Offer(c.t.Context())
		time.Sleep(50 * time.Millisecond)
		if len(n1.acceptors()) == 0 || !n2.latest().Pledged {
			t.Errorf("accepted by %q, %+v", n1.acceptors(), n2.latest())
		}
	})
}

// TestAcceptanceThatWasNotWritten: a candidate that does not know whether its acceptance was written
// writes it again, also when it is about to end meanwhile; a candidate that accepted nothing does not.
func TestAcceptanceThatWasNotWritten(t *testing.T) {
	inBubble(t, func(c *cluster) {
		n1, n2, n3 := three(c)
		n3.ready(Candidate{Ending: true})
		n2.client.SetFault(func(verb string) leasetest.Fault {
			if verb == "update" {
				return leasetest.Fault{Refuse: errors.New("etcdserver: request timed out")}
			}
			return leasetest.Fault{}
		})
		n1.elector.Offer(c.t.Context())
		time.Sleep(50 * time.Millisecond)
		n2.client.SetFault(nil)
		n2.ready(Candidate{Ending: true})
		time.Sleep(5 * time.Second)
		if d := cmp.Diff([]string{"n2"}, n1.acceptors()[:min(1, len(n1.acceptors()))]); d != "" {
			t.Errorf("accepted (-want +got):\n%s", d)
		}
	})
}

// TestNobodyAcceptsFromASilentHolder: what a dead holder offered costs no more than its lease.
func TestNobodyAcceptsFromASilentHolder(t *testing.T) {
	took := make(map[bool]time.Duration)
	for _, offers := range []bool{false, true} {
		inBubble(t, func(c *cluster) {
			n1, n2, n3 := three(c)
			n2.ready(Candidate{HoldBack: 2900 * time.Millisecond})
			n3.ready(Candidate{HoldBack: 2900 * time.Millisecond})
			if offers {
				n1.elector.Offer(c.t.Context())
				time.Sleep(time.Millisecond)
			}
			n1.crash()
			_, took[offers] = c.awaitHolder("n1", 30*time.Second)
		})
	}
	if took[true] > took[false]+500*time.Millisecond {
		t.Errorf("taken after %s, and after %s without an offer", took[true], took[false])
	}
}

// TestNoReportAfterAnAcceptance: no write of a candidate follows a write of another candidate.
func TestNoReportAfterAnAcceptance(t *testing.T) {
	inBubble(t, func(c *cluster) {
		n1, _, n3 := three(c)
		n1.elector.Offer(c.t.Context())
		time.Sleep(10 * time.Millisecond)
		n1.crash()
		k := &KubeStore{API: n3.client, Namespace: "kube-system", Name: leaseName, Establish: time.Second}
		written, err := k.ReportUnreached(c.t.Context(), "n1", 1, "n3")
		if written || err != nil {
			t.Errorf("written %t, %v", written, err)
		}
	})
}
