package command

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/target"
)

const (
	// A batch is what goes into one transaction (DESIGN law 7): at most so many events, and so many bytes, well under the store's limits.
	batchEvents = 1000
	batchBytes  = 3 << 20
	// inboxEvents is how many events may wait; more are dropped, and their nodes send them again.
	inboxEvents = 200_000
	// cancelValid is how long after the command's deadline the control plane's other messages hold.
	cancelValid = time.Hour
)

// actor owns one command: it feeds the engine, commits what it decides, and sends what it says, in this order.
type actor struct {
	s     *Service
	key   actorKey
	shard *ownedShard
	log   *slog.Logger

	mu    sync.Mutex
	inbox []item
	wake  chan struct{}
	gone  bool // the actor ended: nothing may be put in any more

	// The rest belongs to the actor's goroutine.
	rec    record
	engine *Engine
	bodies map[message.Kind][]byte // offer, run: the same for every node
	chunk  []string                // of targets
	chunkN int                     // its number; -1 when none is loaded
}

// item is an event with its size in bytes and who waits for it to be durable.
type item struct {
	ev   Event
	size int
	done chan<- error // nil when nobody waits; has room for one
}

var errGone = errors.New("command: not owned here any more")

func newActor(s *Service, k actorKey, sh *ownedShard) *actor {
	return &actor{s: s, key: k, shard: sh, wake: make(chan struct{}, 1), chunkN: -1, log: s.cfg.Log.With("command", k.id, "tenant", k.tenant)}
}

// put hands an event over. It never blocks.
func (a *actor) put(it item) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gone {
		return errGone
	}
	if len(a.inbox) >= inboxEvents && it.done == nil {
		return fault.New("command.Handle", fault.Throttling, "the command's queue is full")
	}
	a.inbox = append(a.inbox, it)
	select {
	case a.wake <- struct{}{}:
	default:
	}
	return nil
}

// take returns the next batch.
func (a *actor) take() []item {
	a.mu.Lock()
	defer a.mu.Unlock()
	n, bytes := 0, 0
	for n < len(a.inbox) && n < batchEvents && (n == 0 || bytes+a.inbox[n].size <= batchBytes) {
		bytes += a.inbox[n].size
		n++
	}
	batch := a.inbox[:n:n]
	a.inbox = a.inbox[n:]
	if len(a.inbox) == 0 {
		a.inbox = nil
	}
	return batch
}

// close refuses further events and answers those that wait.
func (a *actor) close(err error) {
	a.mu.Lock()
	a.gone = true
	rest := a.inbox
	a.inbox = nil
	a.mu.Unlock()
	answer(rest, err)
}

func answer(batch []item, err error) {
	for _, it := range batch {
		if it.done != nil {
			it.done <- err
		}
	}
}

// loop runs until the command ended, the lease was lost, or ctx ended. When a commit fails it begins again from the store.
func (a *actor) loop(ctx context.Context) {
	err := errGone
	defer func() { a.close(err) }()
	ctx = access.With(ctx, access.Principal{Tenant: a.key.tenant}) // replaced by the sender's after loading
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		switch err = a.serve(ctx); {
		case err == nil, ctx.Err() != nil:
			return
		case errors.Is(err, lease.ErrLost):
			a.log.Info("another control plane owns the command now")
			return
		case errors.Is(err, store.ErrNotFound):
			a.log.Info("the command was removed")
			return
		}
		a.log.Warn("cannot go on with the command, trying again", "error", err, "in", pause)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// serve loads the command and works until it ended (nil) or something failed.
func (a *actor) serve(ctx context.Context) error {
	defer a.s.unhear(a)
	if err := a.load(ctx); err != nil {
		return err
	}
	ctx = access.With(ctx, access.Principal{Tenant: a.key.tenant, Name: a.rec.Principal, Attributes: a.rec.Attributes})
	for !a.engine.State.Done() {
		batch := a.take()
		now := a.s.cfg.Now()
		var late []item
		for _, it := range batch {
			if it.ev.Report != nil && !a.engine.Has(it.ev.Node) {
				late = append(late, it)
				continue
			}
			if err := a.live(ctx, &it.ev); err != nil {
				answer(batch, err)
				return err
			}
			a.engine.Step(now, it.ev)
		}
		a.engine.Tick(now, batchEvents)
		if err := a.dispatch(ctx, now); err != nil {
			answer(batch, err)
			return err
		}
		for _, it := range late {
			if err := a.s.late(ctx, a.key.tenant, it.ev.Node, it.ev.Report); err != nil {
				a.log.Warn("late report not kept; the node will send it again", "node", it.ev.Node, "error", err)
			}
		}
		if !a.engine.Dirty() {
			answer(batch, nil)
			if len(batch) == 0 {
				if err := a.wait(ctx, now); err != nil {
					return err
				}
			}
			continue
		}
		err := a.flush(ctx)
		answer(batch, err)
		if err != nil {
			return err
		}
	}
	return nil
}

// wait blocks until an event came, the engine's next time, or the end.
func (a *actor) wait(ctx context.Context, now time.Time) error {
	var timer <-chan time.Time
	if at, ok := a.engine.Next(); ok {
		t := time.NewTimer(max(0, at.Sub(now)))
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-a.wake:
	case <-timer:
	}
	return nil
}

// load reads the command and makes its engine from what is stored.
func (a *actor) load(ctx context.Context) error {
	s, tenant, id := a.s, a.key.tenant, a.key.id
	var st State
	var docs []message.Included
	var open []Invocation
	err := s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) (err error) {
		docs, open = nil, nil
		if a.rec, err = s.commands.Get(ctx, r, commandKey(tenant, id)); err != nil {
			return err
		}
		if st, err = s.states.Get(ctx, r, stateKey(tenant, id)); err != nil {
			return err
		}
		docs, err = s.readDocs(ctx, r, tenant, id)
		return err
	})
	if err != nil {
		return err
	}
	for inv, err := range s.scanInvocations(ctx, tenant, id) {
		if err != nil {
			return err
		}
		if inv.Phase != PhaseDone {
			open = append(open, inv)
		}
	}
	offer, err := message.Marshal(message.KindOffer, message.Offer{Ref: message.Ref{Command: id, Attempt: 1}, Document: a.rec.Request.DocumentName,
		Needs: a.rec.Needs, ExpiresAt: st.ExpiresAt, Signed: a.rec.Request.RequireSigned})
	if err != nil {
		return err
	}
	run, err := runBody(&a.rec, docs, st.ExpiresAt, s.cfg.RefuseRaw)
	if err != nil {
		return err
	}
	a.bodies = map[message.Kind][]byte{message.KindOffer: offer, message.KindRun: run}
	a.engine = Restore(st, s.cfg.Timing, open, s.cfg.Now())
	for _, inv := range open {
		s.hear(a, inv.Node)
	}
	return nil
}

// runBody is what every node of the command gets.
func runBody(r *record, docs []message.Included, expires time.Time, refuseRaw bool) ([]byte, error) {
	run := message.Run{Ref: message.Ref{Command: r.ID, Attempt: 1}, DocumentName: r.Request.DocumentName, DocumentVersion: r.Version, DocumentHash: r.Hash,
		Document: docs[0].Document, Format: r.Format, Parameters: r.Request.Parameters, SSM: r.SSM, ExpiresAt: expires, OutputLimit: r.Request.OutputLimit, RefuseRaw: refuseRaw}
	for i, d := range docs[1:] {
		if run.Documents == nil {
			run.Documents = map[string]message.Included{}
		}
		run.Documents[r.Included[i]] = d
	}
	b, err := message.Marshal(message.KindRun, run)
	if err != nil {
		return nil, err
	}
	if len(b) > message.MaxEnvelope-4096 {
		return nil, fault.New("command.Send", fault.MaxDocumentSizeExceeded,
			"the document, its parameters and the documents that it runs are %d bytes when encoded; a message to a node holds %d", len(b), message.MaxEnvelope-4096)
	}
	return b, nil
}

// dispatch gives the engine its next targets, while it has room and the batch is not full.
func (a *actor) dispatch(ctx context.Context, now time.Time) error {
	for room := a.engine.Room(); room > 0 && a.engine.Turn < a.engine.N && a.engine.Pending() < batchEvents; room = a.engine.Room() {
		before := a.engine.Turn
		cs, err := a.candidates(ctx, min(room, batchEvents-a.engine.Pending()))
		if err != nil {
			return err
		}
		a.engine.Step(now, Event{Candidates: cs})
		for _, c := range cs {
			if a.engine.Has(c.Node) {
				a.s.hear(a, c.Node)
			}
		}
		if a.engine.Turn == before {
			return nil
		}
	}
	return nil
}

// candidates looks at the next targets, at most n and within one chunk: do they exist still, may they run this, are they there?
func (a *actor) candidates(ctx context.Context, n int) ([]Candidate, error) {
	s, tenant := a.s, a.key.tenant
	at := a.engine.Turn
	if c := at / chunk; c != a.chunkN {
		err := s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) (err error) {
			a.chunk, err = s.chunks.Get(ctx, r, chunksKey(tenant, a.key.id).Uint(uint64(c)))
			return err
		})
		if err != nil {
			return nil, err
		}
		a.chunkN = c
	}
	from := at % chunk
	ids := a.chunk[from:min(len(a.chunk), from+n)]
	nodes, err := s.cfg.Nodes.Nodes(ctx, tenant, ids)
	if err != nil {
		return nil, err
	}
	known := make(map[string]*target.Node, len(nodes))
	for i := range nodes {
		known[nodes[i].ID] = &nodes[i]
	}
	exists, err := a.existing(ctx, ids)
	if err != nil {
		return nil, err
	}
	cs := make([]Candidate, 0, len(ids))
	for i, id := range ids {
		c := Candidate{Node: id, Exists: exists != nil && exists[i]}
		if nd := known[id]; nd == nil {
			c.Refused, c.Reason = message.DetailUndeliverable, "the node was deregistered"
		} else if access.Check(ctx, s.cfg.Authorizer, "ssm:SendCommand", "node/"+id, nd.Tags) != nil {
			c.Refused, c.Reason = message.DetailAccessDenied, "the sender may not run commands on this node"
		} else if why := unsuited(nd, a.rec.Platforms, a.rec.Needs, a.rec.Request.RequireSigned); why != "" {
			c.Refused, c.Reason = message.DetailInvalidPlatform, why
		} else {
			c.Absent = !s.cfg.Sender.Connected(tenant, id)
		}
		cs = append(cs, c)
	}
	return cs, nil
}

// live leaves only those nodes in a cancellation whose invocation has not ended.
func (a *actor) live(ctx context.Context, ev *Event) error {
	if len(ev.Nodes) == 0 {
		return nil
	}
	exists, err := a.stored(ctx, ev.Nodes)
	if err != nil {
		return err
	}
	left := ev.Nodes[:0:0]
	for i, n := range ev.Nodes {
		if a.engine.Has(n) || !exists[i] {
			left = append(left, n)
		}
	}
	ev.Nodes, ev.Cancel = left, len(left) > 0
	return nil
}

// existing tells which targets have a record before their turn. Only a cancellation of single nodes makes such.
func (a *actor) existing(ctx context.Context, ids []string) ([]bool, error) {
	if a.engine.ahead() == 0 {
		return nil, nil
	}
	return a.stored(ctx, ids)
}

// stored tells which of the nodes have an invocation record.
func (a *actor) stored(ctx context.Context, ids []string) ([]bool, error) {
	keys := make([][]byte, len(ids))
	for i, id := range ids {
		keys[i] = invsKey(a.key.tenant, a.key.id).Str(id)
	}
	out := make([]bool, len(ids))
	err := a.s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		vs, err := r.GetMany(ctx, keys)
		for i, v := range vs {
			out[i] = v != nil
		}
		return err
	})
	return out, err
}

// flush commits what the engine decided, under the lease, then sends its messages.
func (a *actor) flush(ctx context.Context) error {
	s, tenant := a.s, a.key.tenant
	ch, commit := a.engine.Flush()
	if commit {
		err := s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			if err := a.shard.held.Check(ctx, tx); err != nil {
				return err
			}
			return s.writeChanges(ctx, tx, tenant, &a.rec, &ch)
		})
		if err != nil {
			return err
		}
	}
	for _, inv := range ch.Invocations {
		if inv.Phase == PhaseDone {
			s.unhearNode(a, inv.Node)
		}
	}
	for _, m := range ch.Sends {
		a.send(ctx, m, ch.State.ExpiresAt)
	}
	if ch.Ended {
		d := ch.State.Detail()
		a.log.Info("command ended", "status", d.Status(), "details", d, "targets", ch.State.N, "errors", ch.State.Counts.Errors())
	}
	return nil
}

func (a *actor) send(ctx context.Context, m Send, expires time.Time) {
	ref := message.Ref{Command: a.key.id, Attempt: m.Attempt}
	body, notAfter := a.bodies[m.Kind], expires
	var err error
	switch m.Kind {
	case message.KindAck:
		body, err = message.Marshal(m.Kind, *m.Ack)
		notAfter = expires.Add(cancelValid)
	case message.KindCancel:
		body, err = message.Marshal(m.Kind, message.Cancel{Ref: ref, Detail: m.Detail})
		notAfter = expires.Add(cancelValid)
	}
	if err == nil {
		err = a.s.cfg.Sender.Send(ctx, a.key.tenant, m.Node, m.Kind, ref, notAfter, body)
	}
	if err != nil {
		a.log.Debug("message not handed over; it will be sent again", "node", m.Node, "kind", m.Kind, "error", err)
	}
}
