package doctor

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// The network configuration that CAPV delivered to this virtual machine, compared with the
// actual state.

// Guest is the network configuration that CAPV delivered.
type Guest struct {
	Devices []GuestDevice
	// Routes: there are machine-level routes, on which cloud-init fails.
	Routes bool
	// Waits: cloud-init is configured to wait for an IPv4 address.
	Waits bool
	// Errors are the errors that cloud-init recorded before the network was up.
	Errors []string
}

// GuestDevice is the IPv4 configuration of one interface.
type GuestDevice struct {
	MAC       net.HardwareAddr
	Name      string
	Addresses []netip.Prefix
	// Gateway is invalid if CAPV delivered none.
	Gateway netip.Addr
	DHCP    bool
}

// guestConfig returns the configuration that CAPV delivered, or nil if unknown.
func (in *Input) guestConfig(ctx context.Context) (*Guest, error) {
	if in.Queries.Guest == nil {
		return nil, nil
	}
	return in.Queries.Guest(ctx)
}

// linkNameFor returns the interface of this machine for a delivered configuration. ok is
// false if no interface has the MAC.
func (f Facts) linkNameFor(d GuestDevice) (name string, ok bool) {
	for _, l := range f.Links {
		if d.MAC != nil && l.MAC.String() == d.MAC.String() {
			return l.Name, true
		}
	}
	return defaultRouteLink(f), d.MAC == nil
}

// explainMissingRoute adds the cause to a finding of D01, if the cause is known.
func (in *Input) explainMissingRoute(ctx context.Context, f *Finding) {
	g, err := in.guestConfig(ctx)
	switch {
	case err != nil:
		f.Remedy = append(f.Remedy, fmt.Sprintf("(could not read the configuration that CAPV delivered: %v)", err))
	case g == nil:
	case g.Routes:
		in.routesOnVM(g, f)
	default:
		in.compareGateway(g, f)
	}
}

// routesOnVM: CAPV writes machine-level routes to a field that cloud-init does not know, and
// cloud-init stops with an error.
func (in *Input) routesOnVM(g *Guest, f *Finding) {
	f.Kind = "VM routes"
	f.Seen += ". CAPV delivered machine-level routes; cloud-init fails on these before the setup of any interface" + firstCloudInitError(g)
	f.Remedy = []string{f.Remedy[0],
		"permanently: move spec.template.spec.network.routes of the VSphereMachineTemplate to network.devices[].routes, or give the pool a gateway; then replace the machines:",
		"clusterctl alpha rollout restart kubeadmcontrolplane/NAME -n NAMESPACE"}
}

// compareGateway distinguishes a pool without a gateway from a guest that did not apply the
// gateway.
func (in *Input) compareGateway(g *Guest, f *Finding) {
	var addresses, asks []string
	for _, d := range g.Devices {
		if d.Gateway.IsValid() {
			in.gatewayNotApplied(g, d, f)
			return
		}
		for _, a := range d.Addresses {
			addresses = append(addresses, a.String())
		}
		if d.DHCP {
			asks = append(asks, d.Name)
		}
	}
	switch {
	case len(asks) > 0:
		f.Kind = "DHCP"
		f.Seen += ". CAPV leaves the gateway to DHCP on " + strings.Join(asks, ", ") + ", and DHCP delivered none"
		f.Remedy = append([]string{f.Remedy[0], "the DHCP server must hand out a router (option 3)"}, f.Remedy[1:]...)
	case len(addresses) > 0:
		f.Kind = "no gateway delivered"
		f.Seen += fmt.Sprintf(". CAPV delivered %s without a gateway: the IP pool has none", strings.Join(addresses, ", "))
		f.Remedy[1] = "permanently: set the gateway of the pool (without a pool: network.devices[].gateway4 of the VSphereMachineTemplate):"
	}
}

func (in *Input) gatewayNotApplied(g *Guest, d GuestDevice, f *Finding) {
	f.Kind = "not applied"
	f.Seen += fmt.Sprintf(". CAPV delivered gateway4 %s, and the guest did not apply that gateway, or lost it later", d.Gateway)
	name, ok := in.Facts.linkNameFor(d)
	if !ok {
		f.Seen += fmt.Sprintf("; the gateway was for the adapter %s, which this machine does not have", d.MAC)
	}
	f.Seen += firstCloudInitError(g)
	f.Remedy = []string{
		fmt.Sprintf("on this node, until the next reboot: ip route add default via %s dev %s", d.Gateway, name),
		"to find the cause: cloud-init status --long; grep -iE 'error|warn' /var/log/cloud-init.log",
		fmt.Sprintf(`AlmaLinux: nmcli connection modify "cloud-init %s" ipv4.gateway %s && nmcli connection up "cloud-init %s"; does another profile compete? See D22`, name, d.Gateway, name),
		"Ubuntu: if the gateway is in /etc/netplan/50-cloud-init.yaml: netplan apply",
	}
}

// firstCloudInitError quotes the first early error of cloud-init for messages.
func firstCloudInitError(g *Guest) string {
	if len(g.Errors) == 0 {
		return ""
	}
	return fmt.Sprintf(". cloud-init recorded: %.200q", g.Errors[0])
}

// deliveredPrefix describes the prefix that CAPV delivered with a gateway, if known.
func (in *Input) deliveredPrefix(ctx context.Context, gateway netip.Addr) string {
	g, err := in.guestConfig(ctx)
	if err != nil || g == nil {
		return "" // the finding is valid without this detail
	}
	for _, d := range g.Devices {
		if d.Gateway != gateway || len(d.Addresses) == 0 {
			continue
		}
		if d.Addresses[0].Contains(gateway) {
			return fmt.Sprintf("; CAPV delivered the gateway with %s, which contains the gateway: the guest did not apply that prefix", d.Addresses[0])
		}
		return fmt.Sprintf("; CAPV delivered the gateway with %s: the prefix or the gateway of the pool is wrong", d.Addresses[0])
	}
	return ""
}

// cloudInitDidNotWait explains errors that look worse than they are. The check reports only if
// cloud-init recorded errors and the network came up later: with static addresses, CAPV always
// sets wait-on-network to false, which alone is no fault.
var cloudInitDidNotWait = Check{ID: "D31", Title: "cloud-init and the network", Modes: Node | Preflight, Run: func(ctx context.Context, in *Input) ([]Finding, error) {
	if len(in.Facts.defaultRoutes()) == 0 {
		return nil, nil // D01 reports it
	}
	g, err := in.guestConfig(ctx)
	if err != nil || g == nil || g.Waits || g.Routes || len(g.Errors) == 0 {
		return nil, nil // an unreadable configuration is no fault
	}
	for _, d := range g.Devices {
		if len(d.Addresses) > 0 && !d.DHCP {
			return []Finding{{Severity: Info, Seen: fmt.Sprintf("cloud-init recorded %d errors before the network was up, the first is %.200q; cloud-init is configured not to wait for the network", len(g.Errors), g.Errors[0]),
				Why: "CAPV configures that for every static address (wait-on-network.ipv4: false). The network came up later, so the VIP is not affected, and such errors may be harmless; " +
					"values that needed the node's address at that time (local_ipv4 in cloud-init's templates) may be missing",
				Remedy: []string{"nothing, if kubeadm ran; otherwise see the errors: cloud-init status --long; less /var/log/cloud-init-output.log"}}}, nil
		}
	}
	return nil, nil
}}
