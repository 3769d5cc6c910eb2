package doctor

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// What the management of virtual machines (CAPV) handed over to this one, held against
// what is here.

// Guest is what this machine was told of its network.
type Guest struct {
	Devices []GuestDevice
	// Routes: there are routes for the whole machine, on which cloud-init stops.
	Routes bool
	// Waits: cloud-init was to wait for an IPv4 address.
	Waits bool
	// Errors are what cloud-init recorded before the network was up.
	Errors []string
}

// GuestDevice is what was said of one interface, IPv4 only.
type GuestDevice struct {
	MAC       net.HardwareAddr
	Name      string
	Addresses []netip.Prefix
	// Gateway may be invalid: none was handed over.
	Gateway netip.Addr
	DHCP    bool
}

// told is what this machine was told, nil if nothing is known of it.
func (c *Case) told(ctx context.Context) (*Guest, error) {
	if c.Questions.Guest == nil {
		return nil, nil
	}
	return c.Questions.Guest(ctx)
}

// here is what an interface is called here that something was handed over for, and
// whether there is one with its MAC.
func (f Facts) here(d GuestDevice) (name string, ok bool) {
	for _, l := range f.Links {
		if d.MAC != nil && l.MAC.String() == d.MAC.String() {
			return l.Name, true
		}
	}
	return likelyName(f), d.MAC == nil
}

// blame says in a finding of no default route whose doing it is, if that is known.
func (c *Case) blame(ctx context.Context, f *Finding) {
	g, err := c.told(ctx)
	switch {
	case err != nil:
		f.Mend = append(f.Mend, fmt.Sprintf("(what CAPV delivered could not be read: %v)", err))
	case g == nil:
	case g.Routes:
		c.vmRoutes(g, f)
	default:
		c.gatewayOf(g, f)
	}
}

// vmRoutes: CAPV writes them where cloud-init does not know them, and it stops there.
func (c *Case) vmRoutes(g *Guest, f *Finding) {
	f.Mark = "VM routes"
	f.Seen += ". CAPV delivered routes for the whole machine, which stop cloud-init before it has set up any interface" + recorded(g)
	f.Mend = []string{f.Mend[0],
		"for good: move spec.template.spec.network.routes of the VSphereMachineTemplate to network.devices[].routes, or give the pool a gateway; then replace the machines:",
		"clusterctl alpha rollout restart kubeadmcontrolplane/NAME -n NAMESPACE"}
}

// gatewayOf tells the pool without a gateway from the guest that did not apply one.
func (c *Case) gatewayOf(g *Guest, f *Finding) {
	var addresses, asks []string
	for _, d := range g.Devices {
		if d.Gateway.IsValid() {
			c.notApplied(g, d, f)
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
		f.Mark = "DHCP"
		f.Seen += ". CAPV leaves the gateway to DHCP on " + strings.Join(asks, ", ") + ", and none came"
		f.Mend = append([]string{f.Mend[0], "the DHCP server must hand out a router (option 3)"}, f.Mend[1:]...)
	case len(addresses) > 0:
		f.Mark = "no gateway delivered"
		f.Seen += fmt.Sprintf(". CAPV delivered no gateway beside %s: the IP pool has none", strings.Join(addresses, ", "))
		f.Mend[1] = "for good: give the pool its gateway (without a pool: network.devices[].gateway4 of the VSphereMachineTemplate):"
	}
}

func (c *Case) notApplied(g *Guest, d GuestDevice, f *Finding) {
	f.Mark = "not applied"
	f.Seen += fmt.Sprintf(". CAPV delivered gateway4 %s, and the guest did not apply it, or has lost it since", d.Gateway)
	name, ok := c.Facts.here(d)
	if !ok {
		f.Seen += fmt.Sprintf("; it was for the adapter %s, which this machine does not have", d.MAC)
	}
	f.Seen += recorded(g)
	f.Mend = []string{
		fmt.Sprintf("on this node, until the next reboot: ip route add default via %s dev %s", d.Gateway, name),
		"why it was not applied: cloud-init status --long; grep -iE 'error|warn' /var/log/cloud-init.log",
		fmt.Sprintf(`AlmaLinux: nmcli connection modify "cloud-init %s" ipv4.gateway %s && nmcli connection up "cloud-init %s"; does another profile compete? See D22`, name, d.Gateway, name),
		"Ubuntu: is it in /etc/netplan/50-cloud-init.yaml? Then: netplan apply",
	}
}

// recorded is the first of cloud-init's early errors, for people.
func recorded(g *Guest) string {
	if len(g.Errors) == 0 {
		return ""
	}
	return fmt.Sprintf(". cloud-init recorded: %.200q", g.Errors[0])
}

// delivered says what prefix came with a gateway, if that is known.
func (c *Case) delivered(ctx context.Context, gateway netip.Addr) string {
	g, err := c.told(ctx)
	if err != nil || g == nil {
		return "" // the finding stands without it
	}
	for _, d := range g.Devices {
		if d.Gateway != gateway || len(d.Addresses) == 0 {
			continue
		}
		if d.Addresses[0].Contains(gateway) {
			return fmt.Sprintf("; CAPV delivered it with %s, which holds it: the guest did not apply that", d.Addresses[0])
		}
		return fmt.Sprintf("; CAPV delivered it like that, with %s: it is the pool's prefix or gateway", d.Addresses[0])
	}
	return ""
}

// cloudInitDidNotWait explains errors that look worse than they are. It says nothing
// unless there are some, and the network came up in the end: on a machine that CAPV
// gave a static address wait-on-network is always false, and that alone is no fault.
var cloudInitDidNotWait = Check{ID: "D31", Title: "cloud-init and the network", Modes: Node | Preflight, Look: func(ctx context.Context, c *Case) ([]Finding, error) {
	if len(c.Facts.defaults()) == 0 {
		return nil, nil // D01 tells
	}
	g, err := c.told(ctx)
	if err != nil || g == nil || g.Waits || g.Routes || len(g.Errors) == 0 {
		return nil, nil // what cannot be read explains nothing, and is no fault
	}
	for _, d := range g.Devices {
		if len(d.Addresses) > 0 && !d.DHCP {
			return []Finding{{Severity: Info, Seen: fmt.Sprintf("cloud-init recorded %d errors before the network was up, the first is %.200q; it was told not to wait for the network", len(g.Errors), g.Errors[0]),
				Why: "CAPV says so for every static address (wait-on-network.ipv4: false). The network came up later, so the VIP does not suffer from it, and such errors may be harmless; " +
					"what needed the node's address in that moment (local_ipv4 in cloud-init's templates) may be missing",
				Mend: []string{"nothing, if kubeadm ran; else see which: cloud-init status --long; less /var/log/cloud-init-output.log"}}}, nil
		}
	}
	return nil, nil
}}
