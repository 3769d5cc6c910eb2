package boottime

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Alarm fires at an Instant, or at once when the machine resumes from a suspend that lasted past
// the Instant. Timers of package time run on CLOCK_MONOTONIC, which stands still during a suspend,
// so they would be late by the time that they had left.
type Alarm struct {
	file *os.File
}

// NewAlarm returns an Alarm that is not set (timerfd_create(2)). The caller closes the Alarm.
func NewAlarm() (*Alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make timer: %w", err)
	}
	return &Alarm{file: os.NewFile(uintptr(fd), "boottime alarm")}, nil
}

// Set sets the Alarm to an instant, in place of the instant before. An instant in the past fires at
// once.
func (a *Alarm) Set(at Instant) error {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(max(1, int64(at)))} // 0 would disarm the timer
	conn, err := a.file.SyscallConn()                                      // Fd would make reads block a thread
	if err != nil {
		return fmt.Errorf("set timer: %w", err)
	}
	closed := conn.Control(func(fd uintptr) {
		err = unix.TimerfdSettime(int(fd), unix.TFD_TIMER_ABSTIME, &spec, nil)
	})
	if err = errors.Join(closed, err); err != nil {
		return fmt.Errorf("set timer: %w", err)
	}
	return nil
}

// Run calls ring each time the Alarm fires, until ctx ends.
func (a *Alarm) Run(ctx context.Context, ring func()) error {
	defer context.AfterFunc(ctx, func() { _ = a.Close() })()
	var expirations [8]byte
	for {
		_, err := a.file.Read(expirations[:])
		switch {
		case ctx.Err() != nil || errors.Is(err, os.ErrClosed):
			return nil
		case err != nil:
			return fmt.Errorf("read timer: %w", err)
		}
		ring()
	}
}

// Close closes the timer and ends Run.
func (a *Alarm) Close() error { return a.file.Close() }
