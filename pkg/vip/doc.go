// Package vip is the heart of vipd: it decides when a group of virtual IP
// addresses is on this node, and sees to it.
//
//	      Granted, Looked, Stop, time
//	                 |
//	                 v
//	step(State, now, Event) -> (State, []Action)      pure: no I/O, no clock
//	                 |
//	                 v
//	Manager          Raise, Withdraw, GiveBack, Campaign
//
//	Standby --grant, link up--> Holding --grant lost or over, link down, Stop-->
//	Withdrawing --known to be gone--> Standby (and GiveBack, if it is ours to give)
//
// It works on "ours until a deadline" and does not ask who decides on that. It
// imports no sibling that does I/O: the small interfaces that it needs are
// declared here and passed in by cmd/vipd.
package vip
