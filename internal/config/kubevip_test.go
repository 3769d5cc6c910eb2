package config

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// capv is the environment of kube-vip in CAPV's template (v1.10 and later).
var capv = []string{"vip_arp=true", "port=6443", "vip_interface=", "vip_cidr=32", "cp_enable=true", "cp_namespace=kube-system", "vip_ddns=false",
	"svc_enable=true", "svc_leasename=plndr-svcs-lock", "svc_election=true", "vip_leaderelection=true", "vip_leasename=plndr-cp-lock",
	"vip_leaseduration=15", "vip_renewdeadline=10", "vip_retryperiod=2", "address=192.168.35.100", "prometheus_server=:2112", "PATH=/bin"}

func TestFromKubeVip(t *testing.T) {
	v, warnings, errs := FromKubeVip(capv)
	c, err := Parse(v)
	if len(errs) > 0 || err != nil {
		t.Fatal(errs, err)
	}
	if c.Addresses[0].String() != "192.168.35.100" || c.Port != 6443 || c.Interface != "" || c.LeaseDuration != 15*time.Second ||
		c.RenewInterval != 2*time.Second || c.LeaseName != "plndr-cp-lock" || c.StatusAddress != ":2112" || c.Kubeconfigs[0] != "/etc/kubernetes/admin.conf" {
		t.Errorf("config = %+v", c)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "Services of type LoadBalancer") {
		t.Errorf("warnings = %q", warnings)
	}
}

func TestFromKubeVipOthers(t *testing.T) {
	with := func(more ...string) []string {
		return append([]string{"vip_arp=true", "cp_enable=true", "address=192.168.35.100"}, more...)
	}
	for _, tt := range []struct {
		name    string
		environ []string
		check   func(Values) bool // nil: any
		warning string
		err     string
	}{
		{name: "nothing of kube-vip's", environ: []string{"PATH=/bin", "port=1"}, check: func(v Values) bool { return len(v) == 0 }},
		{name: "vipd's own pod", environ: []string{"address=192.168.35.100"}, check: func(v Values) bool { return len(v) == 1 }},
		{name: "old name", environ: []string{"vip_arp=true", "cp_enable=true", "vip_address=192.168.35.100"}, check: func(v Values) bool { return v["address"][0] == "192.168.35.100" }},
		{name: "namespace in the name", environ: with("vip_leasename=a/b", "cp_namespace=c"), check: func(v Values) bool { return v["lease-namespace"][0] == "a" && v["lease-name"][0] == "b" }},
		{name: "node name", environ: with("vip_nodename=CP-1"), check: func(v Values) bool { return v["node-name"][0] == "cp-1" }},
		{name: "unknown one", environ: with("vip_future=x"), warning: "vip_future"},
		{name: "load balancing", environ: with("lb_enable=true"), warning: "IPVS"},
		{name: "another port", environ: with("lb_enable=true", "lb_port=16443"), warning: "lb_port=16443: clients connect to port 16443"},
		{name: "another port of the API server", environ: with("lb_enable=true", "port=8443"), warning: "lb_port=6443: clients connect"},
		{name: "a port without load balancing", environ: with("lb_port=16443"), check: func(v Values) bool { return len(v) == 2 }},
		{name: "prefix length", environ: with("vip_subnet=27"), warning: "vip_subnet=27: vipd gives"},
		{name: "not a boolean", environ: with("bgp_enable=\\\"true\\\""), err: "neither true nor false"},
		{name: "switched off", environ: with("lb_enable=false", "svc_enable=false", "bgp_enable=false"), check: func(v Values) bool { return len(v) == 2 }},
		{name: "BGP", environ: with("bgp_enable=true"), err: "vipd uses ARP only"},
		{name: "routing table", environ: []string{"vip_routingtable=true", "cp_enable=true", "address=192.168.35.100"}, err: "vip_routingtable"},
		{name: "two addresses", environ: with("vip_address=192.168.35.101"), err: "which of the two"},
		{name: "no ARP", environ: []string{"cp_enable=true", "address=192.168.35.100"}, err: "vip_arp="},
		{name: "Services only", environ: []string{"vip_arp=true", "svc_enable=true", "address=192.168.35.100"}, err: "cp_enable=", warning: "LoadBalancer"},
		{name: "seconds", environ: with("vip_leaseduration=15s"), err: "not a number of seconds"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v, warnings, errs := FromKubeVip(tt.environ)
			err := errors.Join(errs...)
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("error = %v, want %q", err, tt.err)
			}
			if tt.check != nil && !tt.check(v) {
				t.Errorf("values = %v", v)
			}
			if got := strings.Join(warnings, "\n"); (tt.warning == "") != (got == "") || !strings.Contains(got, tt.warning) {
				t.Errorf("warnings = %q, want %q", got, tt.warning)
			}
		})
	}
}
