package doctor

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// TestSpans compares spans with an enumeration of the addresses of 10.0.0.0/16.
func TestSpans(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := func(n uint32) netip.Addr {
			return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, 10<<24|n)))
		}
		number := rapid.Uint32Range(0, 1<<16-1)
		var list []string
		all := make(map[netip.Addr]bool)
		add := func(from, to uint32) {
			for n := from; n <= to; n++ {
				all[at(n)] = true
			}
		}
		for range rapid.IntRange(0, 3).Draw(t, "spans") {
			from := number.Draw(t, "from")
			switch rapid.SampledFrom([]string{"address", "range", "prefix"}).Draw(t, "kind") {
			case "address":
				list = append(list, at(from).String())
				add(from, from)
			case "range":
				to := from + rapid.Uint32Range(0, 300).Draw(t, "length")
				list = append(list, fmt.Sprintf("%s-%s", at(from), at(to)))
				add(from, to)
			case "prefix":
				bits := rapid.IntRange(20, 32).Draw(t, "bits")
				first := from >> (32 - bits) << (32 - bits)
				list = append(list, fmt.Sprintf("%s/%d", at(from), bits))
				add(first, first+1<<(32-bits)-1)
			}
		}
		for range 20 {
			a := at(number.Draw(t, "asked"))
			if got := within(list, a); got != all[a] {
				t.Fatalf("%s in %q: %t, want %t", a, list, got, all[a])
			}
		}
		for a := range all {
			if !within(list, a) {
				t.Fatalf("%s is not in %q", a, list)
			}
		}
	})
}

func FuzzSpan(f *testing.F) {
	for _, s := range []string{"10.0.0.1", "10.0.0.1-10.0.0.9", "10.0.0.0/24", "fd00::/64", "10.0.0.1-fd00::1", "-", "a-b", "10.0.0.9-10.0.0.1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if r, err := parseSpan(s); err == nil && (!r.from.IsValid() || !r.to.IsValid()) {
			t.Errorf("%q: %+v", s, r)
		}
	})
}
