package capi

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/kubeadm"
)

// pollInterval is the time between two looks at a vCenter's machines.
const pollInterval = 300 * time.Millisecond

// A Hypervisor stands in for the hosts of a vCenter: for each machine that is on there, a machine of
// the lab runs, which boots from what CAPV wrote for the guest.
type Hypervisor struct {
	VCenter VCenter
	// Templates are what machines boot from, by the names of the vCenter's templates.
	Templates map[string]*kubeadm.Template
	// Mine tells which machines it runs.
	Mine func(VM) bool
	// Log is told what happens to the guests.
	Log func(format string, args ...any)

	mu sync.Mutex
	// guests are all that ever ran, by UUID.
	guests map[string]*Guest
}

// A Guest is what runs in a machine of the vCenter.
type Guest struct {
	VM     VM
	Booted record.Time // when the vCenter was first seen to have it on

	// Once Applied is closed: the output and the error of the user data.
	Applied chan struct{}
	Output  string
	Err     error

	machine atomic.Pointer[kubeadm.Machine]
	lastOn  atomic.Int64 // a record.Time
	off     bool
}

// Machine is the machine of the lab, nil until it is made.
func (g *Guest) Machine() *kubeadm.Machine { return g.machine.Load() }

// LastOn is the start of the last look at the vCenter that found the machine on: its power was cut later.
func (g *Guest) LastOn() record.Time { return record.Time(g.lastOn.Load()) }

// Run follows the vCenter until ctx ends.
func (h *Hypervisor) Run(ctx context.Context) error {
	var boots sync.WaitGroup
	defer boots.Wait()
	for {
		at := record.Now()
		all, err := h.VCenter.Machines(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		for _, vm := range all {
			if g := h.added(vm); g != nil {
				boots.Go(func() { h.boot(ctx, g) })
			}
		}
		if err := h.powerOff(all, at); err != nil {
			return err
		}
		select {
		case <-time.After(pollInterval):
		case <-ctx.Done():
			return nil
		}
	}
}

// Guests returns the guests that are on.
func (h *Hypervisor) Guests() []*Guest {
	all := h.All()
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.DeleteFunc(all, func(g *Guest) bool { return g.off })
}

// All returns all guests that ever ran.
func (h *Hypervisor) All() []*Guest {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Values(h.guests))
}

// Break breaks the hardware of a machine: its guest ends, and the machine stays as it is in the vCenter.
func (h *Hypervisor) Break(name string) error {
	on := h.Guests()
	i := slices.IndexFunc(on, func(g *Guest) bool { return g.VM.Name == name })
	if i < 0 {
		return fmt.Errorf("break %s: it is not on", name)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	on[i].off = true
	return on[i].Machine().PowerOff()
}

// added returns the guest of a machine that is on for the first time, nil for any other one.
func (h *Hypervisor) added(vm VM) *Guest {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !vm.On || h.guests[vm.UUID] != nil || !h.Mine(vm) {
		return nil
	}
	if h.guests == nil {
		h.guests = make(map[string]*Guest)
	}
	g := &Guest{VM: vm, Booted: record.Now(), Applied: make(chan struct{})}
	h.guests[vm.UUID] = g
	return g
}

// powerOff ends the guests of the machines that are not on any more, by a look at a time.
func (h *Hypervisor) powerOff(all []VM, at record.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for uuid, g := range h.guests {
		on := slices.ContainsFunc(all, func(vm VM) bool { return vm.UUID == uuid && vm.On })
		if on {
			g.lastOn.Store(int64(at))
		}
		if on || g.off || g.Machine() == nil {
			continue
		}
		g.off = true
		h.Log("%s is off", g.VM.Name)
		if err := g.Machine().PowerOff(); err != nil {
			return err
		}
	}
	return nil
}

// boot boots a guest, and does in it what cloud-init would do.
func (h *Hypervisor) boot(ctx context.Context, g *Guest) {
	defer close(g.Applied)
	begin := time.Now()
	g.Output, g.Err = h.apply(ctx, g)
	h.Log("%s: user data applied after %.1f s, error: %v", g.VM.Name, time.Since(begin).Seconds(), g.Err)
}

func (h *Hypervisor) apply(ctx context.Context, g *Guest) (string, error) {
	config, err := g.VM.config()
	if err != nil {
		return "", fmt.Errorf("boot %s: %w", g.VM.Name, err)
	}
	h.Log("%s is on: %+v", g.VM.Name, config)
	template, ok := h.Templates[g.VM.Template]
	if !ok {
		return "", fmt.Errorf("boot %s: no template %q", g.VM.Name, g.VM.Template)
	}
	m, err := template.Boot(ctx, config)
	g.machine.Store(m) // of a machine that could not boot, too: it is to be powered off
	if err != nil {
		return "", err
	}
	if err := g.installTools(ctx); err != nil {
		return "", err
	}
	if err := h.VCenter.SetAddress(ctx, g.VM.UUID, config.Address.String()); err != nil {
		return "", err
	}
	text, err := g.VM.guestinfo("userdata")
	if err != nil {
		return "", err
	}
	u, err := ParseUserData(text, map[string]string{"ds.meta_data.hostname": config.Hostname, "local_hostname": config.Hostname})
	if err != nil {
		return "", err
	}
	return u.Apply(ctx, m)
}

// vmtoolsd answers from a file, as VMware's tools answer from the hypervisor.
const vmtoolsd = `#!/bin/sh
[ "$2" = "info-get guestinfo.metadata" ] && exec cat /run/guestinfo.metadata
echo "No value found" >&2
exit 1
`

// installTools gives the guest what it can read about itself.
func (g *Guest) installTools(ctx context.Context) error {
	for _, f := range []File{
		{Path: "/run/guestinfo.metadata", Owner: "root:root", Permissions: "0600", Content: g.VM.Guestinfo["metadata"]},
		{Path: "/usr/local/bin/vmtoolsd", Owner: "root:root", Permissions: "0755", Content: vmtoolsd},
	} {
		if err := f.write(ctx, g.Machine()); err != nil {
			return err
		}
	}
	return nil
}

// config reads the configuration of a machine from what CAPV wrote for it.
func (vm VM) config() (kubeadm.VM, error) {
	m, err := vm.Metadata()
	if err != nil {
		return kubeadm.VM{}, err
	}
	e, err := m.Ethernet()
	if err != nil {
		return kubeadm.VM{}, err
	}
	out := kubeadm.VM{Hostname: m.Hostname, Address: e.Addresses[0].Addr(), Gateway: e.Gateway4.IsValid()}
	if len(e.Nameservers.Addresses) > 0 {
		out.Nameserver = e.Nameservers.Addresses[0]
	}
	return out, nil
}
