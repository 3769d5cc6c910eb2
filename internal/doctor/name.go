package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// The check of the DNS name: the answer of each name server, and the result that programs on
// this machine get.

var nameWrong = Check{ID: "D13", Title: "name of the VIP", Modes: everywhere | Management, Run: func(ctx context.Context, in *Input) ([]Finding, error) {
	f := in.Facts
	if f.Name == "" {
		return nil, nil
	}
	servers, err := in.Queries.Resolvers()
	if err != nil {
		return nil, fmt.Errorf("read the configured name servers: %w", err)
	}
	out, got, err := in.queryNameServers(ctx, servers)
	switch {
	case slices.Contains(got, f.VIP):
		for i := range out { // programs on this machine resolve the name by other means, such as /etc/hosts
			out[i].Severity = Warning
		}
	case len(got) > 0:
		out = append(out, Finding{Severity: Error, Kind: "elsewhere", Seen: fmt.Sprintf("programs on this machine resolve %s to %s, not to the VIP %s", f.Name, joinAddresses(got), f.VIP),
			Why: "kubeadm, kubelet and clients connect to that address", Remedy: []string{"/etc/hosts takes precedence: grep -n " + f.Name + " /etc/hosts", "the record: " + f.Name + ". A " + f.VIP.String()}})
	case len(out) == 0:
		out = append(out, Finding{Severity: Error, Kind: "not found", Seen: fmt.Sprintf("programs on this machine cannot resolve %s: %s", f.Name, dnsErrorText(err)),
			Why: "kubeadm join and kubelet use the name, and cannot reach the VIP", Remedy: in.recordRemedy()})
	}
	return out, nil
}}

// queryNameServers queries all name servers and the system's resolver concurrently, so that a
// slow server does not use up the time of the others.
func (in *Input) queryNameServers(ctx context.Context, servers []netip.AddrPort) (wrong []Finding, got []netip.Addr, err error) {
	findings := make([]*Finding, len(servers))
	var all sync.WaitGroup
	for i, s := range servers {
		all.Go(func() {
			if f, wrong := in.queryNameServer(ctx, s); wrong {
				findings[i] = &f
			}
		})
	}
	got, err = in.Queries.Lookup(ctx, in.Facts.Name)
	all.Wait()
	for _, f := range findings {
		if f != nil {
			wrong = append(wrong, *f)
		}
	}
	return wrong, got, err
}

func (in *Input) recordRemedy() []string {
	return []string{"create the record: " + in.Facts.Name + ". A " + in.Facts.VIP.String(),
		"until then, on every node, after any program that rewrites the file: echo '" + in.Facts.VIP.String() + " " + in.Facts.Name + "' >> /etc/hosts"}
}

// queryNameServer queries one name server.
func (in *Input) queryNameServer(ctx context.Context, server netip.AddrPort) (Finding, bool) {
	f := in.Facts
	got, err := in.queryDNS(ctx, server, f.Name)
	switch {
	case err == nil && slices.Contains(got, f.VIP):
		return Finding{}, false
	case err == nil:
		return Finding{Severity: Error, Kind: "wrong", Seen: fmt.Sprintf("the name server %s resolves %s to %s, and the VIP is %s", server, f.Name, joinAddresses(got), f.VIP),
			Why: "clients of this name server connect to another address", Remedy: []string{"the record: " + f.Name + ". A " + f.VIP.String()}}, true
	case errors.Is(err, errNoRecord):
		return Finding{Severity: Error, Kind: "no record", Seen: fmt.Sprintf("the name server %s has no record of %s%s", server, f.Name, mdnsNote(f.Name)),
			Why: "kubeadm join and kubelet use the name, and cannot reach the VIP", Remedy: in.recordRemedy()}, true
	}
	return Finding{Severity: Error, Kind: "no server", Seen: fmt.Sprintf("the name server %s gives no address: %s", server, dnsErrorText(err)),
		Why: "name resolution on this machine fails or is slow", Remedy: []string{"is there a route to the name server? ip route get " + server.Addr().String() + " (without a default route: D01)",
			"is the configured name server correct? network.devices[].nameservers of the VSphereMachineTemplate, or resolvectl status, nmcli device show"}}, true
}

// mdnsNote explains names in .local.
func mdnsNote(name string) string {
	if strings.HasSuffix(strings.TrimSuffix(name, "."), ".local") {
		return " (.local is reserved for multicast DNS, RFC 6762: resolvers handle such names differently)"
	}
	return ""
}

func joinAddresses(addrs []netip.Addr) string {
	var out []string
	for _, a := range addrs {
		out = append(out, a.Unmap().String())
	}
	return strings.Join(out, ", ")
}

// dnsErrorText is the error without the name and the server, which the finding has already.
func dnsErrorText(err error) string {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return dns.Err
	}
	return fmt.Sprint(err)
}
