package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
)

// The checks that ask the link by ARP.

var gatewaySilent = Check{ID: "D02", Title: "gateway answers", Modes: everywhere, Look: func(ctx context.Context, c *Case) ([]Finding, error) {
	return c.silentGateways(ctx, true, func(r Route, l Link) Finding {
		return Finding{Severity: Error, Seen: fmt.Sprintf("the gateway %s does not answer ARP on %s (3 times, 1 s)", r.Gateway, l.Name),
			Why: "nothing beyond this subnet can be reached, and hosts there get no answer from the VIP. ARP is not turned off as ping is: the address is wrong, or the link is",
			Mend: []string{"is it the right address? kubectl -n NAMESPACE get inclusterippool POOL -o jsonpath='{.spec.gateway}'",
				fmt.Sprintf("does another host of the subnet answer? arping -c 3 -I %s OTHER_HOST", l.Name),
				"if so, the gateway is down or its address wrong; if not, it is the port group or VLAN of the VM's network adapter"}}
	})
}}

// A gateway off the link is none if it answers: some providers of machines have it so,
// with a route that says onlink.
var gatewayOffLink = Check{ID: "D03", Title: "gateway on the link", Modes: everywhere, Look: func(ctx context.Context, c *Case) ([]Finding, error) {
	return c.silentGateways(ctx, false, func(r Route, l Link) Finding {
		return Finding{Severity: Error,
			Seen: fmt.Sprintf("the gateway %s is in no subnet of %s, which has %s, and does not answer ARP there%s", r.Gateway, l.Name, orNone(c.Facts.addresses(r.Index)), c.delivered(ctx, r.Gateway)),
			Why:  "hosts on this link do not answer for an address of another subnet, so what is sent there goes nowhere; answers to clients of the VIP beyond this subnet do, too",
			Mend: []string{"compare prefix and gateway of the pool; a prefix of 32 or 25 is the usual cause:",
				"kubectl -n NAMESPACE get inclusterippool POOL -o jsonpath='{.spec.prefix} {.spec.gateway}'",
				fmt.Sprintf("on this node, until the next reboot: ip address add NODE_ADDRESS/PREFIX dev %s; ip route replace default via GATEWAY dev %s", l.Name, l.Name)}}
	})
}}

// silentGateways asks those of the default routes that are on their link, or those that
// are not, all at once, and finds the ones that do not answer.
func (c *Case) silentGateways(ctx context.Context, onLink bool, silent func(Route, Link) Finding) ([]Finding, error) {
	var routes []Route
	for _, r := range c.Facts.defaults() {
		l, ok := c.Facts.link(r.Index)
		same := func(o Route) bool { return o.Gateway == r.Gateway && o.Index == r.Index } // with another metric
		if ok && l.Up && r.Gateway.IsValid() && c.Facts.onLink(r.Gateway, r.Index) == onLink && !slices.ContainsFunc(routes, same) {
			routes = append(routes, r)
		}
	}
	findings, errs := make([]*Finding, len(routes)), make([]error, len(routes))
	var all sync.WaitGroup
	for i, r := range routes {
		all.Go(func() {
			l, _ := c.Facts.link(r.Index)
			macs, err := c.Questions.Who(ctx, l, r.Gateway, 1)
			switch {
			case err != nil:
				errs[i] = fmt.Errorf("ask %s for the gateway %s: %w", l.Name, r.Gateway, err)
			case len(macs) == 0:
				f := silent(r, l)
				findings[i] = &f
			}
		})
	}
	all.Wait()
	var out []Finding
	for _, f := range findings {
		if f != nil {
			out = append(out, *f)
		}
	}
	return out, errors.Join(errs...)
}

var vipTaken = Check{ID: "D09", Title: "VIP at one machine", Modes: Node | Preflight, Look: func(ctx context.Context, c *Case) ([]Finding, error) {
	l, ok := c.Facts.vipLink()
	if !ok || !l.Up || c.Facts.special() != "" { // D06 and D08 tell
		return nil, nil
	}
	macs, err := c.whoHasVIP(ctx, l)
	if err != nil {
		return nil, err
	}
	at := join(macs)
	mend := []string{"find the machine by its MAC: vipd doctor explain D09 has a command for vSphere; else the switch's table of MACs",
		"unless the lease names it (vipd status): take the address away there, and exclude it from DHCP and from IPAM pools (spec.excludedAddresses)"}
	switch {
	case len(macs) > 1:
		return []Finding{{Severity: Error, Mark: "several", Seen: fmt.Sprintf("%d machines answer for %s: %s", len(macs), c.Facts.VIP, at),
			Why:  "clients reach one or the other, by chance",
			Mend: append([]string{"is it one node with two adapters on this link? Compare with: ip link, on the holder"}, mend...)}}, nil
	case len(macs) == 1 && c.Facts.Holder:
		return []Finding{{Severity: Error, Mark: "stranger", Seen: fmt.Sprintf("this node holds the VIP, and %s answers for %s, too", at, c.Facts.VIP),
			Why: "clients reach one or the other, by chance; vipd defends the address and cannot silence another machine", Mend: mend}}, nil
	case len(macs) == 1 && c.Mode == Preflight:
		return []Finding{{Severity: Warning, Mark: "answered", Seen: fmt.Sprintf("%s is answered already, by %s", c.Facts.VIP, at),
			Why:  "a node that joins expects this: it is the holder. If this is the cluster's first node, another machine has its address",
			Mend: append([]string{"joining a cluster that runs: nothing. The first node of a new one:"}, mend...)}}, nil
	case len(macs) == 1 && c.Facts.LeaseKnown && c.Facts.LeaseHolder == "":
		return []Finding{{Severity: Error, Mark: "stranger", Seen: fmt.Sprintf("%s is answered by %s, and nobody holds the lease", c.Facts.VIP, at),
			Why: "a machine that no vipd knows of has the address", Mend: mend}}, nil
	}
	return nil, nil
}}

// whoHasVIP are the other machines that answer for the VIP, asked once for all checks.
func (c *Case) whoHasVIP(ctx context.Context, l Link) ([]net.HardwareAddr, error) {
	c.whoHas.Do(func() {
		macs, err := c.Questions.Who(ctx, l, c.Facts.VIP, 0)
		if err != nil {
			c.whoHasErr = fmt.Errorf("ask %s for the VIP: %w", l.Name, err)
		}
		c.haveVIP = slices.DeleteFunc(macs, func(m net.HardwareAddr) bool { return c.Facts.own(m) })
	})
	return c.haveVIP, c.whoHasErr
}

// own tells whether an interface of this machine has the MAC.
func (f Facts) own(mac net.HardwareAddr) bool {
	return slices.ContainsFunc(f.Links, func(l Link) bool { return l.MAC.String() == mac.String() })
}

func join(macs []net.HardwareAddr) string {
	var out []string
	for _, m := range macs {
		out = append(out, m.String())
	}
	return strings.Join(out, ", ")
}
