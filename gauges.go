package fleetwright

import (
	"github.com/fleetwright/fleetwright/observe"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/httptransport"
)

// Gauges returns how this control plane stands: for metrics, for health, for who looks for what is stuck. It reads memory and asks the file system how much room is left; it never waits
// for the store. What it says of single commands' outboxes is noted only when Config.Observer is set.
func (f *Fleet) Gauges() observe.Gauges {
	now := f.cfg.Now()
	g := observe.Gauges{At: now, Leases: f.Leases.Count(), DiskFree: store.DiskFree(f.cfg.Store), ReadOnly: store.Err(f.cfg.Store)}
	f.Commands.Gauge(&g)
	g.Foreign += f.Automations.Foreign()
	for _, t := range f.cfg.Transports {
		if n, ok := transport.Len(t); ok {
			g.Connected += n
		}
		if s, ok := t.(interface {
			Stats() httptransport.ServerStats
		}); ok {
			st := s.Stats()
			a := &g.Admission
			a.Pending += st.Pending
			a.Accepted += st.Accepted
			a.Refused += st.Refused
			a.Throttled += st.Throttled
			a.Replaced += st.Replaced
			a.Busy += st.Busy
		}
	}
	n, oldest, lost := f.Audit.Waiting()
	g.AuditWaiting, g.AuditDropped = n, lost
	if n > 0 {
		g.AuditLag = max(0, now.Sub(oldest))
	}
	return g
}
