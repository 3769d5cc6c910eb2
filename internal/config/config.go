package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Config is the validated configuration of vipd.
type Config struct {
	// Addresses are held together; this version holds one.
	Addresses []netip.Addr
	Port      uint16
	// Interface is "" to choose the interface by its subnet.
	Interface string
	// Node is the name of this node, "" if none was set.
	Node        string
	Kubeconfigs []string
	// APIServer is host:port.
	APIServer string
	// Peers are host:port of the API servers of other nodes, in addition to those that vipd
	// discovers.
	Peers []string
	// Preferred are names of nodes, the most preferred first.
	Preferred      []string
	LeaseNamespace string
	LeaseName      string
	LeaseDuration  time.Duration
	// MaxLeaseDuration is at least LeaseDuration.
	MaxLeaseDuration time.Duration
	// RenewInterval is 0 to derive it from the lease duration.
	RenewInterval time.Duration
	// Manifests is the folder of kubelet's static pods, "" to ignore them.
	Manifests string
	Fence     Fence
	// StatusAddress is host:port, "" for no server.
	StatusAddress string
	// ProbeInterval is 0 for no probes.
	ProbeInterval time.Duration
	// GracePeriod is how long this process may take to end.
	GracePeriod time.Duration
	LogFormat   string
	LogLevel    string
}

// Fence selects how the kernel ends the holding if this process cannot.
type Fence string

const (
	FenceAuto     Fence = "auto"     // nftables if the kernel has it, else the lifetime
	FenceNftables Fence = "nftables" // nftables, or do not start
	FenceLifetime Fence = "lifetime" // the lifetime of the address, with a longer lease
)

// Parse validates values. The error has one line for each invalid setting, with its name, the value
// and what is expected.
func Parse(v Values) (Config, error) {
	p := &parser{values: v}
	c := Config{
		Addresses:      p.addresses(),
		Port:           p.port(),
		Interface:      p.interfaceName(),
		Node:           p.name("node-name", validation.IsDNS1123Subdomain),
		Kubeconfigs:    p.kubeconfigs(),
		LeaseNamespace: p.name("lease-namespace", validation.IsDNS1123Label),
		LeaseName:      p.name("lease-name", validation.IsDNS1123Subdomain),
		Fence:          Fence(p.oneOf("fence", string(FenceAuto), string(FenceNftables), string(FenceLifetime))),
		LogFormat:      p.oneOf("log-format", "json", "console"),
		LogLevel:       p.oneOf("log-level", "debug", "info", "warn", "error"),
	}
	c.LeaseDuration = p.leaseDuration()
	c.MaxLeaseDuration = p.maxLeaseDuration(c.LeaseDuration)
	if _, set := p.get("renew-interval"); set {
		c.RenewInterval = p.duration("renew-interval")
	}
	c.Manifests, _ = p.get("manifests")
	c.StatusAddress = p.statusAddress(c)
	if s, _ := p.get("probe-interval"); s != "off" {
		c.ProbeInterval = p.duration("probe-interval")
	}
	c.GracePeriod = p.duration("grace-period")
	c.APIServer = p.apiServer(c)
	c.Peers = p.peers(c)
	c.Preferred = p.preferred()
	return c, errors.Join(p.errs...)
}

// ParseClient validates ClientSettings only.
func ParseClient(v Values) (Config, error) {
	p := &parser{values: v}
	c := Config{
		Port:           p.port(),
		Kubeconfigs:    p.kubeconfigs(),
		LeaseNamespace: p.name("lease-namespace", validation.IsDNS1123Label),
		LeaseName:      p.name("lease-name", validation.IsDNS1123Subdomain),
	}
	c.APIServer = p.apiServer(c)
	return c, errors.Join(p.errs...)
}

// ParseStatusAddress validates the status address only; the result is "" for off.
func ParseStatusAddress(v Values) (string, error) {
	p := &parser{values: v}
	return p.statusAddress(Config{}), errors.Join(p.errs...)
}

type parser struct {
	values Values
	errs   []error
}

func (p *parser) fail(name, format string, args ...any) {
	p.errs = append(p.errs, fmt.Errorf("--%s: %s", name, fmt.Sprintf(format, args...)))
}

// get returns the value of a setting, or its default and false.
func (p *parser) get(name string) (string, bool) {
	if v, ok := p.values[name]; ok && len(v) > 0 {
		return v[len(v)-1], true
	}
	for _, s := range Settings {
		if s.Name == name {
			return s.Default, false
		}
	}
	panic("no setting " + name)
}

func (p *parser) addresses() []netip.Addr {
	values := p.values["address"]
	if len(values) == 0 {
		p.fail("address", "missing: the virtual IP address, such as 192.168.35.100")
		return nil
	}
	if len(values) > 1 {
		p.fail("address", "given %d times: this version holds one IPv4 address", len(values))
		return nil
	}
	a, err := netip.ParseAddr(values[0])
	switch {
	case strings.Contains(values[0], "/"):
		p.fail("address", "%q has a prefix length: give the address without it, vipd adds a /32", values[0])
	case err != nil:
		p.fail("address", "%q is not an IP address", values[0])
	case !a.Is4():
		p.fail("address", "%s is not an IPv4 address, and this version holds no other", a)
	case !a.IsGlobalUnicast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		p.fail("address", "%s is not an address that a host can have on a network", a)
	default:
		return []netip.Addr{a}
	}
	return nil
}

func (p *parser) port() uint16 {
	s, _ := p.get("port")
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		p.fail("port", "%q is not a port, 1 to 65535", s)
	}
	return uint16(n)
}

func (p *parser) interfaceName() string {
	// Empty counts as not set: CAPV's templates have ${VIP_NETWORK_INTERFACE:=""}.
	s, _ := p.get("interface")
	// IFNAMSIZ is 16 including the final 0; alternative names may be longer.
	if len(s) > 127 || strings.ContainsAny(s, "/ \t\n\x00") {
		p.fail("interface", "%q is not the name of an interface; omit it to choose the interface by its subnet", s)
	}
	return s
}

func (p *parser) name(setting string, check func(string) []string) string {
	s, set := p.get(setting)
	if s == "" && !set {
		return s
	}
	if problems := check(s); len(problems) > 0 {
		p.fail(setting, "%q: %s", s, problems[0])
	}
	return s
}

func (p *parser) kubeconfigs() []string {
	values := p.values["kubeconfig"]
	if len(values) == 0 {
		p.fail("kubeconfig", "missing: a file with credentials, such as /etc/kubernetes/admin.conf")
	}
	for _, v := range values {
		if v == "" {
			p.fail("kubeconfig", "empty: name a file")
		}
	}
	return values
}

func (p *parser) oneOf(name string, allowed ...string) string {
	s, _ := p.get(name)
	if !slices.Contains(allowed, s) {
		p.fail(name, "%q is not one of %s", s, strings.Join(allowed, ", "))
	}
	return s
}

func (p *parser) duration(name string) time.Duration {
	s, _ := p.get(name)
	d, err := time.ParseDuration(s)
	if err != nil {
		p.fail(name, "%q is not a duration: write 3s or 500ms", s)
		return 0
	}
	if d <= 0 {
		p.fail(name, "%s is not a positive duration", d)
	}
	return d
}

// leaseDuration returns the lease duration, or that of the profile if it is not set.
func (p *parser) leaseDuration() time.Duration {
	profile, profileSet := p.get("profile")
	p.oneOf("profile", "fast", "default", "safe")
	ofProfile, _ := time.ParseDuration(profiles[profile])
	if _, set := p.get("lease-duration"); !set {
		return ofProfile
	}
	d := p.duration("lease-duration")
	if profileSet && ofProfile != 0 && d != ofProfile {
		p.fail("lease-duration", "%s contradicts --profile %s, which means %s: give one of the two", d, profile, ofProfile)
	}
	return d
}

// maxLeaseDuration returns the maximum lease duration, which is at least the lease duration.
func (p *parser) maxLeaseDuration(lease time.Duration) time.Duration {
	const most = time.Minute // the maximum of a lease, see election.MaxLease
	d := p.duration("max-lease-duration")
	_, set := p.get("max-lease-duration")
	switch {
	case !set:
		return max(d, lease)
	case d < lease:
		p.fail("max-lease-duration", "%s is shorter than the lease duration, %s: give at least that", d, lease)
	case d != d.Truncate(time.Second) || d > most:
		p.fail("max-lease-duration", "%s is not a number of whole seconds up to %s", d, most)
	}
	return d
}

func (p *parser) apiServer(c Config) string {
	s, set := p.get("apiserver")
	if !set {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(int(c.Port)))
	}
	return p.server("apiserver", s, "127.0.0.1:6443", c)
}

func (p *parser) peers(c Config) []string {
	var out []string
	for _, s := range p.values["peer"] {
		out = append(out, p.server("peer", s, "192.168.35.12:6443", c))
	}
	return out
}

// server parses host:port of an API server, which must not be the VIP.
func (p *parser) server(name, s, example string, c Config) string {
	host, port, err := net.SplitHostPort(strings.TrimPrefix(s, "https://"))
	if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || n == 0 || host == "" || strings.ContainsAny(host, "/@? ") {
		p.fail(name, "%q is not host:port, such as %s", s, example)
		return ""
	}
	if a, err := netip.ParseAddr(host); err == nil && slices.Contains(c.Addresses, a) {
		p.fail(name, "%s is the virtual IP itself: vipd needs an API server to hold it", a)
	}
	return net.JoinHostPort(host, port)
}

// statusAddress returns the status address. Without a host, as in kube-vip's setting, it means all
// addresses. It has to be free, and there, whether this node holds the address or not.
func (p *parser) statusAddress(c Config) string {
	s, _ := p.get("status-address")
	if s == "off" {
		return ""
	}
	host, port, err := net.SplitHostPort(s)
	n, perr := strconv.ParseUint(port, 10, 16)
	a, aerr := netip.ParseAddr(host)
	switch {
	case err != nil || perr != nil || n == 0 || strings.ContainsAny(host, "/@? "):
		p.fail("status-address", "%q is not host:port, such as 127.0.0.1:2112, nor off", s)
	case uint16(n) == c.Port:
		p.fail("status-address", "%s has the port of the API server, which could not start beside vipd: give another port", s)
	case aerr == nil && slices.Contains(c.Addresses, a):
		p.fail("status-address", "%s is the virtual IP itself, which only the holder has: give an address of each node, such as 127.0.0.1", a)
	}
	return s
}

func (p *parser) preferred() []string {
	values := p.values["preferred"]
	for _, v := range values {
		if problems := validation.IsDNS1123Subdomain(v); len(problems) > 0 {
			p.fail("preferred", "%q is not the name of a node: %s", v, problems[0])
		}
	}
	return values
}
