package natstransport_test

import (
	"testing"
	"time"

	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/natstransport"
	"github.com/fleetwright/fleetwright/transport/natstransport/broker"
	"github.com/fleetwright/fleetwright/transport/transporttest"
)

func pair(brokers int, change func(*broker.Config)) func(t *testing.T) transporttest.Pair {
	return func(t *testing.T) transporttest.Pair {
		w := newCluster(t, brokers, change)
		c := w.plane(0, func(c *natstransport.ControllerConfig) { c.Beat = 100 * time.Millisecond })
		cables := make(map[transport.Address]*cable)
		return transporttest.Pair{
			Controller: c,
			Node: func(a transport.Address) (transport.Transport, error) {
				cables[a] = &cable{}
				n := w.node(len(cables), a, func(cfg *natstransport.NodeConfig) { cfg.Dial = cables[a].dial })
				eventually(t, "the plane knows it too", func() bool { return c.Connected(a) })
				return n, nil
			},
			Disconnect: func(a transport.Address) { cables[a].pull(true) },
			Reconnect:  func(a transport.Address) { cables[a].pull(false) },
			Close:      func(end transport.Transport) error { return end.(interface{ Close() error }).Close() },
			Traits:     transporttest.Traits{Reliable: true, Ordered: true},
		}
	}
}

func TestContract(t *testing.T) {
	t.Run("one broker", func(t *testing.T) {
		t.Parallel()
		transporttest.Run(t, pair(1, nil))
	})
}
