package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// KubeVip is the meaning of a kube-vip variable for vipd.
type KubeVip struct {
	// Name is the name of the variable.
	Name string
	// Setting is the vipd setting with the same meaning, "" for none.
	Setting string
	// Refuse is why vipd cannot replace a kube-vip with a true value of the variable, "" if it can.
	Refuse string
	// Lost says what is different after vipd has replaced kube-vip: for any value if Always, else
	// for a true one.
	Lost   string
	Always bool
	// Same are values with which nothing is different.
	Same []string
	// Bool tells that kube-vip does not start if the value is not a boolean.
	Bool bool
}

const (
	noRouting = "kube-vip announces the address by routing; vipd uses ARP only: keep kube-vip, or move the address into the subnet of the nodes and use vipd"
	// otherPrefix is said of a prefix length that kube-vip gave the address.
	otherPrefix = "vipd gives the address the prefix length 32: a route to the subnet of the address has to come from the node's own address. " +
		"An address that kube-vip leaves behind has the old prefix length: remove it with `ip address del`, or with a restart of the node"
	noName = "kube-vip gets the address from DNS or DHCP; vipd holds a fixed IPv4 address: give that address"
)

// hostPrefixes are the prefix lengths of a single address.
var hostPrefixes = []string{"32", "/32", "32,128", "128,32"}

// KubeVips are the variables that kube-vip reads (v0.4 to v1.2), as far as they matter for a
// control-plane address in ARP mode. For other variables with the same prefixes see Of.
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

	// What vipd does anyway, or does not need.
	{Name: "vip_arp", Bool: true},
	{Name: "cp_enable", Bool: true},
	{Name: "vip_leaderelection", Bool: true},
	{Name: "vip_renewdeadline"},
	{Name: "vip_arpRate"},
	{Name: "vip_allow_interface_not_up", Bool: true},
	{Name: "vip_skipdad", Bool: true},
	{Name: "vip_singlenode", Bool: true},
	{Name: "vip_startleader", Bool: true},
	{Name: "dns_mode"},
	{Name: "dhcp_mode"},
	{Name: "dhcp_backoff_attempts"},
	{Name: "egress_withnftables", Bool: true},
	{Name: "instance_name"},
	{Name: "lb_port"},
	{Name: "lb_fwdmethod"},
	{Name: "backend_health_check_interval"},
	{Name: "svc_election", Bool: true},
	{Name: "svc_leasename"},
	{Name: "svc_namespace"},
	{Name: "enableServicesElection", Bool: true},
	{Name: "vip_servicesinterface"},
	{Name: "vip_loseleadership", Bool: true}, // a holder without a link cannot renew
	{Name: "vip_loseleadership_timeout_seconds"},

	{Name: "bgp_enable", Bool: true, Refuse: noRouting},
	{Name: "vip_routingtable", Bool: true, Refuse: noRouting},
	{Name: "vip_wireguard", Bool: true, Refuse: noRouting},
	{Name: "vip_ddns", Bool: true, Refuse: noName},
	{Name: "vip_packet", Bool: true, Refuse: "kube-vip moves the address by the API of Equinix Metal; vipd uses ARP only: keep kube-vip"},

	{Name: "svc_enable", Bool: true, Lost: "nothing announces the addresses of Services of type LoadBalancer any more; run kube-vip as a DaemonSet with svc_enable only, or MetalLB, before vipd replaces kube-vip"},
	{Name: "lb_enable", Bool: true, Lost: "no load balancing over all API servers (IPVS): all clients reach the API server of the node that has the address"},
	{Name: "enable_node_labeling", Bool: true, Lost: "no label kube-vip.io/has-ip on the node that has the address; the Lease names it"},
	{Name: "vip_preserve_on_leadership_loss", Bool: true, Lost: "the address does not stay on a node that has lost the election, or two nodes would answer"},
	{Name: "vip_interfaceloglobal", Bool: true, Lost: "the address goes on the interface that it is announced from, not on lo"},
	{Name: "vip_subnet", Lost: otherPrefix, Always: true, Same: hostPrefixes},
	{Name: "vip_cidr", Lost: otherPrefix, Always: true, Same: hostPrefixes},
	{Name: "vip_leaseannotations", Lost: "the annotations are not put on the Lease", Always: true},
	{Name: "annotation", Lost: "annotations of the Node are not read", Always: true},
	{Name: "config_file", Lost: "the file is not read", Always: true},
	{Name: "health_check_port", Lost: "kube-vip's /healthz, which always says ok, is not there", Always: true},
	{Name: "vip_loglevel", Lost: "the log level is not used, because its numbers differ between versions of kube-vip; set VIPD_LOG_LEVEL", Always: true},
	{Name: "cp_detect", Bool: true, Lost: "the address is not searched in certificates; vipd holds the one that is given"},
	{Name: "control_plane_health_check_address", Lost: "vipd asks /readyz of the API servers instead", Always: true},
}

// kubeVipPrefixes are the prefixes of kube-vip's variables.
var kubeVipPrefixes = []string{"vip_", "cp_", "svc_", "lb_", "bgp_", "egress_", "dhcp_", "control_plane_health_check_", "zebra_", "mpbgp_"}

// Of returns the meaning of a variable; ok is false if it is not one of kube-vip's.
func Of(name string) (k KubeVip, ok bool) {
	for _, known := range KubeVips {
		if known.Name == name {
			return known, true
		}
	}
	for _, prefix := range kubeVipPrefixes {
		if strings.HasPrefix(name, prefix) {
			return KubeVip{Name: name, Lost: "vipd does not know this variable", Always: true}, true
		}
	}
	return KubeVip{}, false
}

// Loss says what is lost for that value of the variable, "" for nothing.
func (k KubeVip) Loss(value string) string {
	if k.Lost == "" || value == "" || slices.Contains(k.Same, value) || !k.Always && !truth(value) {
		return ""
	}
	return fmt.Sprintf("%s=%s: %s", k.Name, value, k.Lost)
}

// truth parses a boolean as kube-vip does (strconv.ParseBool).
func truth(s string) bool {
	b, err := strconv.ParseBool(s)
	return err == nil && b
}

// OtherPort says that clients connect to another port than the API server's, "" if they do not:
// with lb_enable, kube-vip answers on lb_port of the address. Ports that are not set are 6443.
func OtherPort(lbPort, port string) string {
	if lbPort, port = cmp.Or(lbPort, "6443"), cmp.Or(port, "6443"); lbPort != port {
		return fmt.Sprintf("lb_port=%s: clients connect to port %[1]s of the address, where vipd does not answer: it serves port %s, the API server's own", lbPort, port)
	}
	return ""
}

// FromKubeVip reads settings from kube-vip's variables, so that kube-vip's manifest works with
// vipd's image. Without an address, the result is empty. warnings says what is ignored; errs says
// why vipd cannot replace kube-vip.
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
		if _, err := strconv.ParseBool(value); k.Bool && value != "" && err != nil {
			errs = append(errs, fmt.Errorf("%s=%s: neither true nor false, so kube-vip would not start", name, value))
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
	if w := OtherPort(env["lb_port"], env["port"]); w != "" && truth(env["lb_enable"]) {
		warnings = append(warnings, w)
	}
	splitLeaseName(v)
	if isKubeVip(env) {
		errs = append(errs, contradictions(env)...)
		if len(v["kubeconfig"]) == 0 {
			v["kubeconfig"] = []string{"/etc/kubernetes/admin.conf"} // kube-vip's default
		}
	}
	slices.Sort(warnings)
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return v, warnings, errs
}

// convert converts a value to vipd's format.
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

// splitLeaseName splits NAMESPACE/NAME, which kube-vip accepts as the name of the Lease.
func splitLeaseName(v Values) {
	if names := v["lease-name"]; len(names) == 1 {
		if namespace, name, ok := strings.Cut(names[0], "/"); ok {
			v["lease-namespace"], v["lease-name"] = []string{namespace}, []string{name}
		}
	}
}

// kubeVips tells whether the manifest is kube-vip's: vipd's own has the variable `address` only.
func isKubeVip(env map[string]string) bool {
	for name := range env {
		if strings.HasPrefix(name, "vip_") || strings.HasPrefix(name, "cp_") || strings.HasPrefix(name, "svc_") {
			return true
		}
	}
	return false
}

// contradictions returns an error for each setting with which kube-vip would have held no
// control-plane address, or another one.
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
