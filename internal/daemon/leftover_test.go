package daemon

import (
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/vipd-io/vipd/pkg/vip"
)

// TestLeftOverIsLogged: an address without vipd's mark is not removed without a word, on a claim and on a
// withdrawal; vipd's own is.
func TestLeftOverIsLogged(t *testing.T) {
	ns, n, _ := observedInterface(t, "eth0")
	usable(t, n)
	core, logs := observer.New(zap.InfoLevel)
	n.log = zap.New(core)
	said := func() int { return logs.FilterMessageSnippet("that another VIP manager left").Len() }
	places := vip.Places{{Addr: n.addresses[0], Link: vip.Link{Index: ns.Link("eth0").Attrs().Index}}}
	ns.AddAddr("eth0", testVIP+"/32")
	must(t, n.Put(places, time.Minute))
	if said() != 1 {
		t.Errorf("after a claim: %v", logs.All())
	}
	must(t, n.Put(places, time.Minute))
	must(t, n.Remove())
	if said() != 1 {
		t.Errorf("vipd's own address was logged: %v", logs.All())
	}
	ns.AddAddr("eth0", testVIP+"/32")
	must(t, n.Remove())
	if said() != 2 || len(ns.Addrs("eth0")) != 1 {
		t.Errorf("after a withdrawal: %v, %v", logs.All(), ns.Addrs("eth0"))
	}
}
