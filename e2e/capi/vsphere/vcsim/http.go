package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// machine is a machine in the inventory, as the server describes it.
type machine struct {
	Name, UUID string
	On         bool
	// Guestinfo is what the guest can read, by the name after "guestinfo.".
	Guestinfo map[string]string
	MACs      []string
	// Address is what the guest reported, "" for nothing.
	Address string
	// Template is the name of what it was cloned from.
	Template string
}

// handler serves:
//
//	GET  /machines                        all machines that are no template
//	POST /machines/UUID/address/ADDRESS   the guest reports its address
//	POST /machines/UUID/off               the power is cut
func (v *vCenter) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /machines", func(w http.ResponseWriter, r *http.Request) {
		all, err := v.machines(r.Context())
		if err == nil {
			err = json.NewEncoder(w).Encode(all)
		}
		answer(w, err)
	})
	mux.HandleFunc("POST /machines/{uuid}/address/{address}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, v.setAddress(r.Context(), r.PathValue("uuid"), r.PathValue("address")))
	})
	mux.HandleFunc("POST /machines/{uuid}/off", func(w http.ResponseWriter, r *http.Request) {
		vm, err := v.find(r.Context(), r.PathValue("uuid"))
		if err == nil {
			err = await(r.Context())(vm.PowerOff(r.Context()))
		}
		answer(w, err)
	})
	return mux
}

func answer(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func (v *vCenter) find(ctx context.Context, uuid string) (*object.VirtualMachine, error) {
	found, err := object.NewSearchIndex(v.client.Client).FindByUuid(ctx, v.datacenter, uuid, true, types.NewBool(false))
	if err != nil {
		return nil, fmt.Errorf("find machine %s: %w", uuid, err)
	}
	if found == nil {
		return nil, fmt.Errorf("find machine %s: there is none", uuid)
	}
	return object.NewVirtualMachine(v.client.Client, found.Reference()), nil
}

// setAddress sets what the tools in the guest report. The simulator takes it from an option.
func (v *vCenter) setAddress(ctx context.Context, uuid, address string) error {
	vm, err := v.find(ctx, uuid)
	if err != nil {
		return err
	}
	return await(ctx)(vm.Reconfigure(ctx, types.VirtualMachineConfigSpec{
		ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: "SET.guest.ipAddress", Value: address}},
	}))
}

func (v *vCenter) machines(ctx context.Context) ([]machine, error) {
	list, err := view.NewManager(v.client.Client).CreateContainerView(ctx, v.client.ServiceContent.RootFolder, []string{"VirtualMachine"}, true)
	if err != nil {
		return nil, fmt.Errorf("list machines: %w", err)
	}
	defer list.Destroy(ctx) //nolint:errcheck // the simulator forgets it with the session
	var all []mo.VirtualMachine
	if err := list.Retrieve(ctx, []string{"VirtualMachine"}, []string{"name", "config", "runtime", "guest"}, &all); err != nil {
		return nil, fmt.Errorf("list machines: %w", err)
	}
	out := []machine{}
	for _, vm := range all {
		if vm.Config != nil && !vm.Config.Template {
			out = append(out, describe(vm))
		}
	}
	return out, nil
}

func describe(vm mo.VirtualMachine) machine {
	m := machine{Name: vm.Name, UUID: vm.Config.Uuid, On: vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn, Guestinfo: map[string]string{}}
	for _, o := range vm.Config.ExtraConfig {
		if key, ok := strings.CutPrefix(o.GetOptionValue().Key, "guestinfo."); ok {
			m.Guestinfo[key] = fmt.Sprint(o.GetOptionValue().Value)
		}
		if o.GetOptionValue().Key == clonedFrom {
			m.Template = fmt.Sprint(o.GetOptionValue().Value)
		}
	}
	for _, d := range vm.Config.Hardware.Device {
		if card, ok := d.(types.BaseVirtualEthernetCard); ok {
			m.MACs = append(m.MACs, card.GetVirtualEthernetCard().MacAddress)
		}
	}
	if vm.Guest != nil {
		m.Address = vm.Guest.IpAddress
	}
	return m
}
