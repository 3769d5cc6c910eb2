package cli

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
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/jedib0t/go-pretty/v6/text"
	"sigs.k8s.io/yaml"

	"github.com/vipd-io/vipd/internal/ask"
	"github.com/vipd-io/vipd/internal/doctor"
	"github.com/vipd-io/vipd/internal/status"
	"github.com/vipd-io/vipd/internal/statustest"
)

// answersOf returns the answers of three nodes.
func answersOf(nodes ...status.Status) []ask.Answer {
	var all []ask.Answer
	for i, s := range nodes {
		all = append(all, ask.Answer{Node: s.Node, Address: fmt.Sprintf("192.168.35.%d:2112", 11+i), Status: s, Seen: &nodes[0].APIServers[i]})
	}
	return all
}

func TestRender(t *testing.T) {
	h := statustest.History("n1")
	old := statustest.Standby("n3")
	old.Version, old.Lease.Term = "v0.4.0", 6
	silent := answersOf(statustest.Standby("n1"), statustest.Holding("n2"), statustest.Standby("n3"))
	silent[2].Err, silent[2].Status = ask.NoAnswer{Cause: errors.New("connection refused"), Refused: true}, status.Status{}
	two := answersOf(statustest.Holding("n1"), statustest.Holding("n2"), old)
	unread := statustest.Standby("n1")
	unread.Health, unread.Lease, unread.APIServers, unread.Outage = status.NoHolder, status.Lease{Namespace: "kube-system", Name: "plndr-cp-lock"}, nil, nil
	unread.Problems = []string{"lease kube-system/plndr-cp-lock was not read yet"}
	wide := statustest.Degraded()
	wide.APIServers[1].Node, wide.Problems = "控制平面節點一", []string{"控制平面節點一的 API server 沒有回應，無法連線，請檢查 kube-apiserver 的記錄檔 👨‍👩‍👧"}
	several := []ask.Answer{{Node: "n1", History: h}, {Node: "n2", History: statustest.History("n2")}}
	for name, got := range map[string]string{
		"standby.txt":        renderStatus(statustest.Standby("n1"), &h, 80, false),
		"standby-colour.txt": renderStatus(statustest.Standby("n1"), &h, 80, true),
		"standby-pipe.txt":   renderStatus(statustest.Standby("n1"), &h, 0, false),
		"holder.txt":         renderStatus(statustest.Holding("n2"), nil, 80, false),
		"degraded.txt":       renderStatus(statustest.Degraded(), &h, 80, false),
		"noholder.txt":       renderStatus(statustest.NoHolder(), &h, 80, false),
		"unread.txt":         renderStatus(unread, nil, 80, false),
		"all.txt":            renderAll(answersOf(statustest.Standby("n1"), statustest.Holding("n2"), statustest.Standby("n3")), 80, false),
		"all-silent.txt":     renderAll(silent, 80, false),
		"all-two.txt":        renderAll(two, 80, false),
		"history.txt":        renderHistory(mergeHistories(several[:1], 20), false, 80, false),
		"history-all.txt":    renderHistory(mergeHistories(several, 4), true, 80, false),
		"history-none.txt":   renderHistory(nil, false, 80, false),
		"degraded-60.txt":    renderStatus(statustest.Degraded(), &h, 60, false),
		"all-silent-60.txt":  renderAll(silent, 60, false),
		"history-all-60.txt": renderHistory(mergeHistories(several, 4), true, 60, true),
		"wide-60.txt":        renderStatus(wide, &h, 60, true),
		"report-60.txt":      renderReport(report(), &page{width: 60, colour: true}),
	} {
		golden(t, name, got)
		lines := strings.Split(strings.TrimSuffix(text.StripEscape(got), "\n"), "\n")
		if strings.HasPrefix(name, "standby") && len(lines) > 23 {
			t.Errorf("%s: %d lines, and a prompt, on a terminal of 24", name, len(lines))
		}
		widest := 80
		if strings.HasSuffix(name, "-60.txt") {
			widest = 60
		}
		for _, l := range lines {
			if text.StringWidth(l) > widest && name != "standby-pipe.txt" && !strings.Contains(l, "copied as one line") {
				t.Errorf("%s: a line of %d columns: %s", name, text.StringWidth(l), l)
			}
			if strings.TrimRight(l, " ") != l {
				t.Errorf("%s: spaces at the end of %q", name, l)
			}
		}
	}
}

// report returns a report with a finding, and a check that could not run.
func report() doctor.Report {
	return doctor.Report{Verdict: []string{"This is neither Cluster API nor vipd: the way out of this node's subnet is broken (the gateway)."},
		Results: []doctor.Result{
			{ID: "D01", Title: "default route", Findings: []doctor.Finding{{ID: "D01", Severity: doctor.Error, Seen: "there is no default route; this node has eth0 (192.168.35.11/24), and nothing leads beyond that",
				Why:    "kubeadm refuses to start, and images cannot be pulled",
				Remedy: []string{"ip route add default via GATEWAY dev eth0", "a command that is longer than the terminal is wide is copied as one line"}}}},
			{ID: "D19", Title: "firewall of this node", Unknown: "list nftables rules: operation not permitted (CAP_NET_ADMIN is needed)"}}}
}

func TestExitOfAll(t *testing.T) {
	unread := statustest.Standby("n3")
	unread.Health, unread.Lease.Known = status.NoHolder, false
	other := statustest.Standby("n3")
	other.Lease.Name = "other"
	silent := answersOf(statustest.Standby("n1"), statustest.Holding("n2"), statustest.Standby("n3"))
	silent[2].Err = errors.New("connection refused")
	gone := answersOf(statustest.Standby("n1"))
	gone[0].Err = errors.New("connection refused")
	strange := statustest.Standby("n1")
	strange.Health = "sleepy"
	for name, test := range map[string]struct {
		all  []ask.Answer
		want int
	}{
		"healthy":                       {answersOf(statustest.Standby("n1"), statustest.Holding("n2"), statustest.Standby("n3")), exitHealthy},
		"one degraded":                  {answersOf(statustest.Degraded(), statustest.Holding("n2"), statustest.Standby("n3")), exitDegraded},
		"no holder":                     {answersOf(statustest.NoHolder(), statustest.NoHolder(), statustest.NoHolder()), exitNoHolder},
		"one of the others sees none":   {answersOf(statustest.Standby("n1"), statustest.Holding("n2"), unread), exitDegraded},
		"one of the others is silent":   {silent, exitDegraded},
		"the first is silent":           {gone, exitUnreachable},
		"two hold":                      {answersOf(statustest.Holding("n1"), statustest.Holding("n2"), statustest.Standby("n3")), exitDegraded},
		"another lease":                 {answersOf(statustest.Standby("n1"), statustest.Holding("n2"), other), exitDegraded},
		"a health of a later version's": {answersOf(strange, statustest.Holding("n2")), exitDegraded},
	} {
		if got := exitOfAll(test.all); got != test.want {
			t.Errorf("%s: %d, want %d: %q", name, got, test.want, mismatches(test.all))
		}
	}
}

func TestCompare(t *testing.T) {
	change := func(f func(*status.Status)) []ask.Answer {
		s := statustest.Standby("n3")
		f(&s)
		return answersOf(statustest.Standby("n1"), statustest.Holding("n2"), s)
	}
	withdrawing := statustest.Holding("n2")
	withdrawing.State, withdrawing.Fence.Open = "withdrawing", false
	for want, all := range map[string][]ask.Answer{
		"n2 and n3 hold the VIP at the same time":          change(func(s *status.Status) { *s = statustest.Holding("n3"); s.Lease.Holder = "n2" }),
		"the Lease names n2, which is withdrawing":         answersOf(statustest.Standby("n1"), withdrawing),
		"different holders, n1 on n3, n2 on n1 and n2:":    change(func(s *status.Status) { s.Lease.Holder = "n1" }),
		"different holders, n2 on n1 and n2, nobody on":    change(func(s *status.Status) { s.Lease.Holder = "" }),
		"different terms, 7 on n1 and n2, 8 on n3:":        change(func(s *status.Status) { s.Lease.Term = 8 }),
		"different Leases, kube-system/mine on n3, ":       change(func(s *status.Status) { s.Lease.Name = "mine" }),
		"different VIPs, 192.0.2.1:6443 on n3, ":           change(func(s *status.Status) { s.VIPs = []status.VIP{{Address: "192.0.2.1", Port: 6443}} }),
		"versions of vipd differ, v0.5.0 on n1 and n2, v1": change(func(s *status.Status) { s.Version = "v1" }),
	} {
		if got := mismatches(all); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("%q, want one with %q", got, want)
		}
	}
	closing := change(func(s *status.Status) { *s = statustest.Holding("n3"); s.Lease.Holder, s.Fence.Open = "n2", false })
	unread := change(func(s *status.Status) { s.Lease.Known, s.Lease.Holder = false, "" })
	for _, all := range [][]ask.Answer{answersOf(statustest.Standby("n1"), statustest.Holding("n2")), closing, unread} {
		if got := mismatches(all); got != nil {
			t.Errorf("finds %q where all is well", got)
		}
	}
}

// vipdAt serves documents at an address.
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

// documentsOf returns the documents of a node on loopback: n2 is 127.0.0.2.
func documentsOf(s status.Status) map[string]any {
	s.APIServers = slices.Clone(s.APIServers)
	for i := range s.APIServers {
		s.APIServers[i].Server = strings.Replace(s.APIServers[i].Server, "192.168.35.1", "127.0.0.", 1)
	}
	return map[string]any{ask.StatusPath: s, ask.HistoryPath: statustest.History(s.Node)}
}

// runVipd runs vipd with arguments.
func runVipd(ctx context.Context, args ...string) (exit int, stdout, stderr string) {
	var out, errs bytes.Buffer
	exit = Execute(ctx, args, &out, &errs)
	return exit, out.String(), errs.String()
}

func TestStatusCommand(t *testing.T) {
	answers := func(f http.HandlerFunc) map[string]any { return map[string]any{ask.StatusPath: f} }
	raw := func(s string) map[string]any {
		return answers(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(s)) })
	}
	later := statustest.Standby("n1")
	later.Schema, later.Version = "v2", "v9.0.0"
	for name, test := range map[string]struct {
		documents      map[string]any
		exit           int
		stdout, stderr string
	}{
		"healthy":    {documentsOf(statustest.Holding("n2")), exitHealthy, "(?s)VIP .*healthy.*Holder +n2 since.*LAST CHANGES", "^$"},
		"degraded":   {documentsOf(statustest.Degraded()), exitDegraded, "Problems +- the API server of n3", "^$"},
		"no holder":  {documentsOf(statustest.NoHolder()), exitNoHolder, "Problems +- nobody holds the VIP", "^$"},
		"no history": {map[string]any{ask.StatusPath: statustest.Standby("n1")}, exitHealthy, "(?s)VIP .*healthy", "^$"},
		"not vipd":   {nil, exitUnreachable, "^$", "answers 404 to GET /status: another program than vipd has the port"},
		"redirect": {answers(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, ask.HistoryPath, http.StatusFound) }),
			exitUnreachable, "^$", "answers 302 to GET /status"},
		"not JSON":   {raw("# HELP go_goroutines"), exitUnreachable, "^$", "something other than JSON"},
		"no schema":  {raw(`{"status":"ok"}`), exitUnreachable, "^$", "no schema"},
		"other JSON": {raw(`{"schema":"v1","lease":"\u001b[2J"}`), exitUnreachable, "^$", "is no v1: [ -~]*\n$"},
		"later":      {map[string]any{ask.StatusPath: later}, exitUnreachable, "^$", "answers in schema v2, of vipd v9.0.0; this one, vipd .*, knows v1: "},
		"endless": {answers(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"schema":"v1","node":"` + strings.Repeat("n", ask.MaxAnswer) + `"}`))
		}), exitUnreachable, "^$", "more than 1048576 bytes"},
		"broken off": {answers(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), exitUnreachable, "^$", "(?s)EOF.*crictl ps --name vipd"},
	} {
		t.Run(name, func(t *testing.T) {
			s := vipdAt(t, "127.0.0.1:0", test.documents)
			exit, stdout, stderr := runVipd(t.Context(), "status", "--status-address", s.Listener.Addr().String())
			if exit != test.exit || !regexp.MustCompile(test.stdout).MatchString(stdout) || !regexp.MustCompile(test.stderr).MatchString(stderr) {
				t.Errorf("exit status %d, want %d\nstdout: %s\nstderr: %s", exit, test.exit, stdout, stderr)
			}
		})
	}
}

// A vipd that accepts connections and does not answer causes a timeout.
func TestStatusTimeout(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	exit, _, stderr := runVipd(t.Context(), "status", "--status-address", l.Addr().String())
	if exit != exitUnreachable || !strings.Contains(stderr, "no answer within 2s") {
		t.Errorf("exit status %d: %s", exit, stderr)
	}
}

func TestStatusOfAll(t *testing.T) {
	first := vipdAt(t, "127.0.0.1:0", documentsOf(statustest.Standby("n1")))
	address := first.Listener.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	vipdAt(t, "127.0.0.2:"+port, documentsOf(statustest.Holding("n2")))
	exit, stdout, stderr := runVipd(t.Context(), "status", "--all", "--status-address", ":"+port)
	if exit != exitDegraded || stderr != "" || !regexp.MustCompile(`(?m)^n2 +holding +n2 +7 .*open`).MatchString(stdout) ||
		!strings.Contains(stdout, "n3 gave no status at 127.0.0.3:"+port+": connection refused. Is vipd running there") {
		t.Errorf("without n3: exit status %d\n%s%s", exit, stdout, stderr)
	}
	var list answers
	_, stdout, _ = runVipd(t.Context(), "status", "--all", "-o", "json", "--status-address", address)
	if err := json.Unmarshal([]byte(stdout), &list); err != nil || len(list.Nodes) != 3 || list.Nodes[2].Error != "connection refused" || len(list.Problems) != 1 {
		t.Errorf("%v\n%s", err, stdout)
	}
	var second status.Status
	if err := json.Unmarshal(list.Nodes[1].Status, &second); err != nil || !cmp.Equal(second, documentsOf(statustest.Holding("n2"))[ask.StatusPath]) {
		t.Errorf("%v: %+v", err, second)
	}
	vipdAt(t, "127.0.0.3:"+port, documentsOf(statustest.Standby("n3")))
	if exit, stdout, _ := runVipd(t.Context(), "status", "--all", "--status-address", address); exit != exitHealthy || strings.Contains(stdout, "Problems") {
		t.Errorf("exit status %d\n%s", exit, stdout)
	}
	exit, stdout, stderr = runVipd(t.Context(), "history", "--all", "--status-address", address, "-n", "2")
	if exit != exitOK || stderr != "" || strings.Count(stdout, " n2  dark ")+strings.Count(stdout, " n3  dark ") != 2 || strings.Contains(stdout, "moved") {
		t.Errorf("history: exit status %d\n%s%s", exit, stdout, stderr)
	}
}

// Data from the network can neither move the cursor nor forge a line.
func TestHostile(t *testing.T) {
	evil := "n2\x1b[2J\nVIP healthy\u009b31m\u202e\x7f\r\\x"
	s := statustest.Standby("n1")
	s.Lease.Holder, s.Cause, s.Health, s.Problems = evil, evil, evil, []string{evil}
	s.APIServers = append(s.APIServers, status.APIServer{Node: evil, Server: "127.0.0.1:1", State: evil, Reason: evil})
	s.VIPs[0].Address, s.Interface.Name, s.Outage.Error, s.Version = evil, evil, evil, evil
	h := statustest.History("n1")
	h.Changes[0].Cause, h.Changes[0].Holder, h.Changes[0].Kind, h.Changes[0].Phases[0].What = evil, evil, status.Kind(evil), evil
	all := documentsOf(s)
	all[ask.HistoryPath] = h
	server := vipdAt(t, "127.0.0.1:0", all)
	for _, args := range [][]string{{"status"}, {"status", "--all"}, {"history"}, {"history", "--all"}} {
		for _, output := range []string{"text", "json", "yaml"} {
			_, stdout, stderr := runVipd(t.Context(), append(args, "-o", output, "--status-address", server.Listener.Addr().String())...)
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
	_, stdout, _ := runVipd(t.Context(), "status", "-o", "json", "--status-address", server.Listener.Addr().String())
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || got.Cause != evil {
		t.Errorf("%v: the JSON has %q, want it as it was", err, got.Cause)
	}
}

// -o json and yaml preserve fields that this version does not know.
func TestDocumentAsReceived(t *testing.T) {
	server := vipdAt(t, "127.0.0.1:0", map[string]any{
		ask.StatusPath:  map[string]any{"schema": "v1", "health": "healthy", "later": []any{1, "<&>"}},
		ask.HistoryPath: map[string]any{"schema": "v1", "later": 2, "changes": []map[string]int{{"later": 3}, {"later": 4}}},
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
			exit, stdout, _ := runVipd(t.Context(), append(test.args, "-o", output, "--status-address", server.Listener.Addr().String())...)
			var got, want any
			if err := errors.Join(yaml.Unmarshal([]byte(stdout), &got), yaml.Unmarshal([]byte(test.want), &want)); err != nil || exit != exitOK || !cmp.Equal(got, want) {
				t.Errorf("%v -o %s: %v, exit status %d\n%s", test.args, output, err, exit, stdout)
			}
		}
	}
}

// --watch runs until its context ends. The last status determines the exit status.
func TestWatch(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	looks := 0
	server := vipdAt(t, "127.0.0.1:0", map[string]any{ask.StatusPath: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch looks++; looks {
		case 1:
			_ = json.NewEncoder(w).Encode(statustest.Standby("n1"))
		case 2:
			_ = json.NewEncoder(w).Encode(statustest.NoHolder())
		default:
			cancel() // during a query, which is then ignored
		}
	})})
	exit, stdout, stderr := runVipd(ctx, "status", "--watch", "--status-address", server.Listener.Addr().String())
	if exit != exitNoHolder || stderr != "" || strings.Count(stdout, "Holder ") != 2 || strings.Contains(stdout, "\x1b") {
		t.Errorf("exit status %d\n%s%s", exit, stdout, stderr)
	}
}

func TestReachable(t *testing.T) {
	for listens, want := range map[string]string{
		":2112": "127.0.0.1:2112", "0.0.0.0:2112": "127.0.0.1:2112", "[::]:2112": "[::1]:2112", "192.168.35.11:2113": "192.168.35.11:2113", "n1:2112": "n1:2112",
	} {
		if got := ask.Reachable(listens); got != want {
			t.Errorf("%s: %s, want %s", listens, got, want)
		}
	}
}

// A frame replaces the last frame, whatever their lengths.
func TestRedraw(t *testing.T) {
	var out bytes.Buffer
	s := &screen{out: &out, fd: -1, ansi: true}
	for _, frame := range []string{"a\nb\n", "c\n", "d\n"} {
		if err := s.redraw(frame); err != nil {
			t.Fatal(err)
		}
	}
	if want := "a\x1b[K\nb\x1b[K\n\x1b[J" + "\r\x1b[2Ac\x1b[K\n\x1b[J" + "\r\x1b[1Ad\x1b[K\n\x1b[J"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

// Output that does not interpret escape sequences gets one frame after another.
func TestRedrawPlain(t *testing.T) {
	var out bytes.Buffer
	s := &screen{out: &out, fd: -1}
	for _, frame := range []string{"a\nb\n", "c\n"} {
		if err := s.redraw(frame); err != nil {
			t.Fatal(err)
		}
	}
	if want := "a\nb\n\nc\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

// A terminal that became narrower has wrapped the last frame.
func TestRedrawNarrower(t *testing.T) {
	s := &screen{frame: "\x1b[1mabcdefgh\x1b[0m\n控制平面\n\n"}
	for width, want := range map[int]int{0: 3, 7: 3, 3: 5, 1: 9} {
		if got := s.rows(width); got != want {
			t.Errorf("%d columns: %d rows, want %d", width+1, got, want)
		}
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

// TestStatusCommandDocument: the examples in docs/status-command.md are the golden files.
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
