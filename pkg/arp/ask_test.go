package arp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/internal/nstest"
)

// asker is a node that asks, and two neighbours.
type asker struct {
	*nstest.NS
	first, second *nstest.NS
}

func newAsker(t *testing.T) *asker {
	t.Helper()
	a := &asker{NS: nstest.New(t), first: nstest.New(t), second: nstest.New(t)}
	nstest.Switch(t, []*nstest.NS{a.NS, a.first, a.second}, []string{"192.168.35.11/24", "192.168.35.12/24", "192.168.35.13/24"})
	return a
}

func (a *asker) ask(ctx context.Context, addr string, enough int) (answers []net.HardwareAddr, err error) {
	l := a.Link("eth0").Attrs()
	err = a.Do(func() error {
		answers, err = Ask(ctx, l.Index, l.HardwareAddr, netip.MustParseAddr(addr), enough)
		return err
	})
	return answers, err
}

func TestAsk(t *testing.T) {
	a := newAsker(t)
	a.first.AddAddr("eth0", vip.String()+"/32")
	a.second.AddAddr("eth0", vip.String()+"/32")
	first, second := a.first.Link("eth0").Attrs().HardwareAddr.String(), a.second.Link("eth0").Attrs().HardwareAddr.String()
	for _, c := range []struct {
		name, addr string
		enough     int
		want       []string
	}{
		{"one", "192.168.35.12", 0, []string{first}},
		{"one is enough", "192.168.35.13", 1, []string{second}},
		{"two", vip.String(), 0, []string{first, second}},
		{"nobody", "192.168.35.99", 0, nil},
		{"nobody, one would be enough", "192.168.35.99", 1, nil},
		{"this host does not answer itself", "192.168.35.11", 0, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			answers, err := a.ask(t.Context(), c.addr, c.enough)
			var got []string
			for _, m := range answers {
				got = append(got, m.String())
			}
			slices.Sort(got)
			slices.Sort(c.want)
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("answers %v, error %v; want %v", got, err, c.want)
			}
		})
	}
	if got, err := a.ask(t.Context(), vip.String(), 1); len(got) != 1 || err != nil {
		t.Errorf("of two, one is enough: answers %v, error %v", got, err)
	}
}

// TestAskClaimsNothing: Ask sends three probes, and the machines that answer learn nothing of the
// sender.
func TestAskClaimsNothing(t *testing.T) {
	a := newAsker(t)
	seen := a.first.Frames("eth0", nstest.EtherTypeARP)
	if _, err := a.ask(t.Context(), "192.168.35.12", 0); err != nil {
		t.Fatal(err)
	}
	if err := seen.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	mac := a.Link("eth0").Attrs().HardwareAddr.String()
	for i, b := 0, make([]byte, 256); i < askTimes; i++ {
		n, _, err := seen.ReadFrom(b)
		if err != nil {
			t.Fatalf("after %d probes: %v", i, err)
		}
		var f ethernet.Frame
		var p arp.Packet
		if err := errors.Join(f.UnmarshalBinary(b[:n]), p.UnmarshalBinary(f.Payload)); err != nil {
			t.Fatal(err)
		}
		if f.Source.String() != mac || p.Operation != arp.OperationRequest || !p.SenderIP.IsUnspecified() || p.TargetIP.String() != "192.168.35.12" {
			t.Errorf("sent %+v in %+v", p, f)
		}
	}
	if got := a.first.Neighbour("eth0", netip.MustParseAddr("192.168.35.11")); got != nil {
		t.Errorf("the neighbour took the asker at %s into its cache", got)
	}
}

// TestAskFails: a query that could not be completed is an error, and does not count as silence.
func TestAskFails(t *testing.T) {
	a := newAsker(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := a.ask(ended, "192.168.35.99", 0); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: answers %v, error %v", got, err)
	}
	short, cancel := context.WithTimeout(t.Context(), askGap/10)
	defer cancel()
	if got, err := a.ask(short, "192.168.35.99", 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("out of time: answers %v, error %v", got, err)
	}
	a.Down("eth0")
	if got, err := a.ask(t.Context(), "192.168.35.12", 0); !errors.Is(err, unix.ENETDOWN) || !strings.Contains(err.Error(), "192.168.35.12") {
		t.Errorf("link down: answers %v, error %v", got, err)
	}
	if err := a.Do(func() error {
		_, err := Ask(t.Context(), 4711, make(net.HardwareAddr, 6), vip, 0)
		return err
	}); err == nil {
		t.Error("no error for a link that there is not")
	}
}
