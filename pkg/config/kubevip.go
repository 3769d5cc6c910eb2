package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// KubeVip is what a variable of kube-vip's means to vipd.
type KubeVip struct {
	// Name is kube-vip's variable.
	Name string
	// Setting is vipd's with the same meaning, "" if there is none.
	Setting string
	// Refuse is why vipd cannot take the place of a kube-vip that has this set to
	// something true, "" if it can.
	Refuse string
	// Lost says what is different when vipd has taken its place: for any value if
	// Always, else for one that is true.
	Lost   string
	Always bool
}

const (
	noRouting = "it announces the address by routing, not by ARP; vipd speaks ARP only: keep kube-vip, or put the address into the nodes' subnet and take vipd"
	noName    = "the address is to be found out through DNS or DHCP; vipd holds a fixed IPv4 address: write that one"
)

// KubeVips is what kube-vip reads from its environment (v0.4 to v1.2), as far as
// it bears on a control plane's address in ARP mode. Others of the same prefixes
// are told of by name.
var KubeVips = []KubeVip{
	{Name: "address", Setting: "address"},
	{Name: "vip_address", Setting: "address"},
	{Name: "port", Setting: "port"},
	{Name: "vip_interface", Setting: "interface"},
	{Name: "vip_nodename", Setting: "node-name"},
	{Name: "cp_namespace", Setting: "lease-namespace"},
	{Name: "vip_leasename", Setting: "lease-name"},
	{Name: "vip_leaseduration", Setting: "lease-duration"},
	{Name: "vip_retryperiod", Setting: "renew-interval"},
	{Name: "k8s_config_file", Setting: "kubeconfig"},
	{Name: "kubernetes_addr", Setting: "apiserver"},
	{Name: "prometheus_server", Setting: "status-address"},

	// What vipd does anyway, or has no use for.
	{Name: "vip_arp"},
	{Name: "cp_enable"},
	{Name: "vip_leaderelection"},
	{Name: "vip_renewdeadline"},
	{Name: "vip_subnet"},
	{Name: "vip_cidr"},
	{Name: "vip_arpRate"},
	{Name: "vip_allow_interface_not_up"},
	{Name: "vip_skipdad"},
	{Name: "vip_singlenode"},
	{Name: "vip_startleader"},
	{Name: "dns_mode"},
	{Name: "dhcp_mode"},
	{Name: "dhcp_backoff_attempts"},
	{Name: "egress_withnftables"},
	{Name: "instance_name"},
	{Name: "lb_port"},
	{Name: "lb_fwdmethod"},
	{Name: "backend_health_check_interval"},
	{Name: "svc_election"},
	{Name: "svc_leasename"},
	{Name: "svc_namespace"},
	{Name: "enableServicesElection"},
	{Name: "vip_servicesinterface"},
	{Name: "vip_loseleadership"}, // a holder that has lost its link cannot renew
	{Name: "vip_loseleadership_timeout_seconds"},

	{Name: "bgp_enable", Refuse: noRouting},
	{Name: "vip_routingtable", Refuse: noRouting},
	{Name: "vip_wireguard", Refuse: noRouting},
	{Name: "vip_ddns", Refuse: noName},

	{Name: "svc_enable", Lost: "nobody announces the addresses of Services of type LoadBalancer any more; run kube-vip as a DaemonSet with svc_enable only, or MetalLB, before vipd takes its place"},
	{Name: "lb_enable", Lost: "no load balancing over all API servers (IPVS): all clients reach the API server of the node that has the address"},
	{Name: "enable_node_labeling", Lost: "no label kube-vip.io/has-ip on the node that has the address; the Lease names it"},
	{Name: "vip_preserve_on_leadership_loss", Lost: "the address does not stay on a node that has lost the election, or two nodes would answer"},
	{Name: "vip_interfaceloglobal", Lost: "the address goes on the interface that it is announced from, not on lo"},
	{Name: "vip_leaseannotations", Lost: "the annotations are not put on the Lease", Always: true},
	{Name: "annotation", Lost: "annotations of the Node are not read", Always: true},
	{Name: "config_file", Lost: "the file is not read", Always: true},
	{Name: "health_check_port", Lost: "kube-vip's /healthz, which always says ok, is not there", Always: true},
	{Name: "vip_loglevel", Lost: "the log level is not taken over, as its numbers mean another thing in each version of kube-vip; set VIPD_LOG_LEVEL", Always: true},
	{Name: "cp_detect", Lost: "the address is not searched in certificates; vipd holds the one that is given"},
	{Name: "control_plane_health_check_address", Lost: "vipd asks /readyz of the API servers instead", Always: true},
}

// kubeVipPrefixes are those of its variables.
var kubeVipPrefixes = []string{"vip_", "cp_", "svc_", "lb_", "bgp_", "egress_", "dhcp_", "control_plane_health_check_", "zebra_", "mpbgp_"}

// Of returns what a variable means; ok is false if it is not one of kube-vip's.
func Of(name string) (k KubeVip, ok bool) {
	for _, known := range KubeVips {
		if known.Name == name {
			return known, true
		}
	}
	for _, prefix := range kubeVipPrefixes {
		if strings.HasPrefix(name, prefix) {
			return KubeVip{Name: name, Lost: "vipd does not know what it means", Always: true}, true
		}
	}
	return KubeVip{}, false
}

// Loss says what is lost with a variable of that value, "" for nothing.
func (k KubeVip) Loss(value string) string {
	if k.Lost == "" || value == "" || !k.Always && !truth(value) {
		return ""
	}
	return fmt.Sprintf("%s=%s: %s", k.Name, value, k.Lost)
}

// truth is kube-vip's (strconv.ParseBool).
func truth(s string) bool {
	b, err := strconv.ParseBool(s)
	return err == nil && b
}

// FromKubeVip reads the settings among kube-vip's variables, so that its manifest
// works with vipd's image. Without address there are none. warnings say what is
// left aside; errors, why vipd cannot take kube-vip's place.
func FromKubeVip(environ []string) (v Values, warnings []string, errs []error) {
	env := make(map[string]string)
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if _, ok := Of(name); ok {
			env[name] = value
		}
	}
	v = make(Values)
	if env["address"] == "" && env["vip_address"] == "" {
		return v, nil, nil
	}
	for name, value := range env {
		k, _ := Of(name)
		if k.Refuse != "" && truth(value) {
			errs = append(errs, fmt.Errorf("%s=%s: %s", name, value, k.Refuse))
		}
		if w := k.Loss(value); w != "" {
			warnings = append(warnings, w)
		}
		if value != "" && k.Setting != "" {
			setting, err := k.convert(value)
			if err != nil {
				errs = append(errs, err)
			}
			v[k.Setting] = []string{setting}
		}
	}
	splitLeaseName(v)
	if kubeVips(env) {
		errs = append(errs, contradictions(env)...)
		if len(v["kubeconfig"]) == 0 {
			v["kubeconfig"] = []string{"/etc/kubernetes/admin.conf"} // as kube-vip
		}
	}
	slices.Sort(warnings)
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return v, warnings, errs
}

// convert is a value as vipd writes it.
func (k KubeVip) convert(value string) (string, error) {
	switch k.Setting {
	case "lease-duration", "renew-interval":
		if _, err := strconv.ParseUint(value, 10, 16); err != nil {
			return value, fmt.Errorf("%s=%s: not a number of seconds", k.Name, value)
		}
		return value + "s", nil
	case "node-name":
		return strings.ToLower(value), nil
	}
	return value, nil
}

// splitLeaseName: kube-vip takes NAMESPACE/NAME, and then no other namespace.
func splitLeaseName(v Values) {
	if names := v["lease-name"]; len(names) == 1 {
		if namespace, name, ok := strings.Cut(names[0], "/"); ok {
			v["lease-namespace"], v["lease-name"] = []string{namespace}, []string{name}
		}
	}
}

// kubeVips tells whether it is kube-vip's manifest at all; vipd's own has its
// variable for the address, and no other.
func kubeVips(env map[string]string) bool {
	for name := range env {
		if strings.HasPrefix(name, "vip_") || strings.HasPrefix(name, "cp_") || strings.HasPrefix(name, "svc_") {
			return true
		}
	}
	return false
}

// contradictions are what kube-vip would not have held an address of the control
// plane with, or not the one that is meant.
func contradictions(env map[string]string) (errs []error) {
	if a, b := env["address"], env["vip_address"]; a != "" && b != "" && a != b {
		errs = append(errs, fmt.Errorf("address=%s and vip_address=%s: which of the two?", a, b))
	}
	routed := truth(env["bgp_enable"]) || truth(env["vip_routingtable"]) || truth(env["vip_wireguard"])
	if !truth(env["vip_arp"]) && !routed {
		errs = append(errs, fmt.Errorf("vip_arp=%s: kube-vip would not announce the address, vipd would; set vip_arp=true if that is meant", env["vip_arp"]))
	}
	if !truth(env["cp_enable"]) {
		errs = append(errs, fmt.Errorf("cp_enable=%s: kube-vip would hold no address for the control plane; vipd does nothing else; set cp_enable=true if that is meant", env["cp_enable"]))
	}
	return errs
}
