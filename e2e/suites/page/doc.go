// Package page tests the page of vipd's status endpoint as people have it before
// them: in Chromium, while the VIP of a lab moves. There is nothing in it but tests.
package page
