package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/lab"
)

// usage is what a vipd takes of the machine.
type usage struct {
	node, role          string
	cpu                 float64 // of one core
	resident, anonymous float64 // KiB
}

// clockTick is USER_HZ, which is 100 on every architecture that Go runs on.
const clockTick = 10 * time.Millisecond

// measureIdle watches the processes for a while in which nothing happens.
func measureIdle(ctx context.Context, l *lab.Lab) ([]usage, error) {
	holder, err := failover.Ready(ctx, l)
	if err != nil {
		return nil, err
	}
	const window = 30 * time.Second
	before := make([]time.Duration, len(l.Nodes))
	for i, n := range l.Nodes {
		if before[i], err = cpuTime(n.Vipd.Pid()); err != nil {
			return nil, err
		}
	}
	select {
	case <-time.After(window):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var out []usage
	for i, n := range l.Nodes {
		after, err := cpuTime(n.Vipd.Pid())
		if err != nil {
			return nil, err
		}
		u := usage{node: n.Name, role: "standby", cpu: float64(after-before[i]) / float64(window)}
		if n == holder {
			u.role = "holder"
		}
		if u.resident, err = memory(n.Vipd.Pid(), "VmRSS"); err != nil {
			return nil, err
		}
		if u.anonymous, err = memory(n.Vipd.Pid(), "RssAnon"); err != nil {
			return nil, err
		}
		out = append(out, u)
	}
	return out, nil
}

// cpuTime is the processor time of a process (proc(5), fields 14 and 15).
func cpuTime(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0, fmt.Errorf("read /proc/%d/stat: %d fields", pid, len(f))
	}
	user, err := strconv.Atoi(f[11])
	if err != nil {
		return 0, err
	}
	system, err := strconv.Atoi(f[12])
	return time.Duration(user+system) * clockTick, err
}

// memory reads a line of /proc/PID/status, in KiB.
func memory(pid int, key string) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == key+":" {
			return strconv.ParseFloat(f[1], 64)
		}
	}
	return 0, fmt.Errorf("no %s in /proc/%d/status", key, pid)
}
