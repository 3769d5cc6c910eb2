package observe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sync/errgroup"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/lab"
)

// frames sends frames of one protocol from a host, at an interval, and reads the frames that pass a
// filter.
type frames struct {
	host     *lab.Host
	protocol int    // as in the Ethernet header
	name     string // of the protocol
	filter   []bpf.RawInstruction
	every    time.Duration
	// ask sends the frames of the n-th round, from 1.
	ask func(n uint32, send func(ethernet.Frame) error) error
	// hear handles a frame that was read.
	hear func(at record.Time, f ethernet.Frame)
}

// run sends and reads until ctx ends.
func (f *frames) run(ctx context.Context, to *record.Recorder, ready func()) error {
	var conn *packet.Conn
	err := f.host.NS.Do(func() error {
		nic, err := net.InterfaceByName(lab.Interface)
		if err != nil {
			return err
		}
		conn, err = packet.Listen(nic, packet.Raw, f.protocol, &packet.Config{Filter: f.filter})
		return err
	})
	if err != nil {
		return fmt.Errorf("open %s socket in %s: %w", f.name, f.host.Name, err)
	}
	defer conn.Close()
	loss := newLosses(conn, f.host.Name)
	ready()
	g, ctx := errgroup.WithContext(ctx)
	// A deadline in the past ends a blocked read.
	unblock := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(0, 1)) })
	defer unblock()
	g.Go(func() error { return f.sendLoop(ctx, conn, to, loss) })
	g.Go(func() error { return f.receiveLoop(conn) })
	err = g.Wait()
	return errors.Join(err, loss.note(to))
}

func (f *frames) sendLoop(ctx context.Context, conn *packet.Conn, to *record.Recorder, loss *losses) error {
	send := func(frame ethernet.Frame) error {
		b, err := frame.MarshalBinary()
		if err == nil {
			_, err = conn.WriteTo(b, &packet.Addr{HardwareAddr: frame.Destination})
		}
		return err
	}
	ticker := time.NewTicker(f.every)
	defer ticker.Stop()
	for n := uint32(1); ; n++ {
		if err := f.ask(n, send); err != nil {
			return fmt.Errorf("ask by %s from %s: %w", f.name, f.host.Name, err)
		}
		if n%lossEvery == 0 {
			if err := loss.note(to); err != nil {
				return err
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// receiveLoop reads until the deadline that is set at the end of the context.
func (f *frames) receiveLoop(conn *packet.Conn) error {
	buf := make([]byte, 1500)
	for {
		n, _, err := conn.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s in %s: %w", f.name, f.host.Name, err)
		}
		at := record.Now()
		var frame ethernet.Frame
		if frame.UnmarshalBinary(buf[:n]) == nil {
			f.hear(at, frame)
		}
	}
}

// assemble assembles a constant program.
func assemble(program ...bpf.Instruction) []bpf.RawInstruction {
	filter, err := bpf.Assemble(program)
	if err != nil {
		panic(err)
	}
	return filter
}
