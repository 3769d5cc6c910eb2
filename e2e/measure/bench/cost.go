package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/vipd-io/vipd/e2e/lab"
	"github.com/vipd-io/vipd/e2e/testkit/wait"
)

// A Cost is the cost of a contender on one node at rest.
type Cost struct {
	Contender string  `json:"contender"`
	Node      string  `json:"node"`
	Holder    bool    `json:"holder"`
	CPU       float64 `json:"cpu"`      // of one core
	Resident  float64 `json:"resident"` // KiB, of all its processes
	Processes int     `json:"processes"`
	// Per minute: frames that the node sends, ARP of the VIP and VRRP; requests of the daemon and
	// its checks to API servers.
	Packets  float64 `json:"packets"`
	Requests float64 `json:"requests"`
	Writes   float64 `json:"writes"` // of the requests, those that etcd has to agree to
}

// atRest measures the cost of a contender without faults and without observers, whose work would be
// measured, too. The proxy that counts requests is used last, because it causes work for the
// daemon.
func (b *bench) atRest(ctx context.Context, c Contender) (costs []Cost, err error) {
	if err := b.startAll(c); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.stopAll(ctx)) }()
	holder, err := b.settled(ctx)
	if err != nil {
		return nil, err
	}
	meters := make([]meter, len(b.lab.Nodes))
	defer func() {
		for i := range meters {
			err = errors.Join(err, meters[i].end())
		}
	}()
	// Before each step, the effects of the step before have to end.
	steps := []struct {
		lasts time.Duration
		then  func(*meter) error
	}{
		{b.opts.Rest / 4, (*meter).begin}, {b.opts.Rest, (*meter).usage}, {0, (*meter).attach},
		{b.opts.Rest / 4, (*meter).zero}, {b.opts.Rest / 2, (*meter).counts},
	}
	for i, n := range b.lab.Nodes {
		meters[i].node, meters[i].vip = n, b.lab.VIP
		meters[i].cost = Cost{Contender: c.Name, Node: n.Name, Holder: n == holder}
	}
	for _, s := range steps {
		if err := wait.For(ctx, s.lasts); err != nil {
			return nil, err
		}
		for i := range meters {
			if err := s.then(&meters[i]); err != nil {
				return nil, err
			}
		}
	}
	for i := range meters {
		costs = append(costs, meters[i].cost)
	}
	return costs, nil
}

// A meter measures the cost of a node's daemon.
type meter struct {
	node *lab.Node
	vip  netip.Addr
	cost Cost

	began time.Time
	cpu   time.Duration // at began
	wire  *wire

	counting    time.Time
	all, writes atomic.Int64 // requests
	undo        func() error // removes the proxy that counts them
}

func (m *meter) begin() (err error) {
	if m.wire, err = listen(m.node, m.vip); err != nil {
		return err
	}
	m.began = time.Now()
	m.cpu, err = cpuTime(family(m.node.Vipd.Pid()))
	return err
}

func (m *meter) usage() error {
	took := time.Since(m.began)
	procs := family(m.node.Vipd.Pid())
	cpu, err := cpuTime(procs)
	if err != nil {
		return err
	}
	m.cost.CPU, m.cost.Processes = float64(cpu-m.cpu)/float64(took), len(procs)
	m.cost.Resident, err = memory(procs)
	return err
}

func (m *meter) attach() (err error) {
	m.undo, err = m.node.Interpose(func(r *http.Request) lab.Effect {
		m.all.Add(1)
		if r.Method != http.MethodGet {
			m.writes.Add(1)
		}
		return lab.Effect{}
	})
	return err
}

func (m *meter) zero() error {
	m.counting = time.Now()
	m.all.Store(0)
	m.writes.Store(0)
	return nil
}

func (m *meter) counts() error {
	m.cost.Packets = float64(m.wire.frames.Load()) / time.Since(m.began).Minutes()
	took := time.Since(m.counting).Minutes()
	m.cost.Requests, m.cost.Writes = float64(m.all.Load())/took, float64(m.writes.Load())/took
	return nil
}

// end may be called after any error.
func (m *meter) end() error {
	if m.wire != nil {
		m.wire.close()
	}
	if m.undo == nil {
		return nil
	}
	return m.undo()
}

// family returns a process and its descendants, except short-lived ones such as checks.
func family(pid int) []int {
	procs := []int{pid}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return procs
	}
	name := command(pid)
	for i := 0; i < len(procs); i++ {
		for _, e := range entries {
			child, err := strconv.Atoi(e.Name())
			if err != nil || slices.Contains(procs, child) {
				continue
			}
			if f, err := lab.StatFields(child); err == nil && f[1] == strconv.Itoa(procs[i]) && command(child) == name {
				procs = append(procs, child)
			}
		}
	}
	return procs
}

func command(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	return string(b)
}

// cpuTime returns the processor time of processes and of the children that they waited for, such as
// checks (fields 14 to 17).
func cpuTime(procs []int) (time.Duration, error) {
	var ticks int
	for _, pid := range procs {
		f, err := lab.StatFields(pid)
		if err != nil {
			return 0, err
		}
		for _, field := range f[14-3 : 18-3] {
			n, err := strconv.Atoi(field)
			if err != nil {
				return 0, fmt.Errorf("read /proc/%d/stat: %w", pid, err)
			}
			ticks += n
		}
	}
	return time.Duration(ticks) * lab.ClockTick, nil
}

// memory returns the resident memory of processes, in KiB. Shared pages count for each process.
func memory(procs []int) (total float64, err error) {
	for _, pid := range procs {
		f, err := lab.StatFields(pid)
		if err != nil {
			return 0, err
		}
		pages, err := strconv.Atoi(f[24-3])
		if err != nil {
			return 0, fmt.Errorf("read /proc/%d/stat: %w", pid, err)
		}
		total += float64(pages*os.Getpagesize()) / 1024
	}
	return total, nil
}
