package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// Tests without a machine. cmd/vipd tests the checks on real links.

var vip = netip.MustParseAddr("192.168.35.100")

// answerTo builds the answer of a name server.
func answerTo(t testing.TB, change func(*dnsmessage.Message)) []byte {
	t.Helper()
	name := dnsmessage.MustNewName("vip.test.")
	m := &dnsmessage.Message{Header: dnsmessage.Header{ID: 7, Response: true}, Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
		Answers: []dnsmessage.Resource{
			{Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET}, Body: &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("alias.test.")}},
			{Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName("alias.test."), Class: dnsmessage.ClassINET}, Body: &dnsmessage.AResource{A: vip.As4()}},
		}}
	change(m)
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseAnswer(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*dnsmessage.Message)
		got    []netip.Addr
		ours   bool
		err    string
	}{
		{"an alias", func(*dnsmessage.Message) {}, []netip.Addr{vip}, true, ""},
		{"to another question", func(m *dnsmessage.Message) { m.ID++ }, nil, false, ""},
		{"a question", func(m *dnsmessage.Message) { m.Response = false }, nil, false, ""},
		{"no such name", func(m *dnsmessage.Message) { m.RCode, m.Answers = dnsmessage.RCodeNameError, nil }, nil, true, errNoRecord.Error()},
		{"no address", func(m *dnsmessage.Message) { m.Answers = m.Answers[:1] }, nil, true, errNoRecord.Error()},
		{"refused", func(m *dnsmessage.Message) { m.RCode, m.Answers = dnsmessage.RCodeRefused, nil }, nil, true, "the server answers Refused"},
		{"failure", func(m *dnsmessage.Message) { m.RCode, m.Answers = dnsmessage.RCodeServerFailure, nil }, nil, true, "the server answers ServerFailure"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ours, err := parseAnswer(answerTo(t, c.change), 7)
			if text := fmt.Sprint(err); !slices.Equal(got, c.got) || ours != c.ours || (err != nil || c.err != "") && text != c.err {
				t.Errorf("%v, ours %v, error %v; want %v, %v, %q", got, ours, err, c.got, c.ours, c.err)
			}
		})
	}
}

// FuzzParseAnswer: any input is the answer to another query, an error, or addresses.
func FuzzParseAnswer(f *testing.F) {
	whole := answerTo(f, func(*dnsmessage.Message) {})
	f.Add(whole)
	f.Add(whole[:20])
	f.Add(answerTo(f, func(m *dnsmessage.Message) { m.RCode = dnsmessage.RCodeNameError }))
	f.Add([]byte{0, 7, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0xc0, 12}) // a compression pointer to itself
	f.Fuzz(func(t *testing.T, b []byte) {
		got, ours, err := parseAnswer(b, 7)
		switch {
		case !ours && (got != nil || err != nil):
			t.Errorf("not ours, and yet %v, %v", got, err)
		case ours && (err == nil) != (len(got) > 0):
			t.Errorf("neither an error nor addresses, or both: %v, %v", got, err)
		case ours && (len(b) < 12 || b[0] != 0 || b[1] != 7 || b[2]&0x80 == 0):
			t.Errorf("%x is no answer to question 7", b)
		}
	})
}

// TestPackQuestion: an invalid name is an error, and causes no panic.
func TestPackQuestion(t *testing.T) {
	for name, fine := range map[string]bool{"vip.test": true, "vip.test.": true, strings.Repeat("a.", 200): false, strings.Repeat("a", 64) + ".test": false, "a..b": false} {
		if _, err := packQuestion(7, name); (err == nil) != fine {
			t.Errorf("%.20q: error %v", name, err)
		}
	}
}

func TestBroadcast(t *testing.T) {
	for prefix, want := range map[string]string{
		"192.168.35.0/24": "192.168.35.255", "10.0.0.0/8": "10.255.255.255", "192.168.35.64/26": "192.168.35.127", "10.1.2.8/30": "10.1.2.11", "0.0.0.0/0": "255.255.255.255",
		"10.0.0.1/32": "10.0.0.1",
	} {
		if got := broadcast(netip.MustParsePrefix(prefix)); got.String() != want {
			t.Errorf("broadcast of %s is %s, want %s", prefix, got, want)
		}
	}
}

// onLinkTwo parses addresses of the interface with index 2. A single address behind another is left
// over, as netif.Presence has it.
func onLinkTwo(text string) (out []Address) {
	for p := range strings.FieldsSeq(text) {
		a := netip.MustParsePrefix(p)
		out = append(out, Address{Prefix: a, Index: 2, Leftover: a.IsSingleIP() && len(out) > 0})
	}
	return out
}

func TestReservedAs(t *testing.T) {
	address := func(p string) Facts {
		return Facts{VIP: vip, Links: []Link{{Name: "eth0", Index: 2}}, Addresses: onLinkTwo(p)}
	}
	for p, want := range map[string]string{
		"192.168.35.11/24": "", "192.168.35.100/24": "this node's own address", "192.168.35.100/32": "this node's own address",
		"192.168.35.11/24 192.168.35.100/32": "", // added by vipd or another VIP manager
		"192.168.35.101/30":                  "the address of the network", "192.168.35.97/30": "", "192.168.35.98/29": "", "192.168.35.101/31": "", "192.168.35.99/27": "",
	} {
		if got := address(p).reservedAs(); !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("beside %s: %q, want %q", p, got, want)
		}
	}
}

// TestNobodys: no machine is known to have the requested addresses, and all checks ask for the same
// ones.
func TestNobodys(t *testing.T) {
	asked := 0
	in := Input{Facts: Facts{VIP: vip, Links: []Link{{Name: "eth0", Index: 2}}, Addresses: onLinkTwo("192.168.35.11/24 192.168.35.66/32"), Routes: []Route{{Gateway: netip.MustParseAddr("192.168.35.1")}}},
		Queries: Queries{Nobodys: func(subnet netip.Prefix, used func(netip.Addr) bool) (out []netip.Addr, ok bool) {
			asked++
			for a := subnet.Addr(); subnet.Contains(a); a = a.Next() {
				if !used(a) {
					out = append(out, a)
				}
			}
			return out, true
		}}}
	for range 2 {
		own, got := in.nobodys(Link{Name: "eth0", Index: 2})
		for _, a := range []string{vip.String(), "192.168.35.11", "192.168.35.66", "192.168.35.1"} {
			if slices.Contains(got, netip.MustParseAddr(a)) {
				t.Errorf("asks for %s", a)
			}
		}
		if own.String() != "192.168.35.11" || len(got) != 252 || asked != 1 {
			t.Errorf("asks as %s for %d addresses, chosen %d times", own, len(got), asked)
		}
	}
	if _, got := in.nobodys(Link{Name: "eth1", Index: 3}); len(got) > 0 {
		t.Errorf("asks for %v on another link", got)
	}
}

func TestFailingChecks(t *testing.T) {
	for body, want := range map[string]string{
		"": "the answer has no reason", "ok": "the answer has no reason", "[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed\n": "etcd",
		"[-]etcd failed\r\n  [-]informer-sync failed\r\n": "etcd, informer-sync",
	} {
		if got := failingChecks(body); got != want {
			t.Errorf("%q: %q, want %q", body, got, want)
		}
	}
}

func TestDefaultRoutes(t *testing.T) {
	route := func(gateway string, metric int) Route {
		return Route{Destination: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr(gateway), Metric: metric}
	}
	f := Facts{Routes: []Route{route("10.0.0.3", 200), route("10.0.0.1", 0), {Destination: netip.MustParsePrefix("10.0.0.0/24")}, route("10.0.0.2", 200)}}
	var got []string
	for _, r := range f.defaultRoutes() {
		got = append(got, r.Gateway.String())
	}
	if want := []string{"10.0.0.1", "10.0.0.3", "10.0.0.2"}; !slices.Equal(got, want) {
		t.Errorf("defaults are %v, want %v", got, want)
	}
}

// TestVerdict: the verdict for combinations of findings.
func TestVerdict(t *testing.T) {
	facts := Facts{VIP: vip, Port: 6443, LeaseHolder: "n1", Addresses: []Address{{Prefix: netip.MustParsePrefix("192.168.35.11/24")}}}
	const fine = "The VIP itself works inside 192.168.35.0/24."
	for _, c := range []struct {
		found string // ID, or ID/kind; ~ID for a warning, ?ID for a check that could not run
		mode  Mode
		want  []string
	}{
		{"", Node, []string{"All is well: "}},
		{"", Worker, []string{"All is well: "}},
		{"?D16", Node, []string{"No problems found; 1 of "}},
		{"~D04", Node, []string{"Nothing is broken: see the warnings and notes below."}},
		{"~D04 ?D16", Node, []string{"Nothing is broken: see the warnings and notes below."}},
		{"D10", Node, []string{"This node has the VIP without the Lease"}},
		{"D10/no-vipd", Node, []string{"This node has a leftover copy of the VIP"}},
		{"D17/forbidden D14/nobody", Node, []string{"No node can take the VIP"}},
		{"D17/forbidden D16/refused", Node, []string{"The VIP works, and the API server of this node does not."}},
		{"D18/stale D14/nobody", Node, []string{"No node holds the VIP: the holder of the Lease is gone"}},
		{"D18/stale", Node, []string{"Something is wrong: see below."}}, // a clock is wrong
		{"D25", Node, []string{"kube-vip is still on this node"}},
		{"D01", Node, []string{"This is neither Cluster API nor vipd", fine}},
		{"D02 D13/no-server", Node, []string{"This is neither Cluster API nor vipd", fine}},
		{"D01 ?D14", Node, []string{"This is neither Cluster API nor vipd"}},
		{"D01/no-gateway-delivered", Node, []string{"This is not a CAPV fault and not vipd: the IP pool has no gateway.", fine}},
		{"D01/not-applied D14/silent", Node, []string{"This is neither CAPV nor vipd: CAPV delivered the gateway"}},
		{"D01/VM-routes", Node, []string{"This is not vipd: the VSphereMachineTemplate has machine-level routes", fine}},
		{"D11/no-gateway D11/contains", Management, []string{"This is not a CAPV fault and not vipd: the IP pool has no gateway.", "The pool will also allocate the VIP."}},
		{"D11/gateway-outside", Management, []string{"This is not a CAPV fault and not vipd: the IP pool has a gateway that its machines cannot reach."}},
		{"D33", Management, []string{"This is not vipd: the machine template and the IP pool have different gateways"}},
		{"D11/contains D25/both", Management, []string{"The IP pool will allocate the VIP"}},
		{"D01 D14/nobody", Node, []string{"This is neither Cluster API nor vipd"}},
		{"D01", Preflight, []string{"This is neither Cluster API nor vipd"}}, // the mode has no check of the VIP
		{"D05 D01 D14/no-route", Node, []string{"The interface of the VIP does not exist"}},
		{"D07 D14/silent", Node, []string{"The VIP is not usable"}},
		{"D09/stranger D15/other-CA D01", Node, []string{"Another machine answers for the VIP."}},
		{"~D09/answered", Preflight, []string{"Nothing is broken"}},
		{"D15/other-CA", Worker, []string{"Another cluster or another machine has the VIP"}},
		{"D15/silent", Worker, []string{"The machine with the VIP accepts connections and does not answer"}},
		{"D14/rejected", Worker, []string{"A firewall rejects port 6443 of the VIP"}},
		{"D14/silent", Worker, []string{"Packets to the VIP are dropped"}},
		{"~D09/proxy D14/silent", Node, []string{"A router or a cloud answers ARP for the VIP in place of the holder"}},
		{"~D09/proxy", Node, []string{"Nothing is broken"}},
		{"D14/own-firewall", Worker, []string{"The firewall of this machine blocks its own connections to the VIP."}},
		{"D19/reply-policy D14/own-firewall", Node, []string{"The firewall of this node drops the answers of port 6443"}},
		{"D19/keepalived", Node, []string{"keepalived's rules on this node"}},
		{"D32/services", Management, []string{"Kubernetes may give the address of the VIP"}},
		{"D14/refused", Worker, []string{"A machine has the VIP, and no API server runs on it."}},
		{"D14/no-route-beyond", Worker, []string{"This machine, or a router on the path, has no route to the VIP."}},
		{"D20/denied D14/nobody", Node, []string{"SELinux denies vipd access to its files"}},
		{"D28/references D14/nobody", Node, []string{"kubelet does not run the VIP manager"}},
		{"D14/mute", Node, []string{"n1 holds the VIP by the Lease, and does not answer for the VIP on this link."}},
		{"D14/nobody D16/refused", Node, []string{"No node holds the VIP."}},
		{"D14/refused D16/refused", Node, []string{"The VIP is held, and the API server behind it does not run."}},
		{"D19/rule", Node, []string{"The VIP works until this node takes the VIP: the firewall"}},
		{"D19/rule D14/silent", Node, []string{"Firewalls block clients from port 6443"}},
		{"D19/rule D14/nobody", Node, []string{"No node holds the VIP."}},
		{"D19/rule D16/silent", Node, []string{"The VIP works, and this node cannot take the VIP"}},
		{"D19/rule D16/failing", Node, []string{"The VIP works, and the API server of this node does not."}},
		{"~D19/rule", Preflight, []string{"Nothing is broken"}},
		{"D13/no-record", Node, []string{"The VIP is healthy; only its DNS name is wrong."}},
		{"D13/no-record ~D04", Node, []string{"The VIP is healthy; only its DNS name is wrong."}},
		{"D13/no-record D16/failing", Node, []string{"The VIP works, and the API server of this node does not."}},
		{"D13/no-record ?D14", Node, []string{"Something is wrong"}},
		{"D13/no-record", Preflight, []string{"Only the DNS name of the VIP is wrong"}},
	} {
		t.Run(c.found, func(t *testing.T) {
			got := verdict(reportOf(c.mode, c.found), &Input{Mode: c.mode, Facts: facts})
			if !slices.EqualFunc(got, c.want, strings.HasPrefix) {
				t.Errorf("verdict %q, want %q", got, c.want)
			}
		})
	}
}

// reportOf returns the report that TestVerdict describes.
func reportOf(mode Mode, words string) Report {
	var r Report
	for _, check := range Checks {
		if check.Modes&mode == 0 {
			continue
		}
		res := Result{ID: check.ID}
		for w := range strings.FieldsSeq(words) {
			id, mark, _ := strings.Cut(strings.TrimLeft(w, "~?"), "/")
			switch {
			case id != check.ID:
			case w[0] == '?':
				res.Unknown = "no"
			default:
				f := Finding{ID: id, Severity: Error, Kind: strings.ReplaceAll(mark, "-", " ")}
				if w[0] == '~' {
					f.Severity = Warning
				}
				res.Findings = append(res.Findings, f)
			}
		}
		r.Results = append(r.Results, res)
	}
	return r
}

// TestSELinuxDenies uses a synthetic File: without SELinux, the kernel never returns EACCES to
// root for a file whose mode permits reading.
func TestSELinuxDenies(t *testing.T) {
	for _, enforcing := range []bool{true, false} {
		k := &Input{Mode: Node, Facts: Facts{Kubeconfigs: []File{{Path: "/etc/vipd/kubeconfig", Mode: 0o600, Size: 1, Denied: true}}},
			Queries: Queries{Now: time.Now, SELinux: func() (SELinux, error) {
				return SELinux{Enforcing: enforcing, Context: "system_u:system_r:vipd_t:s0"}, nil
			}}}
		got, err := selinuxDenies.Run(t.Context(), k)
		if err != nil || (len(got) == 1 && got[0].Kind == "denied") != enforcing {
			t.Errorf("enforcing %v: findings %+v, error %v", enforcing, got, err)
		}
		got, err = badCredentials.Run(t.Context(), k)
		if err != nil || len(got) != 1 || got[0].Kind != "denied" || got[0].Severity != Error {
			t.Errorf("findings %+v, error %v; want one with mark denied", got, err)
		}
	}
}

// TestNoInput: checks without their query find nothing.
func TestNoInput(t *testing.T) {
	for _, check := range []Check{selinuxDenies, staticPodRefused, bootstrapState} {
		if got, err := check.Run(t.Context(), &Input{Mode: Node}); err != nil || got != nil {
			t.Errorf("%s: findings %+v, error %v", check.ID, got, err)
		}
	}
}

// TestNoRouteToHost: ARP that fails early, because another program started the resolution, is
// not taken for a firewall.
func TestNoRouteToHost(t *testing.T) {
	holder := []net.HardwareAddr{{2, 0, 0, 0, 0, 1}}
	for _, c := range []struct {
		name   string
		took   time.Duration
		subnet string
		who    []net.HardwareAddr
		err    error
		want   string
	}{
		{"after three requests", 3 * time.Second, "192.168.35.11/24", holder, nil, "nobody"},
		{"after a SYN that was lost, and the holder answers", 1100 * time.Millisecond, "192.168.35.11/24", holder, nil, "rejected"},
		{"at once, and the VIP is here", time.Millisecond, "192.168.35.11/24 192.168.35.100/32", nil, nil, "rejected"},
		{"early, and nobody answers", 200 * time.Millisecond, "192.168.35.11/24", nil, nil, "nobody"},
		{"at once, and the holder answers", time.Millisecond, "192.168.35.11/24", holder, nil, "rejected"},
		{"at once, and nothing is known", time.Millisecond, "192.168.35.11/24", nil, errors.New("operation not permitted"), "rejected"},
		{"from beyond a router", time.Millisecond, "10.0.0.2/24", nil, nil, "rejected"},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := time.Now()
			k := &Input{Mode: Node, Facts: Facts{VIP: vip, Port: 6443, Links: []Link{{Name: "eth0", Index: 2, Up: true}}, Addresses: onLinkTwo(c.subnet)},
				Queries: Queries{
					Now: func() time.Time { return now },
					Dial: func(context.Context, string, string) (net.Conn, error) {
						now = now.Add(c.took)
						return nil, unix.EHOSTUNREACH
					},
					AskARP: func(context.Context, Link, netip.Addr, int) ([]net.HardwareAddr, error) { return c.who, c.err },
				}}
			got, err := vipUnreachable.Run(t.Context(), k)
			if err != nil || len(got) != 1 || got[0].Kind != c.want {
				t.Errorf("findings %+v, error %v; want one with mark %q", got, err, c.want)
			}
		})
	}
}

// TestChecks: IDs are unique and in order; each check has a title and a page.
func TestChecks(t *testing.T) {
	for i, c := range Checks {
		if _, err := Page(c.ID); err != nil || c.Title == "" || c.Modes == 0 {
			t.Errorf("%+v: no title, no mode, or no page: %v", c, err)
		}
		if i > 0 && c.ID <= Checks[i-1].ID {
			t.Errorf("%s comes after %s", c.ID, Checks[i-1].ID)
		}
	}
	if _, err := ByID("D99"); err == nil {
		t.Error("there is a check D99")
	}
}

// TestClock: the findings for each state of the kernel's clock.
func TestClock(t *testing.T) {
	for _, tt := range []struct {
		synchronised bool
		rate         boottime.PPM
		want         []Severity
	}{
		{true, 0, nil},
		{true, -500, nil},
		{false, 120, []Severity{Warning}},
		{true, 83_333, []Severity{Info}},
		{true, -83_333, []Severity{Info}},
		{false, -100_500, []Severity{Warning, Warning}},
	} {
		c := &Input{Queries: Queries{
			Clock: func() (bool, time.Duration, error) { return tt.synchronised, time.Second, nil },
			Slew:  func() (boottime.PPM, error) { return tt.rate, nil },
		}}
		found, err := clockUnsynchronised.Run(t.Context(), c)
		var got []Severity
		for _, f := range found {
			got = append(got, f.Severity)
		}
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("synchronised %t, slewed by %d ppm: %v, %v; want %v", tt.synchronised, tt.rate, found, err, tt.want)
		}
	}
}

// TestARPOff: the interface of the VIP has no ARP, which is another finding than no carrier.
func TestARPOff(t *testing.T) {
	for name, c := range map[string]struct {
		link Link
		want string
	}{
		"ARP":     {Link{Name: "eth0", Index: 2, Up: true}, ""},
		"no ARP":  {Link{Name: "eth0", Index: 2, Up: true, Local: true}, "arp off"},
		"down":    {Link{Name: "eth0", Index: 2, Local: true}, "carrier"},
		"another": {Link{Name: "eth1", Index: 3, Up: true, Local: true}, ""},
	} {
		in := &Input{Facts: Facts{VIP: netip.MustParseAddr("192.168.35.100"), Links: []Link{c.link}, Addresses: onLinkTwo("192.168.35.11/24")}}
		got, err := noCarrier.Run(t.Context(), in)
		if err != nil || (len(got) > 0) != (c.want != "") || len(got) > 0 && !strings.Contains(got[0].Kind+" "+got[0].Seen, c.want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
