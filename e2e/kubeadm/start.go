package kubeadm

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/observe"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// A Milestone is an event of a cluster's start.
type Milestone struct {
	Name string
	At   record.Time
}

// pollEvery is how often an API server is asked during a start.
const pollEvery = 20 * time.Millisecond

// Events of a start.
const (
	APIAnswers = "the API server answers"
	APIReady   = "/readyz of the API server is 200"
	VIPInARP   = "the VIP answers by ARP"
	VIPAnswers = "the API server answers at the VIP"
	// From the log of vipd.
	LeaseCreated = "vipd: Lease created"
	LeaseTaken   = "vipd: Lease taken"
)

// logged are events of a start in the logs of the pod.
var logged = []struct{ container, text, name string }{
	{"credentials", "kubeconfig written", "credentials: kubeconfig written"},
	{"credentials", "RBAC applied", "credentials: RBAC applied"},
	{"vipd", "API server answers", "vipd: the API server answers"},
	{"vipd", "lease created", LeaseCreated},
	{"vipd", "lease taken", LeaseTaken},
}

// Start makes the first node while it observes the start, and returns the milestones in order.
func (c *Cluster) Start(ctx context.Context) ([]Milestone, error) {
	n := c.spare[0]
	var mu sync.Mutex
	var out []Milestone
	reached := func(name string) {
		mu.Lock()
		defer mu.Unlock()
		out = append(out, Milestone{name, record.Now()})
	}
	seen, err := observe.ARPs(c.Lab).During(ctx, func(ctx context.Context, rec *record.Recorder) error {
		watch, stop := context.WithCancel(ctx)
		defer stop()
		var polls sync.WaitGroup
		polls.Go(func() {
			own := fmt.Sprintf("127.0.0.1:%d", lab.Port)
			awaitStatus(watch, n.Lab.NS, own, 0, func() { reached(APIAnswers) })
			awaitStatus(watch, n.Lab.NS, own, http.StatusOK, func() { reached(APIReady) })
		})
		polls.Go(func() {
			awaitStatus(watch, c.Lab.Clients[0].NS, c.Lab.Endpoint().String(), 0, func() { reached(VIPAnswers) })
		})
		err := c.Init(ctx)
		if err != nil {
			stop()
		}
		reached("kubeadm init ended")
		defer time.AfterFunc(wholeTimeout, stop).Stop()
		polls.Wait() // the VIP may answer later
		_ = wait.Until(watch, pollEvery, func() (bool, error) { return len(rec.History().Answers) > 0, nil })
		return err
	})
	if len(seen.Answers) > 0 {
		out = append(out, Milestone{VIPInARP, seen.Answers[0].At})
	}
	fromLogs, read := n.milestones()
	out = append(out, fromLogs...)
	slices.SortFunc(out, func(a, b Milestone) int { return int(a.At - b.At) })
	return out, errors.Join(err, read)
}

// awaitStatus asks an API server until it answers with a status, 0 for any.
func awaitStatus(ctx context.Context, ns *lab.Namespace, address string, status int, answered func()) {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, to string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, 5*pollEvery) // the first SYNs to the VIP wait for its MAC
			defer cancel()
			return ns.Dial(ctx, network, to)
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // only the time counts
	}}
	defer client.CloseIdleConnections()
	err := wait.Until(ctx, pollEvery, func() (bool, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+"/readyz", nil)
		if err != nil {
			return false, err
		}
		if resp, asked := client.Do(r); asked == nil { // no server listens yet, or no node has the VIP
			return status == 0 || resp.StatusCode == status, resp.Body.Close()
		}
		return false, nil
	})
	if err == nil {
		answered()
	}
}

// milestones reads the logs of the pod of vipd, whose lines begin with the time of the write.
func (n *Node) milestones() (out []Milestone, err error) {
	for _, l := range logged {
		files, err := filepath.Glob(n.disk(filepath.Join("var/log/pods/kube-system_vipd-*", l.container, "*.log")))
		if err != nil {
			return nil, err
		}
		slices.Sort(files)
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				return nil, fmt.Errorf("read log of %s: %w", l.container, err)
			}
			i := bytes.Index(text, []byte(l.text))
			if i < 0 {
				continue
			}
			stamp, _, _ := bytes.Cut(text[bytes.LastIndexByte(text[:i], '\n')+1:], []byte(" "))
			at, err := time.Parse(time.RFC3339Nano, string(stamp))
			if err != nil {
				return nil, fmt.Errorf("read log of %s: %w", l.container, err)
			}
			out = append(out, Milestone{l.name, record.Of(at)})
			break
		}
	}
	return out, nil
}
