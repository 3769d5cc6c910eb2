package ask

import (
	"cmp"
	"context"
	"net"
	"slices"
	"sync"

	"github.com/vipd-io/vipd/internal/status"
)

// Answer is the answer of one node.
type Answer struct {
	// Node is the name of the node, or its address if the name is not known.
	Node string
	// Address is the address of its vipd.
	Address string
	// Seen is the state of the node's API server as the first node sees it; nil for the first node.
	Seen *status.APIServer
	// Err is why there is no document.
	Err error
	// Raw is the document as received; Status or History is the decoded one.
	Raw     []byte
	Status  status.Status
	History status.History
}

// Paths of the documents.
const (
	StatusPath  = "/status"
	HistoryPath = "/history"
)

// Get requests the document at path.
func (a *Answer) Get(ctx context.Context, path string) {
	if path == HistoryPath {
		a.Raw, a.Err = Document(ctx, a.Address, path, &a.History)
		a.Node = cmp.Or(a.History.Node, a.Node, a.Address)
	} else {
		a.Raw, a.Err = Document(ctx, a.Address, path, &a.Status)
		a.Node = cmp.Or(a.Status.Node, a.Node, a.Address)
	}
}

// maxNodes bounds the requests, whatever a list contains.
const maxNodes = 64

// Neighbours returns the other nodes in a status. The address of each vipd is the host of the
// node's API server with the port of the first vipd.
func Neighbours(s status.Status, address string) []Answer {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil
	}
	var out []Answer
	for _, a := range s.APIServers {
		host, _, err := net.SplitHostPort(a.Server)
		if a.Local || err != nil || len(out) == maxNodes {
			continue
		}
		out = append(out, Answer{Node: a.Node, Address: net.JoinHostPort(host, port), Seen: &a})
	}
	return out
}

// Everywhere requests a document from the vipd at address, and from all nodes that it knows,
// concurrently. The first answer is that of the vipd at address; if it fails, there are no others.
func Everywhere(ctx context.Context, address, path string) []Answer {
	first := Answer{Address: address}
	first.Get(ctx, StatusPath)
	if first.Err != nil {
		return []Answer{first}
	}
	others := Neighbours(first.Status, address)
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	var asking sync.WaitGroup
	for i := range others {
		asking.Go(func() { others[i].Get(ctx, path) })
	}
	if path != StatusPath {
		first.Get(ctx, path)
	}
	asking.Wait()
	slices.SortStableFunc(others, func(a, b Answer) int { return cmp.Compare(a.Node, b.Node) })
	return append([]Answer{first}, others...)
}
