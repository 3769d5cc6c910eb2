package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/vipd-io/vipd/pkg/arp"
	"github.com/vipd-io/vipd/pkg/boottime"
	"github.com/vipd-io/vipd/pkg/config"
	"github.com/vipd-io/vipd/pkg/election"
	"github.com/vipd-io/vipd/pkg/health"
	"github.com/vipd-io/vipd/pkg/kubeapi"
	"github.com/vipd-io/vipd/pkg/netif"
	"github.com/vipd-io/vipd/pkg/reach"
	"github.com/vipd-io/vipd/pkg/status"
	"github.com/vipd-io/vipd/pkg/vip"
)

func newRunCommand(stderr io.Writer) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "run",
		Aliases: []string{"manager"}, // kube-vip's
		Short:   "Hold the address whenever this node holds the Lease",
		Long: `Campaign for the Lease and hold the virtual IP address while this node has it.

Each flag has an environment variable: --node-name is VIPD_NODE_NAME, and so on;
the flag comes first. kube-vip's variables (address, vip_interface, ...) are taken
as well, so that vipd's image can take the place of kube-vip's.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("run takes flags only, not %q", args[0])}
			}
			return nil
		},
	}
	cmd.Flags().SortFlags = false
	addSettings(cmd, nil)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, warnings, err := readConfig(cmd, os.Environ())
		if err != nil {
			return usageError{err}
		}
		sink := newSink(stderr)
		defer sink.Close()
		log, level, err := newLogger(c, sink)
		if err != nil {
			return err
		}
		defer followSignals(level, log)()
		for _, w := range warnings {
			log.Warn("setting of kube-vip's without effect", zap.String("setting", w))
		}
		return run(cmd.Context(), c, log)
	}
	return cmd
}

// run wires the parts together and owns the order in which they end:
//
//	signal -> Manager withdraws, confirms, gives back -> elector, announcer and
//	watcher end -> the fence is removed
func run(ctx context.Context, c config.Config, log *zap.Logger) (err error) {
	timing, err := election.NewTiming(c.LeaseDuration, c.RenewInterval)
	if err != nil {
		return usageError{err}
	}
	if c.Fence == config.FenceLifetime {
		if err := lifetimeSuffices(timing); err != nil {
			return usageError{err}
		}
	}
	handle, err := netif.Open(0)
	if err != nil {
		return fmt.Errorf("open netlink (needs CAP_NET_ADMIN): %w", err)
	}
	defer handle.Close()
	network := &network{handle: handle, addresses: c.Addresses, configured: c.Interface, log: log.Named("network")}
	if err := network.refuseOwnAddress(); err != nil {
		return usageError{err}
	}
	log.Info("starting", zap.String("version", versionString()), zap.String("node", c.Node), zap.Stringer("vip", c.Addresses[0]),
		zap.String("apiserver", c.APIServer), zap.String("lease", c.LeaseNamespace+"/"+c.LeaseName),
		zap.Duration("lease_duration", timing.Lease), zap.Duration("renew_interval", timing.Renew))
	// Without a kube-vip go on, also if the wish to end has come already: what an
	// earlier process left is still to be taken away (see lock).
	if alone, err := awaitNoKubeVip(ctx, c.Manifests, log); err != nil || !alone {
		return err
	}
	unlock, err := lock(ctx, c.Addresses[0], log)
	if err != nil || unlock == nil {
		return err
	}
	defer unlock()
	network.sweep()
	fence, err := openFence(c, timing, log)
	if err != nil {
		return err
	}

	alarm, err := boottime.NewAlarm()
	if err != nil {
		return err
	}
	defer func() { _ = alarm.Close() }()

	d := newDaemon(c, timing, network, fence, alarm, log)
	if err := d.run(ctx); err != nil {
		return err
	}
	if err := fence.remove(); err != nil {
		return err
	}
	log.Info("stopped")
	return nil
}

// daemon is the parts that run.
type daemon struct {
	log       *zap.Logger
	network   *network
	fence     fence
	alarm     *boottime.Alarm
	vip       string // host:port of the address
	api       *kubeapi.Client
	directory *kubeapi.Directory
	monitor   *health.Monitor
	elector   *election.Elector
	announcer *arp.Announcer
	listener  *arp.Listener
	manager   *vip.Manager
	ready     prospects
	report    *reporter
	events    *kubeapi.Events
	prober    *reach.Prober  // nil for none
	status    *status.Server // nil for none
	physician *physician
}

func newDaemon(c config.Config, timing election.Timing, network *network, fence fence, alarm *boottime.Alarm, log *zap.Logger) *daemon {
	d := &daemon{log: log, network: network, fence: fence, alarm: alarm, vip: netip.AddrPortFrom(c.Addresses[0], c.Port).String()}
	d.report = newReporter(c, timing, fence.kind(), func() []status.Certificate { return certificates(d.api.Expiry()) }, network.neighbour)
	d.announcer = arp.New(arp.Options{Mine: func() bool { return d.manager.Mine() }, Insist: timing.Lease, Sent: d.report.announced, Log: log.Named("arp")})
	d.listener = arp.NewListener(arp.ListenerOptions{Addresses: c.Addresses, Heard: d.heard, Listens: d.report.listens, Log: log.Named("arp")})
	network.listen = d.listener.Watch
	api := kubeapi.New(kubeapi.Options{Server: c.APIServer, Kubeconfigs: c.Kubeconfigs, Hedge: timing.Attempt / 3,
		UserAgent: "vipd/" + versionString(), Broken: d.broken, Asked: d.report.asked, Log: log.Named("kubeapi")})
	d.api = api
	known := &servers{config: c, prefer: api.Prefer, serves: func(v vip.Serving) { d.manager.Serves(v) }, report: d.report.serversAre}
	d.monitor = health.New(health.Options{Local: c.APIServer, Ask: api.Readyz, Notify: known.judged, Log: log.Named("health")})
	d.directory = api.Directory(kubeapi.DirectoryOptions{Node: c.Node, Port: c.Port, Peers: c.Peers, Own: network.own,
		Notify: func(r kubeapi.Roll) { d.monitor.SetPeers(names(r.Peers)); known.learnt(r) }})
	store := &election.KubeStore{API: api, Namespace: c.LeaseNamespace, Name: c.LeaseName, Establish: timing.Attempt}
	d.events = api.Events(kubeapi.EventOptions{Namespace: c.LeaseNamespace, Lease: c.LeaseName, UID: store.UID, Node: c.Node})
	d.report.say = d.events.Say
	d.elector = election.New(election.Options{
		Self:   election.Self{Node: c.Node, BootID: bootID(), Version: versionString()},
		Timing: timing,
		Store:  store,
		Arm:    fence.arm,
		Notify: d.stands,
		Saw:    d.saw,
		Wrote:  d.report.wrote,
		Asked:  func(to string) { d.manager.MoveTo(to) },
		Named:  func(successor string) bool { return successor == c.Node || network.ownHost(successor) },
		Log:    log.Named("election"),
	})
	d.manager = vip.New(vip.Options{
		Node:      c.Node,
		Network:   network,
		Fence:     fence,
		Announcer: announcer{d.announcer, c.Addresses},
		Election:  elector{d.elector, d.campaigns},
		Tell:      d.report.managed,
		Slack:     fence.slack(),
		Alarm:     alarm.Set,
		Log:       log.Named("vip"),
	})
	if c.ProbeInterval > 0 {
		d.prober = reach.New(reach.Options{Ask: d.askVIP, Every: c.ProbeInterval, Idle: func() bool { return d.manager.Mine() }, Notify: d.report.dark})
	}
	d.physician = newPhysician(c, d.report.board, log.Named("doctor"))
	if c.StatusAddress != "" {
		live, ready := d.checks()
		d.status = status.New(status.Options{Address: c.StatusAddress, Live: live, Ready: ready,
			Board: d.report.board, Metrics: d.report.metrics, Log: log.Named("status")})
	}
	return d
}

// stands tells all who go by it of a new standing.
func (d *daemon) stands(s election.Standing) {
	d.report.stands(s) // first, and quick: it is put together with what the Manager tells then
	d.manager.Granted(toGrant(s))
	d.monitor.Hold(s.Held)
	d.ready.stands(s)
}

// saw: when the holder changes, what a client notices of it begins now.
func (d *daemon) saw(s election.Sight) {
	if d.report.saw(s) && d.prober != nil {
		d.prober.Nudge()
	}
}

func (d *daemon) campaigns(c vip.Campaign) {
	d.ready.campaigns(c)
	d.report.campaigns(c)
}

// broken tells of a connection that ended: of this node's own API server, or of
// the address.
func (d *daemon) broken(server string) {
	d.monitor.Nudge(server)
	if d.prober != nil && server == d.vip {
		d.prober.Nudge()
	}
}

// askVIP asks the address as a client does. Whatever the server says is an answer.
func (d *daemon) askVIP(ctx context.Context) (bool, error) {
	_, _, known, err := d.api.Readyz(ctx, d.vip)
	return known, err
}

// heard passes on what machines other than this one claim.
func (d *daemon) heard(claim arp.Claim) {
	if !d.network.ownMAC(claim.MAC) {
		d.report.heard(claim.MAC.String(), claim.Announces)
		d.manager.Claimed(claim.MAC.String())
	}
}

// run ends when ctx does, or when a part fails.
func (d *daemon) run(ctx context.Context) error {
	// The parts outlive ctx: the Manager needs them to end in order.
	parts, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	g, parts := errgroup.WithContext(parts)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(parts, stop)()
	g.Go(func() error { return d.elector.Run(parts) })
	g.Go(func() error { return d.announcer.Run(parts) })
	g.Go(func() error { return d.listener.Run(parts) })
	g.Go(func() error { return d.alarm.Run(parts, d.manager.Wake) })
	g.Go(func() error { return d.monitor.Run(parts) })
	g.Go(func() error { return d.directory.Run(parts) })
	g.Go(func() error { return d.fence.watch(parts, d.log.Named("fence"), d.manager.Changed) })
	g.Go(func() error { return d.events.Run(parts) })
	g.Go(func() error { return d.physician.run(parts) })
	if d.prober != nil {
		g.Go(func() error { return d.prober.Run(parts) })
	}
	if d.status != nil {
		g.Go(func() error { return d.status.Run(parts) })
	}
	g.Go(func() error {
		return d.network.handle.Watch(parts, d.log.Named("network"), d.manager.Changed)
	})
	g.Go(func() error {
		defer end()
		return d.manager.Run(ctx)
	})
	return g.Wait()
}
