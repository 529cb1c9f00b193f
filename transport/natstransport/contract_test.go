package natstransport_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/internal/testenv"
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
	// The nodes on brokers other than the plane's, and a max_payload that messages do not fit into.
	t.Run("three brokers", func(t *testing.T) {
		t.Parallel()
		next := pair(3, func(c *broker.Config) { c.MaxPayload = 8 << 10 })
		if testenv.Long() {
			transporttest.Run(t, next)
			return
		}
		for _, c := range transporttest.Cases() {
			switch c.Rule {
			case "T-WHOLE", "T-SIZE", "T-HANDOVER", "T-RECONNECT":
				t.Run(c.Rule+"/"+c.Name, func(t *testing.T) { require.NoError(t, c.Check(next(t), nil)) })
			}
		}
	})
}
