package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	corev1 "k8s.io/api/core/v1"

	"github.com/vipd-io/vipd/internal/goldentest"
	"github.com/vipd-io/vipd/internal/nstest"
	"github.com/vipd-io/vipd/internal/status"
	"github.com/vipd-io/vipd/internal/statustest"
	"github.com/vipd-io/vipd/pkg/netif"
)

// The tests of `vipd doctor` inject real faults on a link between network namespaces, and run the
// real program in one of them, in a mount namespace with its own /etc.

// site is a subnet with a node, the router, the node that holds the VIP, and a foreign machine
// (stranger). The site has no fault unless a test changes something before consult.
type site struct {
	t                              *testing.T
	node, router, holder, stranger *nstest.NS
	hub                            *nstest.NS // has the bridge, with port0 to port3 to the four machines
	etc                            string     // replaces the node's /etc
	volatile                       string     // replaces the node's /run
	bin                            string     // the first folder in the node's PATH
	vip                            netip.Addr
	name                           string
	hosts                          string         // lines of /etc/hosts
	servers                        []string       // name servers in /etc/resolv.conf
	names                          zone           // names that the router's name server knows
	status                         *status.Status // the status of vipd on the node, nil if vipd does not run
	tells                          string         // the --status-address of vipd on the node
	atVIP                          server         // listens on the holder's port 6443
	own                            server         // listens on the node's port 6443
	theirs                         server         // listens on the stranger's port 6443
	ca                             authority
	objects                        objects // content of the node's API server
	args                           []string
	kubeconfig                     string            // kubeconfig of vipd on the node
	files                          map[string]string // further files of the node, by path
	context                        string            // the simulated SELinux context, "" for the real one
	timeout                        string            // --timeout of the doctor
}

// The doctor's timeout. If an answer is expected, the timeout is long: a busy machine may need more
// than the few seconds of an operator's doctor. If no answer is expected, the doctor waits for the
// whole timeout.
const (
	forAnswers = "2m"
	forSilence = "30s"
)

// silent sets the shorter timeout, for a site on which a query of the doctor is never answered.
func (s *site) silent() { s.timeout = forSilence }

const siteName = "kube-api-server.uat.test"

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, node: nstest.New(t), router: nstest.New(t), holder: nstest.New(t), stranger: nstest.New(t),
		etc: t.TempDir(), volatile: volatile(t), bin: t.TempDir(), vip: netip.MustParseAddr(testVIP), name: siteName, servers: []string{"192.168.35.1"}, ca: newAuthority(t, "kubernetes"),
		kubeconfig: "/etc/kubernetes/kubelet.conf", timeout: forAnswers, files: map[string]string{}}
	s.hub = nstest.Switch(t, []*nstest.NS{s.node, s.router, s.holder, s.stranger},
		[]string{"192.168.35.11/24", "192.168.35.1/24", "192.168.35.12/24", "192.168.35.66/24"})
	s.awaitCarrier("eth0")
	s.holder.AddAddr("eth0", testVIP+"/32")
	s.route(s.node, "add default via 192.168.35.1")
	for _, of := range []string{"all", "eth0"} { // a new namespace has the settings of the machine
		s.sysctl("ipv4/conf/"+of+"/arp_ignore", "0")
		s.sysctl("ipv4/conf/"+of+"/rp_filter", "0")
	}
	standby := statustest.Standby("n1")
	s.status = &standby
	s.names = zone{siteName: s.vip}
	s.atVIP = serverOf(s.certificate(), ready)
	s.objects = objects{lease: leaseBy("n2"), nodes: []*corev1.Node{nodeAt("n1", "192.168.35.11"), nodeAt("n2", "192.168.35.12")}}
	s.own = serverOf(s.certificate(), s.objects.answer)
	return s
}

// run runs a program in a namespace of the site.
func (s *site) run(ns *nstest.NS, name string, args ...string) {
	s.t.Helper()
	must(s.t, ns.Do(func() error {
		out, err := exec.CommandContext(s.t.Context(), name, args...).CombinedOutput()
		if err != nil {
			s.t.Errorf("%s %v: %s", name, args, out)
		}
		return err
	}))
}

func (s *site) route(ns *nstest.NS, words string) {
	s.t.Helper()
	s.run(ns, "ip", append([]string{"route"}, strings.Fields(words)...)...)
}

// noVIP removes the VIP from the holder, and vipd reports that.
func (s *site) noVIP() {
	s.t.Helper()
	if s.status != nil {
		s.status.Health = status.NoHolder
	}
	s.run(s.holder, "ip", "address", "delete", testVIP+"/32", "dev", "eth0")
}

// sysctl sets a sysctl of the node.
func (s *site) sysctl(name, value string) { s.sysctlOf(s.node, name, value) }

func (s *site) sysctlOf(ns *nstest.NS, name, value string) {
	s.t.Helper()
	must(s.t, ns.Do(func() error { return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o644) }))
}

// secondLink adds a second link between node (10.0.0.2 on eth1) and router (10.0.0.1).
func (s *site) secondLink() {
	s.t.Helper()
	must(s.t, s.node.Links.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth1"}, PeerName: "eth1", PeerNamespace: netlink.NsFd(s.router.Fd())}))
	s.node.AddAddr("eth1", "10.0.0.2/24")
	s.router.AddAddr("eth1", "10.0.0.1/24")
	s.node.Up("eth1")
	s.router.Up("eth1")
	s.awaitCarrier("eth1")
	s.sysctl("ipv4/conf/eth1/arp_ignore", "0")
	s.sysctl("ipv4/conf/eth1/rp_filter", "0")
}

// awaitCarrier waits until a link of the node has carrier. The kernel reports the carrier up to a
// second after both ends are up (net/core/link_watch.c), and vipd may start before that.
func (s *site) awaitCarrier(name string) {
	s.t.Helper()
	changes, done := make(chan netlink.LinkUpdate, 64), make(chan struct{})
	defer close(done)
	must(s.t, netlink.LinkSubscribeWithOptions(changes, done, netlink.LinkSubscribeOptions{Namespace: new(netns.NsHandle(s.node.Fd())), ListExisting: true}))
	for c := range changes {
		if c.Attrs().Name == name && c.Attrs().OperState == netlink.OperUp {
			return
		}
	}
}

// cut removes the carrier of the node's second link.
func (s *site) cut() {
	s.t.Helper()
	changes, done := make(chan netlink.LinkUpdate, 64), make(chan struct{})
	defer close(done)
	must(s.t, netlink.LinkSubscribeAt(netns.NsHandle(s.node.Fd()), changes, done))
	s.router.Down("eth1")
	for c := range changes {
		if c.Attrs().Name == "eth1" && c.Attrs().OperState != netlink.OperUp {
			return
		}
	}
}

// hold makes the node hold the VIP, as its vipd would.
func (s *site) hold() {
	s.t.Helper()
	s.noVIP()
	n, err := netif.Open(s.node.Fd())
	must(s.t, err)
	defer n.Close()
	now, err := n.Snapshot()
	must(s.t, err)
	must(s.t, n.Put(now, netif.Place{Addr: s.vip, Link: s.node.Link("eth0").Attrs().Index}, time.Minute))
	held := statustest.Holding("n1")
	s.status = &held
}

// free makes no node hold the VIP.
func (s *site) free() {
	s.t.Helper()
	s.noVIP()
	s.status.Lease.Holder = ""
}

// furnish writes the files in the node's /etc, and starts all servers.
func (s *site) furnish() {
	s.t.Helper()
	resolv := ""
	for _, server := range s.servers {
		resolv += "nameserver " + server + "\n"
	}
	for path, text := range map[string]string{
		"resolv.conf": resolv, "hosts": "127.0.0.1 localhost\n" + s.hosts, "nsswitch.conf": "hosts: files dns\n",
		"kubernetes/pki/ca.crt": string(s.ca.pem), "kubernetes/kubelet.conf": kubeletConf(s.name, s.ca.pem),
	} {
		must(s.t, os.MkdirAll(filepath.Join(s.etc, filepath.Dir(path)), 0o755))
		must(s.t, os.WriteFile(filepath.Join(s.etc, path), []byte(text), 0o600))
	}
	s.names.serve(s.t, s.router)
	s.atVIP.serve(s.t, s.holder, ":6443")
	s.own.serve(s.t, s.node, ":6443")
	s.theirs.serve(s.t, s.stranger, ":6443")
	if s.status != nil {
		s.status.Configuration = map[string]string{"address": s.vip.String(), "port": "6443", "interface": "", "kubeconfig": s.kubeconfig, "lease-duration": "3s", "status-address": s.tells}
		tells(*s.status).serve(s.t, s.node, "127.0.0.1:2112")
	}
}

func kubeletConf(name string, ca []byte) string {
	return `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://` + name + `:6443", certificate-authority-data: ` + base64.StdEncoding.EncodeToString(ca) + `}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
users: [{name: u, user: {}}]
`
}

// command returns the command `vipd doctor` on the node.
func (s *site) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(s.t.Context(), "unshare", append([]string{"--mount", "sh", "-c", `set -e; mount --bind "$1" /etc; mount --bind "$2" /run; ` + s.mounts() + `shift 2; exec vipd doctor "$@"`,
		"sh", s.etc, s.volatile}, args...)...)
	cmd.Env = []string{"PATH=" + s.bin + ":" + os.Getenv("PATH"), "GODEBUG=netdns=go"} // vipd's build has this setting
	return cmd
}

// consult runs the doctor to its end.
func (s *site) consult(args ...string) (exit int, stdout string) {
	s.t.Helper()
	var out, errs bytes.Buffer
	args = append(args, "--timeout", s.timeout, "--skip", "D27") // the clock is that of the machine that runs the test
	cmd := s.command(append(args, s.args...)...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	must(s.t, s.node.Do(cmd.Start)) // the child starts in the namespace of the thread
	exit = exitStatus(cmd.Wait())
	if errs.Len() > 0 {
		s.t.Errorf("exit status %d, and on stderr: %s", exit, errs.String())
	}
	return exit, out.String()
}

// found is a finding in a document, without the texts of why and mend.
type found struct{ ID, Severity, Mark, Seen string }

// examined is the document of `vipd doctor -o json`.
type examined struct {
	Schema  string
	Verdict []string
	Results []struct {
		ID, Unknown string
		Findings    []struct {
			found
			Why  string
			Mend []string
		}
	}
}

func (s *site) examine() (int, examined) {
	s.t.Helper()
	exit, text := s.consult("-o", "json")
	var e examined
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		s.t.Fatalf("exit status %d, and no document: %v: %s", exit, err, text)
	}
	return exit, e
}

// diagnosis is a fault, and the expected result of the doctor: all of its findings, each with a
// part of its text.
type diagnosis struct {
	name    string
	fault   func(*site)
	want    []found
	unknown []string // IDs of checks that could not run
	verdict []string // a part of each sentence
	mend    string   // a part of the remedy, "" for any
}

const (
	wrong  = "Something is wrong: see below."
	better = "Nothing is broken: see the warnings and notes below."
	isFine = "The VIP itself works inside 192.168.35.0/24."
)

// diagnose injects each fault on a site of its own, all in parallel: the doctor mostly waits.
func diagnose(t *testing.T, all []diagnosis) {
	t.Helper()
	t.Parallel()
	for _, d := range all {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			d.fault(s)
			s.furnish()
			exit, got := s.examine()
			d.compare(t, exit, got)
		})
	}
}

func (d diagnosis) compare(t *testing.T, exit int, got examined) {
	t.Helper()
	var findings []found
	var unknown []string
	for _, r := range got.Results {
		if r.Unknown != "" {
			unknown = append(unknown, r.ID)
		}
		for _, f := range r.Findings {
			findings = append(findings, f.found)
			if f.Why == "" || len(f.Mend) == 0 {
				t.Errorf("%s %s: does not say why it matters, or what to do: %+v", f.ID, f.Mark, f)
			}
		}
	}
	if text := fmt.Sprint(got.Results); !strings.Contains(text, d.mend) {
		t.Errorf("does not say %q: %s", d.mend, text)
	}
	for i := range min(len(d.want), len(findings)) {
		findings[i].Seen = asWanted(findings[i].Seen, d.want[i].Seen)
	}
	if diff := cmp.Diff(d.want, findings); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(d.unknown, unknown); diff != "" {
		t.Errorf("checks that could not look (-want +got):\n%s\n%+v", diff, got)
	}
	for i := range min(len(d.verdict), len(got.Verdict)) {
		got.Verdict[i] = asWanted(got.Verdict[i], d.verdict[i])
	}
	if diff := cmp.Diff(d.verdict, got.Verdict); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
	if want := d.exit(); exit != want {
		t.Errorf("exit status %d, want %d", exit, want)
	}
}

// asWanted returns the expected part if the text contains it, or else the text.
func asWanted(text, part string) string {
	if holds(text, part) {
		return part
	}
	return text
}

// The expected text is a part of the output, and never the reverse: a doctor that reports less is
// wrong.
func TestAsWanted(t *testing.T) {
	for _, tt := range []struct {
		text, part string
		same       bool
	}{
		{"rejected by a firewall", "rejected", true},
		{"rejected by a firewall, as firewalld does", "by a firewall...firewalld", true},
		{"rejected", "rejected", true},
		{"rejected", "rejected by a firewall", false},
		{"firewalld, by a firewall", "by a firewall...firewalld", false},
		{"", "rejected", false},
		{"rejected", "", false},
		{"", "", true},
	} {
		if got := asWanted(tt.text, tt.part) == tt.part; got != tt.same {
			t.Errorf("%q for %q: %t, want %t", tt.text, tt.part, got, tt.same)
		}
	}
}

// holds tells whether a text contains a part; a part may be several texts, with "..." between them.
func holds(text, part string) bool {
	if part == "" {
		return text == ""
	}
	for p := range strings.SplitSeq(part, "...") {
		_, rest, ok := strings.Cut(text, p)
		if !ok {
			return false
		}
		text = rest
	}
	return true
}

// exit returns the exit status for the expected findings.
func (d diagnosis) exit() int {
	status := 0
	for _, f := range d.want {
		status = max(status, map[string]int{"info": 0, "warning": 1, "error": 2}[f.Severity])
	}
	return status
}

func TestDoctorFindsNothing(t *testing.T) {
	well := []string{"All is well"}
	diagnose(t, []diagnosis{
		{name: "standby", fault: func(*site) {}, verdict: well},
		{name: "holder", fault: (*site).hold, verdict: well},
		{name: "no vipd", fault: func(s *site) { s.status, s.args = nil, []string{"--address", testVIP} }, verdict: well},
		{name: "VIP by IP address", fault: func(s *site) { s.name, s.names = testVIP, nil }, verdict: well},
		{name: "worker", fault: func(s *site) {
			s.status, s.own, s.args = nil, server{}, []string{"--worker", "--address", testVIP}
		}, verdict: well},
		{name: "preflight", fault: func(s *site) {
			s.noVIP()
			s.status, s.own, s.atVIP, s.args = nil, server{}, server{}, []string{"--preflight", "--address", testVIP, "--name", siteName}
			s.name = "localhost"
		}, verdict: well},
		// States that look like a fault, and are none.
		{name: "gateway by a host route", fault: func(s *site) {
			s.router.AddAddr("eth0", "10.9.9.1/32")
			s.route(s.node, "delete default")
			s.route(s.node, "add 10.9.9.1 dev eth0")
			s.route(s.node, "add default via 10.9.9.1")
		}, verdict: well},
		{name: "gateway off-link that answers", fault: func(s *site) {
			s.router.AddAddr("eth0", "10.9.9.1/32")
			s.route(s.node, "replace default via 10.9.9.1 dev eth0 onlink")
		}, verdict: well},
		{name: "two default routes of different metric", fault: func(s *site) {
			s.secondLink()
			s.route(s.node, "add default via 10.0.0.1 metric 100")
		}, verdict: well},
		{name: "interface by its alternative name", fault: func(s *site) {
			s.run(s.node, "ip", "link", "property", "add", "dev", "eth0", "altname", "enp11s0")
			s.args = []string{"--interface", "enp11s0"}
		}, verdict: well},
		{name: "arp_ignore that still answers", fault: func(s *site) { s.sysctl("ipv4/conf/all/arp_ignore", "2") }, verdict: well},
		{name: "rp_filter with the default route here", fault: func(s *site) { s.sysctl("ipv4/conf/all/rp_filter", "1") }, verdict: well},
		{name: "rp_filter loose", fault: func(s *site) {
			s.secondLink()
			s.route(s.node, "replace default via 10.0.0.1")
			s.sysctl("ipv4/conf/all/rp_filter", "2")
			s.sysctl("ipv4/conf/eth0/rp_filter", "1")
		}, verdict: well},
		{name: "lease not read yet", fault: func(s *site) { s.status.Lease = status.Lease{} }, verdict: well},
	})
}

// changing matches what differs between runs.
var changing = regexp.MustCompile(`after \d+ ms`)

// TestDoctorText compares the output for an operator.
func TestDoctorText(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(*site){
		"doctor-gateway.txt":  func(s *site) { s.route(s.node, "delete default") },
		"doctor-firewall.txt": func(s *site) { s.firewall(s.holder, "reject with icmp type host-prohibited") },
		"doctor-name.txt":     func(s *site) { s.names = nil },
		"doctor-healthy.txt":  func(*site) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			fault(s)
			s.furnish()
			_, text := s.consult()
			goldentest.Fresh(t, filepath.Join("testdata/golden", name), changing.ReplaceAllString(text, "after N ms"))
		})
	}
}
