// Package simulation runs clusters of whole nodes in fake time: the Elector of
// pkg/election and the Manager of pkg/vip as they are, wired as cmd/vipd wires
// them, over models of what lies below them. It has tests only.
//
// Real are all decisions: the election, its calls and its records, and what the
// Manager does about them. Modelled are the store (internal/leasetest: what it
// commits and what it answers are two events), the kernel (tables and addresses
// that end by themselves), pkg/fence (by what its own tests show), the network, the
// processes (killed, stopped, paused at any call), and the clocks, each at a rate of
// its own. What the models leave out, the tests of pkg/fence, pkg/netif and pkg/arp,
// and the lab (module e2e) have.
//
// A run plays some stories that are always the same, and fresh ones. What it must
// never see is in verdict_test.go, what has to happen in it in census_test.go, and
// that it would see what it must not, in mutation_test.go.
//
//	go test ./internal/simulation                                a normal run
//	make simulation SEEDS=100000                                 more stories
//	go test ./internal/simulation -run TestNodes -seed 17 -v     one of them, told
//
// Everything that happens follows from the seed, but for the order of what two
// goroutines do in the same nanosecond, and what a select picks of two that are
// ready. The times are drawn so that this is rare: of 200 stories, 11 to 14 went
// another way the second time (TestSameSeed). A failure that does not come again at
// once comes with -count 20.
package simulation
