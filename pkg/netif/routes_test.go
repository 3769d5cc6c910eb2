package netif

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vipd-io/vipd/internal/nstest"
)

func ip(t *testing.T, ns *nstest.NS, words string) {
	t.Helper()
	must(t, ns.Do(func() error {
		out, err := exec.CommandContext(t.Context(), "ip", strings.Fields(words)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ip %s: %w: %s", words, err, out)
		}
		return nil
	}))
}

// show prints routes similarly to `ip route`.
func show(routes []Route) []string {
	var out []string
	for _, r := range routes {
		text := r.Destination.String()
		if r.Gateway.IsValid() {
			text += " via " + r.Gateway.String()
		}
		out = append(out, fmt.Sprintf("%s dev %d metric %d", text, r.Index, r.Metric))
	}
	slices.Sort(out)
	return out
}

func TestRoutes(t *testing.T) {
	const subnet = "192.168.35.0/24 dev 2 metric 0"
	for _, c := range []struct {
		name     string
		commands []string
		want     []string
	}{
		{"as it is", nil, []string{subnet}},
		{"default", []string{"route add default via 192.168.35.1 metric 100"}, []string{"0.0.0.0/0 via 192.168.35.1 dev 2 metric 100", subnet}},
		{"two of the same metric", []string{"route add default via 192.168.35.1", "route append default via 192.168.35.2"},
			[]string{"0.0.0.0/0 via 192.168.35.1 dev 2 metric 0", "0.0.0.0/0 via 192.168.35.2 dev 2 metric 0", subnet}},
		{"off-link", []string{"route add default via 10.9.9.1 dev eth0 onlink"}, []string{"0.0.0.0/0 via 10.9.9.1 dev 2 metric 0", subnet}},
		{"without a gateway", []string{"route add default dev eth0", "route add 10.9.9.1 dev eth0"},
			[]string{"0.0.0.0/0 dev 2 metric 0", "10.9.9.1/32 dev 2 metric 0", subnet}},
		{"multipath", []string{"route add default metric 5 nexthop via 192.168.35.1 weight 2 nexthop via 192.168.35.2"},
			[]string{"0.0.0.0/0 via 192.168.35.1 dev 2 metric 5", "0.0.0.0/0 via 192.168.35.2 dev 2 metric 5", subnet}},
		{"by a nexthop object", []string{"nexthop add id 7 via 192.168.35.1 dev eth0", "route add default nhid 7"},
			[]string{"0.0.0.0/0 via 192.168.35.1 dev 2 metric 0", subnet}},
		{"leading nowhere", []string{"route add blackhole 10.1.0.0/16", "route add unreachable default metric 4278198272", "route add prohibit 10.2.0.0/16"}, []string{subnet}},
		{"of another table", []string{"route add default via 192.168.35.1 table 100"}, []string{subnet}},
		{"IPv6", []string{"-6 route add 2001:db8::/32 dev eth0"}, []string{subnet}},
		{"link down", []string{"route add default via 192.168.35.1", "link set eth0 down"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			ns, h := node(t)
			for _, words := range c.commands {
				ip(t, ns, words)
			}
			got, err := h.Routes()
			must(t, err)
			for i := range got { // whatever the index is
				if got[i].Index == index(t, h) {
					got[i].Index = 2
				}
			}
			if d := cmp.Diff(c.want, show(got)); d != "" {
				t.Errorf("routes (-want +got):\n%s", d)
			}
		})
	}
}
