// Package networkmanager asks NetworkManager over D-Bus about a link. It changes nothing, and never
// starts NetworkManager.
package networkmanager

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

const (
	name       = "org.freedesktop.NetworkManager"
	device     = name + ".Device"
	active     = name + ".Connection.Active"
	settings   = name + ".Settings"
	connection = settings + ".Connection"
	// none is "/", the null path of D-Bus.
	none = dbus.ObjectPath("/")
	// maxProfiles bounds the profiles that are read.
	maxProfiles = 200
)

// Device is a link that NetworkManager manages.
type Device struct {
	// State is an NMDeviceState in lower case: activated, failed ...
	State string
	// Active is the active profile, nil for none; Others are further profiles that match the link.
	Active *Profile
	Others []Profile
}

// Profile is the IPv4 part of a connection profile.
type Profile struct {
	Name, UUID, File    string
	Method              string
	Addresses           []string
	Gateway             string
	NeverDefault        bool
	Autoconnect         bool
	Priority            int
	kind, link, routeBy string
	mac                 net.HardwareAddr
}

// states maps NMDeviceState to names.
var states = map[uint32]string{10: "unmanaged", 20: "unavailable", 30: "disconnected", 40: "prepare", 50: "config", 60: "need-auth", 70: "ip-config",
	80: "ip-check", 90: "secondaries", 100: "activated", 110: "deactivating", 120: "failed"}

// Ask asks about a link by its name. The result is nil without a system bus, without
// NetworkManager, and if NetworkManager does not manage the link.
func Ask(ctx context.Context, link string, mac net.HardwareAddr) (*Device, error) {
	address := os.Getenv("DBUS_SYSTEM_BUS_ADDRESS")
	if address == "" {
		address = "unix:path=/run/dbus/system_bus_socket"
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := dbus.Connect(address, dbus.WithContext(ctx)) // also closed at the end of ctx
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("connect to the system bus: %w", errors.Join(err, ctx.Err()))
	}
	defer conn.Close() //nolint:errcheck // nothing to lose
	running := false
	if err := conn.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.NameHasOwner", 0, name).Store(&running); err != nil {
		return nil, fmt.Errorf("ask the system bus for NetworkManager: %w", err)
	}
	if !running {
		return nil, nil
	}
	return (&asker{ctx, conn}).device(link, mac)
}

type asker struct {
	ctx  context.Context //nolint:containedctx // for one Ask
	conn *dbus.Conn
}

// call calls a method without starting a service.
func (a *asker) call(at dbus.ObjectPath, method string, args ...any) *dbus.Call {
	return a.conn.Object(name, at).CallWithContext(a.ctx, method, dbus.FlagNoAutoStart, args...)
}

// get reads a property into a pointer.
func (a *asker) get(at dbus.ObjectPath, of, property string, into any) error {
	var v dbus.Variant
	if err := a.call(at, "org.freedesktop.DBus.Properties.Get", of, property).Store(&v); err != nil {
		return fmt.Errorf("read %s of %s: %w", property, at, err)
	}
	if err := v.Store(into); err != nil {
		return fmt.Errorf("read %s of %s: %w", property, at, err)
	}
	return nil
}

func (a *asker) device(link string, mac net.HardwareAddr) (*Device, error) {
	var at, current, profile dbus.ObjectPath
	err := a.call("/org/freedesktop/NetworkManager", name+".GetDeviceByIpIface", link).Store(&at)
	if e := (dbus.Error{}); errors.As(err, &e) && e.Name == name+".UnknownDevice" {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find the device: %w", err)
	}
	var state uint32
	if err := errors.Join(a.get(at, device, "State", &state), a.get(at, device, "ActiveConnection", &current)); err != nil {
		return nil, err
	}
	if state == 10 { // unmanaged
		return nil, nil
	}
	if current != none {
		if err := a.get(current, active, "Connection", &profile); err != nil {
			return nil, err
		}
	}
	d := &Device{State: states[state]}
	return d, a.profiles(d, profile, link, mac)
}

// profiles adds the active profile, and the profiles that match the link.
func (a *asker) profiles(d *Device, current dbus.ObjectPath, link string, mac net.HardwareAddr) error {
	var all []dbus.ObjectPath
	if err := a.call("/org/freedesktop/NetworkManager/Settings", settings+".ListConnections").Store(&all); err != nil {
		return fmt.Errorf("list the profiles: %w", err)
	}
	for _, at := range all[:min(len(all), maxProfiles)] {
		var s map[string]map[string]dbus.Variant
		err := a.call(at, connection+".GetSettings").Store(&s)
		if e := (dbus.Error{}); errors.As(err, &e) && e.Name == "org.freedesktop.DBus.Error.UnknownMethod" {
			continue // deleted meanwhile
		}
		if err != nil {
			return fmt.Errorf("read the profile %s: %w", at, err)
		}
		p := read(s)
		if err := a.get(at, connection, "Filename", &p.File); err != nil {
			p.File = "" // NetworkManager before 1.12
		}
		switch {
		case at == current:
			d.Active = &p
		case p.matches(link, mac):
			d.Others = append(d.Others, p)
		}
	}
	return nil
}

// matches tells whether NetworkManager may activate a profile on a link.
func (p Profile) matches(link string, mac net.HardwareAddr) bool {
	if p.mac != nil && p.mac.String() != mac.String() {
		return false
	}
	return p.link == link || p.link == "" && p.kind == "802-3-ethernet"
}

// Leads tells whether the profile sets a default route, or may get one by DHCP.
func (p Profile) Leads() bool {
	return !p.NeverDefault && (p.Gateway != "" || p.routeBy != "" || p.Method == "auto")
}

// IPv4 describes the IPv4 configuration, for people.
func (p Profile) IPv4() string {
	out := append([]string{p.Method}, p.Addresses...)
	switch {
	case p.Gateway != "":
		out = append(out, "gateway "+p.Gateway)
	case p.routeBy != "":
		out = append(out, "gateway "+p.routeBy)
	case p.Method == "manual":
		out = append(out, "no gateway")
	}
	if p.NeverDefault {
		out = append(out, "never-default")
	}
	return strings.Join(out, ", ")
}

// CloudInit tells whether cloud-init wrote the profile: as a keyfile, through netplan, or as an
// ifcfg file, which NetworkManager calls "System eth0".
func (p Profile) CloudInit() bool {
	file := path.Base(p.File)
	return strings.HasPrefix(p.Name, "cloud-init ") || strings.HasPrefix(file, "cloud-init-") || strings.HasPrefix(file, "netplan-") ||
		strings.HasPrefix(p.Name, "System ") && strings.HasPrefix(file, "ifcfg-")
}

// read converts the result of GetSettings. A value of an unexpected type counts as missing.
func read(s map[string]map[string]dbus.Variant) Profile {
	p := Profile{Autoconnect: true, Method: "disabled"}
	get(s, "connection", "id", &p.Name)
	get(s, "connection", "uuid", &p.UUID)
	get(s, "connection", "type", &p.kind)
	get(s, "connection", "interface-name", &p.link)
	get(s, "connection", "autoconnect", &p.Autoconnect)
	var priority int32
	get(s, "connection", "autoconnect-priority", &priority)
	p.Priority = int(priority)
	var mac []byte
	if get(s, "802-3-ethernet", "mac-address", &mac); len(mac) > 0 {
		p.mac = mac
	}
	get(s, "ipv4", "method", &p.Method)
	get(s, "ipv4", "gateway", &p.Gateway)
	get(s, "ipv4", "never-default", &p.NeverDefault)
	var addresses, routes []map[string]dbus.Variant
	get(s, "ipv4", "address-data", &addresses)
	get(s, "ipv4", "route-data", &routes)
	for _, a := range addresses {
		p.Addresses = append(p.Addresses, prefix(a, "address"))
	}
	slices.Sort(p.Addresses)
	for _, r := range routes {
		if prefix(r, "dest") == "0.0.0.0/0" {
			p.routeBy, _ = r["next-hop"].Value().(string)
		}
	}
	return p
}

// get reads a setting, if it exists and has the type.
func get[T any](s map[string]map[string]dbus.Variant, section, key string, into *T) {
	if v, ok := s[section][key].Value().(T); ok {
		*into = v
	}
}

// prefix returns an address with its prefix length, from address-data or route-data; "" if it is
// invalid.
func prefix(m map[string]dbus.Variant, key string) string {
	text, _ := m[key].Value().(string)
	bits, _ := m["prefix"].Value().(uint32)
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return ""
	}
	return netip.PrefixFrom(addr, int(min(bits, 128))).String()
}
