//go:build race

package bubble

import (
	"runtime"
	"sync"
)

var bubbles struct {
	sync.Mutex
	running    int
	processors int // to be put back after the last one
}

// oneProcessor lasts until the last of the bubbles that run at once has ended.
func oneProcessor() (end func()) {
	bubbles.Lock()
	defer bubbles.Unlock()
	if bubbles.running == 0 {
		bubbles.processors = runtime.GOMAXPROCS(1)
	}
	bubbles.running++
	return func() {
		bubbles.Lock()
		defer bubbles.Unlock()
		bubbles.running--
		if bubbles.running == 0 {
			runtime.GOMAXPROCS(bubbles.processors)
		}
	}
}
