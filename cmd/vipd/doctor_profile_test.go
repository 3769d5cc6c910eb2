package main

import (
	"bufio"
	"encoding/xml"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
)

// What NetworkManager does with the VIP's interface: a real message bus with a simulated
// NetworkManager, with its object paths, interfaces and types.

// busConfig configures a system bus without access control.
const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=%s</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*" eavesdrop="false"/><allow receive_sender="*"/></policy></busconfig>`

// bus starts a message bus in place of the node's system bus.
func (s *site) bus() *dbus.Conn {
	s.t.Helper()
	socket, config := filepath.Join(s.volatile, "dbus/system_bus_socket"), filepath.Join(s.t.TempDir(), "bus.conf")
	must(s.t, os.MkdirAll(filepath.Dir(socket), 0o755))
	var escaped strings.Builder
	must(s.t, xml.EscapeText(&escaped, []byte(socket)))
	must(s.t, os.WriteFile(config, fmt.Appendf(nil, busConfig, escaped.String()), 0o644))
	cmd := exec.Command("dbus-daemon", "--config-file="+config, "--nofork", "--nopidfile", "--nosyslog", "--print-address")
	out, err := cmd.StdoutPipe()
	must(s.t, err)
	must(s.t, cmd.Start())
	s.t.Cleanup(func() { must(s.t, cmd.Process.Kill()); _ = cmd.Wait() })
	_, err = bufio.NewReader(out).ReadString('\n') // the bus listens now
	must(s.t, err)
	conn, err := dbus.Connect("unix:path=" + socket)
	must(s.t, err)
	s.t.Cleanup(func() { must(s.t, conn.Close()) })
	return conn
}

const (
	nm       = "org.freedesktop.NetworkManager"
	nmRoot   = dbus.ObjectPath("/org/freedesktop/NetworkManager")
	nmEth0   = nmRoot + "/Devices/2"
	nmActive = nmRoot + "/ActiveConnection/1"
)

// standInNetworkManager is a simulated NetworkManager that manages eth0.
type standInNetworkManager struct {
	state    uint32
	active   int // index of a profile, or -1
	profiles []nmProfile
	refuses  bool
}

// nmProfile is a profile, as GetSettings and the property Filename return it.
type nmProfile struct {
	file     string
	settings map[string]map[string]dbus.Variant
}

// GetDeviceByIpIface implements the D-Bus method.
func (m *standInNetworkManager) GetDeviceByIpIface(name string) (dbus.ObjectPath, *dbus.Error) { //nolint:staticcheck // the name is NetworkManager's
	switch {
	case m.refuses:
		return "/", dbus.NewError(nm+".PermissionDenied", []any{"no"})
	case name != "eth0":
		return "/", dbus.NewError(nm+".UnknownDevice", []any{"No device found for the requested iface."})
	}
	return nmEth0, nil
}

// ListConnections implements the method of the settings.
func (m *standInNetworkManager) ListConnections() (out []dbus.ObjectPath, _ *dbus.Error) {
	for i := range m.profiles {
		out = append(out, nmSettings(i))
	}
	return out, nil
}

func nmSettings(i int) dbus.ObjectPath {
	return dbus.ObjectPath(fmt.Sprintf("%s/Settings/%d", nmRoot, i+1))
}

// GetSettings implements the method of a profile.
func (p nmProfile) GetSettings() (map[string]map[string]dbus.Variant, *dbus.Error) {
	return p.settings, nil
}

// nmProperties are the properties of an object, by interface and name.
type nmProperties map[string]any

// Get implements the method of org.freedesktop.DBus.Properties.
func (p nmProperties) Get(of, name string) (dbus.Variant, *dbus.Error) {
	v, ok := p[of+"."+name]
	if !ok {
		return dbus.Variant{}, dbus.NewError("org.freedesktop.DBus.Error.InvalidArgs", []any{"No such property"})
	}
	return dbus.MakeVariant(v), nil
}

// networkManager starts a simulated NetworkManager.
func (s *site) networkManager(m *standInNetworkManager) {
	s.t.Helper()
	conn := s.bus()
	export := func(v any, at dbus.ObjectPath, name string) { must(s.t, conn.Export(v, at, name)) }
	const properties = "org.freedesktop.DBus.Properties"
	export(m, nmRoot, nm)
	export(m, nmRoot+"/Settings", nm+".Settings")
	current := dbus.ObjectPath("/")
	if m.active >= 0 {
		current = nmActive
		export(nmProperties{nm + ".Connection.Active.Connection": nmSettings(m.active)}, nmActive, properties)
	}
	export(nmProperties{nm + ".Device.State": m.state, nm + ".Device.ActiveConnection": current}, nmEth0, properties)
	for i, p := range m.profiles {
		export(p, nmSettings(i), nm+".Settings.Connection")
		export(nmProperties{nm + ".Settings.Connection.Filename": p.file}, nmSettings(i), properties)
	}
	reply, err := conn.RequestName(nm, dbus.NameFlagDoNotQueue)
	must(s.t, err)
	if reply != dbus.RequestNameReplyPrimaryOwner {
		s.t.Fatalf("the name is not ours: %v", reply)
	}
}

// ofProfile makes a profile from a text: "method=manual gateway=192.168.35.1 priority=120 ...".
func ofProfile(name, file, words string) nmProfile {
	v := dbus.MakeVariant
	c := map[string]dbus.Variant{"id": v(name), "uuid": v("uuid-of-" + name), "type": v("802-3-ethernet"), "timestamp": v(uint64(1))}
	ethernet, ipv4 := map[string]dbus.Variant{}, map[string]dbus.Variant{"method": v("auto")}
	for w := range strings.FieldsSeq(words) {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "link":
			c["interface-name"] = v(value)
		case "type":
			c["type"] = v(value)
		case "autoconnect":
			c["autoconnect"] = v(value == "yes")
		case "priority":
			var n int32
			_, _ = fmt.Sscan(value, &n)
			c["autoconnect-priority"] = v(n)
		case "mac":
			mac, _ := net.ParseMAC(value)
			ethernet["mac-address"] = v([]byte(mac))
		case "address":
			ipv4["method"] = v("manual")
			ipv4["address-data"] = v([]map[string]dbus.Variant{{"address": v(value), "prefix": v(uint32(24))}})
		case "gateway":
			ipv4["gateway"] = v(value)
		case "route":
			ipv4["route-data"] = v([]map[string]dbus.Variant{{"dest": v("0.0.0.0"), "prefix": v(uint32(0)), "next-hop": v(value)}})
		case "never-default":
			ipv4["never-default"] = v(true)
		}
	}
	return nmProfile{file, map[string]map[string]dbus.Variant{"connection": c, "802-3-ethernet": ethernet, "ipv4": ipv4}}
}

const keyfiles = "/etc/NetworkManager/system-connections/"

// cloudInits returns the profile that cloud-init writes, with its priority.
func cloudInits() nmProfile {
	return ofProfile("cloud-init eth0", keyfiles+"cloud-init-eth0.nmconnection", "link=eth0 priority=120 address=192.168.35.11 gateway=192.168.35.1")
}

// templates returns a profile that was made with nmtui in the VM template.
func templates(words string) nmProfile {
	return ofProfile("ens192", keyfiles+"ens192.nmconnection", "address=192.168.35.11 "+words)
}

func TestDoctorProfiles(t *testing.T) {
	manages := func(state uint32, active int, all ...nmProfile) func(*site) {
		return func(s *site) {
			s.networkManager(&standInNetworkManager{state: state, active: active, profiles: all})
		}
	}
	lose := func(then func(*site)) func(*site) {
		return func(s *site) { s.route(s.node, "delete default"); then(s) }
	}
	const gateway, well = "This is neither Cluster API nor vipd", "All is well"
	diagnose(t, []diagnosis{
		{
			name:  "the template's is active",
			fault: lose(manages(100, 1, cloudInits(), templates("link=eth0"))),
			want: []found{
				{"D01", "error", "", "there is no default route"},
				{"D22", "warning", "active", `the profile "ens192" (manual, 192.168.35.11/24, no gateway) is active on eth0, and not "cloud-init eth0" (manual, 192.168.35.11/24, gateway 192.168.35.1)`},
			},
			verdict: []string{gateway, isFine},
		},
		{
			name:    "competes",
			fault:   manages(100, 0, cloudInits(), templates("priority=120")),
			want:    []found{{"D22", "warning", "rival", `the profile "ens192" (manual, 192.168.35.11/24, no gateway) competes with "cloud-init eth0"...is 120, the active profile has 120`}},
			verdict: []string{better},
		},
		{
			name:    "competes, as an ifcfg file has no priority",
			fault:   manages(100, 0, ofProfile("System eth0", "/etc/sysconfig/network-scripts/ifcfg-eth0", "link=eth0 address=192.168.35.11 gateway=192.168.35.1"), templates("never-default=yes")),
			want:    []found{{"D22", "warning", "rival", `"ens192" (manual, 192.168.35.11/24, no gateway, never-default) competes with "System eth0"`}},
			verdict: []string{better},
		},
		{
			name:  "no gateway in the only one",
			fault: lose(manages(100, 0, templates("link=eth0"))),
			want: []found{
				{"D01", "error", "", "there is no default route"},
				{"D22", "warning", "no gateway", `the profile "ens192" (manual, 192.168.35.11/24, no gateway) is active on eth0 and has no gateway`},
			},
			verdict: []string{gateway, isFine},
		},
		{
			name:    "failed",
			fault:   manages(120, -1, cloudInits()),
			want:    []found{{"D22", "warning", "state", "NetworkManager reports eth0 as failed"}},
			verdict: []string{better},
		},
		{
			name:    "refuses",
			fault:   func(s *site) { s.networkManager(&standInNetworkManager{refuses: true}) },
			unknown: []string{"D22"}, verdict: []string{"No problems found; 1 of"},
		},
		{name: "a bus that says nothing", fault: func(s *site) { s.muteBus(); s.silent() }, unknown: []string{"D19", "D22"}, verdict: []string{"No problems found; 2 of"}},
		// Profiles without an error.
		{name: "only cloud-init's", fault: manages(100, 0, cloudInits()), verdict: []string{well}},
		{name: "a default route among its routes", fault: manages(100, 0, templates("route=192.168.35.1")), verdict: []string{well}},
		{name: "no cloud-init", fault: manages(100, 0, templates("gateway=192.168.35.1")), verdict: []string{well}},
		{name: "others of less priority, other links, and not by themselves", fault: manages(100, 0, cloudInits(), templates(""), templates("link=ens192 priority=200"),
			templates("mac=02:00:00:00:00:99 priority=200"), templates("autoconnect=no priority=200"), templates("type=bridge priority=200")), verdict: []string{well}},
		{name: "another one that says the same", fault: manages(100, 1, cloudInits(), templates("gateway=192.168.35.1")), verdict: []string{well}},
		{name: "unmanaged", fault: manages(10, -1, cloudInits(), templates("")), verdict: []string{well}},
		{name: "on the way", fault: manages(70, -1, cloudInits(), templates("")), verdict: []string{well}},
		{name: "no NetworkManager", fault: func(s *site) { s.bus() }, verdict: []string{well}},
		{name: "a link that it does not know", fault: func(s *site) {
			s.networkManager(&standInNetworkManager{state: 120})
			s.node.Down("eth0")
			s.run(s.node, "ip", "link", "set", "eth0", "name", "net0", "up")
			s.awaitCarrier("net0")
			s.route(s.node, "replace default via 192.168.35.1")
		}, verdict: []string{well}},
		{name: "a bus that is gone", fault: func(s *site) {
			s.muteBus()
			must(s.t, os.Remove(filepath.Join(s.volatile, "dbus/system_bus_socket")))
		}, verdict: []string{well}},
	})
}

// muteBus accepts connections and sends nothing.
func (s *site) muteBus() {
	s.t.Helper()
	socket := filepath.Join(s.volatile, "dbus/system_bus_socket")
	must(s.t, os.MkdirAll(filepath.Dir(socket), 0o755))
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	must(s.t, err)
	l.SetUnlinkOnClose(false)
	s.t.Cleanup(func() { must(s.t, l.Close()) })
}
