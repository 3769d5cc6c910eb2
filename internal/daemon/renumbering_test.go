package daemon

import (
	"net/netip"
	"testing"
	"time"

	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/netif"
)

// TestRenumbered: only a network that was not there before, and that stays, is in place of the VIP's.
func TestRenumbered(t *testing.T) {
	on := func(prefixes ...string) (all []netif.Address) {
		for _, p := range prefixes {
			all = append(all, netif.Address{Prefix: netip.MustParsePrefix(p), Global: true})
		}
		return all
	}
	type look struct {
		after int // seconds since the loss
		on    []netif.Address
		want  bool
	}
	for name, looks := range map[string][]look{
		"another network":       {{0, on("10.9.0.1/24"), false}, {9, on("10.9.0.1/24"), false}, {10, on("10.9.0.1/24"), true}},
		"it comes later":        {{0, on(), false}, {60, on("10.9.0.1/24"), false}, {70, on("10.9.0.1/24"), true}},
		"it comes and goes":     {{0, on("10.9.0.1/24"), false}, {5, on(), false}, {8, on("10.9.0.1/24"), false}, {12, on("10.9.0.1/24"), false}},
		"one that was there":    {{0, on("172.16.0.1/16"), false}, {60, on("172.16.0.9/16"), false}},
		"none":                  {{0, on(), false}, {60, on(), false}},
		"a single address only": {{0, on("10.9.0.1/32"), false}, {60, on("10.9.0.1/32"), false}},
		"the VIP only":          {{0, []netif.Address{{Prefix: netip.MustParsePrefix("10.9.0.1/31"), Global: true, Ours: true}}, false}, {60, []netif.Address{{Prefix: netip.MustParsePrefix("10.9.0.1/31"), Global: true, Ours: true}}, false}},
	} {
		var r renumbering
		r.had(on("192.168.35.11/24", "172.16.0.1/16"))
		lost := boottime.Instant(time.Hour)
		for _, l := range looks {
			if got := r.renumbered(l.on, lost.Add(time.Duration(l.after)*time.Second)); got != l.want {
				t.Errorf("%s: %t after %d s", name, got, l.after)
			}
		}
	}
}

// TestNodeIsRenumbered: a vipd that runs uses its configured interface with another network, as one that
// starts then does, and the VIP's subnet counts again once it is back. Without a configured
// interface, there is none to use.
func TestNodeIsRenumbered(t *testing.T) {
	for configured, want := range map[string]string{"eth0": "", "": "no address in a subnet of the VIP"} {
		t.Run("interface="+configured, func(t *testing.T) {
			t.Parallel()
			ns, n, _ := observedInterface(t, configured)
			usable(t, n)
			delAddr(t, ns, "eth0", "192.168.35.11/24")
			ns.AddAddr("eth0", "10.9.0.1/24")
			expect(t, n, "eth0", "no address in a subnet of the VIP")
			n.service.since = n.service.since.Add(-renumberedAfter)
			expect(t, n, "eth0", want)
			ns.AddAddr("eth0", "192.168.35.11/24")
			expect(t, n, "eth0", "")
			delAddr(t, ns, "eth0", "192.168.35.11/24")
			expect(t, n, "eth0", "no address in a subnet of the VIP")
		})
	}
}
