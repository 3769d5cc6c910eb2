package capi

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"

	"sigs.k8s.io/yaml"
)

// Metadata is what cloud-init in a guest reads of guestinfo.metadata.
type Metadata struct {
	Hostname string `json:"local-hostname"`
	Network  struct {
		Ethernets map[string]Ethernet `json:"ethernets"`
	} `json:"network"`
}

// Ethernet is the configuration of a network adapter.
type Ethernet struct {
	Addresses   []netip.Prefix `json:"addresses"`
	Gateway4    netip.Addr     `json:"gateway4"`
	Nameservers struct {
		Addresses []netip.Addr `json:"addresses"`
	} `json:"nameservers"`
}

// Metadata reads what CAPV wrote for a machine.
func (vm VM) Metadata() (Metadata, error) {
	var m Metadata
	text, err := vm.guestinfo("metadata")
	if err == nil {
		err = yaml.Unmarshal([]byte(text), &m)
	}
	if err != nil {
		return m, fmt.Errorf("read guestinfo.metadata of %s: %w", vm.Name, err)
	}
	return m, nil
}

// Ethernet returns the adapter with an address. The simulator may list an adapter twice, the second
// time without addresses.
func (m Metadata) Ethernet() (Ethernet, error) {
	for _, e := range m.Network.Ethernets {
		if len(e.Addresses) > 0 {
			return e, nil
		}
	}
	return Ethernet{}, errors.New("guestinfo.metadata has no address")
}

// guestinfo returns a value for the guest. CAPV writes base64.
func (vm VM) guestinfo(name string) (string, error) {
	text, err := base64.StdEncoding.DecodeString(vm.Guestinfo[name])
	if err != nil {
		return "", fmt.Errorf("read guestinfo.%s of %s: %w", name, vm.Name, err)
	}
	return string(text), nil
}
