package nstest

import (
	"flag"
	"runtime"
	"strconv"
)

// AtOnce sets the number of parallel tests to n, unless -test.parallel is set: tests in their own
// namespaces mostly wait, and the default is the number of processors. Call AtOnce from a TestMain.
func AtOnce(n int) {
	flag.Parse()
	parallel := flag.Lookup("test.parallel").Value
	if parallel.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		_ = parallel.Set(strconv.Itoa(n))
	}
}
