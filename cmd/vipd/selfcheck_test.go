package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/vipd-io/vipd/internal/status"
)

// TestSelfCheck: vipd reports a problem of its machine once, and no longer when the problem is
// fixed.
func TestSelfCheck(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	for _, of := range []string{"all", "eth0"} { // a new namespace has the settings of the machine
		h.command("sysctl", "-qw", "net.ipv4.conf."+of+".arp_ignore=0")
	}
	p := h.start("--status-address", "127.0.0.1:2112")
	const says = "self-check found errors"
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

// doctor returns the results of the self-check in vipd's status.
func (h *host) doctor() string {
	h.t.Helper()
	var s status.Status
	must(h.t, h.Do(func() error {
		out, _ := exec.CommandContext(h.t.Context(), "vipd", "status", "-o", "json").Output() // the exit status is the health
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
