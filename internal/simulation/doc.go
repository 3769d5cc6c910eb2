// Package simulation runs clusters of whole nodes in fake time: the real Elector of pkg/election
// and the real Manager of pkg/vip, wired as in internal/daemon, over models of their environment.
// The package contains tests only.
//
// All decisions are real: the election, its calls and records, the Manager, and pkg/fence. Models
// replace the store (internal/leasetest: a commit and its answer are two events), the kernel
// (tables and addresses with timeouts, one transaction at a time; a call may fail with or without
// an effect, and may hang), the network, the processes (killed, stopped, paused at any call), and
// the clocks: an NTP client slews CLOCK_BOOTTIME and jiffies alike but not CLOCK_MONOTONIC_RAW, and
// a suspend separates them. The tests of pkg/fence, pkg/netif and pkg/arp, and the lab (module
// e2e), cover what the models omit.
//
// A run plays some scenarios that are the same each time, and new ones. verdict_test.go has the
// promises to check, census_test.go the events that have to occur, and mutation_test.go shows that
// broken promises are detected.
//
//	go test ./internal/simulation                                a normal run
//	make simulation SEEDS=100000                                 more scenarios
//	go test ./internal/simulation -run TestNodes -seed 17 -v     one scenario, with its log
//
// The seed determines a scenario, except for the order of two goroutines in the same nanosecond,
// and the choice of a select between two ready cases. The random times make that rare: of 200
// scenarios, 11 to 14 differed in a second run (TestSameSeed). Use -count 20 for a failure that
// does not reproduce at once.
package simulation
