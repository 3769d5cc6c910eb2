// Package page tests the page of vipd's status endpoint in Chromium, while the VIP of a lab moves.
// The package contains only tests.
package page
