// Package vip decides when a group of virtual IP addresses is on this node, and carries the decision
// out.
//
//	      Granted, Observation, Stop, time
//	                 |
//	                 v
//	step(State, now, Event) -> (State, []Action)      pure: no I/O, no clock
//	                 |
//	                 v
//	Manager          Raise, Withdraw, GiveBack, Campaign
//
//	Standby --grant, link up--> Holding --grant lost or over, link down, Stop-->
//	Withdrawing --known to be gone--> Standby (after GiveBack, if this node has the grant)
//
// The input is a Grant, the right to the addresses until a deadline; package vip does not depend on the
// source of the grant. The package imports no sibling that does I/O: it declares the small interfaces
// that it needs, and internal/daemon passes the implementations in.
package vip
