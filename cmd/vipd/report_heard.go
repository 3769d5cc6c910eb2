package main

import (
	"slices"

	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/status"
)

// listens tells whether claims of the address are heard from now on.
func (r *reporter) listens(does bool) {
	var since boottime.Instant
	if does {
		since = boottime.Now()
	}
	r.board.Tell(func(f *status.Facts) { f.Heard.Since = since })
}

// heard takes in that another machine claims the address, be it the rightful holder.
func (r *reporter) heard(mac string, announces bool) {
	now := boottime.Now()
	r.board.Tell(func(f *status.Facts) {
		one := status.MachineFacts{MAC: mac}
		others := slices.DeleteFunc(slices.Clone(f.Heard.Machines), func(m status.MachineFacts) bool {
			if m.MAC == mac {
				one = m
			}
			return m.MAC == mac
		})
		one.Frames, one.Last = one.Frames+1, now
		if announces {
			one.Announcements, one.Announced = one.Announcements+1, now
		}
		if len(others) == status.MaxMachines {
			others = forget(others, f.Lease.MAC)
		}
		f.Heard.Machines = append([]status.MachineFacts{one}, others...)
	})
}

// forget leaves out the one that was not heard for the longest time, but not the holder:
// a flood of forged MACs would have it look silent.
func forget(machines []status.MachineFacts, holder string) []status.MachineFacts {
	last := len(machines) - 1
	if machines[last].MAC == holder {
		last--
	}
	return slices.Delete(machines, last, last+1)
}
