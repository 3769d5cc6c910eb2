package main

import (
	"context"
	"log"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// clonedFrom is the extra configuration with the name of the template of a clone.
const clonedFrom = "vcsim.template"

// template is a machine the clones of which have the extra configuration that was asked for. The
// simulator's own method sets the configuration on a copy of the clone, and loses it
// (simulator/virtual_machine.go, CloneVMTask, v0.51.0).
type template struct {
	*simulator.VirtualMachine
	client *govmomi.Client
}

// CloneVMTask replaces the method of the simulator.
func (t *template) CloneVMTask(ctx *simulator.Context, req *types.CloneVM_Task) soap.HasFault {
	result := t.VirtualMachine.CloneVMTask(ctx, req)
	body, ok := result.(*methods.CloneVM_TaskBody)
	if !ok || body.Res == nil || req.Spec.Config == nil {
		return result
	}
	// The request must not wait for its own task.
	go func() {
		if err := t.configure(context.Background(), body.Res.Returnval, append(req.Spec.Config.ExtraConfig, &types.OptionValue{Key: clonedFrom, Value: t.Name})); err != nil {
			log.Printf("configure clone: %v", err)
		}
	}()
	return result
}

// configure sets the configuration of the clone that a task makes.
func (t *template) configure(ctx context.Context, task types.ManagedObjectReference, extra []types.BaseOptionValue) error {
	info, err := object.NewTask(t.client.Client, task).WaitForResult(ctx)
	if err != nil {
		return err
	}
	clone := object.NewVirtualMachine(t.client.Client, info.Result.(types.ManagedObjectReference))
	return await(ctx)(clone.Reconfigure(ctx, types.VirtualMachineConfigSpec{ExtraConfig: extra}))
}
