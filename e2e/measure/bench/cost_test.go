package bench

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/net/bpf"
)

func TestMeasureProcess(t *testing.T) {
	me := []int{os.Getpid()}
	if kib, err := memory(me); err != nil || kib < 1024 {
		t.Errorf("resident: %v KiB, %v", kib, err)
	}
	if _, err := cpuTime(me); err != nil {
		t.Error(err)
	}
	if got := family(me[0]); got[0] != me[0] {
		t.Errorf("family %v does not begin with %d", got, me[0])
	}
	const nobody = 1 << 30
	if _, err := cpuTime([]int{nobody}); err == nil {
		t.Error("processor time of nobody")
	}
	if _, err := memory([]int{nobody}); err == nil {
		t.Error("memory of nobody")
	}
}

// Only frames for the VIP are counted.
func TestFilter(t *testing.T) {
	own := net.HardwareAddr{2, 0, 0, 35, 0, 11}
	other := net.HardwareAddr{2, 0, 0, 35, 0, 12}
	vip, ip := []byte{192, 168, 35, 100}, []byte{192, 168, 35, 11}
	frame := func(source net.HardwareAddr, kind []byte, rest ...[]byte) []byte {
		all := append([][]byte{bytes.Repeat([]byte{0xff}, 6), source, kind}, rest...)
		return append(bytes.Join(all, nil), make([]byte, 40)...)
	}
	arp := func(source net.HardwareAddr, sender, target []byte) []byte {
		return frame(source, []byte{8, 6}, make([]byte, 14), sender, make([]byte, 6), target)
	}
	packet := func(protocol byte) []byte { return frame(own, []byte{8, 0}, make([]byte, 9), []byte{protocol}) }
	tests := []struct {
		name  string
		frame []byte
		want  bool
	}{
		{"announcement", arp(own, vip, vip), true},
		{"answer", arp(own, vip, ip), true},
		{"question", arp(own, ip, vip), true},
		{"probe", arp(own, make([]byte, 4), vip), true},
		{"ARP of another address", arp(own, ip, ip), false},
		{"announcement by another", arp(other, vip, vip), false},
		{"VRRP", packet(protocolVRRP), true},
		{"TCP", packet(6), false},
		{"IPv6", frame(own, []byte{0x86, 0xdd}, make([]byte, 9), []byte{protocolVRRP}), false},
	}
	var program []bpf.Instruction
	for _, raw := range ofVIP(netip.AddrFrom4([4]byte(vip)), own) {
		program = append(program, raw.Disassemble())
	}
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		if n, err := vm.Run(tt.frame); err != nil || (n > 0) != tt.want {
			t.Errorf("%s: passes %d bytes, %v, want any: %t", tt.name, n, err, tt.want)
		}
	}
}
