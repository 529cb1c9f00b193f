package command

import (
	"context"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/target"
)

// dispatch gives the engine its next targets, while it has room and is not full. The first look is at as many as there is room for; when that did not fill it, because nodes are away
// or refused, the next look is at twice as many, so that a long row of absent nodes is passed in few steps.
func (a *actor) dispatch(ctx context.Context, now time.Time) error {
	for n := a.engine.Room(); a.engine.Room() > 0 && a.engine.Turn < a.engine.N && !a.engine.Full(); n *= 2 {
		before := a.engine.Turn
		n = min(n, flushRecords-a.engine.Pending())
		cs, err := a.candidates(ctx, n)
		if err != nil {
			return err
		}
		a.engine.Step(now, Event{Candidates: cs})
		taken := cs[:a.engine.Turn-before]
		if len(taken) == 0 {
			return nil
		}
		nodes := make([]string, 0, len(taken))
		for _, c := range taken {
			delete(a.early, c.Node)
			if a.engine.Has(c.Node) {
				nodes = append(nodes, c.Node)
			}
		}
		a.s.hear(a, nodes)
	}
	return nil
}

// target returns the target at an index, reading its chunk.
func (a *actor) target(ctx context.Context, at int) (string, error) {
	size := a.rec.chunkSize()
	if c := at / size; c != a.chunkN {
		err := a.s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) (err error) {
			a.chunk, err = a.s.chunks.Get(ctx, r, chunksKey(a.key.tenant, a.key.id).Uint(uint64(c)))
			return err
		})
		if err != nil {
			return "", err
		}
		a.chunkN = c
	}
	if at %= size; at < len(a.chunk) {
		return a.chunk[at], nil
	}
	return "", store.ErrNotFound
}

// candidates looks at the next targets, at most n and within one chunk: do they exist still, may they run this, are they there?
func (a *actor) candidates(ctx context.Context, n int) ([]Candidate, error) {
	s, tenant := a.s, a.key.tenant
	if _, err := a.target(ctx, a.engine.Turn); err != nil {
		return nil, err
	}
	from := a.engine.Turn % a.rec.chunkSize()
	ids := a.chunk[from:min(len(a.chunk), from+n)]
	nodes, err := s.cfg.Nodes.Nodes(ctx, tenant, ids)
	if err != nil {
		return nil, err
	}
	find := finder(ids, nodes)
	cs := make([]Candidate, len(ids))
	for i, id := range ids {
		c := &cs[i]
		c.Node, c.Exists = id, a.early[id]
		if c.Exists {
			continue
		}
		if nd := find(i); nd == nil {
			c.Refused, c.Reason = message.DetailUndeliverable, "the node was deregistered"
		} else if access.Check(ctx, s.cfg.Authorizer, "ssm:SendCommand", "node/"+id, nd.Tags) != nil {
			c.Refused, c.Reason = message.DetailAccessDenied, "the sender may not run commands on this node"
		} else if why := unsuited(nd, a.rec.Platforms, a.rec.Needs, a.rec.Request.RequireSigned); why != "" {
			c.Refused, c.Reason = message.DetailInvalidPlatform, why
		} else {
			c.Absent = !s.cfg.Sender.Connected(tenant, id)
		}
	}
	return cs, nil
}

// finder returns what finds the node of ids[i], nil if there is none. Nodes usually come in the order of their ids: then nothing is looked up.
func finder(ids []string, nodes []target.Node) func(i int) *target.Node {
	same := len(nodes) == len(ids)
	for i := 0; same && i < len(ids); i++ {
		same = nodes[i].ID == ids[i]
	}
	if same {
		return func(i int) *target.Node { return &nodes[i] }
	}
	known := make(map[string]*target.Node, len(nodes))
	for i := range nodes {
		known[nodes[i].ID] = &nodes[i]
	}
	return func(i int) *target.Node { return known[ids[i]] }
}

// live leaves only those nodes of a cancellation whose invocation has not ended: those that are open, and those that had no turn. Targets are in ascending order, so that the id tells
// who had one.
func (a *actor) live(ctx context.Context, nodes []string) ([]string, error) {
	next := ""
	if a.engine.Turn < a.engine.N && a.engine.Closing == "" {
		var err error
		if next, err = a.target(ctx, a.engine.Turn); err != nil {
			return nil, err
		}
	}
	var left []string
	for _, n := range nodes {
		ahead := next != "" && n >= next && !a.early[n]
		if ahead {
			a.early[n] = true
		}
		if ahead || a.engine.Has(n) {
			left = append(left, n)
		}
	}
	return left, nil
}
