package gather

import (
	"context"
	"sync"
	"time"

	"github.com/vipd-io/vipd/internal/doctor"
	"github.com/vipd-io/vipd/internal/guest"
	"github.com/vipd-io/vipd/internal/networkmanager"
)

// guestTimeout bounds queries to the hypervisor.
const guestTimeout = 2 * time.Second

// Guest returns the query for the network configuration that CAPV delivered to this virtual
// machine. The query runs once for all checks.
func (r *Request) Guest(ctx context.Context) func(context.Context) (*doctor.Guest, error) {
	once := sync.OnceValues(func() (*doctor.Guest, error) {
		ctx, cancel := context.WithTimeout(ctx, r.Scale(guestTimeout))
		defer cancel()
		m, err := guest.Read(ctx)
		if m == nil || err != nil {
			return nil, err
		}
		g := &doctor.Guest{Routes: m.Routes, Waits: m.Waits}
		for _, e := range m.Ethernets {
			g.Devices = append(g.Devices, doctor.GuestDevice{MAC: e.MAC, Name: e.Name, Addresses: e.Addresses, Gateway: e.Gateway, DHCP: e.DHCP})
		}
		g.Errors, _ = guest.EarlyErrors(guest.StatusFile) // only details of a finding
		return g, nil
	})
	return func(context.Context) (*doctor.Guest, error) { return once() }
}

// Profile queries NetworkManager's state of a link.
func Profile(ctx context.Context, l doctor.Link) (*doctor.Managed, error) {
	d, err := networkmanager.Ask(ctx, l.Name, l.MAC)
	if d == nil || err != nil {
		return nil, err
	}
	m := &doctor.Managed{State: d.State}
	if d.Active != nil {
		p := profileOf(*d.Active)
		m.Active = &p
	}
	for _, p := range d.Others {
		m.Others = append(m.Others, profileOf(p))
	}
	return m, nil
}

func profileOf(p networkmanager.Profile) doctor.Profile {
	return doctor.Profile{Name: p.Name, UUID: p.UUID, IPv4: p.IPv4(), Gateway: p.Leads(), Autoconnect: p.Autoconnect, Priority: p.Priority, CloudInit: p.CloudInit()}
}
