package firewall

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/vipd-io/vipd/internal/nstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const vip = "192.168.35.100"

// rig is a node with the VIP and a listener, and a client.
type rig struct {
	node, client *nstest.NS
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{nstest.New(t), nstest.New(t)}
	nstest.Pair(t, r.node, r.client, "192.168.35.11/24", "192.168.35.50/24")
	r.node.AddAddr("eth0", vip+"/32")
	var l net.Listener
	if err := r.node.Do(func() (err error) { l, err = net.Listen("tcp4", ":6443"); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if err := r.reach(10 * time.Second); err != nil { // and ARP is resolved
		t.Fatalf("without rules: %v", err)
	}
	return r
}

// load replaces the ruleset of the node.
func (r *rig) load(t rapid.TB, rules string) {
	t.Helper()
	if err := r.tryLoad(rules); err != nil {
		t.Fatalf("nft: %v:\n%s", err, rules)
	}
}

func (r *rig) tryLoad(rules string) error { return load(r.node, rules) }

// load replaces the ruleset of a namespace.
func load(ns *nstest.NS, rules string) error {
	return ns.Do(func() error {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader("flush ruleset\n" + rules)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// reach connects as a client does.
func (r *rig) reach(within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	return r.client.Do(func() error {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp4", vip+":6443")
		if err == nil {
			_ = c.Close()
		}
		return err
	})
}

func (r *rig) blocks(t rapid.TB) []Block {
	t.Helper()
	got, err := Judge(Connection{Interface: "eth0", Index: r.node.Link("eth0").Attrs().Index, To: netip.MustParseAddr(vip), Port: 6443}, Options{Ignore: "vipd-", NetNS: r.node.Fd()})
	if err != nil {
		t.Fatal(err)
	}
	return got.Blocks
}

const (
	// hears bounds the wait for a connection that should succeed; it takes less than a millisecond.
	hears = 5 * time.Second
	// silence is after how long a connection counts as blocked: a lost SYN is retransmitted after a
	// second.
	silence = 300 * time.Millisecond
)

// rulesetCase is a ruleset with the expected behaviour of the kernel and of the judge.
type rulesetCase struct {
	name, rules string
	open        bool   // a client can connect
	want        string // the chain and the reason of the block, "" for none
}

func input(policy string, rules ...string) string {
	return "table inet filter {\n chain input {\n type filter hook input priority filter; policy " + policy + ";\n" + strings.Join(rules, "\n") + "\n}\n}\n"
}

func output(policy string, rules ...string) string {
	return "table inet filter {\n chain output {\n type filter hook output priority filter; policy " + policy + ";\n" + strings.Join(rules, "\n") + "\n}\n}\n"
}

func rulesets() []rulesetCase {
	sub := func(rules ...string) string {
		return "table inet filter {\n chain sub {\n" + strings.Join(rules, "\n") + "\n}\n}\n"
	}
	return []rulesetCase{
		{"no rules", "", true, ""},
		{"reject", input("accept", "tcp dport 6443 reject"), false, "inet filter input rule reject"},
		{"reject with a reset", input("accept", "tcp dport 6443 reject with tcp reset"), false, "inet filter input rule reject"},
		{"drop", input("accept", "tcp dport 6443 drop"), false, "inet filter input rule drop"},
		{"drop of the VIP", input("accept", "ip daddr "+vip+" drop"), false, "inet filter input rule drop"},
		{"drop in the prefix of the VIP", input("accept", "ip daddr 192.168.35.0/24 tcp dport 6000-7000 drop"), false, "inet filter input rule drop"},
		{"drop of a set", input("accept", "tcp dport { 22, 6443, 10250 } drop"), false, "inet filter input rule drop"},
		{"drop of a set with ranges", input("accept", "tcp dport { 22, 6000-7000, 10250 } drop"), false, "inet filter input rule drop"},
		{"drop of a named set", "table inet filter { set closed { type inet_service; elements = { 6443 }; }; }\n" + input("accept", "tcp dport @closed drop"), false, "inet filter input rule drop"},
		{"drop of all but a set", input("accept", "tcp dport != { 22, 80 } drop"), false, "inet filter input rule drop"},
		{"drop of a concatenation", input("accept", "ip daddr . tcp dport { "+vip+" . 6443 } drop"), false, "inet filter input rule drop"},
		{"drop of a concatenation with ranges", input("accept", "ip daddr . tcp dport { 192.168.35.0/24 . 6000-7000 } drop"), false, "inet filter input rule drop"},
		{"drop of SYN", input("accept", "tcp flags & (fin|syn|rst|ack) == syn drop"), false, "inet filter input rule drop"},
		{"drop of new connections", input("accept", "ct state new tcp dport 6443 drop"), false, "inet filter input rule drop"},
		{"drop on the interface", input("accept", `iifname "eth*" tcp dport 6443 drop`), false, "inet filter input rule drop"},
		{"drop in a jump", sub("tcp dport 6443 drop") + input("accept", "tcp dport != 22 jump sub"), false, "inet filter sub rule drop"},
		{"reject in a verdict map", sub("reject") + input("accept", "tcp dport vmap { 22 : accept, 6443 : goto sub }"), false, "inet filter sub rule reject"},
		{"drop by the state in a verdict map", input("accept", "ct state vmap { established : accept, related : accept, new : drop }"), false, "inet filter input rule drop"},
		{"drop in prerouting", "table ip raw { chain pre { type filter hook prerouting priority raw; tcp dport 6443 drop; }; }", false, "ip raw pre rule drop"},
		{"drop after an accept elsewhere", input("accept", "accept") + "table ip late { chain in { type filter hook input priority 10; tcp dport 6443 drop; }; }", false, "ip late in rule drop"},
		{"drop after a return", sub("return", "tcp dport 6443 accept") + input("accept", "jump sub", "tcp dport 6443 drop"), false, "inet filter input rule drop"},
		{"policy", input("drop", "ct state established,related accept", "iif lo accept", "ct state invalid drop", "meta l4proto icmp accept", "tcp dport 22 accept", "udp dport 6443 accept"), false, "inet filter input policy drop"},
		{"policy and a limit elsewhere", input("drop", "tcp dport 22 limit rate 5/second accept", "ip saddr 10.0.0.0/8 drop"), false, "inet filter input policy drop"},
		{"policy after a goto", sub("tcp dport 22 accept") + input("drop", "goto sub", "accept"), false, "inet filter input policy drop"},
		{"address that is local", input("accept", "fib daddr type local tcp dport 6443 drop"), false, "inet filter input rule drop"},

		{"policy with an accept", input("drop", "ct state established,related accept", "tcp dport 6443 accept"), true, ""},
		{"policy with an accept in a set", input("drop", "ct state established,related accept", "tcp dport { 22, 6440-6450 } accept"), true, ""},
		{"policy with an accept in a jump", sub("tcp dport 6443 accept") + input("drop", "ct state established,related accept", "jump sub"), true, ""},
		{"reject after an accept", input("accept", "tcp dport 6443 accept", "reject"), true, ""},
		{"another port", input("accept", "tcp dport 22 reject"), true, ""},
		{"ports beside it", input("accept", "tcp dport { 6442, 6444-7000 } drop"), true, ""},
		{"another protocol", input("accept", "udp dport 6443 drop"), true, ""},
		{"another address", input("accept", "ip daddr 192.168.35.11 tcp dport 6443 drop"), true, ""},
		{"another interface", input("accept", `iifname "eth1" tcp dport 6443 drop`), true, ""},
		{"IPv6", "table ip6 filter { chain in { type filter hook input priority filter; policy drop; }; }\n" + input("accept", "meta nfproto ipv6 drop"), true, ""},
		{"an unused chain", sub("tcp dport 6443 drop"), true, ""},
		{"invalid ones", input("accept", "ct state invalid drop", "tcp flags & (fin|syn) == (fin|syn) drop"), true, ""},
		{"a dormant table", "table inet filter { flags dormant; chain input { type filter hook input priority filter; policy drop; }; }", true, ""},
		{"output", "table inet filter { chain out { type filter hook output priority filter; tcp dport 6443 drop; }; }", true, ""},
		{"vipd's fence", "table ip vipd-192.168.35.100 { chain receives { type filter hook input priority filter; ip daddr 10.0.0.1 drop; }; }", true, ""},

		// The reply.
		{"policy of output without established", output("drop", "tcp dport { 443 } accept"), false, "inet filter output policy drop reply"},
		{"policy of output with some ports", output("drop", "tcp dport { 22, 53, 443, 10250, 2379-2380 } accept", "tcp dport 1-1023 accept", "tcp dport < 1024 accept"), false, "inet filter output policy drop reply"},
		{"policy of output with the loopback only", output("drop", "oif lo accept", "oifname lo accept", "udp dport 53 accept"), false, "inet filter output policy drop reply"},
		{"input that is right, and the policy of output", input("drop", "ct state established,related accept", "tcp dport 6443 accept") + output("drop", "ct state new tcp dport 443 accept"), false, "inet filter output policy drop reply"},
		{"drop of the source port", output("accept", "tcp sport 6443 drop"), false, "inet filter output rule drop reply"},
		{"reject of the source port", output("accept", "tcp sport { 22, 6443 } reject"), false, "inet filter output rule drop reply"},
		{"drop by the interface", output("accept", `oifname "eth*" tcp sport 6000-7000 drop`), false, "inet filter output rule drop reply"},
		{"drop of SYN-ACK", output("accept", "tcp flags & (syn|ack) == (syn|ack) drop"), false, "inet filter output rule drop reply"},
		{"drop of established", output("accept", "ct state established drop"), false, "inet filter output rule drop reply"},
		{"drop of a local source", output("accept", "fib saddr type local tcp sport 6443 drop"), false, "inet filter output rule drop reply"},
		{"drop in postrouting", "table ip m { chain post { type filter hook postrouting priority mangle; ip saddr " + vip + " drop; }; }", false, "ip m post rule drop reply"},
		{"drop in a chain of type route", "table ip m { chain out { type route hook output priority mangle; ip saddr " + vip + " drop; }; }", false, "ip m out rule drop reply"},
		{"keepalived with vrrp_strict", "table ip keepalived { chain out { type filter hook output priority -1; ip saddr " + vip + " drop; }; chain in { type filter hook input priority -1; ip daddr " + vip + " drop; }; }", false,
			"ip keepalived in rule drop ip keepalived out rule drop reply"},
		{"keepalived, half removed", "table ip keepalived { set vips { type ipv4_addr; elements = { " + vip + " }; }; chain out { type filter hook output priority -1; ip saddr @vips drop; }; }", false, "ip keepalived out rule drop reply"},

		{"policy of output with established", output("drop", "ct state established,related accept"), true, ""},
		{"policy of output with the port", output("drop", "tcp sport 6443 accept"), true, ""},
		{"policy of output with the ports of clients", output("drop", "tcp dport { 22, 1024-65535 } accept"), true, ""},
		{"policy of output with some ports of clients", output("drop", "tcp dport 40000-65535 accept", "tcp dport < 40000 accept"), true, ""},
		{"policy of output with the direction", output("drop", "ct direction reply accept"), true, ""},
		{"drop of new in output", output("accept", "ct state new drop", "ct state invalid drop"), true, ""},
		{"another source port", output("accept", "tcp sport 22 drop", "ip saddr 192.168.35.11 drop"), true, ""},
		{"another interface of the reply", output("accept", "oif lo drop", `oifname "eth1" drop`), true, ""},
		{"nat, which replies do not pass", "table ip nat { chain out { type nat hook output priority -100; drop; }; chain post { type nat hook postrouting priority srcnat; drop; }; }", true, ""},
		{"drop of SYN in output", output("accept", "tcp flags & (fin|syn|rst|ack) == syn drop"), true, ""},
		{"not the reply of this client", output("accept", "ip daddr 10.0.0.0/8 drop"), true, ""},
		{"the reply of this client", output("accept", "ip daddr 192.168.35.50 drop"), false, ""},
		{"an untracked reply", "table ip raw { chain out { type filter hook output priority raw; notrack; }; }\n" + output("drop", "ct state established accept"), false, ""},
		{"an untracked connection", "table ip raw { chain pre { type filter hook prerouting priority raw; notrack; }; chain out { type filter hook output priority raw; notrack; }; }\n" + output("drop", "ct state untracked accept"), true, ""},
		{"a mark that may route it elsewhere", "table ip m { chain out { type route hook output priority mangle; meta mark set 7; }; }\n" + output("drop", `oifname != "eth0" accept`), false, ""},

		// Not judged: rules for some clients only, and rules that are too complex.
		{"some clients", input("drop", "ct state established,related accept", "ip saddr 192.168.35.0/24 tcp dport 6443 accept"), true, ""},
		{"other clients", input("accept", "ip saddr 10.0.0.0/8 tcp dport 6443 drop"), true, ""},
		{"this client", input("accept", "ip saddr 192.168.35.50 tcp dport 6443 drop"), false, ""},
		{"a mark", input("drop", "ct state established accept", "meta mark 0 accept"), true, ""},
		{"a limit", input("accept", "tcp dport 6443 limit rate over 1000/second drop"), true, ""},
		{"another port behind it", "table ip nat { chain pre { type nat hook prerouting priority dstnat; tcp dport 6443 redirect to :6443; }; }\n" + input("accept", "tcp dport 7443 drop"), true, ""},
		{"a redirect to a port that is closed", "table ip nat { chain pre { type nat hook prerouting priority dstnat; tcp dport 6443 redirect to :7443; }; }\n" + input("accept", "tcp dport 6443 drop"), false, ""},
		{"fenced by vipd", "table ip vipd-192.168.35.100 { chain receives { type filter hook input priority filter; ip daddr " + vip + " drop; }; }", false, ""},
	}
}

func (b Block) String() string {
	what, how := "rule", "drop"
	if b.Handle == 0 {
		what = "policy"
	}
	if b.Reject {
		how = "reject"
	}
	words := []string{b.Family, b.Table, b.Chain, what, how}
	if b.ARP {
		words = append(words, "arp")
	}
	if b.Reply {
		words = append(words, "reply")
	}
	return strings.Join(words, " ")
}

// TestJudge compares the judge with a real client, for each ruleset.
func TestJudge(t *testing.T) {
	r := newRig(t)
	for _, c := range rulesets() {
		t.Run(c.name, func(t *testing.T) {
			r.load(t, c.rules)
			r.check(t, c.open, c.want)
		})
	}
}

// check compares the results.
func (r *rig) check(t *testing.T, open bool, want string) {
	t.Helper()
	got := ""
	for _, b := range r.blocks(t) {
		got = strings.TrimSpace(got + " " + b.String())
	}
	if got != want {
		t.Errorf("blocked by %q, want %q", got, want)
	}
	within := silence
	if open {
		within = hears
	}
	if err := r.reach(within); (err == nil) != open {
		t.Errorf("a client's connection: %v; want it to get in: %v", err, open)
	}
}

// TestJudgeIptables is TestJudge with rules of iptables-nft and ufw.
func TestJudgeIptables(t *testing.T) {
	r := newRig(t)
	const ufw = "-N ufw-user-input\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A INPUT -m addrtype --dst-type LOCAL -j ufw-user-input\n-A INPUT -m limit --limit 3/min -j LOG\n"
	for _, c := range []rulesetCase{
		{"reject", "-A INPUT -p tcp --dport 6443 -m comment --comment x -m conntrack --ctstate NEW -j REJECT", false, "ip filter INPUT rule reject"},
		{"reject as RHEL did", "-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT\n-A INPUT -p icmp -j ACCEPT\n-A INPUT -i lo -j ACCEPT\n-A INPUT -p tcp -m state --state NEW -m tcp --dport 22 -j ACCEPT\n" +
			"-A INPUT -j REJECT --reject-with icmp-host-prohibited", false, "ip filter INPUT rule reject"},
		{"multiport", "-A INPUT -p tcp -m multiport --dports 22,6000:7000 -j DROP", false, "ip filter INPUT rule drop"},
		{"policy", "-P INPUT DROP\n-A INPUT -p tcp -m multiport --dports 22,80:443 -j ACCEPT\n-A INPUT -p udp --dport 6443 -j ACCEPT", false, "ip filter INPUT policy drop"},
		{"SYN", "-A INPUT -p tcp --syn --dport 6443 -j DROP", false, "ip filter INPUT rule drop"},
		{"return to the policy", "-P INPUT DROP\n-A INPUT -m addrtype --dst-type LOCAL -j RETURN\n-A INPUT -j ACCEPT", false, "ip filter INPUT policy drop"},
		{"ufw", "-P INPUT DROP\n" + ufw + "-A ufw-user-input -p tcp --dport 22 -j ACCEPT", false, "ip filter INPUT policy drop"},
		{"policy of OUTPUT", "-P OUTPUT DROP\n-A OUTPUT -o lo -j ACCEPT\n-A OUTPUT -p tcp --dport 443 -m conntrack --ctstate NEW,ESTABLISHED -j DROP\n-A OUTPUT -p udp --dport 53 -j ACCEPT", false, "ip filter OUTPUT policy drop reply"},
		{"source of the VIP", "-A OUTPUT -s " + vip + " -j DROP", false, "ip filter OUTPUT rule drop reply"},
		{"source port", "-A OUTPUT -p tcp -m tcp --sport 6443 -j DROP", false, "ip filter OUTPUT rule drop reply"},
		{"source ports", "-A OUTPUT -p tcp -m multiport --sports 22,6000:7000 -j DROP", false, "ip filter OUTPUT rule drop reply"},
		{"any port", "-A OUTPUT -p tcp -m multiport --ports 22,6443 -j DROP", false, "ip filter OUTPUT rule drop reply"},
		{"established", "-A OUTPUT -p tcp -m conntrack --ctstate ESTABLISHED -j DROP", false, "ip filter OUTPUT rule drop reply"},
		{"local source", "-A OUTPUT -p tcp --sport 6443 -m addrtype --src-type LOCAL -j DROP", false, "ip filter OUTPUT rule drop reply"},
		{"SYN-ACK", "-A OUTPUT -p tcp --tcp-flags SYN,ACK SYN,ACK -j DROP", false, "ip filter OUTPUT rule drop reply"},
		{"policy of OUTPUT with established", "-P OUTPUT DROP\n-A OUTPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", true, ""},
		{"policy of OUTPUT with the port", "-P OUTPUT DROP\n-A OUTPUT -p tcp --sport 6443 -j ACCEPT", true, ""},
		{"source ports that are not it", "-A OUTPUT -p tcp -m multiport --sports 22,6444:7000 -j DROP\n-A OUTPUT -p tcp ! --sport 6443 -j DROP", true, ""},

		{"ufw that lets it in", "-P INPUT DROP\n" + ufw + "-A ufw-user-input -p tcp -m multiport --dports 22,6443 -j ACCEPT", true, ""},
		{"multiport beside it", "-A INPUT -p tcp -m multiport --dports 22,6444:7000 -j DROP", true, ""},
		{"multiport that is not it", "-A INPUT -p tcp -m multiport ! --dports 22,6443 -j DROP", true, ""},
		{"not new", "-A INPUT -p tcp -m conntrack --ctstate INVALID -j DROP", true, ""},
		{"what is not known", "-A INPUT -p tcp --dport 6443 -m ttl --ttl-eq 1 -j DROP", true, ""},
		{"and this", "-A INPUT -p tcp --dport 6443 -m length --length 0:1500 -j DROP", false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.load(t, "")
			if err := r.node.Do(func() error {
				for line := range strings.SplitSeq(c.rules, "\n") {
					if out, err := exec.Command("iptables-nft", strings.Fields(line)...).CombinedOutput(); err != nil {
						return fmt.Errorf("iptables-nft %s: %w: %s", line, err, out)
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			r.check(t, c.open, c.want)
		})
	}
}

// TestOutgoing compares the judgement of a connection to the address with a real one, which the
// client opens.
func TestOutgoing(t *testing.T) {
	r := newRig(t)
	c := Connection{Interface: "eth0", Index: r.client.Link("eth0").Attrs().Index, To: netip.MustParseAddr(vip), Port: 6443}
	for _, test := range []struct {
		rules string
		want  int // blocks
	}{
		{"", 0},
		{output("drop", "tcp dport 443 accept", "oif lo accept"), 1},
		{output("accept", "ip daddr 192.168.35.0/24 tcp dport 6443 reject"), 1},
		{output("accept", "ct state new tcp dport != 22 drop"), 1},
		{"table ip nat { chain out { type nat hook output priority -100; ip daddr " + vip + " drop; }; }", 0}, // without conntrack, no packet gets there
		{output("drop", "ct state established accept", "tcp dport { 443, 6443 } accept"), 0},
		{output("accept", "tcp sport 6443 drop", "ip daddr 10.0.0.0/8 drop"), 0},
		{input("drop", "ct state established accept"), 0},
	} {
		if err := load(r.client, test.rules); err != nil {
			t.Fatal(err)
		}
		got, err := Judge(c, Options{NetNS: r.client.Fd()})
		if err != nil || len(got.Outgoing) != test.want {
			t.Errorf("%s\nblocked by %v, error %v; want %d blocks", test.rules, got.Outgoing, err, test.want)
		}
		within := hears
		if test.want > 0 {
			within = silence
		}
		if err := r.reach(within); (err == nil) != (test.want == 0) {
			t.Errorf("%s\nconnection: %v", test.rules, err)
		}
	}
}

// TestWhatIsBlockedIsBlocked generates rulesets and checks the essential promise: what the judge
// calls blocked is blocked.
func TestWhatIsBlockedIsBlocked(t *testing.T) {
	r := newRig(t)
	blocked, silent := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		rules := drawRuleset(t)
		if r.tryLoad(rules) != nil {
			t.Skip("nft does not know what that means") // a combination that nft rejects, such as a reset of UDP
		}
		if len(r.blocks(t)) == 0 {
			silent++
			return
		}
		blocked++
		if err := r.reach(50 * time.Millisecond); err == nil { // a wrong result shows at once
			t.Fatalf("%v are reported as blocks, but a client can connect:\n%s", r.blocks(t), rules)
		}
	})
	t.Logf("%d rulesets block, %d do not", blocked, silent)
}

// drawRuleset generates chains that jump to later chains only.
func drawRuleset(t *rapid.T) string {
	const subs = 3
	match := rapid.SampledFrom([]string{"", "tcp dport 6443", "tcp dport 22", "tcp dport != 22", "tcp dport { 22, 6443 }", "tcp dport 6000-7000", "tcp dport { 1-100, 6443-6500 }", "tcp dport > 6442",
		"tcp sport 6443", "tcp sport { 22, 6443 }", "tcp sport > 1023", "ip saddr " + vip, "ip daddr 192.168.35.0/24", "oif eth0", `oifname "e*"`, "oif lo", `oifname != "lo"`, "tcp flags & (syn|ack) == (syn|ack)",
		"tcp sport > 6500", "tcp sport 1-1023", "udp dport 6443", "meta l4proto { tcp, udp }", "ip protocol icmp", "ip saddr 192.168.35.0/24", "ip saddr != 192.168.35.50", "ip saddr 10.0.0.0/8",
		"ip daddr " + vip, "ip daddr 192.168.35.11", "ip daddr . tcp dport { " + vip + " . 6443 }", "ip saddr . tcp dport { 192.168.35.0/24 . 6000-7000 }", "ct state new", "ct state established", "ct state != invalid",
		"ct state { new, related }", "ct status dnat", "ct direction reply", "ct mark 0", "ct mark 1-10", "meta mark 0", "meta mark 1-10", "iif lo", `iifname "eth0"`, `iifname "e*"`, `iifname { "lo", "eth1" }`, "iif != eth0", "iif > 1",
		"fib daddr type local", "fib saddr type local", "fib saddr . iif oif missing", "tcp flags syn", "tcp flags & (syn|ack) == syn", "tcp flags & ack != 0", "limit rate 100/second", "limit rate over 100/second",
		"meta pkttype host", "meta nfproto ipv6", "meta length 1-100", "ip ttl 64", "tcp option maxseg size 1-9000", "socket transparent 1", "rt classid 0", "ip frag-off & 0x1fff != 0", "meta protocol ip", "ip dscp 0", "numgen random mod 2 0"})
	verdict := func(chain int) *rapid.Generator[string] {
		all := []string{"accept", "accept", "drop", "reject", "reject with tcp reset", "return", "counter", "continue", "log", "meta mark set 1"}
		for i := chain + 1; i <= subs; i++ {
			all = append(all, fmt.Sprintf("jump sub%d", i), fmt.Sprintf("goto sub%d", i), fmt.Sprintf("tcp dport vmap { 22 : drop, 6443 : jump sub%d }", i), fmt.Sprintf("ct state vmap { new : goto sub%d, established : accept }", i))
		}
		return rapid.SampledFrom(all)
	}
	text := ""
	for i := subs; i >= 0; i-- {
		body := ""
		for range rapid.IntRange(0, 4).Draw(t, "rules") {
			body += match.Draw(t, "match") + " " + match.Draw(t, "match") + " " + verdict(i).Draw(t, "verdict") + "\n"
		}
		if i > 0 {
			text += fmt.Sprintf("chain sub%d {\n%s}\n", i, body)
			continue
		}
		text += "chain input {\ntype filter hook input priority filter; policy " + rapid.SampledFrom([]string{"accept", "drop"}).Draw(t, "policy") + ";\nct state established accept\n" + body + "}\n"
	}
	before := rapid.SampledFrom([]string{"", "", "", "table ip raw { chain pre { type filter hook prerouting priority raw; tcp dport 6443 notrack; }; }\n",
		"table ip nat { chain pre { type nat hook prerouting priority dstnat; tcp dport 6443 redirect to :6443; }; }\n", "table ip nat { chain pre { type nat hook prerouting priority dstnat; tcp dport 22 redirect to :6443; }; }\n"}).Draw(t, "before")
	reply := ""
	if rapid.Bool().Draw(t, "reply") { // the rules are those of the reply
		text = strings.Replace(text, "chain input {\ntype filter hook input", "chain output {\ntype filter hook output", 1)
		if rapid.Bool().Draw(t, "all replies") {
			text = strings.Replace(text, "ct state established accept\n", "", 1)
		}
		reply = rapid.SampledFrom([]string{"", "", "table ip raw { chain out { type filter hook output priority raw; tcp sport 6443 notrack; }; }\n",
			"table ip m { chain out { type route hook output priority mangle; meta mark set 1; }; }\n"}).Draw(t, "before the reply")
	}
	return before + reply + "table inet filter {\n" + text + "}\n"
}
