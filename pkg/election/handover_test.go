package election

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"

	"github.com/vipd-io/vipd/internal/leasetest"
)

// three is a cluster in which n1 holds and n2 and n3 stand by.
func three(c *cluster) (n1, n2, n3 *node) {
	n1 = c.join("n1")
	c.awaitHolder("", 10*time.Second)
	n2, n3 = c.join("n2"), c.join("n3")
	// Not a multiple of the time between two renewals: what the test does at an instant at which the
	// holder renews comes before or after the renewal by chance.
	time.Sleep(5*time.Second + 7*time.Millisecond)
	return n1, n2, n3
}

// TestSuccessorGoesFirst: the named successor takes the Lease; if it does not, another node takes
// the Lease a moment later.
func TestSuccessorGoesFirst(t *testing.T) {
	tests := []struct {
		successor string
		prepare   func(n2, n3 *node)
		want      string
		least     time.Duration
	}{
		{successor: "n3", want: "n3"},
		{successor: "n2", want: "n2"},
		{successor: "n9", want: "", least: successorDelay},
		{successor: "n3", prepare: func(_, n3 *node) { n3.crash() }, want: "n2", least: successorDelay},
		{successor: "n3", want: "n2", least: successorDelay, prepare: func(_, n3 *node) {
			n3.elector.SetCandidate(n3.c.t.Context(), Candidate{Eligible: true, MAC: "mac-of-n3", HoldBack: time.Minute})
		}},
		{successor: "n3", want: "n3", prepare: func(_, n3 *node) { // n3 yields to preferred nodes, unless it is the named successor
			n3.elector.SetCandidate(n3.c.t.Context(), Candidate{Eligible: true, MAC: "mac-of-n3", Yield: time.Minute})
		}},
		{successor: "", want: "n2", prepare: func(_, n3 *node) {
			n3.elector.SetCandidate(n3.c.t.Context(), Candidate{Eligible: true, MAC: "mac-of-n3", Yield: time.Minute})
		}},
		{successor: "", want: "n2", least: 250 * time.Millisecond, prepare: func(n2, n3 *node) {
			n3.crash()
			n2.elector.SetCandidate(n2.c.t.Context(), Candidate{Eligible: true, MAC: "mac-of-n2", NotBefore: n2.c.now().Add(250 * time.Millisecond)})
		}},
	}
	for _, tt := range tests {
		inBubble(t, func(c *cluster) {
			n1, n2, n3 := three(c)
			if tt.prepare != nil {
				tt.prepare(n2, n3)
			}
			if err := n1.releaseFor(tt.successor); err != nil {
				t.Fatal(err)
			}
			n1.campaign()
			next, took := c.awaitHolder("n1", 5*time.Second)
			if tt.want != "" && next.name != tt.want || took < tt.least || took > tt.least+10*time.Millisecond {
				t.Errorf("released for %q: %s took it after %s, want %s after %s", tt.successor, next.name, took, tt.want, tt.least)
			}
		})
	}
}

// TestReleasingNodeClaimsLast: the node that released the Lease claims again only if no other node
// does.
func TestReleasingNodeClaimsLast(t *testing.T) {
	inBubble(t, func(c *cluster) {
		n1 := c.join("n1")
		c.awaitHolder("", 10*time.Second)
		if err := n1.releaseFor("n2"); err != nil {
			t.Fatal(err)
		}
		n1.campaign()
		if n, took := c.awaitHolder("", 5*time.Second); n.name != "n1" || took < releaserDelay || took > releaserDelay+10*time.Millisecond {
			t.Errorf("%s took it after %s", n.name, took)
		}
	})
}

// TestHoldBackAfterACrash: a candidate that holds back lets the others go first, and claims if they
// do not.
func TestHoldBackAfterACrash(t *testing.T) {
	inBubble(t, func(c *cluster) {
		n1, n2, n3 := three(c)
		holdBack := func(n *node, d time.Duration) {
			n.elector.SetCandidate(c.t.Context(), Candidate{Eligible: true, MAC: "mac-of-" + n.name, HoldBack: d})
		}
		holdBack(n2, 3*time.Second)
		n1.crash()
		if n, _ := c.awaitHolder("n1", 10*time.Second); n != n3 {
			t.Fatalf("%s took it", n.name)
		}
		last := n3.latest().Until.Add(-c.timing.Hold())
		n3.crash()
		n, _ := c.awaitHolder("n3", 20*time.Second)
		after := n.since().Sub(last)
		if want := c.timing.Lease + 3*time.Second; n != n2 || after < want || after > want+1100*time.Millisecond {
			t.Errorf("%s took it %s after the last renewal, want %s or a renewal more", n.name, after, want)
		}
		// HoldBack applies to the Leases of other nodes: the node takes up its own Lease at once.
		n2.crash()
		again := c.join("n2")
		holdBack(again, time.Minute)
		if _, took := c.awaitHolder("", 5*time.Second); took > 10*time.Millisecond {
			t.Errorf("its own lease was taken up after %s", took)
		}
	})
}

// TestConfirm: the confirmation is later than the request, also while a renewal is in flight, and
// another holder ends the holding at once.
func TestConfirm(t *testing.T) {
	inBubble(t, func(c *cluster) {
		n1 := c.join("n1")
		c.awaitHolder("", 10*time.Second)
		slow := func(string) leasetest.Fault {
			return leasetest.Fault{Before: 50 * time.Millisecond, After: 50 * time.Millisecond}
		}
		for _, fault := range []func(string) leasetest.Fault{nil, slow} {
			n1.client.SetFault(fault)
			for range 20 {
				time.Sleep(170 * time.Millisecond)
				heard := c.now()
				time.Sleep(time.Nanosecond) // in fake time, calls take no time
				n1.elector.Confirm(c.t.Context())
				time.Sleep(250 * time.Millisecond)
				if s := n1.latest(); !s.Held || s.Confirmed <= heard {
					t.Fatalf("confirmed at %s after the question", s.Confirmed.Sub(heard))
				}
			}
		}
		// The watch delivers nothing, the Lease has another holder, and a confirmation detects
		// that.
		n1.client.SetFault(func(verb string) leasetest.Fault {
			if verb == "update" {
				return leasetest.Fault{Before: time.Hour}
			}
			return leasetest.Fault{}
		})
		c.server.Mute()
		c.server.Edit(func(l *coordinationv1.Lease) {
			l.Spec.HolderIdentity = new("n2")
			delete(l.Annotations, Annotation)
		})
		time.Sleep(time.Millisecond)
		if !n1.latest().Held {
			t.Fatal("it knows already")
		}
		n1.elector.Confirm(c.t.Context())
		time.Sleep(time.Millisecond)
		if n1.latest().Held {
			t.Error("goes on over another holder's record")
		}
	})
}

// TestConfirmKeepsTheRenewal: a confirmation without an answer does not delay renewals, whenever it
// was requested; shortly before a renewal, the renewal is the confirmation.
func TestConfirmKeepsTheRenewal(t *testing.T) {
	hang := func(verb string) leasetest.Fault {
		if verb == "get" {
			return leasetest.Fault{Before: 20 * time.Second}
		}
		return leasetest.Fault{}
	}
	refuse := func(verb string) leasetest.Fault {
		if verb == "get" {
			return leasetest.Fault{Refuse: errors.New("connection refused")}
		}
		return leasetest.Fault{}
	}
	for name, fault := range map[string]func(string) leasetest.Fault{"hang": hang, "refuse": refuse} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(c *cluster) {
				n1 := c.join("n1")
				c.awaitHolder("", 10*time.Second)
				n1.client.SetFault(fault)
				for behind := 50 * time.Millisecond; behind < c.timing.Renew; behind += 100 * time.Millisecond {
					sent := n1.latest().Until.Add(-c.timing.Hold())
					for n1.latest().Until.Add(-c.timing.Hold()) == sent {
						time.Sleep(time.Millisecond) // the next renewal
					}
					time.Sleep(behind)
					heard := c.now()
					n1.elector.Confirm(c.t.Context())
					time.Sleep(10 * time.Millisecond)
					if s := n1.latest(); behind > c.timing.Renew-minAttempt && s.Confirmed < heard {
						t.Errorf("a question %s behind a renewal: confirmed %s before it", behind, heard.Sub(s.Confirmed))
					}
				}
				time.Sleep(c.timing.Renew)
				c.mu.Lock()
				defer c.mu.Unlock()
				for _, w := range n1.writes[Renewed][1:] {
					if want := c.timing.Hold() - c.timing.Renew - 10*time.Millisecond; w.Left < want {
						t.Errorf("a renewal with %s of the lease left, want %s", w.Left, want)
					}
				}
				if len(n1.writes) > 1 {
					t.Errorf("not all renewals came to anything: %v", n1.writes)
				}
			})
		})
	}
}

// TestRequestMove: a person requests a move through the Lease, and learns the outcome.
func TestRequestMove(t *testing.T) {
	inBubble(t, func(c *cluster) {
		store := &KubeStore{API: &leasetest.Client{Server: &c.server}, Namespace: "kube-system", Name: leaseName, Establish: time.Second}
		if _, err := store.RequestMove(c.t.Context(), AnyNode); !errors.Is(err, ErrNoHolder) {
			t.Errorf("no Lease: %v", err)
		}
		n1, n2, _ := three(c)
		// As the Manager does: withdraw, and release for the successor that it chose.
		ask := func(to string, act func()) (Move, error) {
			ctx, cancel := context.WithTimeout(c.t.Context(), 3*time.Second)
			defer cancel()
			go func() {
				for len(n1.questions()) == 0 && ctx.Err() == nil {
					time.Sleep(time.Millisecond)
				}
				act()
			}()
			return store.RequestMove(ctx, to)
		}
		_, err := ask("n9", func() { n1.elector.Answer(c.t.Context(), "there is no n9") })
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "there is no n9") {
			t.Errorf("error = %v", err)
		}
		if d := cmp.Diff([]string{"n9"}, n1.questions()); d != "" {
			t.Errorf("asked (-want +got):\n%s", d)
		}
		time.Sleep(2 * time.Second)
		if v, ok := c.server.Lease().Annotations[MoveAnnotation]; ok {
			t.Errorf("the answer stays: %q", v)
		}
		if m, err := store.RequestMove(c.t.Context(), "n1"); err != nil || m != (Move{From: "n1", To: "n1"}) {
			t.Errorf("to the holder itself: %+v, %v", m, err)
		}
		n1.forget()
		m, err := ask("n2", func() { _ = n1.releaseFor("n2") })
		if err != nil || m != (Move{From: "n1", To: "n2", Term: 2}) {
			t.Errorf("moved: %+v, %v", m, err)
		}
		if v, ok := c.server.Lease().Annotations[MoveAnnotation]; ok {
			t.Errorf("the request stays: %q", v)
		}
		if n := n2.questions(); len(n) > 0 {
			t.Errorf("the next holder was asked: %v", n)
		}
		ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
		defer cancel()
		if _, err := store.RequestMove(ctx, "n3"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a holder that does nothing: %v", err)
		}
		c.server.Edit(func(l *coordinationv1.Lease) { l.Spec.HolderIdentity = new("kube-vip") })
		if _, err := store.RequestMove(c.t.Context(), "n3"); !errors.Is(err, ErrNotVipd) {
			t.Errorf("another program's lease: %v", err)
		}
	})
}

// twoServers is an API that sends each call to two servers.
type twoServers struct {
	API
	lease   *coordinationv1.Lease
	updates chan *coordinationv1.Lease
}

func (a twoServers) Do(ctx context.Context, call func(context.Context, coordinationv1client.CoordinationV1Interface) error) error {
	errs := make(chan error)
	for range 2 {
		go func() { errs <- call(ctx, hangingServer{twoServers: a}) }()
	}
	return errors.Join(<-errs, <-errs)
}

// hangingServer answers reads only.
type hangingServer struct {
	coordinationv1client.CoordinationV1Interface
	coordinationv1client.LeaseInterface
	twoServers
}

func (s hangingServer) Leases(string) coordinationv1client.LeaseInterface { return s }

func (s hangingServer) Get(context.Context, string, metav1.GetOptions) (*coordinationv1.Lease, error) {
	return s.lease, nil
}

func (s hangingServer) Update(ctx context.Context, l *coordinationv1.Lease, _ metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	s.updates <- l
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestRequestMoveFromTwoServers: client-go changes an object while it encodes the object, so no two
// servers get the same object.
func TestRequestMoveFromTwoServers(t *testing.T) {
	inBubble(t, func(*cluster) {
		api := twoServers{lease: new(leases).vipd(Self{Node: "n1"}, "n1", 15, 1, false), updates: make(chan *coordinationv1.Lease)}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() {
			_, err := (&KubeStore{API: api}).RequestMove(ctx, "n2")
			done <- err
		}()
		if one, two := <-api.updates, <-api.updates; one == two {
			t.Error("two servers were sent the same object")
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("RequestMove = %v, want %v", err, context.Canceled)
		}
	})
}

// TestInvalidMoveRequest: other content that a person or a program may leave in the annotation.
func TestInvalidMoveRequest(t *testing.T) {
	for value, want := range map[string]string{
		"": "", "n2": "n2", AnyNode: AnyNode, refusalPrefix + "no": "", strings.Repeat("a", maxRequest+1): "",
	} {
		l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{MoveAnnotation: value}}}
		if got := request(l); got != want {
			t.Errorf("request(%q) = %q, want %q", value, got, want)
		}
	}
	if request(nil) != "" {
		t.Error("a deleted Lease asks for a move")
	}
}

func (n *node) questions() []string {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	return n.asked
}

func (n *node) forget() {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	n.asked = nil
}

// TestUpgradeAdoptsTheTerm: another version of vipd on the same node is the same holder, and the
// record shows the new version from then on.
func TestUpgradeAdoptsTheTerm(t *testing.T) {
	inBubble(t, func(c *cluster) {
		old := c.join("n1")
		c.awaitHolder("", 10*time.Second)
		c.join("n2")
		time.Sleep(5 * time.Second)
		old.crash()
		time.Sleep(time.Second)
		n := c.joinAs("n1", Self{Node: "n1", BootID: "boot-1", Version: "next"}, "mac-of-n1", nil)
		if _, took := c.awaitHolder("", time.Second); took > 5*time.Millisecond {
			t.Errorf("taken up after %s", took)
		}
		time.Sleep(10 * time.Second)
		if s := n.latest(); !s.Held || s.Term != 1 {
			t.Errorf("after the upgrade: %+v", s)
		}
		if a := c.server.Lease().Annotations[Annotation]; !strings.Contains(a, `"version":"next"`) {
			t.Errorf("annotation = %s", a)
		}
	})
}

// TestSlowAnswersKeepTheLease: each write is committed at once, and its answer takes longer than
// the hedge.
func TestSlowAnswersKeepTheLease(t *testing.T) {
	inBubble(t, func(c *cluster) {
		slow := func(string) leasetest.Fault { return leasetest.Fault{After: c.timing.Attempt / 2} }
		n1 := c.joinWith("n1", slow)
		c.awaitHolder("", 10*time.Second)
		c.joinWith("n2", slow)
		time.Sleep(2 * time.Minute)
		if s := n1.latest(); !s.Held || s.Term != 1 {
			t.Errorf("after two minutes: %+v", s)
		}
		if n := len(c.server.History()); n > 130 {
			t.Errorf("%d writes in two minutes", n)
		}
	})
}

// TestWallClocksDoNotMatter: the same simulation with correct wall clocks, with clocks an hour off
// in both directions, and with stepping clocks has the same holders at the same times.
func TestWallClocksDoNotMatter(t *testing.T) {
	story := func(off func(node string, asked int) time.Duration) (seen []interval) {
		inBubble(t, func(c *cluster) {
			join := func(name string) *node {
				n, asked := c.join(name), 0
				n.client.WallClock = func() time.Duration {
					c.mu.Lock()
					defer c.mu.Unlock()
					asked++
					return off(name, asked)
				}
				return n
			}
			n1 := join("n1")
			c.awaitHolder("", 10*time.Second)
			n2 := join("n2")
			time.Sleep(10 * time.Second)
			if err := n1.releaseFor("n2"); err != nil {
				t.Fatal(err)
			}
			n1.campaign()
			time.Sleep(10*time.Second + 300*time.Millisecond)
			n2.crash()
			time.Sleep(10 * time.Second)
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, i := range c.held {
				if i.from < i.to {
					seen = append(seen, i)
				}
			}
		})
		return seen
	}
	right := story(func(string, int) time.Duration { return 0 })
	if len(right) < 20 {
		t.Fatalf("%d intervals", len(right))
	}
	for name, off := range map[string]func(string, int) time.Duration{
		"one behind, one ahead": func(n string, _ int) time.Duration {
			return map[string]time.Duration{"n1": -time.Hour, "n2": time.Hour}[n]
		},
		"stepping": func(_ string, asked int) time.Duration { return time.Duration(asked%3-1) * time.Hour },
	} {
		if d := cmp.Diff(right, story(off), cmp.AllowUnexported(interval{})); d != "" {
			t.Errorf("%s (-right +off):\n%s", name, d)
		}
	}
}
