package kubeapi

import "context"

// stream is a long call, such as a watch.
type stream struct {
	server string
	end    context.CancelFunc
}

// Stream runs a long call against the first server. Stream ends without its own error when another
// server becomes the first one. After a failed stream, the next Stream begins with the next server.
func (c *Client) Stream(ctx context.Context, f Call) error {
	return c.stream(ctx, func(ctx context.Context, s *clients) error { return f(ctx, s.coordination) })
}

func (c *Client) stream(ctx context.Context, f call) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	s := c.begin(end)
	err := c.ask(ctx, s.server, f)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.streams, s)
	if err != nil && ctx.Err() == nil {
		c.skip++
	}
	return err
}

func (c *Client) begin(end context.CancelFunc) *stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &stream{server: c.servers[c.skip%len(c.servers)], end: end}
	c.streams[s] = true
	return s
}
