package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vipd-io/vipd/e2e/failover"
	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// newHolder restarts the holder's vipd, so that another node holds the VIP. Claims under the
// earlier holder no longer count; otherwise they would count for a minute.
func newHolder(n *lab.Node) error {
	_, err := n.Vipd.Stop(5 * time.Second)
	return errors.Join(err, n.StartVipd())
}

var noAnnouncements = Fault{
	Name: "announcements", Title: "What stands before the nodes drops gratuitous ARP for the VIP.", Seen: "after a failover some clients cannot reach the VIP",
	Make: func(ctx context.Context, s *Site) (func(context.Context) error, *lab.Host, []string, error) {
		before, _, err := s.roles(ctx)
		if err != nil {
			return nil, nil, nil, err
		}
		undo := func(ctx context.Context) error {
			var errs []error
			for _, n := range s.Nodes {
				_, err := n.Run(ctx, "nft", "delete table netdev lab")
				errs = append(errs, err)
			}
			after, err := failover.Ready(ctx, s.Lab)
			if err != nil {
				return errors.Join(append(errs, err)...)
			}
			return errors.Join(append(errs, newHolder(after))...) // the new holder announces itself at once
		}
		for _, n := range s.Nodes {
			if _, err := n.Run(ctx, "nft", fmt.Sprintf("add table netdev lab; add chain netdev lab in { type filter hook ingress device %s priority 0; }; "+
				"add rule netdev lab in ether daddr ff:ff:ff:ff:ff:ff arp saddr ip %s drop", lab.Interface, s.VIP)); err != nil {
				return undo, nil, nil, err
			}
		}
		if err := newHolder(before); err != nil {
			return undo, nil, nil, err
		}
		holder, err := failover.Ready(ctx, s.Lab)
		if err != nil {
			return undo, nil, nil, err
		}
		return undo, holder.Host, nil, s.doctorSays(ctx, holder.Host, "D24")
	},
	Want: []Found{{ID: "D24", Mark: "deaf"}}, Verdict: "The network between the nodes drops announcements of the VIP",
}

// doctorSays waits until the announcements of a new holder are so old that a node that missed them
// will not receive them any more.
func (s *Site) doctorSays(ctx context.Context, on *lab.Host, id string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return wait.Until(ctx, time.Second, func() (bool, error) {
		r, _, err := s.Examine(ctx, on, "--only", id)
		return len(r.Findings()) > 0, err
	})
}
