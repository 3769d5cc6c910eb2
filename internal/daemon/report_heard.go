package daemon

import (
	"slices"

	"github.com/vipd-io/vipd/internal/status"
	"github.com/vipd-io/vipd/pkg/boottime"
)

// listeningChanged records whether claims of the VIP are heard from now on.
func (r *reporter) listeningChanged(does bool) {
	var since boottime.Instant
	if does {
		since = boottime.Now()
	}
	r.board.Update(func(f *status.Facts) { f.Heard.Since = since })
}

// claimHeard records that another machine, possibly the holder, claims the VIP.
func (r *reporter) claimHeard(mac string, announces bool) {
	now := boottime.Now()
	r.board.Update(func(f *status.Facts) {
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
			others = dropLeastRecent(others, f.Lease.MAC)
		}
		f.Heard.Machines = append([]status.MachineFacts{one}, others...)
	})
}

// dropLeastRecent removes the machine that was heard least recently, but not the holder: after a
// flood of forged MACs, the holder would look silent.
func dropLeastRecent(machines []status.MachineFacts, holder string) []status.MachineFacts {
	last := len(machines) - 1
	if machines[last].MAC == holder {
		last--
	}
	return slices.Delete(machines, last, last+1)
}
