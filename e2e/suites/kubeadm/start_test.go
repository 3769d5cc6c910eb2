package kubeadm_test

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/kubeadm"
)

var flagStarts = flag.Int("starts", 1, "how many clusters TestStart starts")

// TestStart makes clusters of one node, and joins a worker as soon as kubeadm init has ended and the
// VIP answers.
func TestStart(t *testing.T) {
	if !*flagAll && *flagStarts == 1 {
		t.Skip("TestKubeadm starts a cluster as well: make nightly")
	}
	var claims, starts []time.Duration
	for range *flagStarts {
		err := kubeadm.WithWorker(t.Context(), func(c *kubeadm.Cluster) error {
			all := start(t, c)
			starts = append(starts, at(t, all, kubeadm.VIPAnswers).Sub(at(t, all, kubeadm.APIAnswers)))
			claims = append(claims, at(t, all, kubeadm.VIPInARP).Sub(at(t, all, kubeadm.APIReady)))
			began := time.Now()
			if err := c.JoinWorker(t.Context()); err != nil {
				return err
			}
			t.Logf("a worker joined in %.1f s", time.Since(began).Seconds())
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("from the first answer of the API server to the first answer at the VIP: %s", figures(starts))
	t.Logf("from /readyz to the first answer of the VIP by ARP: %s", figures(claims))
}

// lease is the duration of a lease, for which the first claim does not wait.
const lease = 3 * time.Second

// start makes the first node, and prints the milestones from when its API server answers. The API
// server has seen the store when it was empty, so vipd does not wait for a Lease that never existed.
func start(t *testing.T, c *kubeadm.Cluster) []kubeadm.Milestone {
	t.Helper()
	all, err := c.Start(t.Context())
	if err != nil {
		keep(t, c)
		t.Fatal(err)
	}
	from := at(t, all, kubeadm.APIAnswers)
	for _, m := range all {
		t.Logf("%7.3f s  %s", m.At.Sub(from).Seconds(), m.Name)
	}
	if took := at(t, all, kubeadm.LeaseTaken).Sub(at(t, all, kubeadm.LeaseCreated)); took >= lease {
		t.Errorf("vipd claimed a Lease that never existed %s after it had created it", took)
	}
	return all
}

// at returns the time of a milestone, which has to be there.
func at(t *testing.T, all []kubeadm.Milestone, name string) record.Time {
	t.Helper()
	i := slices.IndexFunc(all, func(m kubeadm.Milestone) bool { return m.Name == name })
	if i < 0 {
		t.Fatalf("not observed: %s, in %v", name, all)
	}
	return all[i].At
}

// figures returns the number, the median and the maximum.
func figures(all []time.Duration) string {
	slices.Sort(all)
	return fmt.Sprintf("n %d, median %.2f s, max %.2f s", len(all), all[len(all)/2].Seconds(), all[len(all)-1].Seconds())
}
