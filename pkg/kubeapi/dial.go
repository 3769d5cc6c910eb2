package kubeapi

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// answerTimeout is how long a server may take to accept a connection, and again to send its
	// first byte. A call usually has less time; without a limit, the kernel sends SYNs for 127 s
	// (tcp(7), tcp_syn_retries).
	answerTimeout = 5 * time.Second
	// maxUnanswered bounds the connections to one server that has sent nothing on them yet: more
	// than there are concurrent calls.
	maxUnanswered = 16
)

// dialer connects to one server.
type dialer struct {
	to    func(ctx context.Context, network, address string) (net.Conn, error)
	slots chan struct{} // a connection occupies a slot until the server has sent something
	ended func()        // called when a connection ends
}

// dialer returns the dialer for a server. The caller holds the lock.
func (c *Client) dialer(server string) dialer {
	if c.slots[server] == nil {
		c.slots[server] = make(chan struct{}, maxUnanswered)
	}
	d := dialer{to: c.opts.Dial, slots: c.slots[server], ended: func() { c.opts.Observe(Disconnected{Server: server}) }}
	if d.to == nil {
		d.to = (&net.Dialer{Timeout: answerTimeout}).DialContext
	}
	return d
}

// dial ends with the call that it is for: http.Transport would go on for later calls.
func (d dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if call, ok := ctx.Value(callKey{}).(context.Context); ok {
		defer context.AfterFunc(call, cancel)() //nolint:contextcheck // the call's own context, which ctx has as a value
	}
	select {
	case d.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	free := sync.OnceFunc(func() { <-d.slots })
	conn, err := d.to(ctx, network, address)
	if err != nil {
		free()
		return nil, err
	}
	s := &observedConn{Conn: conn, free: free, ended: sync.OnceFunc(d.ended)}
	if err := conn.SetReadDeadline(time.Now().Add(answerTimeout)); err != nil { //nolint:forbidigo // net.Conn has no other clock
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// callKey is the key of the context of the call that needs a connection.
type callKey struct{}

// callContext passes the context of a call to the dialer: http.Transport passes on the values of
// the context, but not its end.
type callContext struct{ http.RoundTripper }

// WrappedRoundTripper is like that of failFast.
func (p callContext) WrappedRoundTripper() http.RoundTripper { return p.RoundTripper }

func (p callContext) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	return p.RoundTripper.RoundTrip(r.WithContext(context.WithValue(ctx, callKey{}, ctx)))
}

// observedConn reports the end of a connection. The kernel closes the connections of a process when
// the process dies, and http.Transport always reads from each connection, watch or idle, and closes
// it after a failed read.
type observedConn struct {
	net.Conn
	free  func() // frees the slot, once the server has sent something
	ended func()
	heard sync.Once
}

func (s *observedConn) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if n > 0 {
		s.heard.Do(func() {
			s.free()
			err = errors.Join(err, s.SetReadDeadline(time.Time{}))
		})
	}
	return n, err
}

func (s *observedConn) Close() error {
	s.ended()
	err := s.Conn.Close()
	s.free()
	return err
}
