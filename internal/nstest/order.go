package nstest

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// fatal is what testing.TB and rapid.TB have in common.
type fatal interface {
	Helper()
	Fatal(args ...any)
}

// InOrder has frames arrive in the order in which they are sent: a veth pair has a queue
// for each processor.
func InOrder(t fatal, send func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	for cpu := 0; one.Count() == 0; cpu++ {
		if all.IsSet(cpu) {
			one.Set(cpu)
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.SchedSetaffinity(0, &all) }()
	send()
}
