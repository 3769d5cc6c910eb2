package gather

import (
	"context"
	"errors"
	"fmt"

	"github.com/vipd-io/vipd/internal/doctor"
	"github.com/vipd-io/vipd/internal/firewall"
)

// fenceTables is the common prefix of vipd's nftables tables.
const fenceTables = "vipd-"

// firewall reads the kernel's rules, and firewalld's zone. The rules take precedence if the
// kernel has firewalld's table.
func (r *Request) firewall(ctx context.Context, l doctor.Link) (out doctor.Firewall, err error) {
	zone, errZone := firewall.ZoneOf(ctx, l.Name, r.Port)
	if zone != nil {
		out.Zone = zone.Name
	}
	got, err := firewall.Judge(firewall.Connection{Interface: l.Name, Index: l.Index, To: r.VIP, Port: r.Port}, firewall.Options{Ignore: fenceTables})
	if err != nil {
		return out, errors.Join(fmt.Errorf("%w (needs CAP_NET_ADMIN)", err), errZone)
	}
	for _, b := range got.Blocks {
		out.Rules = append(out.Rules, doctor.FirewallRule(b))
	}
	for _, b := range got.Outgoing {
		out.Outgoing = append(out.Outgoing, doctor.FirewallRule(b))
	}
	out.ZoneClosed = zone != nil && zone.Closed && !got.FirewallD
	if got.FirewallD || len(out.Rules) > 0 {
		errZone = nil // all is known but the zone's name
	}
	return out, errZone
}
