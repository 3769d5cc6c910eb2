// Package status has what vipd knows of itself (Board, Metrics) and tells it over HTTP
// (Server): to people, to programs, and to Prometheus. It only reads, and nothing
// depends on it: a port that is taken is told of, and tried again.
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

// Check is one thing that has to be so. Its error says what is not, why that
// matters, and nothing that is secret.
type Check struct {
	Name string
	Ask  func(context.Context) error
}

// Options configure a Server.
type Options struct {
	// Address is host:port to listen on.
	Address string
	// Live are the checks of /livez, Ready those of /readyz.
	Live, Ready []Check
	// Board and Metrics are what is told of; each may be nil, and is not then.
	Board   *Board
	Metrics *Metrics
	// Log may be nil.
	Log *zap.Logger
}

const (
	// again is the pause before a port that was taken is tried again.
	again = 5 * time.Second
	// askTimeout bounds all checks of one request.
	askTimeout = 2 * time.Second
	// grace is what requests under way have at the end.
	grace = 100 * time.Millisecond
)

// Server answers. Make it with New and call Run.
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

// Run listens and answers until ctx ends. It returns no error: vipd does its work
// without it.
func (s *Server) Run(ctx context.Context) error {
	for told := ""; ctx.Err() == nil; {
		err := s.serve(ctx)
		if err != nil && err.Error() != told {
			told = err.Error()
			s.opts.Log.Error("status is not to be had: another process may have the port; set --status-address to another one, or to off",
				zap.String("address", s.opts.Address), zap.Error(err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(again):
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
		BaseContext:       func(net.Listener) context.Context { return ctx }, // ends /events
		ReadHeaderTimeout: 2 * time.Second,
		ReadTimeout:       2 * time.Second,
		WriteTimeout:      5 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          zap.NewStdLog(zap.NewNop()), // what clients do wrong is theirs
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
	err = server.Serve(l)
	end()
	<-ended
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve: %w", err)
}
