// Package prom makes Prometheus metrics of what a control plane and its agents tell (package observe).
//
//	metrics := prom.New(nil)
//	f, err := fleetwright.Open(ctx, "data", &fleetwright.Options{
//		Listen: ":8443",
//		Config: fleetwright.Config{Observer: metrics},
//		Mount:  func(mux *http.ServeMux, f *fleetwright.Fleet) { mux.Handle("GET /metrics", metrics.Handler(prom.Plane(f))) },
//	})
//
// Nothing registers itself anywhere: [Metrics] is a prometheus.Collector, which a host may put into a registry of its own, and [Metrics.Handler] has one for itself.
//
// # The metrics
//
// README.md has the table of all of them; TestTheTableIsWhole holds it against the code. Labels are of closed lists: kinds, statuses, kinds of errors. A word that is on no list,
// which a hostile node may send, counts as "other". No label is ever the id of a node, of a command, of a tenant or the name of a document: there is as many series on the first day as
// with a hundred thousand nodes.
package prom

import (
	"context"
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/observe"
)

// Options of New. nil and the zero value are good defaults.
type Options struct {
	Namespace string            // the first part of every name; "" is "fleetwright"
	Labels    prometheus.Labels // of every metric, the same for the life of the process: a region, a cluster. They are the host's to keep few
	Store     []float64         // buckets of the store's and the journal's latencies in seconds; nil is 0.5 ms to 8 s
	Work      []float64         // buckets of what takes as long as work does, in seconds; nil is 50 ms to 3 days
}

// Metrics is an observe.Observer and a prometheus.Collector. It is safe for concurrent use.
type Metrics struct {
	opts Options

	storeSeconds *prometheus.HistogramVec // op, outcome
	storeErrors  *prometheus.CounterVec   // op, kind

	sends     *prometheus.CounterVec   // outcome
	sendTime  prometheus.Histogram     //
	targets   prometheus.Counter       //
	commands  *prometheus.CounterVec   // detail
	cmdTime   prometheus.Histogram     //
	dispatch  prometheus.Histogram     //
	deliver   prometheus.Histogram     //
	invs      *prometheus.CounterVec   // detail
	invTime   prometheus.Histogram     //
	sent      *prometheus.CounterVec   // kind, outcome
	received  *prometheus.CounterVec   // kind, outcome
	recvTime  prometheus.Histogram     //
	steps     *prometheus.CounterVec   // status
	stepTime  prometheus.Histogram     //
	runs      *prometheus.CounterVec   // detail
	report    prometheus.Histogram     //
	journal   *prometheus.HistogramVec // outcome
	connects  *prometheus.CounterVec   // change
	refusals  prometheus.Counter       //
	observers []prometheus.Collector
}

var (
	_ observe.Observer     = (*Metrics)(nil)
	_ prometheus.Collector = (*Metrics)(nil)
)

// New returns metrics of which nothing has happened yet. What can be counted is there from the start, as 0, so that an alert on a rate does not miss the first time.
func New(o *Options) *Metrics {
	m := &Metrics{}
	if o != nil {
		m.opts = *o
	}
	if m.opts.Namespace == "" {
		m.opts.Namespace = "fleetwright"
	}
	if m.opts.Store == nil {
		m.opts.Store = prometheus.ExponentialBuckets(0.0005, 2, 15)
	}
	if m.opts.Work == nil {
		m.opts.Work = []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600, 72 * 3600}
	}
	vec := func(name, help string, label string, values []string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts(m.name(name, help)), []string{label})
		for _, x := range values {
			v.WithLabelValues(x)
		}
		m.observers = append(m.observers, v)
		return v
	}
	vec2 := func(name, help, a, b string, as, bs []string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts(m.name(name, help)), []string{a, b})
		for _, x := range as {
			for _, y := range bs {
				v.WithLabelValues(x, y)
			}
		}
		m.observers = append(m.observers, v)
		return v
	}
	histOpts := func(name, help string, buckets []float64) prometheus.HistogramOpts {
		n := m.name(name, help)
		return prometheus.HistogramOpts{Namespace: n.Namespace, Name: n.Name, Help: n.Help, ConstLabels: n.ConstLabels, Buckets: buckets}
	}
	hist := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(histOpts(name, help, buckets))
		m.observers = append(m.observers, h)
		return h
	}
	count := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts(m.name(name, help)))
		m.observers = append(m.observers, c)
		return c
	}
	histVec := func(name, help string, labels []string, buckets []float64) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(histOpts(name, help, buckets), labels)
		m.observers = append(m.observers, h)
		return h
	}
	bad := kindsOfErrors()
	m.storeSeconds = histVec("store_transaction_duration_seconds", "How long transactions of the store took, waiting for their turn included.", []string{"op", "outcome"}, m.opts.Store)
	for _, op := range ops {
		for _, out := range outcomesOfStore {
			m.storeSeconds.WithLabelValues(op, out)
		}
	}
	m.storeErrors = vec2("store_errors_total", "Transactions in which the store itself failed, by the kind of its error.", "op", "kind", ops, bad)
	m.sends = vec("send_requests_total", "Calls of SendCommand, by how they ended: ok, or the kind of the error.", "outcome", append([]string{"ok"}, bad...))
	m.sendTime = hist("send_duration_seconds", "How long SendCommand took, refusals included.", m.opts.Store)
	m.targets = count("targets_accepted_total", "Targets of the commands that were accepted.")
	m.commands = vec("commands_ended_total", "Commands that ended on all their targets, by their status details.", "details", details)
	m.cmdTime = hist("command_duration_seconds", "From a command's acceptance to its end on the last target.", m.opts.Work)
	m.dispatch = hist("command_dispatch_duration_seconds", "From a command's acceptance until its first messages were handed to a transport.", m.opts.Store)
	m.deliver = hist("invocation_delivery_duration_seconds", "From a target's turn until its node answered and was told to run.", m.opts.Work)
	m.invs = vec("invocations_ended_total", "Commands that ended on one node, by their status details. Targets that never had a turn are not counted.", "details", details)
	m.invTime = hist("invocation_duration_seconds", "From a target's turn to the end of its invocation.", m.opts.Work)
	m.sent = vec2("messages_sent_total", "Messages for nodes, and whether a transport took them; those that none took are sent again.", "kind", "outcome", kindsDown, okOrFailed)
	m.received = vec2("messages_received_total", "Messages of nodes, and whether they were taken: kind other is what could not be read.", "kind", "outcome", kindsUp, okOrFailed)
	m.recvTime = hist("message_handling_duration_seconds", "How long a message of a node took to be verified and handed on.", m.opts.Store)
	m.steps = vec("node_steps_ended_total", "Steps that ended on this machine, by their status.", "status", statuses)
	m.stepTime = hist("node_step_duration_seconds", "How long steps took on this machine.", m.opts.Work)
	m.runs = vec("node_runs_ended_total", "Commands that ended on this machine, by their status details.", "details", details)
	m.report = hist("node_report_duration_seconds", "From the end of a command on this machine until the control plane confirmed that it has it.", m.opts.Work)
	m.journal = histVec("node_journal_write_duration_seconds", "How long the agent's journal took to make a record durable.", []string{"outcome"}, m.opts.Store)
	for _, out := range okOrFailed {
		m.journal.WithLabelValues(out)
	}
	m.connects = vec("node_connection_changes_total", "How often the agent's connection came and went.", "change", changes)
	m.refusals = count("node_messages_refused_total", "Messages that the agent refused: not for it, not by its control plane, or not in their time.")
	return m
}

func (m *Metrics) name(name, help string) prometheus.Opts {
	return prometheus.Opts{Namespace: m.opts.Namespace, Name: name, Help: help, ConstLabels: m.opts.Labels}
}

// The lists that labels are from.
var (
	ops             = []string{"view", "update"}
	outcomesOfStore = []string{"ok", "aborted", "failed"}
	okOrFailed      = []string{"ok", "failed"}
	changes         = []string{"connected", "disconnected"}
	kindsDown       = words(message.KindOffer, message.KindRun, message.KindCancel, message.KindAck)
	kindsUp         = append(words(message.KindHello, message.KindReady, message.KindReport, message.KindOutput, message.KindPinned, message.KindAsk), other)
	details         = append(words(message.DetailSuccess, message.DetailFailed, message.DetailExecutionTimedOut, message.DetailDeliveryTimedOut, message.DetailCancelled,
		message.DetailTerminated, message.DetailUndeliverable, message.DetailInvalidPlatform, message.DetailAccessDenied, message.DetailInterrupted,
		message.DetailIncomplete, message.DetailNoInstancesInTag), other)
	statuses = append(words(message.Success, message.Failed, message.TimedOut, message.Cancelled, message.Skipped), other)
)

const other = "other"

func words[T ~string](ws ...T) []string {
	out := make([]string, len(ws))
	for i, w := range ws {
		out[i] = string(w)
	}
	return out
}

func kindsOfErrors() (out []string) {
	for k := fault.Invalid; k <= fault.Internal; k++ {
		out = append(out, k.String())
	}
	return out
}

// among returns w if it is on the list, else "other".
func among(list []string, w string) string {
	if slices.Contains(list, w) {
		return w
	}
	return other
}

func outcome(err error) string {
	if err != nil {
		return "failed"
	}
	return "ok"
}

// Observe implements observe.Observer.
func (m *Metrics) Observe(_ context.Context, e observe.Event) {
	seconds := e.Took().Seconds()
	switch e.Kind {
	case observe.Commit, observe.View:
		op := "update"
		if e.Kind == observe.View {
			op = "view"
		}
		m.storeSeconds.WithLabelValues(op, among(outcomesOfStore, e.Label)).Observe(seconds)
		if e.Err != nil {
			m.storeErrors.WithLabelValues(op, fault.KindOf(e.Err).String()).Inc()
		}
	case observe.Send:
		out := "ok"
		if e.Err != nil {
			out = fault.KindOf(e.Err).String()
		}
		m.sends.WithLabelValues(out).Inc()
		m.sendTime.Observe(seconds)
		m.targets.Add(float64(max(0, e.N)))
	case observe.Dispatch:
		m.dispatch.Observe(seconds)
	case observe.Deliver:
		m.deliver.Observe(seconds)
	case observe.Invocation:
		m.invs.WithLabelValues(among(details, e.Label)).Inc()
		m.invTime.Observe(seconds)
	case observe.Command:
		m.commands.WithLabelValues(among(details, e.Label)).Inc()
		m.cmdTime.Observe(seconds)
	case observe.Message:
		m.sent.WithLabelValues(among(kindsDown, e.Label), outcome(e.Err)).Inc()
	case observe.Receive:
		m.received.WithLabelValues(among(kindsUp, e.Label), outcome(e.Err)).Inc()
		m.recvTime.Observe(seconds)
	case observe.Step:
		m.steps.WithLabelValues(among(statuses, e.Label)).Inc()
		m.stepTime.Observe(seconds)
	case observe.Run:
		m.runs.WithLabelValues(among(details, e.Label)).Inc()
	case observe.Report:
		m.report.Observe(seconds)
	case observe.Journal:
		m.journal.WithLabelValues(outcome(e.Err)).Observe(seconds)
	case observe.Connect:
		m.connects.WithLabelValues(among(changes, e.Label)).Inc()
	case observe.Refuse:
		m.refusals.Inc()
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.observers {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.observers {
		c.Collect(ch)
	}
}

// Handler serves these metrics and the gauges of what is given ([Plane], [Agent]), from a registry of its own, in the formats that Prometheus asks for. Whoever may reach it may read how
// many nodes and commands there are: put it where only Prometheus comes.
func (m *Metrics) Handler(gauges ...Gauges) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(m) // neither fails: the registry is empty, and gauges have names of their own
	for _, g := range gauges {
		r.MustRegister(g.collector(&m.opts))
	}
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}
