package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// What CAPV delivered to the guest. vmtoolsd is simulated: the real one needs a hypervisor of
// VMware.

// volatile returns a folder for /run with a short name, because the path of a socket has at most
// 107 bytes.
func volatile(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "run") //nolint:usetesting // t.TempDir contains the name of the test, which is long
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	return dir
}

// standInTools puts a simulated vmtoolsd on the node's PATH.
func (s *site) standInTools(script string) {
	s.t.Helper()
	must(s.t, os.WriteFile(filepath.Join(s.bin, "vmtoolsd"), []byte("#!/bin/sh\n"+script), 0o755))
}

// slowTools delays the answers of the simulated vmtoolsd.
func (s *site) slowTools(after time.Duration) {
	s.t.Helper()
	script, err := os.ReadFile(filepath.Join(s.bin, "vmtoolsd"))
	must(s.t, err)
	s.standInTools(fmt.Sprintf("sleep %f\n%s", after.Seconds(), script))
}

// deliver simulates that CAPV delivers a static address, with further properties of the interface.
func (s *site) deliver(address, words string) {
	s.t.Helper()
	text := fmt.Sprintf(`instance-id: n1
wait-on-network: {ipv4: false, ipv6: false}
network:
  version: 2
  ethernets:
    id0:
      match: {macaddress: %q}
      set-name: eth0
      addresses: [%q]
      %s
`, s.node.Link("eth0").Attrs().HardwareAddr, address, words)
	s.standInTools(`[ "$1 $2" = "--cmd info-get guestinfo.metadata" ] || exit 9
echo ` + base64.StdEncoding.EncodeToString([]byte(text)))
}

// cloudInit simulates that cloud-init records an error of its first stage, or none.
func (s *site) cloudInit(errs string) {
	s.t.Helper()
	dir := filepath.Join(s.volatile, "cloud-init")
	must(s.t, os.MkdirAll(dir, 0o755))
	must(s.t, os.WriteFile(filepath.Join(dir, "status.json"), fmt.Appendf(nil, `{"v1": {"datasource": "DataSourceVMware", "stage": null,
		"init-local": {"errors": [%s]}, "init": {"errors": []}, "modules-final": {"errors": ["('scripts-user', RuntimeError('Runparts: 1 failures'))"]}}}`, errs), 0o644))
}

const staticAddress = "192.168.35.11/24"

func TestDoctorTold(t *testing.T) {
	lose := func(s *site) { s.route(s.node, "delete default") }
	const no = "there is no default route; ..."
	diagnose(t, []diagnosis{
		{
			name:    "no gateway delivered",
			fault:   func(s *site) { lose(s); s.deliver(staticAddress, "") },
			want:    []found{{"D01", "error", "no gateway delivered", no + "CAPV delivered 192.168.35.11/24 without a gateway: the IP pool has none"}},
			verdict: []string{"This is not a CAPV fault and not vipd: the IP pool has no gateway.", isFine},
		},
		{
			name: "no gateway delivered, before kubeadm",
			fault: func(s *site) {
				lose(s)
				s.noVIP()
				s.deliver(staticAddress, "")
				s.args = []string{"--preflight", "--address", testVIP}
			},
			want:    []found{{"D01", "error", "no gateway delivered", no + "the IP pool has none"}},
			verdict: []string{"This is not a CAPV fault and not vipd: the IP pool has no gateway."},
		},
		{
			name:    "not applied",
			fault:   func(s *site) { lose(s); s.deliver(staticAddress, "gateway4: 192.168.35.1"); s.cloudInit(`"boom"`) },
			want:    []found{{"D01", "error", "not applied", no + `CAPV delivered gateway4 192.168.35.1, and the guest did not apply that gateway, ...cloud-init recorded: "boom"`}},
			verdict: []string{"This is neither CAPV nor vipd: CAPV delivered the gateway", isFine},
		},
		{
			name: "not applied, on a machine so busy that vmtoolsd takes longer than an operator waits",
			fault: func(s *site) {
				lose(s)
				s.deliver(staticAddress, "gateway4: 192.168.35.1")
				s.slowTools(3 * time.Second)
			},
			want:    []found{{"D01", "error", "not applied", no + "CAPV delivered gateway4 192.168.35.1, and the guest did not apply that gateway"}},
			verdict: []string{"This is neither CAPV nor vipd: CAPV delivered the gateway", isFine},
		},
		{
			name: "routes for the machine",
			fault: func(s *site) {
				lose(s)
				s.deliver(staticAddress, "gateway4: 192.168.35.1\n  routes: [{to: 10.0.0.0/8, via: 192.168.35.2, metric: 0}]")
				s.cloudInit(`"RuntimeError(\"No handler found for command 'routes'\")"`)
			},
			want:    []found{{"D01", "error", "VM routes", no + "CAPV delivered machine-level routes...No handler found for command 'routes'"}},
			verdict: []string{"This is not vipd: the VSphereMachineTemplate has machine-level routes", isFine},
		},
		{
			name:    "left to DHCP",
			fault:   func(s *site) { lose(s); s.deliver(staticAddress, "dhcp4: true") },
			want:    []found{{"D01", "error", "DHCP", no + "CAPV leaves the gateway to DHCP on eth0, and DHCP delivered none"}},
			verdict: []string{"This is neither Cluster API nor vipd", isFine},
		},
		{
			name:    "vmtoolsd fails",
			fault:   func(s *site) { lose(s); s.standInTools("echo no hypervisor >&2; exit 1") },
			want:    []found{{"D01", "error", "", no}},
			verdict: []string{"This is neither Cluster API nor vipd", isFine},
		},
		{
			name: "wrong prefix delivered",
			fault: func(s *site) {
				s.route(s.node, "replace default via 10.9.9.1 dev eth0 onlink")
				s.deliver("192.168.35.11/32", "gateway4: 10.9.9.1")
			},
			want: []found{{"D03", "error", "", "the gateway 10.9.9.1 is in no subnet of eth0...CAPV delivered the gateway with 192.168.35.11/32"}},

			verdict: []string{"This is neither Cluster API nor vipd", isFine},
		},
		{
			name:    "cloud-init did not wait",
			fault:   func(s *site) { s.deliver(staticAddress, "gateway4: 192.168.35.1"); s.cloudInit(`"no local_ipv4"`) },
			want:    []found{{"D31", "info", "", `cloud-init recorded 1 errors before the network was up, the first is "no local_ipv4"`}},
			verdict: []string{better},
		},
	})
}

func TestDoctorToldFindsNothing(t *testing.T) {
	well := []string{"All is well"}
	healthy := func(s *site) { s.deliver(staticAddress, "gateway4: 192.168.35.1"); s.cloudInit("") }
	diagnose(t, []diagnosis{
		{name: "all applied", fault: healthy, verdict: well},
		{name: "no metadata", fault: func(s *site) { s.standInTools("echo No value found >&2; exit 1") }, verdict: well},
		{name: "blotted out", fault: func(s *site) { s.standInTools("echo LS0t") }, verdict: well},
		{name: "vmtoolsd that fails", fault: func(s *site) { s.standInTools("exit 1"); s.cloudInit(`"boom"`) }, verdict: well},
		{name: "vmtoolsd that hangs", fault: func(s *site) { s.standInTools("exec sleep 60"); s.silent() }, verdict: well},
		{name: "errors of cloud-init on a node that was told to wait", fault: func(s *site) { s.deliver(staticAddress, "dhcp4: true"); s.cloudInit(`"boom"`) }, verdict: well},
	})
}
