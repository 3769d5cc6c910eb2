package capi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/vipd-io/vipd/e2e/capi"
	"github.com/vipd-io/vipd/e2e/judge/record"
)

// members returns an error unless the members of etcd are the machines of the control plane.
func (l *loop) members(t *testing.T) error {
	t.Helper()
	want, err := l.controlPlaneMachines(t)
	if err != nil {
		return err
	}
	last := errors.New("no machine of the control plane is on")
	for _, g := range l.hypervisor.Guests() {
		if g.Machine() == nil || !slices.Contains(want, g.VM.Name) {
			continue
		}
		members, err := g.Machine().EtcdMembers(t.Context(), g.Machine().PKI())
		if last = err; err != nil {
			continue
		}
		var got []string
		for _, m := range members {
			got = append(got, m.Name)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			return fmt.Errorf("etcd's members are %q, and the control plane is %q", got, want)
		}
		return nil
	}
	return last
}

// controlPlaneMachines returns the names of the Machines of the control plane.
func (l *loop) controlPlaneMachines(t *testing.T) (names []string, err error) {
	t.Helper()
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(schema.GroupVersionKind{Group: "cluster.x-k8s.io", Version: "v1beta2", Kind: "MachineList"})
	err = management.Client.List(t.Context(), list, client.InNamespace(l.ns), client.HasLabels{"cluster.x-k8s.io/control-plane"})
	for _, m := range list.Items {
		names = append(names, m.GetName())
	}
	slices.Sort(names)
	return names, err
}

// removedFromEtcd returns when the first other member noted that the member of a machine was removed. A
// machine before that one may have had the same address.
func (l *loop) removedFromEtcd(g *capi.Guest) (at record.Time, found bool, err error) {
	peer := fmt.Sprintf("https://%s:2380", g.Machine().IP)
	for _, other := range l.hypervisor.All() {
		if other.Machine() == nil {
			continue
		}
		logs, err := other.Machine().Logs("etcd")
		if err != nil {
			return 0, false, err
		}
		for _, file := range logs {
			text, err := os.ReadFile(file)
			if err != nil {
				return 0, false, fmt.Errorf("read the log of etcd on %s: %w", other.VM.Name, err)
			}
			for line := range strings.Lines(string(text)) {
				when, ok := removal(line, peer)
				if ok && when >= g.Booted && (!found || when < at) {
					at, found = when, true
				}
			}
		}
	}
	return at, found, nil
}

// removal returns when a line of etcd's log says that the member with a peer URL was removed.
func removal(line, peer string) (at record.Time, ok bool) {
	begin := strings.IndexByte(line, '{') // after what kubelet writes before each line
	if begin < 0 || !strings.Contains(line, `"removed member"`) {
		return 0, false
	}
	var entry struct {
		TS   string
		Msg  string
		URLs []string `json:"removed-remote-peer-urls"`
	}
	if json.Unmarshal([]byte(line[begin:]), &entry) != nil || entry.Msg != "removed member" || !slices.Contains(entry.URLs, peer) {
		return 0, false
	}
	when, err := time.Parse("2006-01-02T15:04:05.000000Z0700", entry.TS)
	if err != nil {
		return 0, false
	}
	return record.Of(when), true
}
