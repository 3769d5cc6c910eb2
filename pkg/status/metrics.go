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

// Buckets in seconds: a renewal on a good day takes milliseconds, a failover from
// milliseconds to a few leases.
var (
	quick = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5}
	slow  = []float64{.01, .025, .05, .1, .25, .5, 1, 2, 3, 5, 10, 20, 30, 60}
	left  = []float64{.1, .25, .5, .75, 1, 1.5, 2, 3, 5, 8, 10}
)

// Metrics counts what happens, and tells Prometheus of it and of a Board's facts.
// It is safe for use by several goroutines.
type Metrics struct {
	registry *prometheus.Registry
	own      []prometheus.Collector

	renewals, writes, announcements *prometheus.CounterVec
	conflicts, repairs              prometheus.Counter
	renewal, margin, outage         prometheus.Histogram
	failover                        *prometheus.HistogramVec
}

// NewMetrics returns metrics of a board.
func NewMetrics(b *Board) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		renewals: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vipd_lease_renewals_total",
			Help: "Claims and renewals of the lease by what they came to: ok, conflict, late or failed."}, []string{"result"}),
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vipd_lease_requests_total",
			Help: "Writes of the lease sent to each API server, by HTTP status or error; several may be sent for one renewal."}, []string{"server", "code"}),
		announcements: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vipd_announcements_total",
			Help: "Rounds of gratuitous ARP by what they came to: sent or failed."}, []string{"result"}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{Name: "vipd_conflict_frames_total",
			Help: "ARP frames of other machines that claim the VIP."}),
		repairs: prometheus.NewCounter(prometheus.CounterOpts{Name: "vipd_repairs_total",
			Help: "Times the VIP was put right after something else had changed it."}),
		renewal: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "vipd_lease_renewal_duration_seconds",
			Help: "Time from the send of a claim or renewal of the lease to its answer.", Buckets: quick}),
		margin: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "vipd_lease_margin_seconds",
			Help: "What was left of the lease when a renewal of it was answered.", Buckets: left}),
		outage: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "vipd_outage_duration_seconds",
			Help: "How long the VIP did not answer this node, from the first question without an answer to the first with one.", Buckets: slow}),
		failover: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "vipd_failover_duration_seconds",
			Help: "Time from the last sign of the holder before to the announcement of this node, by why it took the VIP.", Buckets: slow}, []string{"cause"}),
	}
	m.zero()
	m.own = []prometheus.Collector{m.renewals, m.writes, m.announcements, m.conflicts, m.repairs, m.renewal, m.margin, m.outage, m.failover, collector{b}}
	m.registry.MustRegister(append(m.own, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))...)
	return m
}

// Causes are why a node takes the address, as Failover is told.
var Causes = []string{"expired", "released", "restarted", "rebooted", "vacant"}

// zero makes the series that are known beforehand: increase() does not count what
// begins at 1.
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

// Names are the names of vipd's own metrics, with what each is about.
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

// describes is what a Desc prints: it has no other way to tell its name.
var describes = regexp.MustCompile(`fqName: "([^"]+)", help: "([^"]*)"`)

// Renewal counts a claim or a renewal. left is what was left of the lease that was
// held, not above 0 if none was.
func (m *Metrics) Renewal(result string, took, left time.Duration) {
	m.renewals.WithLabelValues(result).Inc()
	m.renewal.Observe(took.Seconds())
	if left > 0 {
		m.margin.Observe(left.Seconds())
	}
}

// LeaseRequest counts a write of the Lease to one API server.
func (m *Metrics) LeaseRequest(server, code string) {
	m.writes.WithLabelValues(label(server), label(code)).Inc()
}

// Announced counts a round of announcements.
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

// Outage is how long the address did not answer.
func (m *Metrics) Outage(d time.Duration) { m.outage.Observe(d.Seconds()) }

// Failover is how long taking the address took.
func (m *Metrics) Failover(cause string, d time.Duration) {
	m.failover.WithLabelValues(label(cause)).Observe(d.Seconds())
}

const (
	// maxScrapes is how many there may be at once.
	maxScrapes = 32
	// fresh is how old the values of a scrape may be: whoever asks more often than ten
	// times a second gets them again. Gathering is most of what a scrape costs.
	fresh = 100 * time.Millisecond
)

// Handler answers GET /metrics. It does not compress: that would cost more than all
// the rest, to save a few packets.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(&thrifty{from: m.registry}, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, DisableCompression: true})
}

// thrifty gathers no more often than fresh says.
type thrifty struct {
	from prometheus.Gatherer

	mu   sync.Mutex
	at   boottime.Instant
	last []*dto.MetricFamily // not changed any more
	err  error
}

// Gather is prometheus.Gatherer's.
func (t *thrifty) Gather() ([]*dto.MetricFamily, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := boottime.Now(); t.at == 0 || now.Sub(t.at) >= fresh {
		t.last, t.err = t.from.Gather()
		t.at = now
	}
	return t.last, t.err
}

// What a collector says of a board.
var (
	descBuild     = desc("build_info", "1, with vipd's version.", "version", "goversion")
	descInfo      = desc("vip_info", "1, with the address, and where it is or would be on this node.", "vip", "interface", "mac")
	descHolding   = desc("holding", "1 if this node holds the VIP and may answer for it now, else 0.", "vip")
	descState     = desc("state", "1 for the state of this node, 0 for the others.", "state")
	descCandidate = desc("candidate", "1 if this node would take the VIP, else 0.")
	descPresent   = desc("address_present", "1 if the address is on this node, else 0.", "vip")
	descFence     = desc("fence_open", "1 if the kernel lets this node answer for the VIP, else 0.")
	descProblems  = desc("problems", "How many things are not as they should be, as GET /status lists them.")
	descDoctor    = desc("doctor_findings", "How many things the doctor's checks of this machine found, by severity.", "severity")
	descOutage    = desc("outage_seconds", "For how long the VIP has not answered this node, 0 if it answers or is not asked.")
	descKnown     = desc("lease_known", "1 once the lease was read, else 0.")
	descHolder    = desc("lease_holder_info", "1, with the name in the lease as this node sees it; no series while there is none.", "holder")
	descTerm      = desc("lease_term", "Changes of holder as the lease counts them: leaseTransitions.")
	descAge       = desc("lease_age_seconds", "Time since this node saw the newest version of the lease.")
	descDuration  = desc("lease_duration_seconds", "How long a holder may go on after a renewal.")
	descRemaining = desc("lease_remaining_seconds", "How much longer this node may answer for the VIP without another renewal; 0 if it does not hold.")
	descServer    = desc("apiserver_ready", "1 if the API server is ready as this node sees it, 0 if it is not; no series while that is not known.", "server", "apiserver_node", "local")
	descExpiry    = desc("certificate_expiry_timestamp_seconds", "End of the client certificate, in seconds since 1970.", "kubeconfig")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("vipd_"+name, help, labels, nil)
}

// collector is a board as Prometheus sees it.
type collector struct{ board *Board }

func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descBuild, descInfo, descHolding, descState, descCandidate, descPresent, descFence, descProblems, descDoctor, descOutage, descKnown,
		descHolder, descTerm, descAge, descDuration, descRemaining, descServer, descExpiry} {
		out <- d
	}
}

func (c collector) Collect(out chan<- prometheus.Metric) {
	s := c.board.Status()
	type series struct {
		desc   *prometheus.Desc
		labels string
	}
	said := make(map[series]bool)
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		for i := range labels {
			labels[i] = label(labels[i])
		}
		// The registry fails a scrape that has a series twice, and a server may be
		// both learnt and given: the first counts.
		this := series{d, strings.Join(labels, "\x00")}
		if said[this] {
			return
		}
		said[this] = true
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
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
	gauge(descOutage, lasting(s.Outage))
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

// lasting is how long an outage has lasted, if it does.
func lasting(o *Outage) float64 {
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
	gauge(descRemaining, float64(l.DeadlineMS)/1000)
}

// longest is the longest label value, in bytes: that of a node's name.
const longest = 253

// label makes a label value of what others wrote, such as the holder in a Lease. One
// that is not UTF-8 would fail each scrape, and a counter panics on it.
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
