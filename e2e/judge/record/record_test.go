package record

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWriteRead(t *testing.T) {
	want := History{
		Probes:        []Probe{{Seq: 1, At: 5}, {Seq: 2, At: 10, From: "c2", Ordinary: true}},
		Answers:       []Answer{{Seq: 1, At: 6, MAC: "02:00:00:23:00:0b"}},
		Knocks:        []Knock{{Seq: 7, At: 3, Node: "n1", How: "tcp"}},
		Acceptances:   []Acceptance{{Seq: 7, At: 4, MAC: "02:00:00:23:00:0b"}},
		Losses:        []Loss{{Since: 1, At: 9, Host: "c2", Frames: 4}},
		Announcements: []Announcement{{At: 4, MAC: "02:00:00:23:00:0b", Op: "reply"}},
		Addresses:     []AddressEvent{{At: 3, Node: "n1", Added: true}, {At: 9, Node: "n1"}},
		Requests:      []Request{{Start: 1, End: 2, Err: "refused"}, {Start: 7, End: 8, Node: "n1"}},
		Reconnects:    []Reconnect{{Noticed: 3, Done: 7}, {Noticed: 9}},
		Leases:        []LeaseVersion{{At: 2, Version: "7", Holder: "n1", Term: 3, Sent: 1, Seconds: 3}, {At: 8, Version: "9", Released: "n1"}, {At: 9, Version: "9", Deleted: true}},
		Neighbours:    []Neighbour{{At: 3, Host: "c1", MAC: "02:00:00:23:00:0b"}, {At: 4, Host: "c1"}},
		Marks:         []Mark{{At: 0, Text: "begin"}},
		Dropped:       3,
	}
	var buf bytes.Buffer
	if err := Write(&buf, want); err != nil {
		t.Fatal(err)
	}
	got, err := Read(&buf)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
}

func TestReadBad(t *testing.T) {
	for _, text := range []string{"{}", `{"probe":{"seq":1}`, `{"prob":{}}`, "x"} {
		if h, err := Read(strings.NewReader(text)); err == nil {
			t.Errorf("Read(%s) = %v, want an error", text, h)
		}
	}
}

func TestRecorderIsBounded(t *testing.T) {
	r := Recorder{Limit: 100}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				r.Mark(Now(), "mark")
				r.Probe(Probe{At: Now()})
				r.History()
			}
		})
	}
	wg.Wait()
	h := r.History()
	if len(h.Marks) != 100 || len(h.Probes) != 100 || h.Dropped != 200 {
		t.Errorf("%d marks, %d probes, %d dropped, want 100, 100, 200", len(h.Marks), len(h.Probes), h.Dropped)
	}
}
