package status

import (
	"net/http"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"github.com/vipd-io/vipd/pkg/boottime"
)

// Buckets, in seconds: a renewal usually takes milliseconds, a failover between milliseconds and
// several leases.
var (
	quick = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5}
	slow  = []float64{.01, .025, .05, .1, .25, .5, 1, 2, 3, 5, 10, 20, 30, 60}
	left  = []float64{.1, .25, .5, .75, 1, 1.5, 2, 3, 5, 8, 10}
)

// Metrics counts events, and exports the counters and the facts of Boards to Prometheus. Metrics is
// safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	own      []prometheus.Collector

	renewals, writes, announcements *prometheus.CounterVec
	conflicts, repairs              prometheus.Counter
	renewal, margin, outage         prometheus.Histogram
	failover                        *prometheus.HistogramVec

	servers names
}

// maxServers bounds the API servers with their own series: a series stays for the life of the
// process, and servers come and go.
const maxServers = 128

// names are the label values with their own series.
type names struct {
	mu    sync.Mutex
	known map[string]bool
}

// of returns name, or "other" once there are maxServers names.
func (n *names) of(name string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.known[name] {
		if len(n.known) == maxServers {
			return "other"
		}
		if n.known == nil {
			n.known = make(map[string]bool)
		}
		n.known[name] = true
	}
	return name
}

// NewMetrics returns metrics of the boards of all groups of addresses.
func NewMetrics(boards ...*Board) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		renewals: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vipd_lease_renewals_total",
			Help: "Claims and renewals of the lease by outcome: ok, conflict, late or failed."}, []string{"result"}),
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vipd_lease_requests_total",
			Help: "Writes of the lease sent to each API server, by HTTP status or error; several may be sent for one renewal."}, []string{"server", "code"}),
		announcements: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vipd_announcements_total",
			Help: "Rounds of gratuitous ARP by outcome: sent or failed."}, []string{"result"}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{Name: "vipd_conflict_frames_total",
			Help: "ARP frames of other machines that claim the VIP."}),
		repairs: prometheus.NewCounter(prometheus.CounterOpts{Name: "vipd_repairs_total",
			Help: "Repairs of the VIP after another program changed it."}),
		renewal: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "vipd_lease_renewal_duration_seconds",
			Help: "Time from the send of a claim or renewal of the lease to its answer.", Buckets: quick}),
		margin: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "vipd_lease_margin_seconds",
			Help: "Remaining time of the lease when a renewal was answered.", Buckets: left}),
		outage: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "vipd_outage_duration_seconds",
			Help: "Time in which the VIP did not answer this node, from the first probe without an answer to the first one with an answer.", Buckets: slow}),
		failover: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "vipd_failover_duration_seconds",
			Help: "Time from the last observation of the former holder to the announcement of this node, by cause.", Buckets: slow}, []string{"cause"}),
	}
	m.zero()
	m.own = []prometheus.Collector{m.renewals, m.writes, m.announcements, m.conflicts, m.repairs, m.renewal, m.margin, m.outage, m.failover, collector{boards}}
	m.registry.MustRegister(append(m.own, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))...)
	return m
}

// Causes are the values of cause that Failover takes.
var Causes = []string{"expired", "released", "restarted", "rebooted", "vacant"}

// zero creates the series with known labels: increase() ignores the first value of a series.
func (m *Metrics) zero() {
	for _, r := range []string{"ok", "conflict", "late", "failed"} {
		m.renewals.WithLabelValues(r)
	}
	for _, r := range []string{"sent", "failed"} {
		m.announcements.WithLabelValues(r)
	}
	for _, c := range Causes {
		m.failover.WithLabelValues(c)
	}
}

// Names returns the names of vipd's own metrics, with their help.
func (m *Metrics) Names() map[string]string {
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		for _, c := range m.own {
			c.Describe(descs)
		}
	}()
	out := make(map[string]string)
	for d := range descs {
		if m := describes.FindStringSubmatch(d.String()); m != nil {
			out[m[1]] = m[2]
		}
	}
	return out
}

// describes parses the String of a Desc, which has no accessor for its name.
var describes = regexp.MustCompile(`fqName: "([^"]+)", help: "([^"]*)"`)

// Renewal counts a claim or a renewal. left is the remaining time of the held lease, 0 or less if
// none was held.
func (m *Metrics) Renewal(result string, took, left time.Duration) {
	m.renewals.WithLabelValues(result).Inc()
	m.renewal.Observe(took.Seconds())
	if left > 0 {
		m.margin.Observe(left.Seconds())
	}
}

// LeaseRequest counts a write of the Lease that was sent to an API server.
func (m *Metrics) LeaseRequest(server, code string) {
	m.writes.WithLabelValues(label(m.servers.of(server)), label(code)).Inc()
}

// Announced counts a round of announcements, and err is its error.
func (m *Metrics) Announced(err error) {
	if err != nil {
		m.announcements.WithLabelValues("failed").Inc()
		return
	}
	m.announcements.WithLabelValues("sent").Inc()
}

// Conflict counts a claim by another machine.
func (m *Metrics) Conflict() { m.conflicts.Inc() }

// Repair counts a repair.
func (m *Metrics) Repair() { m.repairs.Inc() }

// Outage records the duration of an outage.
func (m *Metrics) Outage(d time.Duration) { m.outage.Observe(d.Seconds()) }

// Failover records how long taking the VIP took, by one of Causes.
func (m *Metrics) Failover(cause string, d time.Duration) {
	m.failover.WithLabelValues(label(cause)).Observe(d.Seconds())
}

const (
	// maxScrapes bounds the concurrent scrapes.
	maxScrapes = 32
	// fresh is for how long the result of a scrape is reused. Gathering is the main cost of a
	// scrape.
	fresh = 100 * time.Millisecond
)

// Handler returns the handler of GET /metrics. It does not compress: compression would cost more
// than everything else, and save a few packets only.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(&cached{from: m.registry}, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, DisableCompression: true})
}

// cached gathers at most once per fresh.
type cached struct {
	from prometheus.Gatherer

	mu   sync.Mutex
	at   boottime.Instant
	last []*dto.MetricFamily // not modified after it is stored
	err  error
}

// Gather implements prometheus.Gatherer.
func (t *cached) Gather() ([]*dto.MetricFamily, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := boottime.Now(); t.at == 0 || now.Sub(t.at) >= fresh {
		t.last, t.err = t.from.Gather()
		t.at = now
	}
	return t.last, t.err
}

// Metrics of a board.
var (
	descBuild     = desc("build_info", "1, with vipd's version.", "version", "goversion")
	descInfo      = desc("vip_info", "1, with the address, and where it is or would be on this node.", "vip", "interface", "mac")
	descHolding   = desc("holding", "1 if this node holds the VIP and may answer for it now, else 0.", "vip")
	descState     = desc("state", "1 for the state of this node, 0 for the others.", "state")
	descCandidate = desc("candidate", "1 if this node would take the VIP, else 0.")
	descPresent   = desc("address_present", "1 if the address is on this node, else 0.", "vip")
	descFence     = desc("fence_open", "1 if the kernel lets this node answer for the VIP, else 0.")
	descProblems  = desc("problems", "Number of problems that GET /status lists.")
	descDoctor    = desc("doctor_findings", "Findings of the self-check, by severity.", "severity")
	descOutage    = desc("outage_seconds", "Time since the VIP stopped answering this node, 0 if it answers or is not probed.")
	descKnown     = desc("lease_known", "1 once the lease was read, else 0.")
	descHolder    = desc("lease_holder_info", "1, with the name in the lease as this node sees it; no series while there is none.", "holder")
	descTerm      = desc("lease_term", "Changes of holder as the lease counts them: leaseTransitions.")
	descAge       = desc("lease_age_seconds", "Time since this node first observed the newest version of the lease.")
	descDuration  = desc("lease_duration_seconds", "How long the holder may go on after a renewal.")
	descLonger    = desc("lease_lengthened_info", "1, with the reason why the lease is longer than its holder is configured; no series while it is not.", "reason")
	descRemaining = desc("lease_remaining_seconds", "How much longer this node may answer for the VIP without another renewal; 0 if this node does not hold the VIP.")
	descServer    = desc("apiserver_ready", "1 if the API server is ready as this node sees it, 0 if it is not; no series while that is not known.", "server", "apiserver_node", "local")
	descExpiry    = desc("certificate_expiry_timestamp_seconds", "End of the client certificate, in seconds since 1970.", "kubeconfig")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("vipd_"+name, help, labels, nil)
}

// collector exports the boards.
type collector struct{ boards []*Board }

func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descBuild, descInfo, descHolding, descState, descCandidate, descPresent, descFence, descProblems, descDoctor, descOutage, descKnown,
		descHolder, descTerm, descAge, descDuration, descLonger, descRemaining, descServer, descExpiry} {
		out <- d
	}
}

func (c collector) Collect(out chan<- prometheus.Metric) {
	type series struct {
		desc   *prometheus.Desc
		labels string
	}
	exported := make(map[series]bool)
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		for i := range labels {
			labels[i] = label(labels[i])
		}
		// The registry fails a scrape with a duplicate series, and a server may be both discovered
		// and configured: the first one counts.
		this := series{d, strings.Join(labels, "\x00")}
		if exported[this] {
			return
		}
		exported[this] = true
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, b := range c.boards {
		c.status(b.Status(), gauge)
	}
}

// status exports one group. Series without the label vip are those of the first group.
func (c collector) status(s Status, gauge func(*prometheus.Desc, float64, ...string)) {
	gauge(descBuild, 1, s.Version, runtime.Version())
	for _, v := range s.VIPs {
		gauge(descInfo, 1, v.Address, s.Interface.Name, s.Interface.MAC)
		gauge(descHolding, one(s.State == "holding" && s.Fence.Open), v.Address)
		gauge(descPresent, one(v.Present), v.Address)
	}
	for _, state := range []string{"holding", "standby", "withdrawing"} {
		gauge(descState, one(s.State == state), state)
	}
	gauge(descCandidate, one(s.Candidate))
	gauge(descFence, one(s.Fence.Open))
	gauge(descProblems, float64(len(s.Problems)))
	found := make(map[string]float64)
	if s.Doctor != nil {
		for _, f := range s.Doctor.Findings {
			found[f.Severity]++
		}
	}
	for _, severity := range []string{"info", "warning", "error"} {
		gauge(descDoctor, found[severity], severity)
	}
	gauge(descOutage, outageSeconds(s.Outage))
	c.lease(s.Lease, gauge)
	for _, a := range s.APIServers {
		if a.State == "unknown" {
			continue
		}
		gauge(descServer, one(a.State == "ready"), a.Server, a.Node, map[bool]string{true: "true", false: "false"}[a.Local])
	}
	for _, e := range s.Certificates {
		gauge(descExpiry, float64(e.Expires.Unix()), e.Kubeconfig)
	}
}

// outageSeconds returns the duration of the current outage in seconds, 0 if there is none.
func outageSeconds(o *Outage) float64 {
	if o == nil || o.Ended != nil {
		return 0
	}
	return o.Seconds
}

func (collector) lease(l Lease, gauge func(*prometheus.Desc, float64, ...string)) {
	gauge(descKnown, one(l.Known))
	if !l.Known {
		return
	}
	if l.Holder != "" {
		gauge(descHolder, 1, l.Holder)
	}
	gauge(descTerm, float64(l.Term))
	gauge(descAge, float64(l.RenewedMS)/1000)
	gauge(descDuration, l.DurationSeconds)
	if l.DurationReason != "" {
		gauge(descLonger, 1, l.DurationReason)
	}
	gauge(descRemaining, float64(l.DeadlineMS)/1000)
}

// longest is the maximum length of a label value, in bytes: that of a node's name.
const longest = 253

// label sanitizes what others wrote, such as the holder in a Lease. A value that is not UTF-8 would
// fail each scrape, and panics in a counter.
func label(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= longest {
		return s
	}
	end := longest
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
