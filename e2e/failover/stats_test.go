package failover_test

import (
	"testing"
	"time"

	"github.com/vipd-io/vipd/e2e/failover"
)

func TestSummarize(t *testing.T) {
	var v []time.Duration
	for i := 20; i > 0; i-- {
		v = append(v, time.Duration(i))
	}
	if got, want := failover.Summarize(v), (failover.Stats{N: 20, Median: 10, P95: 19, Max: 20}); got != want {
		t.Errorf("Summarize = %+v, want %+v", got, want)
	}
	if got, want := failover.Summarize(v[:1]), (failover.Stats{N: 1, Median: 20, P95: 20, Max: 20}); got != want {
		t.Errorf("Summarize of one = %+v, want %+v", got, want)
	}
	if got := failover.Summarize(nil); got != (failover.Stats{}) {
		t.Errorf("Summarize of none = %+v", got)
	}
}
