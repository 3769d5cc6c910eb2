package doctor

import (
	"context"
	"fmt"
	"net/netip"
)

// MachineTemplate is the part of a VSphereMachineTemplate that concerns gateways.
type MachineTemplate struct {
	Namespace, Name string
	// ControlPlane: the template is for control-plane nodes.
	ControlPlane bool
	// Devices are those with a gateway of their own.
	Devices []TemplateDevice
}

// TemplateDevice is a network device of a template.
type TemplateDevice struct {
	Index   int
	Gateway netip.Addr
	// Pools are the pools of the device's addresses, by Kind and Name.
	Pools []Pool
}

var templateGateway = Check{ID: "D33", Title: "gateway of the machine template", Modes: Management, Run: func(_ context.Context, in *Input) ([]Finding, error) {
	m := in.Facts.Management
	if m.ControlPlane == nil {
		return nil, nil
	}
	var out []Finding
	for _, t := range m.ControlPlane.Templates {
		for _, d := range t.Devices {
			for _, p := range m.poolsOf(t, d) {
				if p.Gateway.IsValid() && p.Gateway != d.Gateway {
					out = append(out, m.ControlPlane.gatewaysDiffer(t, d, p))
				}
			}
		}
	}
	return out, m.ControlPlane.TemplatesUnread
}}

// poolsOf returns the pools of a device.
func (m *ManagementCluster) poolsOf(t MachineTemplate, d TemplateDevice) (out []Pool) {
	for _, ref := range d.Pools {
		for _, p := range m.Pools {
			if p.Kind == ref.Kind && p.Name == ref.Name && (p.Namespace == "" || p.Namespace == t.Namespace) {
				out = append(out, p)
			}
		}
	}
	return out
}

func (p *ControlPlane) gatewaysDiffer(t MachineTemplate, d TemplateDevice, pool Pool) Finding {
	f := Finding{
		Severity: Error,
		Seen: fmt.Sprintf("VSphereMachineTemplate %s/%s has gateway4 %s for network.devices[%d], and %s, from which the device gets its address, has the gateway %s",
			t.Namespace, t.Name, d.Gateway, d.Index, pool.name(), pool.Gateway),
		Why: "CAPV clones the virtual machine, and never turns the machine on: its log says \"does not match the Gateway4 already configured on device\"",
		Remedy: []string{
			fmt.Sprintf("if %s is right: %s", d.Gateway, pool.patch(fmt.Sprintf(`{"gateway":"%s"}`, d.Gateway))),
			fmt.Sprintf("if %s is right, make a template without gateway4, because a template cannot be changed and the pool delivers the gateway: %s", pool.Gateway, t.withoutGateway()),
		},
	}
	if t.ControlPlane {
		f.Remedy = append(f.Remedy, "and use that template: "+p.useTemplate(t.copyName()), p.rollOut())
		return f
	}
	f.Remedy = append(f.Remedy, "and set that name in spec.template.spec.infrastructureRef of the MachineDeployment", "then delete its machines that are not on; Cluster API makes new ones")
	return f
}

// copyName is the name of the copy of a template.
func (t MachineTemplate) copyName() string { return t.Name + "-pool-gateway" }

// withoutGateway returns the command that copies the template.
func (t MachineTemplate) withoutGateway() string {
	return fmt.Sprintf("kubectl -n %s get vspheremachinetemplate %s -o yaml | sed -e 's/^  name: .*/  name: %s/' -e '/^  uid:/d' -e '/^  resourceVersion:/d' -e '/ gateway4:/d' | kubectl create -f -", t.Namespace, t.Name, t.copyName())
}

// useTemplate returns the command that sets the template of the control plane's machines.
func (p *ControlPlane) useTemplate(name string) string {
	return fmt.Sprintf(`kubectl -n %s patch kubeadmcontrolplane %s --type=merge -p '{"spec":{"machineTemplate":{"spec":{"infrastructureRef":{"name":"%s"}}}}}'`, p.Namespace, p.Name, name)
}
