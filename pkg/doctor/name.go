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

// The check of the DNS name: what each name server says, and what programs of this
// machine get.

var nameWrong = Check{ID: "D13", Title: "name of the VIP", Modes: everywhere | Management, Look: func(ctx context.Context, c *Case) ([]Finding, error) {
	f := c.Facts
	if f.Name == "" {
		return nil, nil
	}
	servers, err := c.Questions.Resolvers()
	if err != nil {
		return nil, fmt.Errorf("read which name servers there are: %w", err)
	}
	out, got, err := c.answers(ctx, servers)
	switch {
	case slices.Contains(got, f.VIP):
		for i := range out { // the programs of this machine have it from elsewhere, such as /etc/hosts
			out[i].Severity = Warning
		}
	case len(got) > 0:
		out = append(out, Finding{Severity: Error, Mark: "elsewhere", Seen: fmt.Sprintf("programs here find %s at %s, not at the VIP %s", f.Name, list(got), f.VIP),
			Why: "kubeadm, kubelet and clients go there", Mend: []string{"a line in /etc/hosts counts first: grep -n " + f.Name + " /etc/hosts", "the record: " + f.Name + ". A " + f.VIP.String()}})
	case len(out) == 0:
		out = append(out, Finding{Severity: Error, Mark: "not found", Seen: fmt.Sprintf("programs here do not find %s: %s", f.Name, plain(err)),
			Why: "kubeadm join and kubelet use the name, and do not get to the VIP", Mend: c.nameMend()})
	}
	return out, nil
}}

// answers asks all name servers at once, and meanwhile as programs do: what one of them
// takes is not to be at the cost of the others.
func (c *Case) answers(ctx context.Context, servers []netip.AddrPort) (amiss []Finding, got []netip.Addr, err error) {
	findings := make([]*Finding, len(servers))
	var all sync.WaitGroup
	for i, s := range servers {
		all.Go(func() {
			if f, amiss := c.answerOf(ctx, s); amiss {
				findings[i] = &f
			}
		})
	}
	got, err = c.Questions.Lookup(ctx, c.Facts.Name)
	all.Wait()
	for _, f := range findings {
		if f != nil {
			amiss = append(amiss, *f)
		}
	}
	return amiss, got, err
}

func (c *Case) nameMend() []string {
	return []string{"make the record: " + c.Facts.Name + ". A " + c.Facts.VIP.String(),
		"until then, on every node, after what rewrites the file: echo '" + c.Facts.VIP.String() + " " + c.Facts.Name + "' >> /etc/hosts"}
}

// answerOf asks one name server.
func (c *Case) answerOf(ctx context.Context, server netip.AddrPort) (Finding, bool) {
	f := c.Facts
	got, err := c.ask(ctx, server, f.Name)
	switch {
	case err == nil && slices.Contains(got, f.VIP):
		return Finding{}, false
	case err == nil:
		return Finding{Severity: Error, Mark: "wrong", Seen: fmt.Sprintf("the name server %s has %s at %s, and the VIP is %s", server, f.Name, list(got), f.VIP),
			Why: "clients that ask it go elsewhere", Mend: []string{"the record: " + f.Name + ". A " + f.VIP.String()}}, true
	case errors.Is(err, errNoRecord):
		return Finding{Severity: Error, Mark: "no record", Seen: fmt.Sprintf("the name server %s has no record of %s%s", server, f.Name, local(f.Name)),
			Why: "kubeadm join and kubelet use the name, and do not get to the VIP", Mend: c.nameMend()}, true
	}
	return Finding{Severity: Error, Mark: "no server", Seen: fmt.Sprintf("the name server %s gives no address: %s", server, plain(err)),
		Why: "names are not found, or late, on this machine", Mend: []string{"is there a way to it? ip route get " + server.Addr().String() + " (without a default route: D01)",
			"is it the right one? network.devices[].nameservers of the VSphereMachineTemplate, or resolvectl status, nmcli device show"}}, true
}

// local says what is special about a name in .local.
func local(name string) string {
	if strings.HasSuffix(strings.TrimSuffix(name, "."), ".local") {
		return " (.local is for multicast DNS, RFC 6762: resolvers disagree about it)"
	}
	return ""
}

func list(addrs []netip.Addr) string {
	var out []string
	for _, a := range addrs {
		out = append(out, a.Unmap().String())
	}
	return strings.Join(out, ", ")
}

// plain leaves out of an error what everybody knows of it.
func plain(err error) string {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return dns.Err
	}
	return fmt.Sprint(err)
}
