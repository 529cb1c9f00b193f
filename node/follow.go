package node

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// follow reads what the other control planes tell of their nodes.
func (p *Places) follow(ctx context.Context) error {
	if err := p.who(ctx); err != nil {
		return fault.Wrap("node.Places", err)
	}
	if !p.whole {
		if err := p.readAll(ctx); err != nil {
			return fault.Wrap("node.Places", err)
		}
		p.whole = true
	}
	var changes []moved
	var read map[string]uint64
	gap := false
	err := p.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		changes, read, gap = nil, map[string]uint64{}, false
		if err := p.cfg.Planes.Look(ctx, r); err != nil {
			return err
		}
		return lease.EachSession(ctx, r, newsKey(), func(plane string) error {
			if plane == p.self {
				return nil
			}
			last := p.read[plane]
			rng := newsKey().Str(plane).Range()
			if last > 0 {
				rng = newsKey().Str(plane).After(newsKey().Str(plane).Uint(last))
			}
			for e, err := range p.news.Scan(ctx, r, rng) {
				if err != nil {
					return err
				}
				k := key.Read(e.Key[len(newsKey().Str(plane)):])
				n := k.Uint()
				if err := k.Err(); err != nil {
					return err
				}
				gap = gap || n != last+1
				last = n
				changes = append(changes, e.Value...)
			}
			read[plane] = last
			return nil
		})
	})
	if err != nil {
		return fault.Wrap("node.Places", err)
	}
	p.read = read
	if gap {
		p.whole = false // at the next round, which is now
		select {
		case p.dirty <- struct{}{}:
		default:
		}
	}
	p.take(changes)
	p.census()
	return nil
}

// who finds out this control plane's id. Under another one, everything that is connected here is told anew.
func (p *Places) who(ctx context.Context) error {
	self, err := p.cfg.Planes.Session(ctx)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.self == self {
		return nil
	}
	p.self, p.seq, p.written = self, 0, nil
	for k, m := range p.mine {
		m.version = 0
		p.changed[k] = struct{}{}
	}
	return nil
}

// readAll reads every record, after what was told last so far: what is told from then on is read next.
func (p *Places) readAll(ctx context.Context) error {
	read := map[string]uint64{}
	err := p.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		clear(read)
		return lease.EachSession(ctx, r, newsKey(), func(plane string) error {
			prefix := newsKey().Str(plane)
			for it, err := range r.Scan(ctx, prefix.Range()) {
				if err != nil {
					return err
				}
				k := key.Read(it.Key[len(prefix):])
				read[plane] = k.Uint()
				if err := k.Err(); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	rng := placesKey().Range()
	for {
		rng.Limit = placesPage
		var page []moved
		var last []byte
		err := p.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
			page, last = page[:0], nil
			if err := p.cfg.Planes.Look(ctx, r); err != nil {
				return err
			}
			for e, err := range p.places.Scan(ctx, r, rng) {
				if err != nil {
					return err
				}
				k := key.Read(e.Key[len(placesKey()):])
				c := moved{Tenant: k.Str(), Node: k.Str(), placeRecord: e.Value}
				if err := k.Err(); err != nil {
					return err
				}
				page, last = append(page, c), bytes.Clone(e.Key)
			}
			return nil
		})
		if err != nil {
			return err
		}
		p.take(page)
		if len(page) < placesPage {
			break
		}
		rng = placesKey().After(last)
	}
	p.read = read
	return nil
}

// take takes changes, of each node in their order, and tells of the nodes that are connected elsewhere now.
func (p *Places) take(changes []moved) {
	slices.SortStableFunc(changes, func(a, b moved) int { return cmp.Compare(a.Version, b.Version) })
	var arrived []nodeID
	p.mu.Lock()
	for _, c := range changes {
		if _, known := p.living[c.Plane]; !known && c.Plane != "" {
			p.living[c.Plane] = p.cfg.Planes.Living(c.Plane)
		}
		if p.arrive(c) && p.living[c.Plane] {
			arrived = append(arrived, nodeID{c.Tenant, c.Node})
		}
	}
	p.mu.Unlock()
	for _, k := range arrived {
		p.cfg.Moved(k.tenant, k.id)
	}
}

// census finds out which control planes live. The nodes of one that is heard of again are told of.
func (p *Places) census() {
	var back []nodeID
	p.mu.Lock()
	rose := map[string]bool{}
	for plane, was := range p.living {
		is := p.cfg.Planes.Living(plane)
		p.living[plane] = is
		if is && !was {
			rose[plane] = true
		}
	}
	if len(rose) > 0 {
		for k, a := range p.away {
			if rose[a.plane] {
				back = append(back, k)
			}
		}
	}
	p.mu.Unlock()
	for _, k := range back {
		p.cfg.Moved(k.tenant, k.id)
	}
}

// sweep removes what is left of control planes that are dead for good.
func (p *Places) sweep(ctx context.Context) error {
	now := p.cfg.Now()
	if d := now.Sub(p.swept); d >= 0 && d < sweepEvery {
		return nil
	}
	p.swept = now
	gone, err := p.cfg.Planes.Sweep(ctx, newsKey())
	if err != nil {
		return fault.Wrap("node.Places", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, plane := range gone {
		delete(p.living, plane)
	}
	for k, a := range p.away {
		if _, ok := p.living[a.plane]; !ok {
			delete(p.away, k)
		}
	}
	return nil
}
