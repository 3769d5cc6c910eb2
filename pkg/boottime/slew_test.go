package boottime

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSlew uses states of kernels whose clock an NTP client adjusts. The test does not change the
// clock.
func TestSlew(t *testing.T) {
	for _, tt := range []struct {
		name string
		t    unix.Timex
		want PPM
	}{
		{"left alone", unix.Timex{Tick: 10_000, Constant: 2}, 0},
		{"chrony, 8.3 % slow", unix.Timex{Tick: 9167, Freq: -33 << 16, Constant: 7}, -83_333},
		{"the slowest tick and frequency", unix.Timex{Tick: 9000, Freq: -500 << 16}, -100_500},
		{"the fastest", unix.Timex{Tick: 11_000, Freq: 500 << 16}, 100_500},
		{"systemd-timesyncd, 0.4 s ahead at its shortest interval", unix.Timex{Tick: 10_000, Offset: -400_000_000, Constant: 1, Status: unix.STA_PLL | unix.STA_NANO}, -50_000},
		{"ntpd, 128 ms behind", unix.Timex{Tick: 10_000, Offset: 128_000, Constant: 6, Status: unix.STA_PLL}, 500},
		{"nonsense", unix.Timex{Tick: 10_000, Offset: 1 << 20, Constant: -5}, 1 << 18},
	} {
		if got := slew(tt.t); got != tt.want {
			t.Errorf("%s: %d ppm, want %d", tt.name, got, tt.want)
		}
	}
}

// TestSlewIsReported: any process may read the slew, and the value is within the kernel's limits.
func TestSlewIsReported(t *testing.T) {
	got, err := Slew()
	if err != nil {
		t.Fatal(err)
	}
	if got < -250_000 || got > 250_000 {
		t.Errorf("the clock is slewed by %d ppm", got)
	}
}

// TestRawIsNotSlewed compares both clocks: they differ by the reported slew, and agree on a machine
// without an NTP client.
func TestRawIsNotSlewed(t *testing.T) {
	before, err := Slew()
	if err != nil {
		t.Fatal(err)
	}
	// A reading of one clock is between two readings of the other clock, however long a pause is.
	a1, from, a2 := NowRaw(), Now(), NowRaw()
	time.Sleep(200 * time.Millisecond)
	b1, to, b2 := NowRaw(), Now(), NowRaw()
	after, err := Slew()
	if err != nil {
		t.Fatal(err)
	}
	at := func(d time.Duration, rate PPM) time.Duration { return d + d*time.Duration(rate)/1_000_000 }
	const jitter = 100 * time.Microsecond // the kernel's rounding, and 500 ppm of adjtime(3)
	low := at(b1.Sub(a2), min(before, after)) - jitter
	high := at(b2.Sub(a1), max(before, after)) + jitter
	if took := to.Sub(from); took < low || took > high {
		t.Errorf("CLOCK_BOOTTIME went on by %s, want %s to %s by CLOCK_MONOTONIC_RAW", took, low, high)
	}
}

func BenchmarkNow(b *testing.B) {
	for b.Loop() {
		Now()
	}
}

func BenchmarkNowRaw(b *testing.B) {
	for b.Loop() {
		NowRaw()
	}
}

func BenchmarkSlew(b *testing.B) {
	for b.Loop() {
		if _, err := Slew(); err != nil {
			b.Fatal(err)
		}
	}
}
