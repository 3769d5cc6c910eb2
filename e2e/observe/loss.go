package observe

import (
	"fmt"
	"sync"

	"github.com/mdlayher/packet"

	"github.com/vipd-io/vipd/e2e/judge/record"
)

// lossEvery is the number of rounds between two reads of a socket's counters, so that a loss is
// known to within a part of a second.
const lossEvery = 20

// losses reads how many frames the kernel dropped at a full socket.
type losses struct {
	conn *packet.Conn
	host string

	mu   sync.Mutex
	last record.Time // of the last read
}

func newLosses(conn *packet.Conn, host string) *losses {
	return &losses{conn: conn, host: host, last: record.Now()}
}

// note records the frames that were dropped since the last read: the kernel resets the counters at
// each read (packet(7), PACKET_STATISTICS).
func (l *losses) note(to *record.Recorder) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	stats, err := l.conn.Stats()
	if err != nil {
		return fmt.Errorf("read counters of a socket of %s: %w", l.host, err)
	}
	now := record.Now()
	if stats.Drops > 0 {
		to.Loss(record.Loss{Since: l.last, At: now, Host: l.host, Frames: int(stats.Drops)})
	}
	l.last = now
	return nil
}
