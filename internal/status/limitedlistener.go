package status

import (
	"net"
	"sync"
)

// limitedListener is a listener that closes each connection beyond maxConnections.
type limitedListener struct {
	net.Listener
	slots chan struct{}
}

func newLimitedListener(l net.Listener) *limitedListener {
	return &limitedListener{l, make(chan struct{}, maxConnections)}
}

func (f *limitedListener) Accept() (net.Conn, error) {
	for {
		c, err := f.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case f.slots <- struct{}{}:
			return &limitedConn{c, sync.OnceFunc(func() { <-f.slots })}, nil
		default:
			_ = c.Close()
		}
	}
}

// counted frees its slot when closed.
type limitedConn struct {
	net.Conn
	free func()
}

func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.free()
	return err
}
