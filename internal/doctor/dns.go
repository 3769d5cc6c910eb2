package doctor

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Queries to one name server: net.Resolver would read /etc/hosts first.

const dnsTries = 2

// dnsTimeout bounds one try.
func (in *Input) dnsTimeout() time.Duration { return in.checkTimeout() / (2 * dnsTries) }

// errNoRecord: the name server answered, and has no such record.
var errNoRecord = errors.New("no record")

// queryDNS queries a name server for the IPv4 addresses of a name (RFC 1035 section 4).
func (in *Input) queryDNS(ctx context.Context, server netip.AddrPort, name string) ([]netip.Addr, error) {
	var last error
	for range dnsTries {
		got, err := in.queryDNSOnce(ctx, server, name)
		if err == nil || errors.Is(err, errNoRecord) {
			return got, err
		}
		last = err
	}
	return nil, last
}

func (in *Input) queryDNSOnce(ctx context.Context, server netip.AddrPort, name string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, in.dnsTimeout())
	defer cancel()
	conn, err := in.Queries.Dial(ctx, "udp", server.String())
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	id := uint16(rand.Uint32()) //nolint:gosec // distinguishes queries, no secret
	question, err := packQuestion(id, name)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if _, err := conn.Write(question); err != nil {
		return nil, err
	}
	answer := make([]byte, 1232) // the usual maximum over UDP without EDNS
	for {
		n, err := conn.Read(answer)
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			return nil, fmt.Errorf("no answer within %s", in.dnsTimeout())
		}
		if err != nil {
			return nil, err
		}
		if got, ours, err := parseAnswer(answer[:n], id); ours {
			return got, err
		}
	}
}

func packQuestion(id uint16, name string) ([]byte, error) {
	n, err := dnsmessage.NewName(strings.TrimSuffix(name, ".") + ".")
	if err != nil {
		return nil, fmt.Errorf("ask for %q: %w", name, err)
	}
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: n, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	return m.Pack()
}

// parseAnswer reads an answer. ours is false for the answer to another query. A records of
// any name count: the name may be the target of an alias.
func parseAnswer(b []byte, id uint16) (got []netip.Addr, ours bool, err error) {
	var m dnsmessage.Message
	if err := m.Unpack(b); err != nil || m.ID != id || !m.Response {
		return nil, false, nil //nolint:nilerr // not an answer to this query
	}
	switch m.RCode {
	case dnsmessage.RCodeSuccess:
	case dnsmessage.RCodeNameError:
		return nil, true, errNoRecord
	default:
		return nil, true, fmt.Errorf("the server answers %s", strings.TrimPrefix(m.RCode.String(), "RCode"))
	}
	for _, a := range m.Answers {
		if r, ok := a.Body.(*dnsmessage.AResource); ok {
			got = append(got, netip.AddrFrom4(r.A))
		}
	}
	if got == nil {
		return nil, true, errNoRecord
	}
	return got, true, nil
}
