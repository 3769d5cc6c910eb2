package chaos

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vipd-io/vipd/e2e/judge/analyse"
	"github.com/vipd-io/vipd/e2e/judge/record"
)

// broken is an episode in which another node answers once beside the holder.
func broken() record.Episode {
	at := func(n int) record.Time { return record.Time(time.Duration(n) * record.ProbeInterval) }
	e := record.Episode{
		Promise: record.Promise{Name: "none", Title: "none, and something all the same"},
		Cluster: record.Cluster{Nodes: map[string][]string{"n1": {"02:00:00:23:00:0b"}, "n2": {"02:00:00:23:00:0c"}}},
		Holder:  "n1", Next: "n1", At: at(10), End: at(90), Before: map[string]string{"n1": "lo"}, After: map[string]string{"n1": "lo"},
	}
	h := &e.History
	h.Leases = []record.LeaseVersion{{At: at(1), Version: "1", Holder: "n1", Term: 7, Sent: at(0), Seconds: 3}}
	for n := range 100 {
		h.Probes = append(h.Probes, record.Probe{Seq: uint32(n), At: at(n)})
		h.Answers = append(h.Answers, record.Answer{Seq: uint32(n), At: at(n) + 1000, MAC: "02:00:00:23:00:0b"})
		h.Requests = append(h.Requests, record.Request{Start: at(n), End: at(n) + 2000, Node: "n1"})
	}
	h.Answers = append(h.Answers, record.Answer{Seq: 50, At: at(50) + 2000, MAC: "02:00:00:23:00:0c"})
	return e
}

// A report contains the observations, and can be judged again from these alone.
func TestReplay(t *testing.T) {
	dir := t.TempDir()
	e := broken()
	verdict, err := analyse.Judge(e)
	must(t, err)
	if len(verdict.Violations) == 0 {
		t.Fatal("nothing is wrong with it")
	}
	must(t, saveEpisode(filepath.Join(dir, "0001-none"), e, verdict))
	must(t, saveEpisode(filepath.Join(dir, "0002-none"), e, analyse.Verdict{})) // as if earlier rules had not detected it
	got, err := Replay(dir)
	must(t, err)
	if len(got) != 2 || got[0].Name != "0001-none" || !got[0].Same() || got[1].Same() {
		t.Fatalf("%d episodes, want the first as before and the second not", len(got))
	}
	for _, r := range got {
		if diff := cmp.Diff(e, r.Episode); diff != "" {
			t.Errorf("%s (-saved +read):\n%s", r.Name, diff)
		}
		page, err := os.ReadFile(filepath.Join(dir, r.Name, timelineFile))
		must(t, err)
		if !strings.Contains(string(page), string(analyse.AtMostOne)) {
			t.Errorf("%s: the timeline does not say what is wrong", r.Name)
		}
	}
}

// A report that cannot be read is an error, and does not count as a report without a broken rule.
func TestReplayNothing(t *testing.T) {
	dir := t.TempDir()
	if _, err := Replay(dir); err == nil {
		t.Error("an empty folder is no report")
	}
	folder := filepath.Join(dir, "0001-none")
	must(t, saveEpisode(folder, broken(), analyse.Verdict{}))
	must(t, os.WriteFile(filepath.Join(folder, historyFile), []byte("not packed"), 0o644))
	if _, err := Replay(dir); err == nil || !strings.Contains(err.Error(), "0001-none") {
		t.Errorf("%v, want an error about the episode", err)
	}
}
