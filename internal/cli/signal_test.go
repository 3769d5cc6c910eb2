package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"
)

// TestNextSignal: only a signal after the end of the context counts.
func TestNextSignal(t *testing.T) {
	arrived := make(chan os.Signal, 1) // without it, SIGTERM would end the test
	signal.Notify(arrived, syscall.SIGTERM)
	defer signal.Stop(arrived)
	terminate := func() {
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		<-arrived
	}
	ctx, cancel := context.WithCancel(t.Context())
	came, release := nextSignal(ctx)
	defer release()
	terminate()
	select {
	case <-came:
		t.Fatal("the first signal counts")
	default:
	}
	cancel()
	ticker := time.NewTicker(10 * time.Millisecond) // the function of the context starts concurrently
	defer ticker.Stop()
	for deadline := time.After(10 * time.Second); ; {
		terminate()
		select {
		case <-came:
			return
		case <-ticker.C:
		case <-deadline:
			t.Fatal("the second signal does not count")
		}
	}
}
