package command

import (
	"cmp"
	"context"
	"errors"
	"hash/crc32"
	"hash/fnv"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	rec "github.com/fleetwright/fleetwright/store/record"
)

// What a node must get that is connected to another control plane lies under that one's id, sorted by node: "outbox"/plane/tenant/node/slot, under no tenant. It is only told what to
// say: documents are read where they are sent from. That control plane sends it and removes it; what it does not reach it removes too. Whatever is lost is sent again by the engine, to
// where the node is then.

// note says what a node is to be sent.
type note struct {
	Command string         `json:"c"`
	Kind    message.Kind   `json:"k"`
	Attempt int            `json:"a"`
	Until   time.Time      `json:"u"`           // the message holds until
	Seq     uint64         `json:"s,omitempty"` // of an ack
	Final   bool           `json:"f,omitempty"` // of an ack
	Detail  message.Detail `json:"d,omitempty"` // of a cancel
}

// letterTo is a note on its way into the outbox of a control plane.
type letterTo struct {
	plane, tenant, node string
	note
}

// noteOf makes the note of a message; ok is false for one that only the control plane sends that has the node's connection.
func noteOf(ref message.Ref, k message.Kind, until time.Time, body any) (n note, ok bool) {
	n = note{Command: ref.Command, Kind: k, Attempt: ref.Attempt, Until: until}
	switch b := body.(type) {
	case message.Ack:
		n.Seq, n.Final = b.Seq, b.Final
		return n, b.Offsets == nil
	case message.Cancel:
		n.Detail = b.Detail
		return n, true
	}
	return n, false
}

const (
	// outboxSlots bounds what lies there for one node: notes that share a slot replace each other.
	outboxSlots = 64
	outboxBatch = 1000
	outboxSweep = 10 * time.Second
	// keptBodies is how many commands' messages are remembered between two looks.
	keptBodies = 64
)

func outboxKey() key.K { return space("", "outbox") }

func (l *letterTo) key() key.K {
	h := fnv.New32a()
	io.WriteString(h, l.Command)      //nolint:errcheck // a hash never fails
	io.WriteString(h, string(l.Kind)) //nolint:errcheck // likewise
	return outboxKey().Str(l.plane).Str(l.tenant).Str(l.node).Uint(uint64(h.Sum32() % outboxSlots))
}

// away returns the id of the other control plane that a node is connected to, "" if there is none.
func (s *Service) away(tenant, node string) string {
	if s.cfg.Planes == nil {
		return ""
	}
	return s.cfg.Planes.Where(tenant, node)
}

// post writes notes into the outboxes of other control planes, under the lease if there is one.
func (s *Service) post(ctx context.Context, held *lease.Held, ls []letterTo) error {
	t := rec.NewTable[note](s.cfg.Codec)
	slices.SortStableFunc(ls, func(a, b letterTo) int {
		return cmpAll(a.plane, b.plane, a.tenant, b.tenant, a.node, b.node)
	})
	for part := range slices.Chunk(ls, outboxBatch) {
		err := s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			if held != nil {
				if err := held.Check(ctx, tx); err != nil {
					return err
				}
			}
			for i := range part {
				if err := t.Put(tx, part[i].key(), part[i].note); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// cmpAll compares pairs of strings, the first that differ decide.
func cmpAll(pairs ...string) int {
	for i := 0; i < len(pairs); i += 2 {
		if c := strings.Compare(pairs[i], pairs[i+1]); c != 0 {
			return c
		}
	}
	return 0
}

// sendAway takes those messages out that are for nodes connected to other control planes, and leaves them for these. It returns the others.
func (a *actor) sendAway(ctx context.Context, sends []Send, expires time.Time) []Send {
	if a.s.cfg.Planes == nil {
		return sends
	}
	var out []letterTo
	var of []*Send
	here := sends
	for i := range sends {
		m := &sends[i]
		plane := a.s.away(a.key.tenant, m.Node)
		switch {
		case plane == "" && out != nil:
			here = append(here, *m)
			continue
		case plane == "":
			continue
		case out == nil:
			here = slices.Clone(sends[:i])
		}
		n := note{Command: a.key.id, Kind: m.Kind, Attempt: m.Attempt, Until: expires, Detail: m.Detail}
		if m.Kind == message.KindAck || m.Kind == message.KindCancel {
			n.Until = expires.Add(cancelValid)
		}
		if m.Ack != nil {
			n.Seq, n.Final = m.Ack.Seq, m.Ack.Final
		}
		out, of = append(out, letterTo{plane, a.key.tenant, m.Node, n}), append(of, m)
	}
	if out == nil {
		return here
	}
	err := a.s.post(ctx, &a.shard.held, out)
	if err != nil && ctx.Err() == nil {
		a.log.Debug("messages for nodes of other control planes not left for them; they will be sent again", "messages", len(out), "error", err)
	}
	if a.s.cfg.Observer != nil {
		for _, m := range of {
			a.tellSent(ctx, m, err)
		}
	}
	return here
}

// found is a note in the own outbox.
type found struct {
	key          []byte
	sum          uint32
	tenant, node string
	note
	bad bool // it cannot be read
}

// drain sends what others left for the nodes that are connected here, until ctx ends.
func (s *Service) drain(ctx context.Context) {
	d := drainer{s: s, notes: rec.NewTable[note](s.cfg.Codec), bodies: map[actorKey]*bodies{}}
	poll := time.NewTicker(store.DefaultPoll)
	defer poll.Stop()
	swept := s.cfg.Now()
	for ctx.Err() == nil {
		self := s.cfg.Planes.Self()
		life, end := context.WithCancel(ctx)
		changed, err := store.Watch(life, s.cfg.Store, outboxKey().Str(self))
		if err != nil {
			changed = nil
		}
		for ctx.Err() == nil && self == s.cfg.Planes.Self() {
			if self != "" {
				if err := d.round(ctx, self); err != nil && ctx.Err() == nil {
					s.cfg.Log.Debug("cannot send what other control planes left; trying again", "error", err)
				}
			}
			if now := s.cfg.Now(); now.Sub(swept).Abs() >= outboxSweep {
				swept = now
				if err := s.cfg.Planes.Sweep(ctx, outboxKey()); err != nil && ctx.Err() == nil {
					s.cfg.Log.Debug("outboxes of dead control planes not removed; trying again", "error", err)
				}
			}
			select {
			case <-ctx.Done():
			case <-poll.C:
			case _, ok := <-changed:
				if !ok {
					changed = nil
				}
			}
		}
		end()
	}
}

// drainer is the state of drain.
type drainer struct {
	s      *Service
	notes  rec.Table[note]
	bodies map[actorKey]*bodies
}

// bodies are what nodes get of one command.
type bodies struct{ offer, run []byte }

// round sends and removes all that is there.
func (d *drainer) round(ctx context.Context, self string) error {
	prefix := outboxKey().Str(self)
	for {
		page, err := d.look(ctx, prefix)
		if err != nil || len(page) == 0 {
			return err
		}
		if err := d.load(ctx, page); err != nil {
			return err
		}
		spread(len(page), func(i int) { d.send(ctx, &page[i]) })
		if err := d.remove(ctx, page); err != nil {
			return err
		}
		if len(d.bodies) > keptBodies {
			clear(d.bodies)
		}
		if len(page) < outboxBatch {
			return nil
		}
	}
}

// look reads a page.
func (d *drainer) look(ctx context.Context, prefix key.K) (page []found, err error) {
	rng := prefix.Range()
	rng.Limit = outboxBatch
	err = d.s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		page = page[:0]
		for it, err := range r.Scan(ctx, rng) {
			if err != nil {
				return err
			}
			k := key.Read(it.Key[len(prefix):])
			f := found{key: slices.Clone(it.Key), sum: crc32.Checksum(it.Value, letterSum), tenant: k.Str(), node: k.Str()}
			page = append(page, f)
		}
		keys := make([][]byte, len(page))
		for i := range page {
			keys[i] = page[i].key
		}
		notes, err := d.notes.GetMany(ctx, r, keys)
		if err != nil { // one of them is damaged
			for i := range page {
				n, err := d.notes.Get(ctx, r, keys[i])
				page[i].note, page[i].bad = n, err != nil
			}
			return ctx.Err()
		}
		for i, n := range notes {
			if n != nil {
				page[i].note = *n
			}
		}
		return nil
	})
	return page, err
}

// load reads what the offers and documents of a page are made of.
func (d *drainer) load(ctx context.Context, page []found) error {
	for i := range page {
		f := &page[i]
		k := actorKey{f.tenant, f.Command}
		if f.bad || f.Kind != message.KindOffer && f.Kind != message.KindRun || d.bodies[k] != nil || !validID(f.Command) {
			continue
		}
		b, err := d.s.bodies(ctx, k)
		if errors.Is(err, store.ErrNotFound) || errors.Is(err, errForeign) { // its owner asks again: by then the node may be connected to who understands
			b = &bodies{}
		} else if err != nil {
			return err
		}
		d.bodies[k] = b
	}
	return nil
}

// bodies reads a command's offer and run.
func (s *Service) bodies(ctx context.Context, k actorKey) (*bodies, error) {
	var r record
	var st State
	var docs []message.Included
	err := s.cfg.Store.View(ctx, func(ctx context.Context, rd store.Reader) (err error) {
		docs = nil
		if is, err := s.isForeign(ctx, rd, k.tenant, k.id); err != nil || is {
			return cmp.Or(err, errForeign)
		}
		if r, err = s.commands.Get(ctx, rd, commandKey(k.tenant, k.id)); err != nil {
			return err
		}
		if st, err = s.states.Get(ctx, rd, stateKey(k.tenant, k.id)); err != nil {
			return err
		}
		docs, err = s.readDocs(ctx, rd, k.tenant, k.id)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.makeBodies(&r, docs, st.ExpiresAt)
}

// makeBodies makes what every node of a command gets.
func (s *Service) makeBodies(r *record, docs []message.Included, expires time.Time) (*bodies, error) {
	offer, err := message.Marshal(message.KindOffer, message.Offer{Ref: message.Ref{Command: r.ID, Attempt: 1}, Document: r.Request.DocumentName,
		Needs: r.Needs, ExpiresAt: expires, Signed: r.Request.RequireSigned})
	if err != nil {
		return nil, err
	}
	run, err := runBody(r, docs, expires, s.cfg.RefuseRaw)
	return &bodies{offer, run}, err
}

// send sends one note, if its node is connected here.
func (d *drainer) send(ctx context.Context, f *found) {
	if f.bad {
		return
	}
	ref := message.Ref{Command: f.Command, Attempt: f.Attempt}
	var body []byte
	var err error
	switch f.Kind {
	case message.KindOffer, message.KindRun:
		if b := d.bodies[actorKey{f.tenant, f.Command}]; b != nil && f.Kind == message.KindOffer {
			body = b.offer
		} else if b != nil {
			body = b.run
		}
	case message.KindAck:
		body, err = message.Marshal(f.Kind, message.Ack{Ref: ref, Seq: f.Seq, Final: f.Final})
	case message.KindCancel:
		body, err = message.Marshal(f.Kind, message.Cancel{Ref: ref, Detail: f.Detail})
	}
	if err == nil && body != nil {
		err = d.s.cfg.Sender.Send(ctx, f.tenant, f.node, f.Kind, ref, f.Until, body)
	}
	if err != nil && ctx.Err() == nil {
		d.s.cfg.Log.Debug("message of another control plane not handed over; it will send it again", "node", f.node, "command", f.Command, "kind", f.Kind, "error", err)
	}
}

// remove removes what was sent, unless another note took its place.
func (d *drainer) remove(ctx context.Context, page []found) error {
	keys := make([][]byte, len(page))
	for i := range page {
		keys[i] = page[i].key
	}
	return d.s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		now, err := tx.GetMany(ctx, keys)
		if err != nil {
			return err
		}
		for i, v := range now {
			if v != nil && crc32.Checksum(v, letterSum) == page[i].sum {
				if err := tx.Delete(keys[i]); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
