// Command kubevip stands in for kube-vip's image in the lab, where the image is not to be had: it reads
// the settings of kube-vip's manifest, and does what kube-vip v0.6 does with them for a control plane.
// client-go's elector claims the Lease, by the API server of its own node. While it leads, the node has
// the address, and announces the address every 3 seconds. Then it releases the Lease, and after that it
// removes the address, in this order, as kube-vip does.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/mdlayher/arp"
	"github.com/vishvananda/netlink"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// kubeconfig is where kube-vip's manifest mounts an administrator's kubeconfig.
const kubeconfig = "/etc/kubernetes/admin.conf"

// announceInterval is kube-vip's default (vip_arpRate).
const announceInterval = 3 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatalf("kubevip: %v", err)
	}
}

// run serves until ctx ends, or until the Lease is lost: then kube-vip ends, and kubelet starts it again.
func run(ctx context.Context) error {
	s, err := readSettings()
	if err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	lock, err := s.lock()
	if err != nil {
		return fmt.Errorf("prepare election: %w", err)
	}
	led := make(chan error, 1)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: s.lease, RenewDeadline: s.renew, RetryPeriod: s.retry, ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(leading context.Context) { led <- s.serve(leading) },
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return fmt.Errorf("prepare election: %w", err)
	}
	elector.Run(ctx)
	if !elector.IsLeader() && ctx.Err() == nil {
		log.Print("lost leadership, restarting kube-vip")
	}
	select {
	case err = <-led:
	default: // it never led, or serve has not returned yet
		err = nil
	}
	return errors.Join(err, s.remove())
}

// settings are those of kube-vip's manifest for a control plane.
type settings struct {
	address             netip.Addr
	port                int
	link                netlink.Link
	namespace, name, id string
	lease, renew, retry time.Duration
}

func readSettings() (s settings, err error) {
	var errs []error
	number := func(name string) int {
		n, err := strconv.Atoi(os.Getenv(name))
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		return n
	}
	seconds := func(name string) time.Duration { return time.Duration(number(name)) * time.Second }
	for _, name := range []string{"vip_arp", "cp_enable", "vip_leaderelection"} {
		if os.Getenv(name) != "true" {
			errs = append(errs, fmt.Errorf("%s=%q: only true is known here", name, os.Getenv(name)))
		}
	}
	s = settings{port: number("port"), namespace: os.Getenv("cp_namespace"), name: os.Getenv("vip_leasename"),
		lease: seconds("vip_leaseduration"), renew: seconds("vip_renewdeadline"), retry: seconds("vip_retryperiod")}
	if s.address, err = netip.ParseAddr(os.Getenv("address")); err != nil {
		errs = append(errs, err)
	}
	if s.id, err = os.Hostname(); err != nil {
		errs = append(errs, err)
	}
	if s.link, err = link(os.Getenv("vip_interface")); err != nil {
		errs = append(errs, err)
	}
	return s, errors.Join(errs...)
}

// link returns an interface by its name, or that of the default route.
func link(name string) (netlink.Link, error) {
	if name != "" {
		return netlink.LinkByName(name)
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		if r.Dst == nil || r.Dst.IP.IsUnspecified() {
			return netlink.LinkByIndex(r.LinkIndex)
		}
	}
	return nil, errors.New("there is no default route")
}

// lock is the Lease. The API server is that of this node, by the name that the manifest's hosts file
// gives to the loopback address.
func (s settings) lock() (*resourcelock.LeaseLock, error) {
	config, err := clientcmd.BuildConfigFromFlags("https://kubernetes:"+strconv.Itoa(s.port), kubeconfig)
	if err != nil {
		return nil, err
	}
	client, err := coordinationv1.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &resourcelock.LeaseLock{LeaseMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: s.name}, Client: client,
		LockConfig: resourcelock.ResourceLockConfig{Identity: s.id}}, nil
}

// serve adds the address, and announces it until ctx ends.
func (s settings) serve(ctx context.Context) error {
	if err := netlink.AddrReplace(s.link, s.addr()); err != nil {
		return fmt.Errorf("add %s: %w", s.address, err)
	}
	log.Printf("leading, with %s", s.address)
	for {
		if err := s.announce(); err != nil {
			log.Printf("announce %s: %v", s.address, err)
		}
		select {
		case <-time.After(announceInterval):
		case <-ctx.Done():
			return nil
		}
	}
}

func (s settings) announce() error {
	i, err := net.InterfaceByIndex(s.link.Attrs().Index)
	if err != nil {
		return err
	}
	c, err := arp.Dial(i)
	if err != nil {
		return err
	}
	defer c.Close()
	everybody := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	p, err := arp.NewPacket(arp.OperationReply, i.HardwareAddr, s.address, everybody, s.address)
	if err != nil {
		return err
	}
	return c.WriteTo(p, everybody)
}

// remove removes the address, if the node has it.
func (s settings) remove() error {
	err := netlink.AddrDel(s.link, s.addr())
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", s.address, err)
	}
	return nil
}

func (s settings) addr() *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: s.address.AsSlice(), Mask: net.CIDRMask(s.address.BitLen(), s.address.BitLen())}}
}
