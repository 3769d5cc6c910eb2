package doctor

import (
	"context"
	"fmt"
	"strings"
)

// The check of NetworkManager's profiles for the VIP's interface.

// Managed is NetworkManager's state of a link.
type Managed struct {
	// State is NetworkManager's state of the device: activated, failed, ...
	State string
	// Active is the active profile, or nil.
	Active *Profile
	// Others are other profiles that can be activated on the link.
	Others []Profile
}

// Profile is a connection profile of NetworkManager.
type Profile struct {
	Name, UUID string
	// IPv4 describes the IPv4 settings for messages: method, addresses, gateway.
	IPv4 string
	// Gateway: the profile sets a gateway, or may get one by DHCP.
	Gateway bool
	// Autoconnect and Priority determine the profile that is activated at boot.
	Autoconnect bool
	Priority    int
	// CloudInit: cloud-init or netplan wrote the profile.
	CloudInit bool
}

func (p Profile) String() string { return fmt.Sprintf("%q (%s)", p.Name, p.IPv4) }

var competingProfile = Check{ID: "D22", Title: "NetworkManager", Modes: everywhere, Run: func(ctx context.Context, in *Input) ([]Finding, error) {
	l, ok := in.Facts.vipLink()
	if !ok || in.Queries.Profile == nil {
		return nil, nil
	}
	m, err := in.Queries.Profile(ctx, l)
	if err != nil {
		return nil, fmt.Errorf("ask NetworkManager about %s: %w", l.Name, err)
	}
	if m == nil {
		return nil, nil
	}
	switch {
	case m.State == "failed", m.State == "disconnected":
		return []Finding{{Severity: Warning, Kind: "state", Seen: fmt.Sprintf("NetworkManager reports %s as %s: no profile is active on the interface", l.Name, m.State),
			Why:    "no profile owns the present addresses and routes, which disappear at the next boot; NetworkManager may activate a profile at any time",
			Remedy: []string{"nmcli device status; nmcli connection show", "journalctl -u NetworkManager -b | tail -n 50"}}}, nil
	case m.Active == nil:
		return nil, nil // activation is in progress
	case !m.Active.CloudInit:
		return in.foreignProfile(l, m), nil
	}
	return competingProfiles(l, m), nil
}}

// foreignProfile: another profile than cloud-init's is active. That is correct if cloud-init has
// no profile, or if both have the same settings.
func (in *Input) foreignProfile(l Link, m *Managed) []Finding {
	for _, p := range m.Others {
		if p.CloudInit && p.IPv4 != m.Active.IPv4 {
			return []Finding{{Severity: Warning, Kind: "active", Seen: fmt.Sprintf("the profile %s is active on %s, and not %s, which cloud-init wrote", m.Active, l.Name, p),
				Why: "this node lacks settings that cloud-init configured, such as the gateway; an empty gateway in nmtui belongs to the profile from the VM template. " +
					"The VIP depends on the node's addresses and routes",
				Remedy: append([]string{"on the VM's console, because the network is interrupted: nmcli connection up " + shellQuoted(p.Name)}, removalRemedy(*m.Active)...)}}
		}
	}
	if m.Active.Gateway || len(in.Facts.defaultRoutes()) > 0 {
		return nil
	}
	return []Finding{{Severity: Warning, Kind: "no gateway", Seen: fmt.Sprintf("the profile %s is active on %s and has no gateway", m.Active, l.Name),
		Why:    "for this reason nmtui shows an empty gateway, and there is no default route; cloud-init has written no profile for this interface",
		Remedy: []string{fmt.Sprintf("nmcli connection modify %s ipv4.gateway GATEWAY ipv4.never-default no && nmcli device reapply %s", shellQuoted(m.Active.Name), l.Name)}}}
}

// competingProfiles reports profiles that may be activated at the next boot instead of
// cloud-init's.
func competingProfiles(l Link, m *Managed) (out []Finding) {
	for _, p := range m.Others {
		if p.CloudInit || !p.Autoconnect || p.Priority < m.Active.Priority || p.IPv4 == m.Active.IPv4 {
			continue
		}
		out = append(out, Finding{Severity: Warning, Kind: "rival",
			Seen:   fmt.Sprintf("the profile %s competes with %s on %s: its autoconnect-priority is %d, the active profile has %d", p, m.Active, l.Name, p.Priority, m.Active.Priority),
			Why:    "at the next boot NetworkManager may activate this profile instead; the node then has other addresses or no gateway, and cannot hold the VIP",
			Remedy: removalRemedy(p)})
	}
	return out
}

// removalRemedy states how to delete a profile: by UUID, because names need not be unique.
func removalRemedy(p Profile) []string {
	return []string{fmt.Sprintf("nmcli connection delete %s   # %q", p.UUID, p.Name),
		"also on the VM that becomes the template: rm /etc/NetworkManager/system-connections/*.nmconnection /etc/sysconfig/network-scripts/ifcfg-*"}
}

// shellQuoted quotes a string for a shell.
func shellQuoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
