package prom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/fleetwright/fleetwright/observe"
)

// Gauges are how something stands, read at each scrape. The zero Gauges has none.
type Gauges struct {
	plane func() observe.Gauges
	node  func() observe.NodeGauges
}

// Plane returns the gauges of a control plane: a *fleetwright.Fleet.
func Plane(f interface{ Gauges() observe.Gauges }) Gauges { return Gauges{plane: f.Gauges} }

// Agent returns the gauges of an agent: an *agent.Agent.
func Agent(a interface{ Gauges() observe.NodeGauges }) Gauges { return Gauges{node: a.Gauges} }

// Collector returns the gauges as a prometheus.Collector, for a registry of the host's. Options as of New.
func (g Gauges) Collector(o *Options) prometheus.Collector { return g.collector(&New(o).opts) }

type gauge[T any] struct {
	desc *prometheus.Desc
	typ  prometheus.ValueType
	get  func(*T) (v float64, ok bool)
}

type collector struct {
	from  Gauges
	plane []gauge[observe.Gauges]
	node  []gauge[observe.NodeGauges]
}

func (g Gauges) collector(o *Options) *collector {
	c := &collector{from: g}
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(o.Namespace, "", name), help, nil, o.Labels)
	}
	if g.plane != nil {
		add := func(name, help string, typ prometheus.ValueType, get func(*observe.Gauges) (float64, bool)) {
			c.plane = append(c.plane, gauge[observe.Gauges]{desc(name, help), typ, get})
		}
		value := func(name, help string, get func(*observe.Gauges) float64) {
			add(name, help, prometheus.GaugeValue, func(g *observe.Gauges) (float64, bool) { return get(g), true })
		}
		total := func(name, help string, get func(*observe.Gauges) uint64) {
			add(name, help, prometheus.CounterValue, func(g *observe.Gauges) (float64, bool) { return float64(get(g)), true })
		}
		value("nodes_connected", "Nodes with a connection to this control plane.", func(g *observe.Gauges) float64 { return float64(g.Connected) })
		value("leases_held", "Leases that this control plane holds.", func(g *observe.Gauges) float64 { return float64(g.Leases) })
		value("commands_active", "Commands that have not ended and are owned by this control plane.", func(g *observe.Gauges) float64 { return float64(g.Commands) })
		value("targets_pending", "Targets of the active commands whose turn has not come.", func(g *observe.Gauges) float64 { return float64(g.Pending) })
		value("outbox_invocations", "Invocations of the active commands that wait for their node's answer.", func(g *observe.Gauges) float64 { return float64(g.Outbox) })
		value("outbox_delayed_invocations", "Of the outbox, those whose node does not answer and that hold no slot.", func(g *observe.Gauges) float64 { return float64(g.Delayed) })
		value("outbox_oldest_age_seconds", "How long the longest waiting invocation of the outbox waits; 0 when it is empty.", func(g *observe.Gauges) float64 { return g.Oldest.Seconds() })
		value("invocations_running", "Invocations of the active commands that their node was told to run.", func(g *observe.Gauges) float64 { return float64(g.Running) })
		value("commands_unwritten", "Active commands whose last commit failed and that try again.", func(g *observe.Gauges) float64 { return float64(g.Unwritten) })
		value("work_foreign", "Commands and automations that are owned by this control plane but were written by a newer release, for which they wait.", func(g *observe.Gauges) float64 { return float64(g.Foreign) })
		value("audit_waiting_entries", "Audit entries of reads that are not stored yet.", func(g *observe.Gauges) float64 { return float64(g.AuditWaiting) })
		value("audit_lag_seconds", "How long the oldest audit entry that is not stored yet waits.", func(g *observe.Gauges) float64 { return g.AuditLag.Seconds() })
		total("audit_dropped_entries_total", "Audit entries of reads that were lost because the store took none.", func(g *observe.Gauges) uint64 { return g.AuditDropped })
		add("store_free_bytes", "Bytes that the store's disk has left. Missing where that is not known.", prometheus.GaugeValue, func(g *observe.Gauges) (float64, bool) { return float64(g.DiskFree), g.DiskFree >= 0 })
		value("store_read_only", "1 while the store takes no writes, else 0.", func(g *observe.Gauges) float64 { return truth(g.ReadOnly != nil) })
		value("handshakes_pending", "Handshakes of nodes under way.", func(g *observe.Gauges) float64 { return float64(g.Admission.Pending) })
		total("handshakes_accepted_total", "Handshakes of nodes that ended well.", func(g *observe.Gauges) uint64 { return g.Admission.Accepted })
		total("handshakes_refused_total", "Handshakes of unknown nodes or with a wrong key.", func(g *observe.Gauges) uint64 { return g.Admission.Refused })
		total("handshakes_throttled_total", "Handshakes that were sent away until later: a herd.", func(g *observe.Gauges) uint64 { return g.Admission.Throttled })
		total("connections_replaced_total", "Connections that gave way to a newer one of the same node.", func(g *observe.Gauges) uint64 { return g.Admission.Replaced })
		total("messages_busy_total", "Messages that were not taken because the node's queue was full.", func(g *observe.Gauges) uint64 { return g.Admission.Busy })
	}
	if g.node != nil {
		value := func(name, help string, get func(*observe.NodeGauges) float64) {
			c.node = append(c.node, gauge[observe.NodeGauges]{desc(name, help), prometheus.GaugeValue, func(g *observe.NodeGauges) (float64, bool) {
				v := get(g)
				return v, v >= 0
			}})
		}
		value("node_connected", "1 while the agent has its control plane, else 0.", func(g *observe.NodeGauges) float64 { return truth(g.Connected) })
		value("node_clock_synced", "1 while the agent knows the control plane's clock, without which nothing starts.", func(g *observe.NodeGauges) float64 { return truth(g.Synced) })
		value("node_journal_failing", "1 while the agent cannot write its journal, and so starts nothing.", func(g *observe.NodeGauges) float64 { return truth(g.JournalFails) })
		value("node_commands_running", "Commands that have begun on this machine and not ended.", func(g *observe.NodeGauges) float64 { return float64(g.Running) })
		value("node_commands_queued", "Commands that wait on this machine.", func(g *observe.NodeGauges) float64 { return float64(g.Queued) })
		value("node_commands_unacknowledged", "Commands with a report that the control plane has not confirmed.", func(g *observe.NodeGauges) float64 { return float64(g.Unacknowledged) })
		value("node_tombstones", "Ended commands that are remembered so that they never start again.", func(g *observe.NodeGauges) float64 { return float64(g.Tombstones) })
		value("node_spool_bytes", "Bytes of output that are kept until the control plane has them.", func(g *observe.NodeGauges) float64 { return float64(g.SpoolBytes) })
		value("node_disk_free_bytes", "Bytes that the agent's disk has left. Missing where that is not known.", func(g *observe.NodeGauges) float64 { return float64(g.DiskFree) })
		value("node_controller_epoch", "The highest epoch of the control plane that the agent has seen.", func(g *observe.NodeGauges) float64 { return float64(g.Epoch) })
	}
	return c
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, g := range c.plane {
		ch <- g.desc
	}
	for _, g := range c.node {
		ch <- g.desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	if c.from.plane != nil {
		now := c.from.plane()
		collect(ch, c.plane, &now)
	}
	if c.from.node != nil {
		now := c.from.node()
		collect(ch, c.node, &now)
	}
}

func collect[T any](ch chan<- prometheus.Metric, gs []gauge[T], now *T) {
	for _, g := range gs {
		if v, ok := g.get(now); ok {
			ch <- prometheus.MustNewConstMetric(g.desc, g.typ, v)
		}
	}
}
