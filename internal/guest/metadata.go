// Package guest reads the configuration of this virtual machine: what Cluster API's provider for
// vSphere (CAPV) wrote into guestinfo.metadata, and the status of cloud-init in
// /run/cloud-init/status.json. It changes neither.
package guest

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Metadata is the part of CAPV's metadata about the network.
type Metadata struct {
	Ethernets []Ethernet
	// Routes tells whether there are routes for the whole machine, in addition to those of its
	// interfaces.
	Routes bool
	// Waits tells whether cloud-init has to wait for an IPv4 address.
	Waits bool
}

// Ethernet is one interface, with its IPv4 configuration only.
type Ethernet struct {
	// MAC identifies the adapter, and Name is the name to give it.
	MAC       net.HardwareAddr
	Name      string
	Addresses []netip.Prefix
	// Gateway is gateway4, or the next hop of a default route; invalid for none.
	Gateway     netip.Addr
	Nameservers []netip.Addr
	DHCP        bool
}

// document is guestinfo.metadata, in the format of CAPV's template (pkg/util/constants.go).
type document struct {
	Wait struct {
		IPv4 bool `json:"ipv4"`
	} `json:"wait-on-network"`
	Network struct {
		Ethernets map[string]ethernet `json:"ethernets"`
		Routes    []route             `json:"routes"`
	} `json:"network"`
}

type ethernet struct {
	Match struct {
		MAC string `json:"macaddress"`
	} `json:"match"`
	Name        string   `json:"set-name"`
	DHCP        bool     `json:"dhcp4"`
	Addresses   []string `json:"addresses"`
	Gateway     string   `json:"gateway4"`
	Routes      []route  `json:"routes"`
	Nameservers struct {
		Addresses []string `json:"addresses"`
	} `json:"nameservers"`
}

type route struct {
	To  string `json:"to"`
	Via string `json:"via"`
}

// Parse parses guestinfo.metadata: YAML, in base64 or plain. The result is nil if it contains no
// network configuration, for example after cloud-init has redacted it ("---").
func Parse(text []byte) (*Metadata, error) {
	text = bytes.TrimSpace(text)
	if plain, err := base64.StdEncoding.DecodeString(string(text)); err == nil {
		text = plain
	}
	var d document
	if err := yaml.Unmarshal(text, &d); err != nil {
		return nil, fmt.Errorf("read guestinfo.metadata: %w", err)
	}
	if len(d.Network.Ethernets) == 0 {
		return nil, nil
	}
	m := &Metadata{Routes: len(d.Network.Routes) > 0, Waits: d.Wait.IPv4}
	for _, id := range slices.Sorted(maps.Keys(d.Network.Ethernets)) {
		e, err := d.Network.Ethernets[id].read()
		if err != nil {
			return nil, fmt.Errorf("read guestinfo.metadata: %.40q: %w", id, err)
		}
		m.Ethernets = append(m.Ethernets, e)
	}
	return m, nil
}

func (e ethernet) read() (Ethernet, error) {
	out := Ethernet{Name: e.Name, DHCP: e.DHCP}
	if e.Match.MAC != "" {
		mac, err := net.ParseMAC(e.Match.MAC)
		if err != nil {
			return Ethernet{}, fmt.Errorf("%.40q is not a MAC address", e.Match.MAC)
		}
		out.MAC = mac
	}
	for _, a := range e.Addresses {
		p, err := netip.ParsePrefix(a)
		if err != nil {
			return Ethernet{}, fmt.Errorf("%.40q is not an address with a prefix", a)
		}
		if p.Addr().Is4() {
			out.Addresses = append(out.Addresses, p)
		}
	}
	for _, a := range e.Nameservers.Addresses {
		if server, err := netip.ParseAddr(a); err == nil && server.Is4() {
			out.Nameservers = append(out.Nameservers, server)
		}
	}
	gateway := e.defaultVia()
	if gateway == "" {
		return out, nil
	}
	via, err := netip.ParseAddr(gateway)
	if err != nil || !via.Is4() {
		return Ethernet{}, fmt.Errorf("the gateway %.40q is not an IPv4 address", gateway)
	}
	out.Gateway = via
	return out, nil
}

// defaultVia returns the gateway, from either notation.
func (e ethernet) defaultVia() string {
	if e.Gateway != "" {
		return e.Gateway
	}
	for _, r := range e.Routes {
		if r.To == "0.0.0.0/0" || r.To == "default" && strings.Contains(r.Via, ".") { // "default" may mean IPv6
			return r.Via
		}
	}
	return ""
}
