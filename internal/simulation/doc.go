// Package simulation runs clusters of whole nodes in fake time: the Elector of
// pkg/election and the Manager of pkg/vip as they are, wired as cmd/vipd wires
// them, over models of what lies below them. It has tests only.
//
// Real are all decisions: the election, its calls and its records, and what the
// Manager does about them. Modelled are the store (internal/leasetest), the
// kernel (nftables elements and addresses that end by themselves), the network,
// the processes (killed, stopped, paused at any call), and the clocks, each at a
// rate of its own. What the models leave out, the tests of pkg/fence, pkg/netif
// and pkg/arp, and the lab (module e2e) have.
//
// Everything that happens follows from a seed, but for the order of what two
// goroutines do in the same nanosecond. The times are drawn so that this is rare.
//
//	make simulation                                                     as it stands
//	go test -tags simulation ./internal/simulation -seeds 10000         as many stories
//	go test -tags simulation ./internal/simulation -run TestNodes -seed 17  one, told
//
// It has a tag of its own until it is part of `make test`.
package simulation
