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

// The checks that send ARP probes.

var gatewaySilent = Check{ID: "D02", Title: "gateway answers", Modes: everywhere, Run: func(ctx context.Context, in *Input) ([]Finding, error) {
	return in.silentGateways(ctx, true, func(r Route, l Link) Finding {
		return Finding{Severity: Error, Seen: fmt.Sprintf("the gateway %s does not answer ARP on %s (3 times, 1 s)", r.Gateway, l.Name),
			Why: "this node cannot reach hosts outside of this subnet, and these hosts get no answer from the VIP. Unlike ping, ARP is never disabled: the address or the link is wrong",
			Remedy: []string{"is the address correct? kubectl -n NAMESPACE get inclusterippool POOL -o jsonpath='{.spec.gateway}'",
				fmt.Sprintf("does another host of the subnet answer? arping -c 3 -I %s OTHER_HOST", l.Name),
				"if so, the gateway is down or its address is wrong; if not, check the port group or VLAN of the VM's network adapter"}}
	})
}}

// A gateway outside of the link's subnets is no fault if the gateway answers: some providers
// configure such gateways, with an onlink route.
var gatewayOffLink = Check{ID: "D03", Title: "gateway on the link", Modes: everywhere, Run: func(ctx context.Context, in *Input) ([]Finding, error) {
	return in.silentGateways(ctx, false, func(r Route, l Link) Finding {
		return Finding{Severity: Error,
			Seen: fmt.Sprintf("the gateway %s is in no subnet of %s, which has %s, and does not answer ARP there%s", r.Gateway, l.Name, orNoAddress(in.Facts.describeAddresses(r.Index)), in.deliveredPrefix(ctx, r.Gateway)),
			Why:  "hosts on this link do not answer for an address of another subnet, so packets to the gateway are lost, including answers to clients of the VIP in other subnets",
			Remedy: []string{"compare prefix and gateway of the pool; a prefix of 32 or 25 is the usual cause:",
				"kubectl -n NAMESPACE get inclusterippool POOL -o jsonpath='{.spec.prefix} {.spec.gateway}'",
				fmt.Sprintf("on this node, until the next reboot: ip address add NODE_ADDRESS/PREFIX dev %s; ip route replace default via GATEWAY dev %s", l.Name, l.Name)}}
	})
}}

// silentGateways probes the gateways of the default routes that are in a subnet of their link,
// or those that are not, concurrently, and reports the gateways that do not answer.
func (in *Input) silentGateways(ctx context.Context, onLink bool, silent func(Route, Link) Finding) ([]Finding, error) {
	var routes []Route
	for _, r := range in.Facts.defaultRoutes() {
		l, ok := in.Facts.link(r.Index)
		same := func(o Route) bool { return o.Gateway == r.Gateway && o.Index == r.Index } // differs in the metric only
		if ok && l.Up && r.Gateway.IsValid() && in.Facts.onLink(r.Gateway, r.Index) == onLink && !slices.ContainsFunc(routes, same) {
			routes = append(routes, r)
		}
	}
	findings, errs := make([]*Finding, len(routes)), make([]error, len(routes))
	var all sync.WaitGroup
	for i, r := range routes {
		all.Go(func() {
			l, _ := in.Facts.link(r.Index)
			macs, err := in.Queries.AskARP(ctx, l, r.Gateway, 1)
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

var vipTaken = Check{ID: "D09", Title: "one machine with the VIP", Modes: Node | Preflight, Run: func(ctx context.Context, in *Input) ([]Finding, error) {
	l, ok := in.Facts.vipLink()
	if !ok || !l.Up || in.Facts.reservedAs() != "" { // D06 and D08 report it
		return nil, nil
	}
	macs, err := in.vipResponders(ctx, l)
	if err != nil {
		return nil, err
	}
	found := in.severalOwners(macs)
	if found == nil {
		return nil, nil
	}
	owners, proxies, err := in.withoutProxies(ctx, l, macs) // a question more, before anybody is accused
	if len(proxies) == 0 {
		return found, err
	}
	return append(in.severalOwners(owners), in.answersAll(proxies)), err
}}

// severalOwners reports the machines that answer for the VIP, unless it is the holder alone.
func (in *Input) severalOwners(macs []net.HardwareAddr) []Finding {
	at := joinMACs(macs)
	remedy := []string{"find the machine by its MAC: vipd doctor explain D09 has a command for vSphere; otherwise see the switch's MAC table",
		"unless the Lease names that machine (vipd status): remove the address there, and exclude the VIP from DHCP and from IPAM pools (spec.excludedAddresses)"}
	switch {
	case len(macs) > 1:
		return []Finding{{Severity: Error, Kind: "several", Seen: fmt.Sprintf("%d machines answer for %s: %s", len(macs), in.Facts.VIP, at),
			Why:    "clients reach one or the other machine at random",
			Remedy: append([]string{"are both MACs adapters of one node? Compare with: ip link, on the holder"}, remedy...)}}
	case len(macs) == 1 && in.Facts.Holder:
		return []Finding{{Severity: Error, Kind: "stranger", Seen: fmt.Sprintf("this node holds the VIP, and %s also answers for %s", at, in.Facts.VIP),
			Why: "clients reach one or the other machine at random; vipd defends the address and cannot silence another machine", Remedy: remedy}}
	case len(macs) == 1 && in.Mode == Preflight:
		return []Finding{{Severity: Warning, Kind: "answered", Seen: fmt.Sprintf("%s already answers for %s", at, in.Facts.VIP),
			Why:    "before kubeadm join this is normal: the holder answers. On the first node of a cluster, another machine has the VIP",
			Remedy: append([]string{"before joining a running cluster: nothing. On the first node of a new cluster:"}, remedy...)}}
	case len(macs) == 1 && in.Facts.LeaseKnown && in.Facts.LeaseHolder == "":
		return []Finding{{Severity: Error, Kind: "stranger", Seen: fmt.Sprintf("%s answers for %s, and nobody holds the Lease", at, in.Facts.VIP),
			Why: "a machine without vipd has the address", Remedy: remedy}}
	}
	return nil
}

// vipResponders returns the other machines that answer ARP for the VIP. The probes are sent
// once for all checks.
func (in *Input) vipResponders(ctx context.Context, l Link) ([]net.HardwareAddr, error) {
	in.respondersOnce.Do(func() {
		macs, err := in.Queries.AskARP(ctx, l, in.Facts.VIP, 0)
		if err != nil {
			in.respondersErr = fmt.Errorf("ask %s for the VIP: %w", l.Name, err)
		}
		in.responders = slices.DeleteFunc(macs, func(m net.HardwareAddr) bool { return in.Facts.hasMAC(m) })
	})
	return in.responders, in.respondersErr
}

// hasMAC reports whether an interface of this machine has the MAC.
func (f Facts) hasMAC(mac net.HardwareAddr) bool {
	return slices.ContainsFunc(f.Links, func(l Link) bool { return l.MAC.String() == mac.String() })
}

func joinMACs(macs []net.HardwareAddr) string {
	var out []string
	for _, m := range macs {
		out = append(out, m.String())
	}
	return strings.Join(out, ", ")
}
