package lab

import (
	"context"
	"fmt"
	"net/netip"
)

// AddHost adds a machine to the network, with the address of Subnet that ends in lastByte and
// without a control plane. It ends with the lab.
func (l *Lab) AddHost(name string, lastByte byte) (*Host, error) {
	h, err := l.makeHost(name, lastByte)
	if err != nil {
		return nil, fmt.Errorf("add host %s: %w", name, err)
	}
	l.added = append(l.added, h)
	return h, nil
}

// NewVipd prepares a vipd besides the nodes' own: on a machine without a control plane, with
// --apiserver in flags, or for another address.
func (l *Lab) NewVipd(h *Host, name string, vip netip.Addr, flags ...string) *Process {
	return l.NewProcess(h, name, l.Nodes[0].vipdArgs(h.Name, vip, flags)...)
}

// AddControlPlane registers another control-plane node, whose API server is at the given address:
// every vipd then probes that server, too.
func (l *Lab) AddControlPlane(ctx context.Context, name string, server netip.Addr) error {
	nodes, err := l.Nodes[0].kubeNodes()
	if err != nil {
		return err
	}
	if err := createNode(ctx, nodes, name, server); err != nil {
		return fmt.Errorf("add control plane %s: %w", name, err)
	}
	return nil
}
