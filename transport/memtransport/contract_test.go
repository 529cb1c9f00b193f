package memtransport_test

import (
	"testing"
	"time"

	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/memtransport"
	"github.com/fleetwright/fleetwright/transport/transporttest"
)

func pair(o *memtransport.Options, traits transporttest.Traits) func(*testing.T) transporttest.Pair {
	return func(t *testing.T) transporttest.Pair {
		n := memtransport.New(o)
		nodes := make(map[transport.Address]*memtransport.Node)
		return transporttest.Pair{
			Controller: n.Controller(),
			Node: func(a transport.Address) (transport.Transport, error) {
				nodes[a] = n.Node(a)
				return nodes[a], nil
			},
			Disconnect: func(a transport.Address) { nodes[a].Disconnect() },
			Reconnect:  func(a transport.Address) { nodes[a].Connect() },
			Close:      func(end transport.Transport) error { return end.(interface{ Close() error }).Close() },
			Traits:     traits,
		}
	}
}

func TestContract(t *testing.T) {
	t.Run("whole", func(t *testing.T) {
		t.Parallel()
		transporttest.Run(t, pair(nil, transporttest.Traits{Reliable: true, Ordered: true}))
	})
	t.Run("slow", func(t *testing.T) {
		t.Parallel()
		o := memtransport.Options{MinDelay: 100 * time.Microsecond, MaxDelay: 2 * time.Millisecond}
		transporttest.Run(t, pair(&o, transporttest.Traits{Reliable: true, Ordered: true}))
	})
	t.Run("faulty", func(t *testing.T) {
		t.Parallel()
		o := memtransport.Options{Seed: 1, Loss: 0.2, Repeat: 0.2, Reorder: 0.2, ReorderBy: 5 * time.Millisecond, MaxDelay: time.Millisecond}
		transporttest.Run(t, pair(&o, transporttest.Traits{}))
	})
}
