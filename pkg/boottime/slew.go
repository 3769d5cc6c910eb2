package boottime

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// PPM is the difference of a rate from the nominal rate, in millionths.
type PPM int64

// Slew returns the present slew of CLOCK_BOOTTIME; positive means that the clock runs fast. Slew
// asks the kernel (adjtimex(2)), which needs no privilege.
func Slew() (PPM, error) {
	var t unix.Timex // Modes 0 changes nothing
	if _, err := unix.Adjtimex(&t); err != nil {
		return 0, fmt.Errorf("ask for the clock's rate (adjtimex): %w", err)
	}
	return slew(t), nil
}

const (
	// nominalTick is a tick of USER_HZ, 100, in microseconds.
	nominalTick = 10_000
	// pllShift is SHIFT_PLL of the kernel (include/linux/timex.h).
	pllShift = 2
)

// slew adds up what changes the rate (kernel/time/ntp.c): the tick, which chrony sets; the
// frequency; and the part of an offset that the kernel corrects in a second (ntp_offset_chunk),
// which systemd-timesyncd and ntpd set. The kernel does not report adjtime(3), which is 500 ppm at
// most.
func slew(t unix.Timex) PPM {
	tick := (t.Tick - nominalTick) * 1_000_000 / nominalTick
	frequency := t.Freq >> 16
	offset := t.Offset // in microseconds, unless STA_NANO is set
	if t.Status&unix.STA_NANO != 0 {
		offset /= 1000
	}
	constant := min(max(0, t.Constant), 10) // MAXTC
	return PPM(tick + frequency + offset/(1<<(pllShift+constant)))
}
