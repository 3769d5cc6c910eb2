package guest

import (
	"context"
	"encoding/base64"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// metadata is the output of CAPV's template for a device with a static address.
const metadata = `
instance-id: "cp-1"
local-hostname: "cp-1"
wait-on-network:
  ipv4: false
  ipv6: false
network:
  version: 2
  ethernets:
    id0:
      match:
        macaddress: "00:50:56:aa:bb:cc"
      set-name: "eth0"
      wakeonlan: true
      addresses:
      - "192.168.35.11/24"
      - "2001:db8::11/64"
      gateway4: "192.168.35.1"
      nameservers:
        addresses:
        - "10.0.0.53"
`

func TestParse(t *testing.T) {
	whole := Metadata{Ethernets: []Ethernet{{MAC: net.HardwareAddr{0, 0x50, 0x56, 0xaa, 0xbb, 0xcc}, Name: "eth0",
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.35.11/24")}, Gateway: netip.MustParseAddr("192.168.35.1"), Nameservers: []netip.Addr{netip.MustParseAddr("10.0.0.53")}}}}
	with := func(change func(*Metadata)) *Metadata {
		m := whole
		m.Ethernets = []Ethernet{whole.Ethernets[0]}
		change(&m)
		return &m
	}
	const gateway = "gateway4: \"192.168.35.1\"\n"
	for _, c := range []struct {
		name, text string
		want       *Metadata
		err        string
	}{
		{"plain", metadata, &whole, ""},
		{"base64", base64.StdEncoding.EncodeToString([]byte(metadata)) + "\n", &whole, ""},
		{"no gateway", strings.Replace(metadata, gateway, "mtu: 1500\n", 1), with(func(m *Metadata) { m.Ethernets[0].Gateway = netip.Addr{} }), ""},
		{"a default route", strings.Replace(metadata, gateway, "routes: [{to: 0.0.0.0/0, via: 192.168.35.1, metric: 100}]\n", 1), &whole, ""},
		{"a default route of IPv6", strings.Replace(metadata, gateway, "routes: [{to: default, via: \"2001:db8::1\"}]\n", 1), with(func(m *Metadata) { m.Ethernets[0].Gateway = netip.Addr{} }), ""},
		{"DHCP, and waits", strings.NewReplacer("wakeonlan", "dhcp4", "ipv4: false", "ipv4: true").Replace(metadata), with(func(m *Metadata) { m.Ethernets[0].DHCP, m.Waits = true, true }), ""},
		{"routes for the machine", metadata + "  routes:\n  - {to: 10.0.0.0/8, via: 192.168.35.2, metric: 0}\n", with(func(m *Metadata) { m.Routes = true }), ""},
		{"blotted out", "---", nil, ""},
		{"blotted out, in base64", "LS0t", nil, ""},
		{"of no network", "instance-id: x", nil, ""},
		{"no gateway that is one", strings.Replace(metadata, gateway, "gateway4: 192.168.35.1/24\n", 1), nil, `read guestinfo.metadata: "id0": the gateway "192.168.35.1/24" is not an IPv4 address`},
		{"no address that is one", strings.Replace(metadata, "192.168.35.11/24", "192.168.35.11", 1), nil, `"192.168.35.11" is not an address with a prefix`},
		{"no MAC that is one", strings.Replace(metadata, "00:50:56:aa:bb:cc", "eth0", 1), nil, `"eth0" is not a MAC address`},
		{"a list", "- x", nil, "read guestinfo.metadata: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse([]byte(c.text))
			if d := cmp.Diff(c.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
		})
	}
}

// FuzzParse: the result is an error, nil, or has an interface.
func FuzzParse(f *testing.F) {
	f.Add([]byte(metadata))
	f.Add([]byte(base64.StdEncoding.EncodeToString([]byte(metadata))))
	f.Add([]byte("---"))
	f.Add([]byte("a: &a [x,x]\nnetwork: {ethernets: {a: *a}}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		switch {
		case err != nil && m != nil:
			t.Errorf("both %+v and %v", m, err)
		case m != nil && len(m.Ethernets) == 0:
			t.Error("no interface")
		}
	})
}

// tools puts a simulated vmtoolsd on PATH.
func tools(t *testing.T, script string) {
	t.Helper()
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "vmtoolsd"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
}

func TestRead(t *testing.T) {
	for _, c := range []struct {
		name, script string
		there        bool
		err          string
	}{
		{"handed over", `[ "$*" = "--cmd info-get guestinfo.metadata" ] && echo ` + base64.StdEncoding.EncodeToString([]byte(metadata)), true, ""},
		{"nothing", "exit 0", false, ""},
		{"no such key", "echo No value found >&2; exit 1", false, ""},
		{"no virtual machine", "echo vmtoolsd: not here >&2; exit 2", false, `exit status 2: "vmtoolsd: not here"`},
		{"without end", "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done", false, "longer than 262144 bytes"},
		{"no YAML", "echo {", false, "read guestinfo.metadata: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			tools(t, c.script)
			m, err := Read(t.Context())
			if (m != nil) != c.there || (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%+v, error %v; want there %v, %q", m, err, c.there, c.err)
			}
		})
	}
}

// TestReadIsBounded: a vmtoolsd that hangs, and one whose child keeps the pipe, do not block Read.
func TestReadIsBounded(t *testing.T) {
	tools(t, "sleep 60 & sleep 60")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if m, err := Read(ctx); m != nil || err == nil || !strings.Contains(err.Error(), "deadline exceeded") {
		t.Errorf("%+v, error %v", m, err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestReadWithoutTools(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if m, err := Read(t.Context()); m != nil || err != nil {
		t.Errorf("%+v, error %v", m, err)
	}
}

func TestEarlyErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "status.json")
	if got, err := EarlyErrors(path); got != nil || err != nil {
		t.Errorf("of no file: %q, error %v", got, err)
	}
	for text, want := range map[string][]string{
		`{"v1":{"stage":null,"init-local":{"errors":["a"]},"init":{"errors":["b"]},"modules-final":{"errors":["kubeadm"]}}}`: {"a", "b"},
		`{"v1":{"stage":"init-local","init":{"errors":[],"finished":null}}}`:                                                 nil,
		`{}`: nil,
		`[`:  nil,
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := EarlyErrors(path); strings.Join(got, ",") != strings.Join(want, ",") || (err != nil) != (text == "[") {
			t.Errorf("%s: %q, error %v; want %q", text, got, err, want)
		}
	}
}
