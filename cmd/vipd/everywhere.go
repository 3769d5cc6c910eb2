package main

import (
	"cmp"
	"context"
	"net"
	"slices"
	"sync"

	"github.com/vipd-io/vipd/pkg/status"
)

// answer is what came of asking one node.
type answer struct {
	// Node is its name; its address, if that is not known.
	Node string
	// Address is where it was asked.
	Address string
	// Seen is how the node that was asked first sees its API server; nil for that
	// node itself.
	Seen *status.APIServer
	// Err is why there is no document.
	Err error
	// Raw is the document as received; one of the others is what is in it.
	Raw     []byte
	Status  status.Status
	History status.History
}

// What can be asked for.
const (
	statusPath  = "/status"
	historyPath = "/history"
)

// get asks for one document.
func (a *answer) get(ctx context.Context, path string) {
	if path == historyPath {
		a.Raw, a.Err = ask(ctx, a.Address, path, &a.History)
		a.Node = cmp.Or(a.History.Node, a.Node, a.Address)
	} else {
		a.Raw, a.Err = ask(ctx, a.Address, path, &a.Status)
		a.Node = cmp.Or(a.Status.Node, a.Node, a.Address)
	}
}

// maxNodes bounds how many are asked, whatever a list says.
const maxNodes = 64

// neighbours are the other nodes that a status names. Their vipds are asked at the
// port of the first, at the host of their API server.
func neighbours(s status.Status, address string) []answer {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil
	}
	var out []answer
	for _, a := range s.APIServers {
		host, _, err := net.SplitHostPort(a.Server)
		if a.Local || err != nil || len(out) == maxNodes {
			continue
		}
		out = append(out, answer{Node: a.Node, Address: net.JoinHostPort(host, port), Seen: &a})
	}
	return out
}

// everywhere asks the node at an address, and then all that it knows of at once. The
// first of the answers is its own; without it there are no others.
func everywhere(ctx context.Context, address, path string) []answer {
	first := answer{Address: address}
	first.get(ctx, statusPath)
	if first.Err != nil {
		return []answer{first}
	}
	others := neighbours(first.Status, address)
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var asking sync.WaitGroup
	for i := range others {
		asking.Go(func() { others[i].get(ctx, path) })
	}
	if path != statusPath {
		first.get(ctx, path)
	}
	asking.Wait()
	slices.SortStableFunc(others, func(a, b answer) int { return cmp.Compare(a.Node, b.Node) })
	return append([]answer{first}, others...)
}
