package config

import (
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// minimal returns the required settings only.
func minimal() Values {
	return Values{"address": {"192.168.35.100"}, "kubeconfig": {"/etc/kubernetes/admin.conf"}}
}

func TestParseDefaults(t *testing.T) {
	got, err := Parse(minimal())
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Addresses: []netip.Addr{netip.MustParseAddr("192.168.35.100")}, Port: 6443,
		Kubeconfigs: []string{"/etc/kubernetes/admin.conf"}, APIServer: "127.0.0.1:6443",
		LeaseNamespace: "kube-system", LeaseName: "plndr-cp-lock", MaxLeaseDuration: 40 * time.Second, LeaseDuration: 3 * time.Second,
		Fence: FenceAuto, StatusAddress: "127.0.0.1:2112", ProbeInterval: time.Second, GracePeriod: 10 * time.Second, LogFormat: "json", LogLevel: "info",
	}
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); d != "" {
		t.Errorf("Parse (-want +got):\n%s", d)
	}
}

func TestParse(t *testing.T) {
	tests := []struct {
		name  string
		set   Values
		check func(Config) bool
		err   string // a part of the error, "" for none
	}{
		{name: "OK: profile", set: Values{"profile": {"fast"}}, check: func(c Config) bool { return c.LeaseDuration == 2*time.Second }},
		{name: "OK: profile and its own duration", set: Values{"profile": {"safe"}, "lease-duration": {"10s"}}, check: func(c Config) bool { return c.LeaseDuration == 10*time.Second }},
		{name: "OK: duration alone", set: Values{"lease-duration": {"7s"}}, check: func(c Config) bool { return c.LeaseDuration == 7*time.Second }},
		{name: "OK: apiserver as a URL", set: Values{"apiserver": {"https://192.168.35.12:6443"}}, check: func(c Config) bool { return c.APIServer == "192.168.35.12:6443" }},
		{name: "OK: port moves the API server", set: Values{"port": {"8443"}}, check: func(c Config) bool { return c.APIServer == "127.0.0.1:8443" }},
		{name: "OK: several kubeconfigs", set: Values{"kubeconfig": {"a", "b"}}, check: func(c Config) bool { return len(c.Kubeconfigs) == 2 }},
		{name: "bad: address missing", set: Values{"address": nil}, err: "--address: missing"},
		{name: "bad: address no address", set: Values{"address": {"vip"}}, err: `"vip" is not an IP address`},
		{name: "bad: address with prefix", set: Values{"address": {"192.168.35.100/24"}}, err: "give the address without it"},
		{name: "bad: address empty", set: Values{"address": {""}}, err: "not an IP address"},
		{name: "bad: address IPv6", set: Values{"address": {"fd00::100"}}, err: "not an IPv4 address"},
		{name: "bad: address loopback", set: Values{"address": {"127.0.0.1"}}, err: "not an address that a host"},
		{name: "bad: address multicast", set: Values{"address": {"224.0.0.18"}}, err: "not an address that a host"},
		{name: "bad: address zero", set: Values{"address": {"0.0.0.0"}}, err: "not an address that a host"},
		{name: "bad: address broadcast", set: Values{"address": {"255.255.255.255"}}, err: "not an address that a host"},
		{name: "bad: two addresses", set: Values{"address": {"192.168.35.100", "192.168.35.101"}}, err: "given 2 times"},
		{name: "bad: port", set: Values{"port": {"70000"}}, err: `"70000" is not a port`},
		{name: "bad: port zero", set: Values{"port": {"0"}}, err: "not a port"},
		{name: "bad: kubeconfig missing", set: Values{"kubeconfig": nil}, err: "--kubeconfig: missing"},
		{name: "bad: kubeconfig empty", set: Values{"kubeconfig": {""}}, err: "--kubeconfig: empty"},
		{name: "bad: profile", set: Values{"profile": {"quick"}}, err: `"quick" is not one of fast, default, safe`},
		{name: "bad: profile and another duration", set: Values{"profile": {"fast"}, "lease-duration": {"3s"}}, err: "contradicts --profile fast, which means 2s"},
		{name: "bad: duration without a unit", set: Values{"lease-duration": {"3"}}, err: "write 3s"},
		{name: "bad: duration negative", set: Values{"lease-duration": {"-3s"}}, err: "not a positive duration"},
		{name: "bad: renew zero", set: Values{"renew-interval": {"0s"}}, err: "not a positive duration"},
		{name: "bad: interface", set: Values{"interface": {"eth 0"}}, err: "not the name of an interface"},
		{name: "OK: interface empty", set: Values{"interface": {""}}, check: func(c Config) bool { return c.Interface == "" }},
		{name: "bad: node name", set: Values{"node-name": {"Node_1"}}, err: "--node-name"},
		{name: "bad: node name empty", set: Values{"node-name": {""}}, err: "--node-name"},
		{name: "bad: lease namespace", set: Values{"lease-namespace": {"a.b"}}, err: "--lease-namespace"},
		{name: "bad: lease name", set: Values{"lease-name": {"Ä"}}, err: "--lease-name"},
		{name: "bad: apiserver", set: Values{"apiserver": {"somewhere"}}, err: "is not host:port"},
		{name: "bad: apiserver with a path", set: Values{"apiserver": {"https://h/p:6443"}}, err: "is not host:port"},
		{name: "bad: apiserver is the VIP", set: Values{"apiserver": {"192.168.35.100:6443"}}, err: "is the virtual IP itself"},
		{name: "bad: log format", set: Values{"log-format": {"xml"}}, err: "is not one of json, console"},
		{name: "bad: log level", set: Values{"log-level": {"loud"}}, err: "is not one of debug, info, warn, error"},
		{name: "bad: fence", set: Values{"fence": {"iptables"}}, err: "is not one of auto, nftables, lifetime"},
		{name: "OK: status as kube-vip has it", set: Values{"status-address": {":2112"}}, check: func(c Config) bool { return c.StatusAddress == ":2112" }},
		{name: "OK: no status", set: Values{"status-address": {"off"}}, check: func(c Config) bool { return c.StatusAddress == "" }},
		{name: "bad: status at the API server's port", set: Values{"status-address": {":6443"}}, err: `--status-address: :6443 has the port of the API server`},
		{name: "bad: status at the API server's other port", set: Values{"port": {"8443"}, "status-address": {"127.0.0.1:8443"}}, err: "has the port of the API server"},
		{name: "bad: status at the VIP", set: Values{"status-address": {"192.168.35.100:2112"}}, err: "--status-address: 192.168.35.100 is the virtual IP itself"},
		{name: "bad: status", set: Values{"status-address": {"2112"}}, err: `"2112" is not host:port`},
		{name: "bad: several at once", set: Values{"port": {"x"}, "address": {"y"}}, err: "\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := minimal()
			maps.Copy(v, tt.set)
			c, err := Parse(v)
			if tt.err == "" {
				if err != nil || !tt.check(c) {
					t.Errorf("Parse = %+v, %v", c, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error = %v, want it to hold %q", err, tt.err)
			}
		})
	}
}

func TestFromEnviron(t *testing.T) {
	v, errs := FromEnviron([]string{
		"PATH=/bin", "VIPD_ADDRESS=192.168.35.100", "VIPD_KUBECONFIG=/a:/b", "VIPD_LEASE_DURATION=",
		"VIPD_SERVICE_HOST=10.0.0.1", "VIPD_PORT_2112_TCP=tcp://10.0.0.1:2112",
	})
	want := Values{"address": {"192.168.35.100"}, "kubeconfig": {"/a", "/b"}, "lease-duration": {""}}
	if d := cmp.Diff(want, v); d != "" || len(errs) > 0 {
		t.Errorf("FromEnviron: %v (-want +got):\n%s", errs, d)
	}
	for _, bad := range []string{"VIPD_ADRESS=192.168.35.100", "VIPD_PORT=tcp://10.0.0.1:2112"} {
		if _, errs := FromEnviron([]string{bad}); len(errs) != 1 {
			t.Errorf("FromEnviron(%s) = %v, want one error", bad, errs)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("192.168.35.100", "6443", "eth0", "n1", "/etc/kubernetes/admin.conf", "127.0.0.1:6443", "fast", "2s", "500ms")
	f.Add("::", "-1", "\x00", "", "", "[::1]:", "", "1e9h", "-0s")
	f.Fuzz(func(t *testing.T, address, port, iface, node, kubeconfig, apiserver, profile, lease, renew string) {
		c, err := Parse(Values{"address": {address}, "port": {port}, "interface": {iface}, "node-name": {node},
			"kubeconfig": {kubeconfig}, "apiserver": {apiserver}, "profile": {profile}, "lease-duration": {lease}, "renew-interval": {renew}})
		if err != nil {
			return
		}
		if len(c.Addresses) != 1 || !c.Addresses[0].Is4() || c.Port == 0 || c.LeaseDuration <= 0 || c.RenewInterval <= 0 ||
			c.APIServer == "" || c.Interface == "" || c.Node == "" || c.Kubeconfigs[0] == "" {
			t.Errorf("accepted: %+v", c)
		}
	})
}
