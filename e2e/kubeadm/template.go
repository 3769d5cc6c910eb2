package kubeadm

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/vipd-io/vipd/e2e/lab"
)

// A Template is what virtual machines boot from: the programs and the images of a node.
type Template struct {
	name     string // of its machines' hosts, before a number
	lab      *lab.Lab
	binaries lab.Binaries
	archives []string

	mu    sync.Mutex
	count int
}

// NewTemplate writes the images of a node into the lab's folder. The hosts of its machines have the name
// and a number.
func NewTemplate(ctx context.Context, l *lab.Lab, bin lab.Binaries, name string) (*Template, error) {
	all, err := images(ctx, l, bin)
	if err != nil {
		return nil, err
	}
	archives, err := writeImages(l, name, all)
	if err != nil {
		return nil, err
	}
	return &Template{name: name, lab: l, binaries: bin, archives: archives}, nil
}

// A VM is the configuration of a virtual machine.
type VM struct {
	Hostname string
	Address  netip.Addr
	// Gateway tells whether there is a default route.
	Gateway bool
	// Nameserver answers the machine's questions for names; invalid for nobody.
	Nameserver netip.Addr
}

// Boot makes a virtual machine and boots it. Its kubelet waits for kubeadm.
func (t *Template) Boot(ctx context.Context, vm VM) (*Machine, error) {
	m, err := t.machine(vm)
	if err == nil {
		err = m.setUp(ctx)
	}
	if err == nil {
		err = m.load(ctx, t.archives)
	}
	if err == nil {
		err = m.Kubelet.Start()
	}
	if err != nil {
		return m, fmt.Errorf("boot virtual machine %s: %w", vm.Hostname, err)
	}
	return m, nil
}

// machine makes the host of a virtual machine.
func (t *Template) machine(vm VM) (*Machine, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count++
	if !vm.Address.Is4() || !lab.Subnet.Contains(vm.Address) {
		return nil, fmt.Errorf("the address %s is not in the lab's network", vm.Address)
	}
	h, err := t.lab.AddHost(fmt.Sprintf("%s%d", t.name, t.count), vm.Address.As4()[3])
	if err != nil {
		return nil, err
	}
	m := newMachine(t.lab, h, t.binaries.Kubeadm, t.binaries.Kubelet)
	m.Hostname = vm.Hostname
	if vm.Nameserver.IsValid() {
		m.nameserver = vm.Nameserver.String()
	}
	if vm.Gateway {
		err = h.AddDefaultRoute()
	}
	return m, errors.Join(err, h.ForwardIPv4())
}
