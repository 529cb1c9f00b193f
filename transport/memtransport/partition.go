package memtransport

import "github.com/fleetwright/fleetwright/transport"

func (o *Options) faulty() bool {
	return o.Loss > 0 || o.Repeat > 0 || o.Reorder > 0 || o.MaxDelay > 0
}

// Partition cuts the nodes off in both directions: messages, those under way as well, vanish without an error. Presence does not notice until Options.Detect has passed.
func (n *Network) Partition(nodes ...transport.Address) { n.Cut(Both, nodes...) }

// Cut is a partition of one direction, or of Both; it adds to what is cut already. Presence does not notice one-way partitions. Addresses that never connected
// are cut as well, for when they do.
func (n *Network) Cut(way Direction, nodes ...transport.Address) {
	for _, a := range nodes {
		n.cut(a, way, true)
	}
}

// Heal ends all partitions of the nodes; of every node when none is named.
func (n *Network) Heal(nodes ...transport.Address) {
	if len(nodes) == 0 {
		n.mu.RLock()
		for a := range n.ports {
			nodes = append(nodes, a)
		}
		n.mu.RUnlock()
	}
	for _, a := range nodes {
		n.cut(a, 0, false)
	}
}

// cut sets or heals the partition of one node.
func (n *Network) cut(a transport.Address, way Direction, on bool) {
	p := n.portOf(a)
	p.mu.Lock()
	defer p.mu.Unlock()
	if on {
		way |= p.cut
	}
	if way == p.cut {
		return
	}
	p.cut = way
	p.cuts++
	if way != Both {
		p.missed = false
	} else if n.opts.Detect > 0 {
		cuts := p.cuts
		n.opts.AfterFunc(n.opts.Detect, func() { n.miss(p, cuts) })
	}
	n.settle(p)
}

// miss is when a partition is noticed, if it is still the same one.
func (n *Network) miss(p *port, cuts uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cuts == cuts {
		p.missed = true
		n.settle(p)
	}
}
