// Package status keeps what vipd knows of itself (Board, Metrics) and serves it over HTTP (Server):
// to people, to programs, and to Prometheus. The server changes nothing, and nothing depends on it:
// if the port is taken, that is logged, and the server tries again.
package status

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
)

// Check is one condition of /livez or /readyz. The error of Ask says what is wrong and contains no
// secret.
type Check struct {
	Name string
	Ask  func(context.Context) error
}

// Options configures a Server.
type Options struct {
	// Address is host:port to listen on.
	Address string
	// Live are the checks of /livez, Ready the checks of /readyz.
	Live, Ready []Check
	// Boards has one element for each group of addresses; requests that name no VIP get the first
	// one. Boards may be empty, and Metrics may be nil.
	Boards  []*Board
	Metrics *Metrics
	// Log may be nil.
	Log *zap.Logger
}

const (
	// listenRetry is the pause before another attempt to listen.
	listenRetry = 5 * time.Second
	// askTimeout bounds all checks of one request.
	askTimeout = 2 * time.Second
	// grace is how long requests in flight may take at the end.
	grace = 100 * time.Millisecond
)

// maxConnections bounds the concurrent connections: of kubelet, Prometheus, `vipd status` and some
// pages. One more is closed.
const maxConnections = 128

// Server serves the status over HTTP. Create it with New and call Run.
type Server struct {
	opts    Options
	streams chan struct{} // a slot for each reader of /events
}

// New returns a server that does not listen yet.
func New(opts Options) *Server {
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	return &Server{opts: opts, streams: make(chan struct{}, maxStreams)}
}

// Run listens and serves until ctx ends. The error is always nil: vipd works without the server.
func (s *Server) Run(ctx context.Context) error {
	for logged := ""; ctx.Err() == nil; {
		err := s.serve(ctx)
		if err != nil && err.Error() != logged {
			logged = err.Error()
			s.opts.Log.Error("status not served, retrying",
				zap.String("address", s.opts.Address), zap.Error(err),
				zap.String("remedy", "if another process has the port, set --status-address to another one, or to off"))
		}
		select {
		case <-ctx.Done():
		case <-time.After(listenRetry):
		}
	}
	return nil
}

func (s *Server) serve(ctx context.Context) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.opts.Address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{
		Handler:           s.Handler(),
		BaseContext:       func(net.Listener) context.Context { return ctx }, // ends the streams of /events
		ReadHeaderTimeout: 2 * time.Second,
		ReadTimeout:       2 * time.Second,
		WriteTimeout:      5 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          zap.NewStdLog(zap.NewNop()), // errors of clients
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		<-ctx.Done()
		short, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		if server.Shutdown(short) != nil {
			_ = server.Close()
		}
	}()
	err = server.Serve(newLimitedListener(l))
	end()
	<-ended
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve: %w", err)
}
