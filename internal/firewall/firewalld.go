package firewall

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// Zone is firewalld's zone of an interface.
type Zone struct {
	Name string
	// Open tells that the zone permits the port for everybody, Closed that it permits the port for
	// nobody. Both are false if that depends on rich rules, or on the client's address.
	Open, Closed bool
}

const (
	firewalld = "org.fedoraproject.FirewallD1"
	zones     = firewalld + ".zone"
)

// ZoneOf asks firewalld for the zone of an interface, and for what the zone does with a TCP port.
// The result is nil if firewalld or the system bus does not run; the request starts neither.
func ZoneOf(ctx context.Context, iface string, port uint16) (*Zone, error) {
	address := "unix:path=/run/dbus/system_bus_socket"
	if a := os.Getenv("DBUS_SYSTEM_BUS_ADDRESS"); a != "" {
		address = a
	}
	bus, err := dbus.Connect(address, dbus.WithContext(ctx)) // ConnectSystemBus hides the reason of an error
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("connect to the system bus: %w", err)
	}
	defer func() { _ = bus.Close() }()
	var there bool
	if err := bus.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.NameHasOwner", 0, firewalld).Store(&there); err != nil || !there {
		return nil, err
	}
	d := daemon{ctx, bus.Object(firewalld, "/org/fedoraproject/FirewallD1")}
	z, err := d.zone(iface, port)
	if err != nil {
		return nil, fmt.Errorf("ask firewalld: %w", err)
	}
	return z, nil
}

// daemon is firewalld on the bus (firewalld.dbus(5)).
type daemon struct {
	ctx context.Context //nolint:containedctx // for one request
	at  dbus.BusObject
}

func (d daemon) ask(method string, to any, args ...any) error {
	// The flag keeps the bus from starting firewalld.
	if err := d.at.CallWithContext(d.ctx, method, dbus.FlagNoAutoStart, args...).Store(to); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	return nil
}

func (d daemon) zone(iface string, port uint16) (*Zone, error) {
	z := &Zone{}
	if err := d.ask(zones+".getZoneOfInterface", &z.Name, iface); err != nil {
		return nil, err
	}
	if z.Name == "" {
		if err := d.ask(firewalld+".getDefaultZone", &z.Name); err != nil {
			return nil, err
		}
	}
	var open bool
	if err := d.ask(zones+".queryPort", &open, z.Name, strconv.Itoa(int(port)), "tcp"); err != nil {
		return nil, err
	}
	var all map[string]dbus.Variant
	if err := d.ask(zones+".getZoneSettings2", &all, z.Name); err != nil {
		return nil, err
	}
	s := settingsOf(all)
	served, err := d.served(s.services, port, nil)
	if err != nil {
		return nil, err
	}
	z.Open = open || served || s.target == "ACCEPT" || s.permits(port)
	if z.Open {
		return z, nil
	}
	var active map[string]map[string][]string
	if err := d.ask(zones+".getActiveZones", &active); err != nil {
		return nil, err
	}
	z.Closed = len(s.rules) == 0
	for _, bound := range active {
		z.Closed = z.Closed && len(bound["sources"]) == 0 // those clients are in another zone
	}
	return z, nil
}

// served tells whether one of the services, or one that it includes, permits the port.
func (d daemon) served(services []string, port uint16, seen []string) (bool, error) {
	for _, name := range services {
		if slices.Contains(seen, name) {
			continue
		}
		seen = append(seen, name)
		var all map[string]dbus.Variant
		if err := d.ask(firewalld+".getServiceSettings2", &all, name); err != nil {
			return false, err
		}
		s := settingsOf(all)
		if s.permits(port) {
			return true, nil
		}
		if more, err := d.served(s.includes, port, seen); err != nil || more {
			return more, err
		}
	}
	return false, nil
}

// settings are the settings of a zone or a service.
type settings struct {
	target                               string
	ports                                []portRange
	protocols, services, includes, rules []string
}

// portRange is "6443" or "6000-7000", and "tcp".
type portRange struct{ Port, Protocol string }

func settingsOf(all map[string]dbus.Variant) (s settings) {
	for name, to := range map[string]any{"target": &s.target, "ports": &s.ports, "protocols": &s.protocols, "services": &s.services, "includes": &s.includes, "rules_str": &s.rules} {
		if v, ok := all[name]; ok {
			_ = v.Store(to) // a value of another type is ignored
		}
	}
	return s
}

func (s settings) permits(port uint16) bool {
	return slices.Contains(s.protocols, "tcp") || slices.ContainsFunc(s.ports, func(r portRange) bool {
		from, to, isRange := strings.Cut(r.Port, "-")
		if !isRange {
			to = from
		}
		a, errA := strconv.Atoi(from)
		b, errB := strconv.Atoi(to)
		return r.Protocol == "tcp" && errA == nil && errB == nil && a <= int(port) && int(port) <= b
	})
}
