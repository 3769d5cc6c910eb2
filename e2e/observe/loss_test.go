package observe

import (
	"net"
	"testing"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/e2e/judge/record"
)

// Frames that a full socket drops are recorded once.
func TestLosses(t *testing.T) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := packet.Listen(lo, packet.Raw, unix.ETH_P_IP, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1) }); err != nil {
		t.Fatal(err)
	}
	var rec record.Recorder
	loss := newLosses(conn, "c2")
	sender, err := net.Dial("udp4", "127.0.0.1:9")
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	for range 100 {
		_, _ = sender.Write(make([]byte, 1000)) // refused: no one listens
	}
	for range 2 {
		if err := loss.note(&rec); err != nil {
			t.Fatal(err)
		}
	}
	got := rec.History().Losses
	if len(got) != 1 || got[0].Host != "c2" || got[0].Frames < 10 || got[0].Since >= got[0].At {
		t.Errorf("%+v, want one of most of the frames", got)
	}
}
