// Package undone breaks vipd itself, one promise at a time, and has the faults of
// package failover show it: a suite that cannot see the difference would not see
// the error, either. Package simulation does the same in fake time.
//
// It is all tests. A vipd is built from the sources with a few words changed, of
// which nothing is written to the repository (`go build -overlay`), and runs on all
// nodes of a lab.
package undone
