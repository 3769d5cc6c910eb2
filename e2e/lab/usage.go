package lab

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// Usage is the resource usage of a process.
type Usage struct {
	CPU       time.Duration // since it started
	Resident  int           // bytes
	Anonymous int           // bytes, without pages of files
}

// ClockTick is USER_HZ, which is 100 on every architecture that Go supports.
const ClockTick = 10 * time.Millisecond

// UsageOf returns the resource usage of a daemon (proc(5)).
func UsageOf(p Daemon) (u Usage, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("read usage of %s: %w", p, err)
		}
	}()
	fields, err := StatFields(p.Pid())
	if err != nil {
		return u, err
	}
	// User and system time are fields 14 and 15; the first field here is the third.
	for _, field := range fields[14-3 : 16-3] {
		ticks, err := strconv.Atoi(field)
		if err != nil {
			return u, err
		}
		u.CPU += time.Duration(ticks) * ClockTick
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
	if err != nil {
		return u, err
	}
	if u.Resident, err = kilobytes(status, "VmRSS"); err != nil {
		return u, err
	}
	u.Anonymous, err = kilobytes(status, "RssAnon")
	return u, err
}

// kilobytes reads a line "KEY:  N kB" and returns bytes.
func kilobytes(status []byte, key string) (int, error) {
	for line := range bytes.Lines(status) {
		f := bytes.Fields(line)
		if len(f) == 3 && string(f[0]) == key+":" {
			n, err := strconv.Atoi(string(f[1]))
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("no %s in status", key)
}
