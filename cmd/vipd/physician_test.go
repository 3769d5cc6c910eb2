package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/vipd-io/vipd/pkg/status"
)

// TestVisits: at the start, a look after trouble came or went, and while it lasts.
func TestVisits(t *testing.T) {
	for _, test := range []struct {
		name, looks string // of each look: "." calm, "!" trouble
		findings    bool
		want        string // "x" where the checks are made
	}{
		{"calm", "................", false, "x..............."},
		{"a finding that stays", "................", true, "x....x....x....x"},
		{"trouble", "...!!!!!!!!!!!..", false, "x...x....x.....x"},
		{"a blip", "...!......", false, "x....x...."},
		{"on and off", "...!.!.!.!...", false, "x....x.....x."},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := visits{findings: test.findings}
			var got strings.Builder
			for _, look := range test.looks {
				got.WriteByte(map[bool]byte{true: 'x', false: '.'}[v.due(look == '!')])
			}
			if got.String() != test.want {
				t.Errorf("%s: checks made at %s, want %s", test.looks, got.String(), test.want)
			}
		})
	}
}

// TestPhysician: a vipd tells what is wrong with its machine, once, and no more when it
// is mended.
func TestPhysician(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	for _, of := range []string{"all", "eth0"} { // a new namespace has what the machine has
		h.command("sysctl", "-qw", "net.ipv4.conf."+of+".arp_ignore=0")
	}
	p := h.start("--status-address", "127.0.0.1:2112")
	const says = "the doctor finds something wrong"
	p.await(says)
	if got := h.doctor(); !strings.Contains(got, "D01 error") || !strings.Contains(got, "D17 error") {
		t.Errorf("the status has %q, want D01 and D17", got)
	}
	h.command("ip", "route", "add", "default", "via", "192.168.35.50")
	p.await(says)
	if got := h.doctor(); strings.Contains(got, "D01") || !strings.Contains(got, "D17 error") {
		t.Errorf("the status has %q, want D17 and no more D01", got)
	}
	p.terminate()
	if n := p.count(says); n != 2 {
		t.Errorf("it was told %d times, want once for each change", n)
	}
}

// doctor is what vipd's status has of the doctor.
func (h *host) doctor() string {
	h.t.Helper()
	var s status.Status
	must(h.t, h.Do(func() error {
		out, _ := exec.CommandContext(h.t.Context(), "vipd", "status", "-o", "json").Output() // its exit status is the health
		return json.Unmarshal(out, &s)
	}))
	if s.Doctor == nil {
		return "nothing"
	}
	var b strings.Builder
	for _, f := range s.Doctor.Findings {
		fmt.Fprintf(&b, "%s %s %s %s;", f.ID, f.Severity, f.Seen, f.Mend)
	}
	return b.String()
}
