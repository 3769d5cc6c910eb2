package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/screen"
)

// holders draws the nodes, the one with the address filled.
func holders(s *screen.Screen, l *lab.Lab) string {
	var b strings.Builder
	fmt.Fprintf(&b, "   %s ", l.VIP)
	for _, n := range l.Nodes {
		addrs, err := n.Addresses()
		switch {
		case err != nil:
			fmt.Fprintf(&b, "  %s ?", n.Name)
		case slices.Contains(addrs, l.VIP):
			b.WriteString("  " + s.Green(n.Name+" ●"))
		case !n.APIServer.Running():
			b.WriteString("  " + s.Red(n.Name+" ✗"))
		default:
			fmt.Fprintf(&b, "  %s ○", n.Name)
		}
	}
	return b.String()
}

// verdict prints the result of one fault.
func verdict(s *screen.Screen, v seen) {
	if v.Unproven != "" {
		s.Line("   this machine was too busy for a figure: %s (%s -> %s)", v.Unproven, v.Holder, v.Next)
	} else {
		s.Line("   unreachable for %s over HTTPS with fresh connections (%s -> %s)", s.Bold(round(v.Unreachable)), v.Holder, v.Next)
	}
	if len(v.Twice) == 0 {
		s.Line("   nodes that answered ARP for the VIP at any one time: %s", s.Green("never more than one"))
	} else {
		s.Line("   nodes that answered ARP for the VIP at any one time: %s", s.Red("TWO"))
	}
	for _, b := range v.broken {
		s.Line("     %s", s.Red(b))
	}
	for _, l := range v.late {
		s.Line("   not as it is on an idle machine: %s", l)
	}
}

// round formats a duration for people.
func round(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}
