package main

import (
	"context"
	"sync"

	"github.com/vipd-io/vipd/pkg/doctor"
	"github.com/vipd-io/vipd/pkg/guest"
	"github.com/vipd-io/vipd/pkg/networkmanager"
)

// guestTold is what this virtual machine was told of its network, asked once for all checks.
func guestTold(ctx context.Context) func(context.Context) (*doctor.Guest, error) {
	once := sync.OnceValues(func() (*doctor.Guest, error) {
		m, err := guest.Read(ctx)
		if m == nil || err != nil {
			return nil, err
		}
		g := &doctor.Guest{Routes: m.Routes, Waits: m.Waits}
		for _, e := range m.Ethernets {
			g.Devices = append(g.Devices, doctor.GuestDevice{MAC: e.MAC, Name: e.Name, Addresses: e.Addresses, Gateway: e.Gateway, DHCP: e.DHCP})
		}
		g.Errors, _ = guest.EarlyErrors(guest.StatusFile) // they only say more of what is known
		return g, nil
	})
	return func(context.Context) (*doctor.Guest, error) { return once() }
}

// profile is NetworkManager's view of a link.
func profile(ctx context.Context, l doctor.Link) (*doctor.Managed, error) {
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
