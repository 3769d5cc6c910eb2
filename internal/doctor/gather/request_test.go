package gather

import (
	"testing"
	"time"
)

// TestScale: parts of the doctor get the same share of --timeout as of the default.
func TestScale(t *testing.T) {
	for _, c := range []struct{ timeout, usual, want time.Duration }{
		{DefaultTimeout, guestTimeout, guestTimeout},
		{time.Second, inspectTimeout, inspectTimeout / 5},
		{10 * time.Minute, managementTimeout, 8 * time.Minute},
	} {
		if got := (&Request{Timeout: c.timeout}).Scale(c.usual); got != c.want {
			t.Errorf("of %s: %s in place of %s, want %s", c.timeout, got, c.usual, c.want)
		}
	}
}
