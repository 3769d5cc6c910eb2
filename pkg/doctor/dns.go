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

// One name server is asked by itself: net.Resolver would look into /etc/hosts first.

const (
	dnsTries   = 2
	dnsTimeout = time.Second // for one try
)

// errNoRecord means that the name server answered, and has no such record.
var errNoRecord = errors.New("no record")

// ask asks a name server for the IPv4 addresses of a name (RFC 1035 section 4).
func (c *Case) ask(ctx context.Context, server netip.AddrPort, name string) ([]netip.Addr, error) {
	var last error
	for range dnsTries {
		got, err := c.askOnce(ctx, server, name)
		if err == nil || errors.Is(err, errNoRecord) {
			return got, err
		}
		last = err
	}
	return nil, last
}

func (c *Case) askOnce(ctx context.Context, server netip.AddrPort, name string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
	defer cancel()
	conn, err := c.Questions.Dial(ctx, "udp", server.String())
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	id := uint16(rand.Uint32()) //nolint:gosec // tells our question from another one
	question, err := query(id, name)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if _, err := conn.Write(question); err != nil {
		return nil, err
	}
	answer := make([]byte, 1232) // what servers send at most over UDP without being asked for more
	for {
		n, err := conn.Read(answer)
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			return nil, fmt.Errorf("no answer within %s", dnsTimeout)
		}
		if err != nil {
			return nil, err
		}
		if got, ours, err := addresses(answer[:n], id); ours {
			return got, err
		}
	}
}

func query(id uint16, name string) ([]byte, error) {
	n, err := dnsmessage.NewName(strings.TrimSuffix(name, ".") + ".")
	if err != nil {
		return nil, fmt.Errorf("ask for %q: %w", name, err)
	}
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: n, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	return m.Pack()
}

// addresses reads an answer; it is not ours if it is to another question. An A record
// counts whatever its name: it may be that of an alias.
func addresses(b []byte, id uint16) (got []netip.Addr, ours bool, err error) {
	var m dnsmessage.Message
	if err := m.Unpack(b); err != nil || m.ID != id || !m.Response {
		return nil, false, nil //nolint:nilerr // somebody else's
	}
	switch m.RCode {
	case dnsmessage.RCodeSuccess:
	case dnsmessage.RCodeNameError:
		return nil, true, errNoRecord
	default:
		return nil, true, fmt.Errorf("it answers %s", strings.TrimPrefix(m.RCode.String(), "RCode"))
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
