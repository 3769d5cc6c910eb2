package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/vipd-io/vipd/pkg/doctor"
	"github.com/vipd-io/vipd/pkg/firewall"
)

// fences is how the tables of all vipds begin, see tableName.
const fences = "vipd-"

// firewall asks the kernel for rules, and firewalld for its zone. The kernel's word
// counts where it has firewalld's table.
func (c *consultation) firewall(ctx context.Context, l doctor.Link) (out doctor.Firewall, err error) {
	zone, errZone := firewall.ZoneOf(ctx, l.Name, c.port)
	if zone != nil {
		out.Zone = zone.Name
	}
	got, err := firewall.Judge(firewall.Connection{Interface: l.Name, Index: l.Index, To: c.vip, Port: c.port}, firewall.Options{Ignore: fences})
	if err != nil {
		return out, errors.Join(fmt.Errorf("%w (needs CAP_NET_ADMIN)", err), errZone)
	}
	for _, b := range got.Blocks {
		out.Rules = append(out.Rules, doctor.FirewallRule(b))
	}
	out.ZoneClosed = zone != nil && zone.Closed && !got.FirewallD
	if got.FirewallD || len(out.Rules) > 0 {
		errZone = nil // all is known but the zone's name
	}
	return out, errZone
}
