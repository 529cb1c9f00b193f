package prom_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/observe"
	"github.com/fleetwright/fleetwright/telemetry/prom"
)

type plane observe.Gauges

func (p plane) Gauges() observe.Gauges { return observe.Gauges(p) }

type node observe.NodeGauges

func (n node) Gauges() observe.NodeGauges { return observe.NodeGauges(n) }

// scrape asks the handler over HTTP and reads the answer as Prometheus does.
func scrape(t testing.TB, h http.Handler) (text string, families map[string]*dto.MetricFamily) {
	t.Helper()
	srv := httptest.NewServer(h)
	defer srv.Close()
	res, err := http.Get(srv.URL)
	require.NoError(t, err)
	defer res.Body.Close() //nolint:errcheck // it was read
	require.Equal(t, http.StatusOK, res.StatusCode)
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err = p.TextToMetricFamilies(bytes.NewReader(b))
	require.NoError(t, err)
	return string(b), families
}

// value returns a metric's value, of a histogram its count. Labels are name, value, name, value.
func value(t testing.TB, fs map[string]*dto.MetricFamily, name string, labels ...string) float64 {
	t.Helper()
	require.Contains(t, fs, name)
	for _, m := range fs[name].Metric {
		same := len(m.Label) == len(labels)/2
		for i := 0; same && i < len(labels); i += 2 {
			same = slices.ContainsFunc(m.Label, func(l *dto.LabelPair) bool { return l.GetName() == labels[i] && l.GetValue() == labels[i+1] })
		}
		switch {
		case !same:
		case m.Counter != nil:
			return m.Counter.GetValue()
		case m.Gauge != nil:
			return m.Gauge.GetValue()
		case m.Histogram != nil:
			return float64(m.Histogram.GetSampleCount())
		}
	}
	require.Fail(t, "no such series", "%s %v", name, labels)
	return 0
}

func series(fs map[string]*dto.MetricFamily) (n int) {
	for _, f := range fs {
		n += len(f.Metric)
	}
	return n
}

// every is one event of every kind, with err and a suffix to all of its free texts.
func every(label, suffix string, err error) (out []observe.Event) {
	at := time.Unix(1000, 0)
	for _, k := range observe.Kinds() {
		out = append(out, observe.Event{Kind: k, Label: label, Start: at, End: at.Add(time.Second), N: 2, Err: err, Tenant: "tenant" + suffix, Command: "command" + suffix,
			Node: "mi-" + suffix, Attempt: 1, Step: 3, Name: "step" + suffix})
	}
	return out
}

func TestWhatIsCounted(t *testing.T) {
	m := prom.New(nil)
	ctx, at := t.Context(), time.Unix(1000, 0)
	tell := func(k observe.Kind, label string, took time.Duration, err error) {
		m.Observe(ctx, observe.Event{Kind: k, Label: label, Start: at, End: at.Add(took), Err: err, N: 3})
	}
	denied := fault.New("x", fault.AccessDenied, "no")
	tell(observe.Commit, "ok", time.Millisecond, nil)
	tell(observe.Commit, "failed", time.Second, fault.New("x", fault.ServiceUnavailable, "no"))
	tell(observe.View, "aborted", time.Millisecond, nil)
	tell(observe.Send, "ok", time.Millisecond, nil)
	m.Observe(ctx, observe.Event{Kind: observe.Send, Err: denied})
	tell(observe.Dispatch, "", time.Millisecond, nil)
	tell(observe.Deliver, "", time.Second, nil)
	tell(observe.Invocation, "Success", time.Second, nil)
	tell(observe.Command, "Incomplete", time.Hour, nil)
	tell(observe.Message, "offer", 0, nil)
	tell(observe.Message, "run", 0, errors.New("busy"))
	tell(observe.Receive, "hello", time.Millisecond, nil)
	tell(observe.Receive, "", time.Millisecond, errors.New("malformed"))
	tell(observe.Step, "TimedOut", time.Second, nil)
	tell(observe.Run, "Interrupted", time.Second, nil)
	tell(observe.Report, "", time.Second, nil)
	tell(observe.Journal, "", time.Second, errors.New("full"))
	tell(observe.Connect, "disconnected", 0, nil)
	tell(observe.Refuse, "", 0, errors.New("forged"))
	m.Observe(ctx, observe.Event{Kind: 250, Label: "of a later release"})

	_, fs := scrape(t, m.Handler(
		prom.Plane(plane{Connected: 7, Leases: 16, Outbox: 5, Oldest: 90 * time.Second, OldestIn: "c", DiskFree: -1, ReadOnly: errors.New("full"), AuditLag: time.Second,
			Admission: observe.Admission{Throttled: 12}}),
		prom.Agent(node{Connected: true, SpoolBytes: 99, DiskFree: 5})))
	for _, c := range []struct {
		want   float64
		name   string
		labels []string
	}{
		{1, "store_transaction_duration_seconds", []string{"op", "update", "outcome", "ok"}},
		{1, "store_transaction_duration_seconds", []string{"op", "update", "outcome", "failed"}},
		{1, "store_transaction_duration_seconds", []string{"op", "view", "outcome", "aborted"}},
		{1, "store_errors_total", []string{"op", "update", "kind", "Unavailable"}},
		{0, "store_errors_total", []string{"op", "view", "kind", "Unavailable"}},
		{1, "send_requests_total", []string{"outcome", "ok"}},
		{1, "send_requests_total", []string{"outcome", "Denied"}},
		{3, "targets_accepted_total", nil},
		{2, "send_duration_seconds", nil},
		{1, "command_dispatch_duration_seconds", nil},
		{1, "invocation_delivery_duration_seconds", nil},
		{1, "invocations_ended_total", []string{"details", "Success"}},
		{1, "commands_ended_total", []string{"details", "Incomplete"}},
		{1, "messages_sent_total", []string{"kind", "offer", "outcome", "ok"}},
		{1, "messages_sent_total", []string{"kind", "run", "outcome", "failed"}},
		{1, "messages_received_total", []string{"kind", "hello", "outcome", "ok"}},
		{1, "messages_received_total", []string{"kind", "other", "outcome", "failed"}},
		{1, "node_steps_ended_total", []string{"status", "TimedOut"}},
		{1, "node_runs_ended_total", []string{"details", "Interrupted"}},
		{1, "node_report_duration_seconds", nil},
		{1, "node_journal_write_duration_seconds", []string{"outcome", "failed"}},
		{1, "node_connection_changes_total", []string{"change", "disconnected"}},
		{1, "node_messages_refused_total", nil},
		{7, "nodes_connected", nil},
		{16, "leases_held", nil},
		{5, "outbox_invocations", nil},
		{90, "outbox_oldest_age_seconds", nil},
		{1, "store_read_only", nil},
		{1, "audit_lag_seconds", nil},
		{12, "handshakes_throttled_total", nil},
		{1, "node_connected", nil},
		{99, "node_spool_bytes", nil},
		{5, "node_disk_free_bytes", nil},
	} {
		require.Equal(t, c.want, value(t, fs, "fleetwright_"+c.name, c.labels...), "%s %v", c.name, c.labels)
	}
	require.NotContains(t, fs, "fleetwright_store_free_bytes", "what is not known is left out")
}

// Whatever nodes and callers invent, there are as many series as on the first day, and none has a word of theirs.
func TestCardinalityIsBounded(t *testing.T) {
	m := prom.New(nil)
	h := m.Handler(prom.Plane(plane{OldestIn: "command-canary"}), prom.Agent(node{}))
	_, before := scrape(t, h)
	for i := range 1000 {
		id := fmt.Sprint("canary", i)
		for _, e := range every(id, id, fault.New(id, fault.Code(id), "canary %s", id)) {
			m.Observe(t.Context(), e)
		}
	}
	text, after := scrape(t, h)
	require.NotContains(t, text, "canary")
	// Only pairs of listed words may be new: those of "other" with an outcome.
	require.LessOrEqual(t, series(after)-series(before), 8)
	again := series(after)
	for i := range 1000 {
		for _, e := range every(fmt.Sprint("more", i), fmt.Sprint("more", i), nil) {
			m.Observe(t.Context(), e)
		}
	}
	_, after = scrape(t, h)
	require.LessOrEqual(t, series(after)-again, 8)
	forbidden := regexp.MustCompile(`^(node|command|tenant|document|instance|step|name|principal)(_?id)?$`)
	for name, f := range after {
		for _, s := range f.Metric {
			for _, l := range s.Label {
				require.NotRegexp(t, forbidden, l.GetName(), name)
			}
		}
	}
}

// The names are as Prometheus wants them.
func TestLint(t *testing.T) {
	r := prometheus.NewRegistry()
	r.MustRegister(prom.New(nil), prom.Plane(plane{}).Collector(nil), prom.Agent(node{}).Collector(nil))
	fs, err := r.Gather()
	require.NoError(t, err)
	problems, err := promlint.NewWithMetricFamilies(fs).Lint()
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestOptionsReachEveryMetric(t *testing.T) {
	m := prom.New(&prom.Options{Namespace: "acme", Labels: prometheus.Labels{"region": "eu"}})
	_, fs := scrape(t, m.Handler(prom.Plane(plane{}), prom.Agent(node{})))
	for name, f := range fs {
		require.True(t, strings.HasPrefix(name, "acme_"), name)
		for _, s := range f.Metric {
			require.True(t, slices.ContainsFunc(s.Label, func(l *dto.LabelPair) bool { return l.GetName() == "region" && l.GetValue() == "eu" }), name)
		}
	}
}

// The table in README.md has every metric with its type and labels, and no other. With PROM_README=1 it is written anew.
func TestTheTableIsWhole(t *testing.T) {
	_, fs := scrape(t, prom.New(nil).Handler(prom.Plane(plane{DiskFree: 1}), prom.Agent(node{})))
	var names []string
	for n := range fs {
		names = append(names, n)
	}
	slices.Sort(names)
	var b strings.Builder
	b.WriteString("| metric | type | labels | what it says |\n|---|---|---|---|\n")
	for _, n := range names {
		f := fs[n]
		seen := map[string][]string{}
		var order []string
		for _, s := range f.Metric {
			for _, l := range s.Label {
				if !slices.Contains(order, l.GetName()) {
					order = append(order, l.GetName())
				}
				if !slices.Contains(seen[l.GetName()], l.GetValue()) {
					seen[l.GetName()] = append(seen[l.GetName()], l.GetValue())
				}
			}
		}
		var labels []string
		for _, l := range order {
			slices.Sort(seen[l])
			labels = append(labels, fmt.Sprintf("`%s`: %s", l, strings.Join(seen[l], ", ")))
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", n, strings.ToLower(f.GetType().String()), strings.Join(labels, "; "), f.GetHelp())
	}
	const begin, end = "<!-- table -->\n", "<!-- end of table -->\n"
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	head, rest, ok := strings.Cut(string(readme), begin)
	require.True(t, ok)
	table, tail, ok := strings.Cut(rest, end)
	require.True(t, ok)
	if os.Getenv("PROM_README") != "" {
		require.NoError(t, os.WriteFile("README.md", []byte(head+begin+b.String()+end+tail), 0o644))
		return
	}
	require.Equal(t, b.String(), table)
}

// BenchmarkObserve measures what telling of a message costs, against one increment of a counter with the same labels at hand.
func BenchmarkObserve(b *testing.B) {
	m := prom.New(nil)
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "x"}, []string{"kind", "outcome"})
	e := observe.Event{Kind: observe.Message, Label: "offer", Tenant: "default", Node: "mi-1"}
	var limit, ours time.Duration
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		for range 10_000 {
			c.WithLabelValues("offer", "ok").Inc()
		}
		mid := time.Now()
		for range 10_000 {
			m.Observe(context.Background(), e)
		}
		limit += mid.Sub(start)
		ours += time.Since(mid)
	}
	b.ReportMetric(float64(ours)/float64(limit), "ratio")
	b.ReportMetric(testing.AllocsPerRun(100, func() { m.Observe(context.Background(), e) }), "allocs-an-event")
}
