package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	_ "github.com/vmware/govmomi/vapi/simulator" // CAPV asks for tags
	"github.com/vmware/govmomi/vim25/types"
)

// The names in the inventory. The simulator renames neither its datastore (LocalDS_0) nor its
// network (VM Network).
const (
	datacenter   = "Eshare-SRVs"
	resourcePool = "CAPI_ClusterRP"
)

// templates are machines to clone: one for each of two versions of Kubernetes.
var templates = []string{"Alma-Clusterconfigtemplate", "Alma-Clusterconfigtemplate-older"}

// folders are one below the other.
var folders = []string{"UAT-Servers", "ClusterServers"}

// vCenter is the simulator, and a client of it.
type vCenter struct {
	client     *govmomi.Client
	datacenter *object.Datacenter
}

// newVCenter starts the simulator at an address.
func newVCenter(ctx context.Context, address string) (*vCenter, error) {
	model := simulator.VPX()
	model.Host, model.Cluster, model.Machine, model.Portgroup = 1, 0, len(templates), 0
	if err := model.Create(); err != nil {
		return nil, err
	}
	model.Service.TLS = new(tls.Config)
	model.Service.RegisterEndpoints = true
	model.Service.Listen = &url.URL{Host: address, User: url.UserPassword("user", "pass")}
	client, err := govmomi.NewClient(ctx, model.Service.NewServer().URL, true)
	if err != nil {
		return nil, err
	}
	finder := find.NewFinder(client.Client)
	v := &vCenter{client: client}
	if v.datacenter, err = finder.DefaultDatacenter(ctx); err != nil {
		return nil, err
	}
	finder.SetDatacenter(v.datacenter)
	machines, err := finder.VirtualMachineList(ctx, "*")
	if err != nil {
		return nil, err
	}
	if len(machines) != len(templates) {
		return nil, fmt.Errorf("the simulator's model has %d machines", len(machines))
	}
	for i, name := range templates {
		if err := v.makeTemplate(ctx, machines[i], name, model.Service.Context.Map); err != nil {
			return nil, err
		}
	}
	return v, v.makePlaces(ctx, finder)
}

// makeTemplate makes a machine the template, the clones of which get the configuration that was asked
// for.
func (v *vCenter) makeTemplate(ctx context.Context, machine *object.VirtualMachine, name string, registry *simulator.Registry) error {
	if err := await(ctx)(machine.PowerOff(ctx)); err != nil {
		return err
	}
	if err := await(ctx)(machine.Rename(ctx, name)); err != nil {
		return err
	}
	if err := machine.MarkAsTemplate(ctx); err != nil {
		return err
	}
	original, ok := registry.Get(machine.Reference()).(*simulator.VirtualMachine)
	if !ok {
		return errors.New("the template is no machine of the simulator")
	}
	registry.Put(&template{VirtualMachine: original, client: v.client})
	return nil
}

// makePlaces makes what a clone is put in.
func (v *vCenter) makePlaces(ctx context.Context, finder *find.Finder) error {
	pools, err := finder.ResourcePoolList(ctx, "*/Resources")
	if err != nil {
		return err
	}
	if _, err := pools[0].Create(ctx, resourcePool, types.DefaultResourceConfigSpec()); err != nil {
		return err
	}
	roots, err := v.datacenter.Folders(ctx)
	if err != nil {
		return err
	}
	folder := roots.VmFolder
	for _, name := range folders {
		if folder, err = folder.CreateFolder(ctx, name); err != nil {
			return err
		}
	}
	return await(ctx)(v.datacenter.Rename(ctx, datacenter))
}

// await returns a function that waits for a task.
func await(ctx context.Context) func(*object.Task, error) error {
	return func(t *object.Task, err error) error {
		if err != nil {
			return err
		}
		return t.Wait(ctx)
	}
}
