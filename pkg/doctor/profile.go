package doctor

import (
	"context"
	"fmt"
	"strings"
)

// What NetworkManager makes of the VIP's interface.

// Managed is a link as NetworkManager manages it.
type Managed struct {
	// State is NetworkManager's word for the device: activated, failed, ...
	State string
	// Active is the profile that is in force, nil if none is.
	Active *Profile
	// Others are those that may be activated on the link as well.
	Others []Profile
}

// Profile is a connection profile of NetworkManager.
type Profile struct {
	Name, UUID string
	// IPv4 is how it sets the link up, for people: method, addresses, gateway.
	IPv4 string
	// Gateway: it leads somewhere by default, or may come to by DHCP.
	Gateway bool
	// Autoconnect and Priority decide which profile is taken at boot: the highest.
	Autoconnect bool
	Priority    int
	// CloudInit: cloud-init or netplan wrote it.
	CloudInit bool
}

func (p Profile) String() string { return fmt.Sprintf("%q (%s)", p.Name, p.IPv4) }

var competingProfile = Check{ID: "D22", Title: "NetworkManager", Modes: everywhere, Look: func(ctx context.Context, c *Case) ([]Finding, error) {
	l, ok := c.Facts.vipLink()
	if !ok || c.Questions.Profile == nil {
		return nil, nil
	}
	m, err := c.Questions.Profile(ctx, l)
	if err != nil {
		return nil, fmt.Errorf("ask NetworkManager about %s: %w", l.Name, err)
	}
	if m == nil {
		return nil, nil
	}
	switch {
	case m.State == "failed", m.State == "disconnected":
		return []Finding{{Severity: Warning, Mark: "state", Seen: fmt.Sprintf("NetworkManager has %s as %s: no profile is in force on it", l.Name, m.State),
			Why:  "what addresses and routes there are now are nobody's, and are gone with the next boot; NetworkManager may try a profile again at any time",
			Mend: []string{"nmcli device status; nmcli connection show", "journalctl -u NetworkManager -b | tail -n 50"}}}, nil
	case m.Active == nil:
		return nil, nil // on the way
	case !m.Active.CloudInit:
		return c.notCloudInits(l, m), nil
	}
	return rivals(l, m), nil
}}

// notCloudInits: another profile than cloud-init's is in force. That is as it should be
// where cloud-init has none, or both say the same.
func (c *Case) notCloudInits(l Link, m *Managed) []Finding {
	for _, p := range m.Others {
		if p.CloudInit && p.IPv4 != m.Active.IPv4 {
			return []Finding{{Severity: Warning, Mark: "active", Seen: fmt.Sprintf("the profile %s is active on %s, and not %s, which cloud-init wrote", m.Active, l.Name, p),
				Why: "this node has not what it was given, such as its gateway; an empty gateway in nmtui is that of the profile which the VM template brought along. " +
					"The VIP follows the node's addresses and routes",
				Mend: append([]string{"from the VM's console, as it interrupts the network: nmcli connection up " + quoted(p.Name)}, remove(*m.Active)...)}}
		}
	}
	if m.Active.Gateway || len(c.Facts.defaults()) > 0 {
		return nil
	}
	return []Finding{{Severity: Warning, Mark: "no gateway", Seen: fmt.Sprintf("the profile %s is active on %s and has no gateway", m.Active, l.Name),
		Why:  "this is why nmtui shows an empty gateway, and why there is no default route; cloud-init has written no profile for this interface",
		Mend: []string{fmt.Sprintf("nmcli connection modify %s ipv4.gateway GATEWAY ipv4.never-default no && nmcli device reapply %s", quoted(m.Active.Name), l.Name)}}}
}

// rivals are profiles that may be taken at the next boot, instead of cloud-init's.
func rivals(l Link, m *Managed) (out []Finding) {
	for _, p := range m.Others {
		if p.CloudInit || !p.Autoconnect || p.Priority < m.Active.Priority || p.IPv4 == m.Active.IPv4 {
			continue
		}
		out = append(out, Finding{Severity: Warning, Mark: "rival",
			Seen: fmt.Sprintf("the profile %s competes with %s on %s: its autoconnect-priority is %d, that of the active one %d", p, m.Active, l.Name, p.Priority, m.Active.Priority),
			Why:  "at the next boot NetworkManager may take it instead, and the node comes up with other addresses or without a gateway, and so without the VIP",
			Mend: remove(p)})
	}
	return out
}

// remove says how to be rid of a profile. By its UUID, as names need not be unique.
func remove(p Profile) []string {
	return []string{fmt.Sprintf("nmcli connection delete %s   # %q", p.UUID, p.Name),
		"and in the VM template, before it is made one: rm /etc/NetworkManager/system-connections/*.nmconnection /etc/sysconfig/network-scripts/ifcfg-*"}
}

// quoted is for a shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
