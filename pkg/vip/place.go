package vip

import (
	"cmp"
	"net/netip"
	"slices"
)

// Link is a network interface for an address.
type Link struct {
	Index int
	MAC   string
	// Name is for people.
	Name string
	// Up means that the interface can serve the address: it is set up, has carrier, is no port of
	// another interface, and its network is the address's. Why is the reason if it cannot.
	Up  bool
	Why string
}

// Place is an address and the link that the address belongs on.
type Place struct {
	Addr netip.Addr
	Link Link
}

// Places are the places of a group. A group is held whole or not at all: if one link is down, no
// address is added. A Places is immutable once passed on.
type Places []Place

// Up tells whether all links are up.
func (p Places) Up() bool { return p.all(func(l Link) bool { return l.Up }) }

// why returns why a link cannot serve, "" if all can.
func (p Places) why() string {
	for _, at := range p {
		if !at.Link.Up {
			return cmp.Or(at.Link.Why, "it is down")
		}
	}
	return ""
}

// found tells whether there is a link for each address.
func (p Places) found() bool { return p.all(func(l Link) bool { return l.Index != 0 }) }

func (p Places) all(is func(Link) bool) bool {
	return len(p) > 0 && !slices.ContainsFunc(p, func(at Place) bool { return !is(at.Link) })
}

// First returns the link of the first address; the status and the election show this link.
func (p Places) First() Link {
	if len(p) == 0 {
		return Link{}
	}
	return p[0].Link
}

// keepMACs keeps the last known MAC for a link that is gone: the identity in the election does not
// change with the loss of a link.
func (p Places) keepMACs(before Places) Places {
	p = slices.Clone(p)
	for i, at := range p {
		if j := before.index(at.Addr); at.Link.MAC == "" && j >= 0 {
			p[i].Link.MAC = before[j].Link.MAC
		}
	}
	return p
}

func (p Places) index(a netip.Addr) int {
	return slices.IndexFunc(p, func(at Place) bool { return at.Addr == a })
}

// difference describes how the links differ from those before, "" for no difference.
func (p Places) difference(before Places) string {
	what := func(differs func(now, then Link) bool) bool {
		return slices.ContainsFunc(p, func(at Place) bool {
			then := Link{}
			if i := before.index(at.Addr); i >= 0 {
				then = before[i].Link
			}
			return differs(at.Link, then)
		})
	}
	switch {
	case what(func(now, then Link) bool { return now.Index != then.Index }):
		return "the interface was replaced"
	case what(func(now, then Link) bool { return now.MAC != then.MAC }):
		return "the MAC of the interface changed"
	case what(func(now, then Link) bool { return now.Up && !then.Up }):
		return "the interface came up again"
	}
	return ""
}

// Presence is how many addresses of a group are in their places, with vipd's mark.
type Presence uint8

const (
	// Absent: none.
	Absent Presence = iota
	// Partial: some. Such a group is neither held nor clean.
	Partial
	// Whole: all.
	Whole
)

func (p Presence) String() string { return [...]string{"absent", "partial", "whole"}[p] }

// missing describes what a holder lacks, "" for nothing.
func (p Presence) missing() string {
	switch p {
	case Absent:
		return "another program removed the address"
	case Partial:
		return "another program removed some of the addresses"
	default:
		return ""
	}
}
