package daemon

import (
	"net/netip"
	"strings"
	"testing"
)

func TestCheckGroups(t *testing.T) {
	group := func(lease string, addresses ...string) GroupSpec {
		g := GroupSpec{Namespace: "kube-system", Lease: lease}
		for _, a := range addresses {
			g.Addresses = append(g.Addresses, netip.MustParseAddr(a))
		}
		return g
	}
	for _, c := range []struct {
		groups []GroupSpec
		want   string // part of the error, "" for none
	}{
		{[]GroupSpec{group("a", "192.168.35.100"), group("b", "192.168.35.101", "192.168.35.102")}, ""},
		{[]GroupSpec{group("a", "192.168.35.100"), group("b", "192.168.35.101", "192.168.35.100")}, "address 192.168.35.100 twice"},
		{[]GroupSpec{group("a", "192.168.35.100"), group("a", "192.168.35.101")}, "two groups with lease kube-system/a"},
		{[]GroupSpec{group("a")}, "no address"},
	} {
		err := checkGroups(c.groups)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: error %v, want %q", c.groups, err, c.want)
		}
	}
}
