// Package config converts flags and environment variables into one validated value. It is pure: it
// reads no file, no interface and no clock.
package config

import (
	"fmt"
	"sort"
	"strings"
)

// Setting is a setting with a flag and an environment variable.
type Setting struct {
	// Name is the name of the flag, without dashes.
	Name string
	// Default is the value if nothing is set; "" may mean that the default is computed.
	Default string
	// Usage is the help text.
	Usage string
	// Repeat tells that the flag may be repeated, and that the variable may have several values
	// with Separator between them.
	Repeat    bool
	Separator string
}

// Settings are all settings, in the order of the help text.
var Settings = []Setting{
	{Name: "address", Repeat: true, Separator: ",", Usage: "virtual IP address to hold, an IPv4 address (required)"},
	{Name: "port", Default: "6443", Usage: "port of the API servers behind it"},
	{Name: "interface", Usage: "interface to put the address on (default: the one whose subnet holds the address)"},
	{Name: "node-name", Usage: "name of this node (default: $NODE_NAME, then the host name)"},
	{Name: "kubeconfig", Repeat: true, Separator: ":", Usage: "credentials to use; several are tried in order; the server in it is not used (required)"},
	{Name: "apiserver", Usage: "host:port of the API server to talk to (default: 127.0.0.1 and --port)"},
	{Name: "peer", Repeat: true, Separator: ",", Usage: "host:port of another node's API server, beside those that the cluster's EndpointSlice names"},
	{Name: "preferred", Repeat: true, Separator: ",", Usage: "node that takes the address before others when it moves; it does not move back to it by itself"},
	{Name: "lease-namespace", Default: "kube-system", Usage: "namespace of the Lease"},
	{Name: "lease-name", Default: "plndr-cp-lock", Usage: "name of the Lease; the default is kube-vip's, so that both agree on one holder"},
	{Name: "profile", Default: "default", Usage: "fast, default or safe: a lease of 2s, 3s or 10s"},
	{Name: "lease-duration", Usage: "lease duration in whole seconds, instead of a profile's"},
	{Name: "max-lease-duration", Default: "40s", Usage: "how long the lease may become: for a node without another to take it over, and for a slow store; the lease duration itself keeps it as it is"},
	{Name: "renew-interval", Usage: "time between renewals (default: a third of the lease duration, 2s at most)"},
	{Name: "manifests", Usage: "folder of kubelet's static pods: vipd waits while a kube-vip is in it (default: not checked)"},
	{Name: "fence", Default: "auto", Usage: "auto, nftables or lifetime: what ends the address if this process cannot"},
	{Name: "status-address", Default: "127.0.0.1:2112", Usage: "host:port to serve the status on, or off"},
	{Name: "probe-interval", Default: "1s", Usage: "how often a standby probes the address, to measure outages, or off"},
	{Name: "grace-period", Default: "10s", Usage: "terminationGracePeriodSeconds of the pod: a holder that is told to end keeps the address for another node until 2s before the end of that time"},
	{Name: "log-format", Default: "json", Usage: "json or console"},
	{Name: "log-level", Default: "info", Usage: "debug, info, warn or error"},
}

// ClientSettings names the settings that a client of the Lease needs.
var ClientSettings = []string{"port", "kubeconfig", "apiserver", "lease-namespace", "lease-name"}

// profiles maps the profiles to lease durations.
var profiles = map[string]string{"fast": "2s", "default": "3s", "safe": "10s"}

const prefix = "VIPD_"

// Env returns the environment variable of the setting.
func (s Setting) Env() string {
	return prefix + strings.ToUpper(strings.ReplaceAll(s.Name, "-", "_"))
}

// Values are the given values, keyed by the name of the setting. A missing name was not set; an
// empty value was set to "".
type Values map[string][]string

// FromEnviron reads settings from environment variables ("NAME=value"). The caller adds the flags,
// which have precedence. An unknown variable with vipd's prefix is an error, because it is probably
// misspelt.
func FromEnviron(environ []string) (Values, []error) {
	known := make(map[string]Setting)
	for _, s := range Settings {
		known[s.Env()] = s
	}
	v := make(Values)
	var errs []error
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, prefix) || serviceLink(name) {
			continue
		}
		s, ok := known[name]
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("unknown environment variable %s: vipd has %s", name, envNames()))
		case s.Name == "port" && strings.Contains(value, "://"):
			errs = append(errs, fmt.Errorf("%s=%s is what Kubernetes sets for a Service named vipd: set enableServiceLinks: false in the pod", name, value))
		case s.Repeat:
			v[s.Name] = strings.Split(value, s.Separator)
		default:
			v[s.Name] = []string{value}
		}
	}
	return v, errs
}

// serviceLink tells whether Kubernetes sets the variable for a Service named vipd.
func serviceLink(name string) bool {
	return strings.HasPrefix(name, prefix+"SERVICE_") || strings.HasPrefix(name, prefix+"PORT_")
}

func envNames() string {
	var out []string
	for _, s := range Settings {
		out = append(out, s.Env())
	}
	sort.Strings(out)
	return strings.Join(out, ", ")
}
