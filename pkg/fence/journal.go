package fence

import (
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink" //nolint:depguard // a netlink socket as google/nftables has it; no frames
	"golang.org/x/sys/unix"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// lookInterval is the maximum time between two looks at the tables of a holder, whatever the
// journal says.
const lookInterval = 30 * time.Second

// journal is what Watch has read of the kernel's messages about changes of the ruleset. Each
// transaction of any program makes a new generation of the ruleset; the kernel sends the number of
// the generation after the messages about its changes (net/netfilter/nf_tables_api.c,
// nf_tables_commit).
type journal struct {
	mu sync.Mutex
	// generation is the last one that Watch has read, 0 for none since it subscribed.
	generation uint32
	// foreign counts the changes of vipd's tables by other programs, and the subscriptions, before
	// which changes may have been missed.
	foreign int
}

// subscribed records a new subscription.
func (j *journal) subscribed() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.generation = 0
	j.foreign++
}

// read records a message.
func (j *journal) read(m netlink.Message, foreign bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if foreign {
		j.foreign++
	}
	if g, ok := generationIn(m); ok {
		j.generation = g
	}
}

// changes returns the number of foreign changes so far.
func (j *journal) changes() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.foreign
}

// unchanged tells whether all changes up to a generation are in the journal, and none of them is
// foreign since there were so many foreign changes.
func (j *journal) unchanged(generation uint32, since int) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.generation == generation && j.foreign == since
}

// looked is the last look that found the tables as they were made; at is 0 for none.
type looked struct {
	at      boottime.Instant
	foreign int // foreign changes before the look
}

// unchanged tells whether it is known without a look at the tables that no other program has
// changed them since the last look. A look costs some 30 messages, the generation costs one.
func (f *Fence) unchanged() bool {
	if f.nft == nil || f.unsure || f.looked.at == 0 || f.now().Sub(f.looked.at) >= lookInterval {
		return false
	}
	g, err := f.nft.generation()
	return err == nil && f.journal.unchanged(g, f.looked.foreign) // the look will return the error
}

// generation returns the present generation of the ruleset.
func (n *nft) generation() (g uint32, err error) {
	err = n.withConn(func(*nftables.Conn) error {
		answers, err := n.socket.Execute(netlink.Message{
			Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN, Flags: netlink.Request},
			Data:   make([]byte, nfgenmsgSize),
		})
		if err != nil {
			return err
		}
		for _, m := range answers {
			if found, ok := generationIn(m); ok {
				g = found
				return nil
			}
		}
		return errors.New("no generation in the kernel's answer")
	})
	return g, err
}

// generationIn returns the number of the generation in a message that has one.
func generationIn(m netlink.Message) (g uint32, ok bool) {
	if m.Header.Type != unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWGEN || len(m.Data) < nfgenmsgSize {
		return 0, false
	}
	attributes, err := netlink.NewAttributeDecoder(m.Data[nfgenmsgSize:])
	if err != nil {
		return 0, false
	}
	attributes.ByteOrder = binary.BigEndian
	for attributes.Next() {
		if attributes.Type() == unix.NFTA_GEN_ID {
			g, ok = attributes.Uint32(), true
		}
	}
	return g, ok && attributes.Err() == nil
}
