// Package undone contains mutation tests: it breaks vipd itself, one promise at a time, and checks
// that the faults of package failover reveal it. A suite that cannot see the difference would not
// see a real error either. Package simulation does the same in fake time.
//
// The package contains only tests. It builds vipd from the sources with a few words changed, writes
// nothing to the repository (`go build -overlay`), and runs that vipd on all nodes of a lab.
package undone
