package arp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
)

// A machine that answers ARP for every address, such as a router with proxy ARP or the network of a
// cloud, answers for the VIP as well, and does not have the VIP.

// nobodys is how many addresses are asked for: a machine with one more address of its own may be
// asked for that one by chance.
const nobodys = 2

// Nobodys returns addresses of a subnet that are not used, by chance. ok is false if the subnet is
// too small.
func Nobodys(subnet netip.Prefix, used func(netip.Addr) bool) (out []netip.Addr, ok bool) {
	if !subnet.Addr().Is4() || subnet.Bits() > 29 {
		return nil, false
	}
	first := binary.BigEndian.Uint32(subnet.Masked().Addr().AsSlice())
	hosts := uint32(1)<<(32-subnet.Bits()) - 2 // neither network nor broadcast address
	for range 16 {                             // a subnet of eight addresses has two that are free
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], first+1+rand.Uint32N(hosts)) //nolint:gosec // no secret
		if a := netip.AddrFrom4(b); !used(a) && !slices.Contains(out, a) {
			out = append(out, a)
		}
		if len(out) == nobodys {
			return out, true
		}
	}
	return nil, false
}

// Owners asks which machines have addr, and tells them from machines that answer for every address,
// which answer for all of nobody as well. Owners asks for each address in both forms, of Ask and of
// AskAs, and compares only answers to the same form: a Linux machine with proxy ARP answers probes
// only for its own addresses (net/ipv4/arp.c, arp_process), so the machine is an owner if it answers
// a probe for addr. Owners takes a second.
func Owners(ctx context.Context, index int, mac net.HardwareAddr, sender, addr netip.Addr, nobody []netip.Addr) (owners, proxies []net.HardwareAddr, err error) {
	return questioner(func(form, addr netip.Addr) ([]net.HardwareAddr, error) {
		return ask(ctx, index, mac, form, otherForm(form, sender), addr, 0)
	}).owners(sender, addr, nobody)
}

// otherForm returns the sender of the questions in the other form, which are asked at the same time.
func otherForm(form, sender netip.Addr) netip.Addr {
	if form == sender {
		return netip.IPv4Unspecified()
	}
	return sender
}

// questioner asks for one address in one form.
type questioner func(form, addr netip.Addr) ([]net.HardwareAddr, error)

func (ask questioner) owners(sender, addr netip.Addr, nobody []netip.Addr) (owners, proxies []net.HardwareAddr, err error) {
	if len(nobody) == 0 {
		return nil, nil, errors.New("ask for owners: no address that nobody has")
	}
	var all sync.WaitGroup
	forms := []netip.Addr{netip.IPv4Unspecified(), sender}
	own, every, errs := make([][]net.HardwareAddr, len(forms)), make([][]net.HardwareAddr, len(forms)), make([]error, 2*len(forms))
	for i, form := range forms {
		all.Go(func() { own[i], errs[2*i] = ask(form, addr) })
		all.Go(func() { every[i], errs[2*i+1] = ask.all(form, nobody) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, nil, fmt.Errorf("ask for owners: %w", err)
	}
	for i := range forms {
		for _, m := range own[i] {
			if contains(every[i], m) {
				proxies = add(proxies, m)
			} else {
				owners = add(owners, m)
			}
		}
	}
	return owners, slices.DeleteFunc(proxies, func(m net.HardwareAddr) bool { return contains(owners, m) }), nil
}

// AskForAll is AskAs for several addresses at once, and returns the machines that answer for all of
// them.
func AskForAll(ctx context.Context, index int, mac net.HardwareAddr, sender netip.Addr, addrs []netip.Addr) ([]net.HardwareAddr, error) {
	return questioner(func(form, addr netip.Addr) ([]net.HardwareAddr, error) { return AskAs(ctx, index, mac, form, addr, 0) }).all(sender, addrs)
}

func (ask questioner) all(form netip.Addr, addrs []netip.Addr) (out []net.HardwareAddr, err error) {
	answers, errs := make([][]net.HardwareAddr, len(addrs)), make([]error, len(addrs))
	var all sync.WaitGroup
	for i, a := range addrs {
		all.Go(func() { answers[i], errs[i] = ask(form, a) })
	}
	all.Wait()
	for _, m := range answers[0] {
		if !slices.ContainsFunc(answers[1:], func(one []net.HardwareAddr) bool { return !contains(one, m) }) {
			out = append(out, m)
		}
	}
	return out, errors.Join(errs...)
}

func contains(list []net.HardwareAddr, m net.HardwareAddr) bool {
	return slices.ContainsFunc(list, func(o net.HardwareAddr) bool { return o.String() == m.String() })
}

func add(list []net.HardwareAddr, m net.HardwareAddr) []net.HardwareAddr {
	if contains(list, m) {
		return list
	}
	return append(list, m)
}
