package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/vipd-io/vipd/pkg/status"
)

// noon is when the documents of these tests are of.
var noon = time.Date(2026, 7, 29, 12, 0, 0, 0, time.UTC)

// standbyOf is the status of a healthy standby while n2 holds.
func standbyOf(node string) status.Status {
	s := status.Status{
		Schema: status.Schema, Time: noon, Node: node, Version: "v0.5.0", Started: noon.Add(-72 * time.Hour), Health: status.Healthy, Problems: []string{},
		State: "standby", Since: noon.Add(-2 * time.Hour), Cause: "n2 holds the lease", Candidate: true,
		VIPs:      []status.VIP{{Address: "192.168.35.100", Port: 6443}},
		Interface: status.Interface{Name: "eth0", MAC: "02:00:00:23:00:0b", Up: true},
		Lease: status.Lease{Namespace: "kube-system", Name: "plndr-cp-lock", Known: true, Holder: "n2", HolderSince: noon.Add(-2 * time.Hour),
			Term: 7, DurationSeconds: 3, RenewedMS: 600},
		Fence:  status.Fence{Kind: "nftables"},
		Outage: &status.Outage{Began: noon.Add(-2*time.Hour - 400*time.Millisecond), Ended: new(noon.Add(-2 * time.Hour)), Seconds: 0.4, Error: "connection refused"},
	}
	for i, n := range []string{"n1", "n2", "n3"} {
		a := status.APIServer{Node: n, Server: fmt.Sprintf("192.168.35.%d:6443", 11+i), State: "ready", Local: n == node}
		if a.Local {
			a.Server = "127.0.0.1:6443"
			s.APIServers = append([]status.APIServer{a}, s.APIServers...)
		} else {
			s.APIServers = append(s.APIServers, a)
		}
	}
	return s
}

func holding(node string) status.Status {
	s := standbyOf(node)
	s.State, s.Cause, s.Outage = "holding", "the lease of n1 expired", nil
	s.Lease.Holder, s.Lease.DeadlineMS, s.Fence.Open, s.Fence.OpenMS = node, 2300, true, 2300
	return s
}

func degraded() status.Status {
	s := standbyOf("n1")
	s.Health, s.APIServers[2].State, s.APIServers[2].Reason = status.Degraded, "not ready", "connection refused"
	s.APIServers[1].Leaving = "its node is cordoned"
	s.Problems = []string{"the API server of n3 (192.168.35.13:6443) is not ready: connection refused",
		"another machine claims the VIP, at 02:00:00:23:00:63: find it and take the address away there"}
	s.Doctor = &status.Doctor{Time: noon.Add(-3 * time.Second), Verdict: []string{"Nothing is broken, and something could be better."}, Findings: []status.Finding{
		{ID: "D04", Severity: "warning", Seen: "2 default routes, of the same metric: 192.168.35.1 by eth0, 10.0.0.1 by eth1", Why: "which one is taken is chance", Mend: []string{"ip route"}}}}
	return s
}

func noHolder() status.Status {
	s := standbyOf("n1")
	s.Health, s.Lease.RenewedMS, s.Outage.Ended, s.Outage.Began, s.Outage.Seconds = status.NoHolder, 15000, nil, noon.Add(-14*time.Second), 14
	s.Problems = []string{"nobody holds the VIP: n2 does not renew the lease any more, for 15.0 s"}
	return s
}

// historyOf is a history of six changes.
func historyOf(node string) status.History {
	at := func(ago time.Duration) time.Time { return noon.Add(-ago) }
	return status.History{Schema: status.Schema, Time: noon, Node: node, Changes: []status.Change{
		{Time: at(2 * time.Hour), Kind: status.Dark, Holder: "n2", Term: 7, Cause: "the VIP did not answer " + node + ": connection refused", Seconds: 0.4,
			Phases: []status.Phase{{What: "first question without an answer", Time: at(2*time.Hour + 400*time.Millisecond)}, {What: "answered", Time: at(2 * time.Hour), AfterMS: 400}}},
		{Time: at(2*time.Hour + time.Second), Kind: status.Moved, Holder: "n2", Term: 7, Cause: "n1 released the lease", Seconds: 0.012, Phases: []status.Phase{
			{What: "last seen of n1", Time: at(2*time.Hour + 1012*time.Millisecond)}, {What: "seen held by n2", Time: at(2*time.Hour + time.Second), AfterMS: 12.4}}},
		{Time: at(3 * time.Hour), Kind: status.Repaired, Holder: "n1", Term: 6, Cause: "the address was gone from eth0", Phases: []status.Phase{}},
		{Time: at(26 * time.Hour), Kind: status.Conflict, Holder: "n1", Term: 6, Cause: "another machine claims the VIP, at 02:00:00:23:00:63", Phases: []status.Phase{}},
		{Time: at(27 * time.Hour), Kind: status.Taken, Holder: node, Term: 6, Cause: "the lease of n3 expired", Seconds: 3.21, Phases: []status.Phase{
			{What: "last renewal seen", Time: at(27*time.Hour + 3210*time.Millisecond)}, {What: "lease free", AfterMS: 3150}, {What: "announced", AfterMS: 3210.2}}},
		{Time: at(28 * time.Hour), Kind: status.Left, Holder: "", Term: 5, Cause: "vipd was told to end", Phases: []status.Phase{}},
	}}
}

// among is the answers of three nodes.
func among(nodes ...status.Status) []answer {
	var all []answer
	for i, s := range nodes {
		all = append(all, answer{Node: s.Node, Address: fmt.Sprintf("192.168.35.%d:2112", 11+i), Status: s, Seen: &nodes[0].APIServers[i]})
	}
	return all
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	fresh(t, filepath.Join("testdata/golden", name), got)
}

func TestRender(t *testing.T) {
	h := historyOf("n1")
	old := standbyOf("n3")
	old.Version, old.Lease.Term = "v0.4.0", 6
	silent := among(standbyOf("n1"), holding("n2"), standbyOf("n3"))
	silent[2].Err, silent[2].Status = noAnswer{errors.New("connection refused"), true}, status.Status{}
	two := among(holding("n1"), holding("n2"), old)
	unread := standbyOf("n1")
	unread.Health, unread.Lease, unread.APIServers, unread.Outage = status.NoHolder, status.Lease{Namespace: "kube-system", Name: "plndr-cp-lock"}, nil, nil
	unread.Problems = []string{"lease kube-system/plndr-cp-lock was not read yet"}
	several := []answer{{Node: "n1", History: h}, {Node: "n2", History: historyOf("n2")}}
	for name, got := range map[string]string{
		"standby.txt":        renderStatus(standbyOf("n1"), &h, 80, false),
		"standby-colour.txt": renderStatus(standbyOf("n1"), &h, 80, true),
		"standby-pipe.txt":   renderStatus(standbyOf("n1"), &h, 0, false),
		"holder.txt":         renderStatus(holding("n2"), nil, 80, false),
		"degraded.txt":       renderStatus(degraded(), &h, 80, false),
		"noholder.txt":       renderStatus(noHolder(), &h, 80, false),
		"unread.txt":         renderStatus(unread, nil, 80, false),
		"all.txt":            renderAll(among(standbyOf("n1"), holding("n2"), standbyOf("n3")), 80, false),
		"all-silent.txt":     renderAll(silent, 80, false),
		"all-two.txt":        renderAll(two, 80, false),
		"history.txt":        renderHistory(merged(several[:1], 20), false, 80, false),
		"history-all.txt":    renderHistory(merged(several, 4), true, 80, false),
		"history-none.txt":   renderHistory(nil, false, 80, false),
	} {
		golden(t, name, got)
		lines := strings.Split(strings.TrimSuffix(regexp.MustCompile("\x1b\\[[0-9]*m").ReplaceAllString(got, ""), "\n"), "\n")
		if strings.HasPrefix(name, "standby") && len(lines) > 23 {
			t.Errorf("%s: %d lines, and a prompt, on a terminal of 24", name, len(lines))
		}
		for _, l := range lines {
			if len(l) > 80 && name != "standby-pipe.txt" {
				t.Errorf("%s: a line of %d characters: %s", name, len(l), l)
			}
		}
	}
}

func TestExitOfAll(t *testing.T) {
	unread := standbyOf("n3")
	unread.Health, unread.Lease.Known = status.NoHolder, false
	other := standbyOf("n3")
	other.Lease.Name = "other"
	silent := among(standbyOf("n1"), holding("n2"), standbyOf("n3"))
	silent[2].Err = errors.New("connection refused")
	gone := among(standbyOf("n1"))
	gone[0].Err = errors.New("connection refused")
	strange := standbyOf("n1")
	strange.Health = "sleepy"
	for name, test := range map[string]struct {
		all  []answer
		want int
	}{
		"healthy":                       {among(standbyOf("n1"), holding("n2"), standbyOf("n3")), exitHealthy},
		"one degraded":                  {among(degraded(), holding("n2"), standbyOf("n3")), exitDegraded},
		"no holder":                     {among(noHolder(), noHolder(), noHolder()), exitNoHolder},
		"one of the others sees none":   {among(standbyOf("n1"), holding("n2"), unread), exitDegraded},
		"one of the others is silent":   {silent, exitDegraded},
		"the first is silent":           {gone, exitUnreachable},
		"two hold":                      {among(holding("n1"), holding("n2"), standbyOf("n3")), exitDegraded},
		"another lease":                 {among(standbyOf("n1"), holding("n2"), other), exitDegraded},
		"a health of a later version's": {among(strange, holding("n2")), exitDegraded},
	} {
		if got := exitOfAll(test.all); got != test.want {
			t.Errorf("%s: %d, want %d: %q", name, got, test.want, mismatches(test.all))
		}
	}
}

func TestCompare(t *testing.T) {
	change := func(f func(*status.Status)) []answer {
		s := standbyOf("n3")
		f(&s)
		return among(standbyOf("n1"), holding("n2"), s)
	}
	withdrawing := holding("n2")
	withdrawing.State, withdrawing.Fence.Open = "withdrawing", false
	for want, all := range map[string][]answer{
		"n2 and n3 hold the VIP at once":                change(func(s *status.Status) { *s = holding("n3"); s.Lease.Holder = "n2" }),
		"the lease names n2, which is withdrawing":      among(standbyOf("n1"), withdrawing),
		"different holders, n1 on n3, n2 on n1 and n2:": change(func(s *status.Status) { s.Lease.Holder = "n1" }),
		"different holders, n2 on n1 and n2, nobody on": change(func(s *status.Status) { s.Lease.Holder = "" }),
		"different terms, 7 on n1 and n2, 8 on n3:":     change(func(s *status.Status) { s.Lease.Term = 8 }),
		"different leases, kube-system/mine on n3, ":    change(func(s *status.Status) { s.Lease.Name = "mine" }),
		"different VIPs, 192.0.2.1:6443 on n3, ":        change(func(s *status.Status) { s.VIPs = []status.VIP{{Address: "192.0.2.1", Port: 6443}} }),
		"not of one version, v0.5.0 on n1 and n2, v1":   change(func(s *status.Status) { s.Version = "v1" }),
	} {
		if got := mismatches(all); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("%q, want one with %q", got, want)
		}
	}
	closing := change(func(s *status.Status) { *s = holding("n3"); s.Lease.Holder, s.Fence.Open = "n2", false })
	unread := change(func(s *status.Status) { s.Lease.Known, s.Lease.Holder = false, "" })
	for _, all := range [][]answer{among(standbyOf("n1"), holding("n2")), closing, unread} {
		if got := mismatches(all); got != nil {
			t.Errorf("finds %q where all is well", got)
		}
	}
}

// vipdAt answers on some host with documents.
func vipdAt(t *testing.T, address string, documents map[string]any) *httptest.Server {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch d := documents[r.URL.Path].(type) {
		case nil:
			http.NotFound(w, r)
		case http.HandlerFunc:
			d(w, r)
		default:
			_ = json.NewEncoder(w).Encode(d)
		}
	}))
	_ = s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// documents are what a node on loopback answers: n2 is 127.0.0.2.
func documents(s status.Status) map[string]any {
	s.APIServers = slices.Clone(s.APIServers)
	for i := range s.APIServers {
		s.APIServers[i].Server = strings.Replace(s.APIServers[i].Server, "192.168.35.1", "127.0.0.", 1)
	}
	return map[string]any{statusPath: s, historyPath: historyOf(s.Node)}
}

// vipd runs a command line.
func vipd(ctx context.Context, args ...string) (exit int, stdout, stderr string) {
	var out, errs bytes.Buffer
	exit = execute(ctx, args, &out, &errs)
	return exit, out.String(), errs.String()
}

func TestStatusCommand(t *testing.T) {
	answers := func(f http.HandlerFunc) map[string]any { return map[string]any{statusPath: f} }
	text := func(s string) map[string]any {
		return answers(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(s)) })
	}
	later := standbyOf("n1")
	later.Schema, later.Version = "v2", "v9.0.0"
	for name, test := range map[string]struct {
		documents      map[string]any
		exit           int
		stdout, stderr string
	}{
		"healthy":    {documents(holding("n2")), exitHealthy, "(?s)VIP .*healthy.*Holder +n2 since.*LAST CHANGES", "^$"},
		"degraded":   {documents(degraded()), exitDegraded, "Problems +- the API server of n3", "^$"},
		"no holder":  {documents(noHolder()), exitNoHolder, "Problems +- nobody holds the VIP", "^$"},
		"no history": {map[string]any{statusPath: standbyOf("n1")}, exitHealthy, "(?s)VIP .*healthy", "^$"},
		"not vipd":   {nil, exitUnreachable, "^$", "answers 404 to GET /status: another program than vipd has the port"},
		"redirect": {answers(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, historyPath, http.StatusFound) }),
			exitUnreachable, "^$", "answers 302 to GET /status"},
		"not JSON":   {text("# HELP go_goroutines"), exitUnreachable, "^$", "something else than JSON"},
		"no schema":  {text(`{"status":"ok"}`), exitUnreachable, "^$", "no schema"},
		"other JSON": {text(`{"schema":"v1","lease":"\u001b[2J"}`), exitUnreachable, "^$", "is no v1: [ -~]*\n$"},
		"later":      {map[string]any{statusPath: later}, exitUnreachable, "^$", "answers in schema v2, of vipd v9.0.0; this one, vipd .*, knows v1: "},
		"endless": {answers(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"schema":"v1","node":"` + strings.Repeat("n", maxAnswer) + `"}`))
		}), exitUnreachable, "^$", "more than 1048576 bytes"},
		"broken off": {answers(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), exitUnreachable, "^$", "(?s)EOF.*crictl ps --name vipd"},
	} {
		t.Run(name, func(t *testing.T) {
			s := vipdAt(t, "127.0.0.1:0", test.documents)
			exit, stdout, stderr := vipd(t.Context(), "status", "--status-address", s.Listener.Addr().String())
			if exit != test.exit || !regexp.MustCompile(test.stdout).MatchString(stdout) || !regexp.MustCompile(test.stderr).MatchString(stderr) {
				t.Errorf("exit status %d, want %d\nstdout: %s\nstderr: %s", exit, test.exit, stdout, stderr)
			}
		})
	}
}

// Nobody waits for a vipd that accepts and says nothing.
func TestStatusOfMute(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	exit, _, stderr := vipd(t.Context(), "status", "--status-address", l.Addr().String())
	if exit != exitUnreachable || !strings.Contains(stderr, "no answer within 2s") {
		t.Errorf("exit status %d: %s", exit, stderr)
	}
}

func TestStatusOfAll(t *testing.T) {
	first := vipdAt(t, "127.0.0.1:0", documents(standbyOf("n1")))
	address := first.Listener.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	vipdAt(t, "127.0.0.2:"+port, documents(holding("n2")))
	exit, stdout, stderr := vipd(t.Context(), "status", "--all", "--status-address", ":"+port)
	if exit != exitDegraded || stderr != "" || !regexp.MustCompile(`(?m)^n2 +holding +n2 +7 .*open`).MatchString(stdout) ||
		!strings.Contains(stdout, "n3 gives no status at 127.0.0.3:"+port+": connection refused. Is vipd running there") {
		t.Errorf("without n3: exit status %d\n%s%s", exit, stdout, stderr)
	}
	var list everyNode
	_, stdout, _ = vipd(t.Context(), "status", "--all", "-o", "json", "--status-address", address)
	if err := json.Unmarshal([]byte(stdout), &list); err != nil || len(list.Nodes) != 3 || list.Nodes[2].Error != "connection refused" || len(list.Problems) != 1 {
		t.Errorf("%v\n%s", err, stdout)
	}
	var second status.Status
	if err := json.Unmarshal(list.Nodes[1].Status, &second); err != nil || !cmp.Equal(second, documents(holding("n2"))[statusPath]) {
		t.Errorf("%v: %+v", err, second)
	}
	vipdAt(t, "127.0.0.3:"+port, documents(standbyOf("n3")))
	if exit, stdout, _ := vipd(t.Context(), "status", "--all", "--status-address", address); exit != exitHealthy || strings.Contains(stdout, "Problems") {
		t.Errorf("exit status %d\n%s", exit, stdout)
	}
	exit, stdout, stderr = vipd(t.Context(), "history", "--all", "--status-address", address, "-n", "2")
	if exit != exitOK || stderr != "" || strings.Count(stdout, " n2  dark ")+strings.Count(stdout, " n3  dark ") != 2 || strings.Contains(stdout, "moved") {
		t.Errorf("history: exit status %d\n%s%s", exit, stdout, stderr)
	}
}

// What comes from the network cannot move the cursor, nor forge a line.
func TestHostile(t *testing.T) {
	evil := "n2\x1b[2J\nVIP healthy\u009b31m\u202e\x7f\r\\x"
	s := standbyOf("n1")
	s.Lease.Holder, s.Cause, s.Health, s.Problems = evil, evil, evil, []string{evil}
	s.APIServers = append(s.APIServers, status.APIServer{Node: evil, Server: "127.0.0.1:1", State: evil, Reason: evil})
	s.VIPs[0].Address, s.Interface.Name, s.Outage.Error, s.Version = evil, evil, evil, evil
	h := historyOf("n1")
	h.Changes[0].Cause, h.Changes[0].Holder, h.Changes[0].Kind, h.Changes[0].Phases[0].What = evil, evil, status.Kind(evil), evil
	all := documents(s)
	all[historyPath] = h
	server := vipdAt(t, "127.0.0.1:0", all)
	for _, args := range [][]string{{"status"}, {"status", "--all"}, {"history"}, {"history", "--all"}} {
		for _, output := range []string{"text", "json", "yaml"} {
			_, stdout, stderr := vipd(t.Context(), append(args, "-o", output, "--status-address", server.Listener.Addr().String())...)
			for _, r := range stdout + stderr {
				if r != '\n' && !unicode.IsPrint(r) {
					t.Errorf("%v -o %s writes %U", args, output, r)
					break
				}
			}
			if strings.Contains(stdout, "\nVIP healthy") || output == "text" && !strings.Contains(stdout, `n2\x1b[2J\nVIP healthy\u009b31m\u202e\x7f\r\x`) {
				t.Errorf("%v -o %s:\n%s", args, output, stdout)
			}
		}
	}
	var got status.Status
	_, stdout, _ := vipd(t.Context(), "status", "-o", "json", "--status-address", server.Listener.Addr().String())
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || got.Cause != evil {
		t.Errorf("%v: the JSON has %q, want it as it was", err, got.Cause)
	}
}

// A document of this schema may have fields that this vipd does not know.
func TestDocumentAsReceived(t *testing.T) {
	server := vipdAt(t, "127.0.0.1:0", map[string]any{
		statusPath:  map[string]any{"schema": "v1", "health": "healthy", "later": []any{1, "<&>"}},
		historyPath: map[string]any{"schema": "v1", "later": 2, "changes": []map[string]int{{"later": 3}, {"later": 4}}},
	})
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"status"}, `{"schema":"v1","health":"healthy","later":[1,"<&>"]}`},
		{[]string{"history"}, `{"schema":"v1","later":2,"changes":[{"later":3},{"later":4}]}`},
		{[]string{"history", "-n", "1"}, `{"schema":"v1","later":2,"changes":[{"later":3}]}`},
	} {
		for _, output := range []string{"json", "yaml"} {
			exit, stdout, _ := vipd(t.Context(), append(test.args, "-o", output, "--status-address", server.Listener.Addr().String())...)
			var got, want any
			if err := errors.Join(yaml.Unmarshal([]byte(stdout), &got), yaml.Unmarshal([]byte(test.want), &want)); err != nil || exit != exitOK || !cmp.Equal(got, want) {
				t.Errorf("%v -o %s: %v, exit status %d\n%s", test.args, output, err, exit, stdout)
			}
		}
	}
}

// --watch goes on until it is told to end, and ends as the last look did.
func TestWatch(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	looks := 0
	server := vipdAt(t, "127.0.0.1:0", map[string]any{statusPath: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch looks++; looks {
		case 1:
			_ = json.NewEncoder(w).Encode(standbyOf("n1"))
		case 2:
			_ = json.NewEncoder(w).Encode(noHolder())
		default:
			cancel() // in the midst of a look, which counts for nothing
		}
	})})
	exit, stdout, stderr := vipd(ctx, "status", "--watch", "--status-address", server.Listener.Addr().String())
	if exit != exitNoHolder || stderr != "" || strings.Count(stdout, "Holder ") != 2 || strings.Contains(stdout, "\x1b") {
		t.Errorf("exit status %d\n%s%s", exit, stdout, stderr)
	}
}

func TestReachable(t *testing.T) {
	for listens, want := range map[string]string{
		":2112": "127.0.0.1:2112", "0.0.0.0:2112": "127.0.0.1:2112", "[::]:2112": "[::1]:2112", "192.168.35.11:2113": "192.168.35.11:2113", "n1:2112": "n1:2112",
	} {
		if got := reachable(listens); got != want {
			t.Errorf("%s: %s, want %s", listens, got, want)
		}
	}
}

// A frame goes over the one before, however long they are.
func TestRedraw(t *testing.T) {
	var out bytes.Buffer
	s := &screen{out: &out, terminal: true, fd: -1}
	for _, text := range []string{"a\nb\n", "c\n", "d\n"} {
		if err := s.redraw(text); err != nil {
			t.Fatal(err)
		}
	}
	if want := "a\x1b[K\nb\x1b[K\n\x1b[J" + "\r\x1b[2Ac\x1b[K\n\x1b[J" + "\r\x1b[1Ad\x1b[K\n\x1b[J"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

func TestColour(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	for color, want := range map[string]bool{"auto": false, "never": false, "always": true} {
		if got := newScreen(&bytes.Buffer{}, color).colour; got != want {
			t.Errorf("--color %s: %t", color, got)
		}
	}
}

// TestStatusCommandDocument keeps docs/status-command.md true: what it shows are the
// golden files.
func TestStatusCommandDocument(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join(repository, "docs/status-command.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"standby.txt", "degraded.txt", "all.txt", "all-silent.txt", "all-two.txt", "history.txt"} {
		want, err := os.ReadFile(filepath.Join("testdata/golden", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(doc, want) {
			t.Errorf("docs/status-command.md does not show %s as it is:\n%s", name, want)
		}
	}
}
