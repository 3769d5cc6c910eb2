package kubeadm

import (
	"slices"
	"testing"

	"github.com/vipd-io/vipd/e2e/failover"
)

// A report tells faults apart by their names, and people do by their titles.
func TestFaultsDiffer(t *testing.T) {
	c := &Cluster{}
	names, titles := make(map[string]bool), make(map[string]bool)
	for _, f := range slices.Concat(failover.OfKubelets(), c.Faults(), c.DaemonSetFaults()) {
		if names[f.Name] || titles[f.Title] || f.Plain {
			t.Errorf("%s (%s): the name or the title is taken, or it is for plain nodes", f.Name, f.Title)
		}
		names[f.Name], titles[f.Title] = true, true
	}
}
