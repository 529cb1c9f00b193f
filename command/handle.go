package command

import (
	"context"
	"errors"
	"slices"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
)

// Heard tells the service that a node gave a sign of life: first when it (re)connected, so that what it may have missed is sent again.
func (s *Service) Heard(tenant, node string, first bool) {
	s.mu.Lock()
	as := s.heard[nodeKey{tenant, node}] // replaced, never changed in place
	s.mu.Unlock()
	for _, a := range as {
		if first || a.delayed.Load() > 0 {
			a.put(item{ev: Event{Node: node, Present: true, First: first}, size: 64}) //nolint:errcheck // the next heartbeat says it again
		}
	}
}

// heardAway gives the commands that wait for nodes of other control planes what a node's heartbeat gives them here: a node that is connected there and did not answer is asked again.
func (s *Service) heardAway() {
	type sign struct {
		k  nodeKey
		as []*actor
	}
	var signs []sign
	s.mu.Lock()
	waits := false
	for _, a := range s.actors {
		waits = waits || a.delayed.Load() > 0
	}
	if waits {
		for k, as := range s.heard {
			signs = append(signs, sign{k, as})
		}
	}
	s.mu.Unlock()
	for _, g := range signs {
		if s.away(g.k.tenant, g.k.node) == "" {
			continue
		}
		for _, a := range g.as {
			if a.delayed.Load() > 0 {
				a.put(item{ev: Event{Node: g.k.node, Present: true}, size: 64}) //nolint:errcheck // the next time says it again
			}
		}
	}
}

// Handle takes a message that a node sent: Ready, Report or Output; the caller has verified that it is from this node. It returns when the message is queued (Ready, Report, in the
// control plane that owns the command) or durable (Output, and what is left for another control plane); acknowledgements go out through the Sender. An error means that it was not
// taken: the node will send it again.
//
// A node is trusted about itself alone. What it says about a command that was never offered to it, about another attempt, before it was told to run, or after its end changes no
// status; what it says is cut to what a record holds; and of its messages that wait, the newest of a kind replaces the one before.
func (s *Service) Handle(ctx context.Context, tenant, node string, e message.Envelope) error {
	switch e.Kind {
	case message.KindReady, message.KindReport:
		it, err := event(node, e)
		if err != nil {
			return err
		}
		ref := refOf(&it)
		if !validID(ref.Command) {
			return unknownCommand("command.Handle", ref.Command)
		}
		if a := s.actor(tenant, ref.Command); a != nil {
			if err := a.put(it); !errors.Is(err, errGone) {
				return err
			}
		}
		if taken, err := s.elsewhere(ctx, tenant, node, ref.Command, e); taken || err != nil {
			return err
		}
		if it.ev.Report != nil {
			return s.lateReports(ctx, tenant, ref.Command, []*item{&it})
		}
	case message.KindOutput:
		o, err := message.Unmarshal[message.Output](e)
		if err != nil {
			return err
		}
		return s.output(ctx, tenant, node, &o)
	default:
		return fault.New("command.Handle", fault.UnsupportedOperation, "messages of kind %q are not for commands", fault.Clean(string(e.Kind)))
	}
	return nil
}

func refOf(it *item) message.Ref {
	if it.ev.Ready != nil {
		return it.ev.Ready.Ref
	}
	return it.ev.Report.Ref
}

// elsewhere leaves a message for the command's owner if that is another control plane.
func (s *Service) elsewhere(ctx context.Context, tenant, node, id string, e message.Envelope) (bool, error) {
	s.mu.Lock()
	sh := s.owned[shardOf(tenant, id)]
	here := sh != nil && sh.ctx.Err() == nil
	s.mu.Unlock()
	if here {
		return false, nil // its actor has not started, or has ended: the node sends again
	}
	return s.leave(ctx, tenant, node, id, e)
}

// hear notes that the actor wants to know when the nodes are heard of.
func (s *Service) hear(a *actor, nodes []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range nodes {
		k := nodeKey{a.key.tenant, n}
		switch was := s.heard[k]; {
		case len(was) == 0:
			s.heard[k] = a.self
		default:
			if !slices.Contains(was, a) {
				s.heard[k] = append(was[:len(was):len(was)], a)
			}
		}
	}
}

// unhearNodes forgets that the actor wants to know of the nodes.
func (s *Service) unhearNodes(a *actor, nodes []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range nodes {
		s.unhearOne(a, nodeKey{a.key.tenant, n})
	}
}

func (s *Service) unhearOne(a *actor, k nodeKey) {
	was := s.heard[k]
	if !slices.Contains(was, a) {
		return
	}
	if len(was) == 1 {
		delete(s.heard, k)
		return
	}
	rest := make([]*actor, 0, len(was)-1)
	for _, b := range was {
		if b != a {
			rest = append(rest, b)
		}
	}
	s.heard[k] = rest
}

// unhearAll is for an actor in trouble: what it threw away may have held nodes that it wanted to know of.
func (s *Service) unhearAll(a *actor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.heard {
		s.unhearOne(a, k)
	}
}

// takeLate keeps the late reports that came to the actor.
func (a *actor) takeLate(ctx context.Context) {
	if err := a.s.lateReports(ctx, a.key.tenant, a.key.id, a.late); err != nil && ctx.Err() == nil {
		a.log.Warn("late reports not kept; the nodes will send them again", "error", err)
	}
	clear(a.late)
	a.late = a.late[:0]
}

// lateReports keeps results that came after their invocation had ended as evidence, and acknowledges them so that their nodes can forget. A node that still runs what has ended here is
// told to stop. Reports about commands that this store does not know, or on what was never sent to the node, change nothing and are acknowledged too.
func (s *Service) lateReports(ctx context.Context, tenant, id string, its []*item) error {
	keys := make([][]byte, len(its))
	for i, it := range its {
		keys[i] = invsKey(tenant, id).Str(it.ev.Node)
	}
	var invs []*Invocation
	stray := false
	err := s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) (err error) {
		stray = false
		if err := s.refuseForeign(ctx, r, "command.Handle", tenant, id); err != nil {
			return err
		}
		if invs, err = s.invs.GetMany(ctx, r, keys); err != nil || !slices.Contains(invs, nil) {
			return err
		}
		_, err = r.Get(ctx, commandKey(tenant, id))
		if stray = errors.Is(err, store.ErrNotFound); stray {
			err = nil
		}
		return err
	})
	if err != nil {
		return wrap("command.Handle", err)
	}
	var keep []int
	for i, inv := range invs {
		if inv != nil && inv.evidence(its[i].ev.Report) {
			keep = append(keep, i)
		}
	}
	if len(keep) > 0 {
		now := s.cfg.Now()
		err := s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			if err := s.refuseForeign(ctx, tx, "command.Handle", tenant, id); err != nil {
				return err
			}
			for _, i := range keep {
				r := its[i].ev.Report
				inv, err := s.invs.Get(ctx, tx, keys[i])
				if errors.Is(err, store.ErrNotFound) {
					continue
				}
				if err != nil {
					return err
				}
				if !inv.evidence(r) {
					continue
				}
				inv.Late = &Late{At: now, Detail: reported(r.Detail), ExitCode: r.ExitCode}
				if err := tx.Put(keys[i], s.cfg.Codec.Seal(keys[i], appendInvocation(nil, &inv))); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return wrap("command.Handle", err)
		}
	}
	for i, inv := range invs {
		r, node := its[i].ev.Report, its[i].ev.Node
		if stray { // before the node may forget
			news, err := s.noteStray(ctx, tenant, id, node, r.Detail)
			if err != nil {
				return wrap("command.Handle", err)
			}
			if news {
				s.cfg.Log.Warn("a node reports on a command that is not known here: it was accepted after the backup that was restored, or by another control plane", "command", id, "node", node, "detail", r.Detail)
			}
		}
		switch ends := r.Detail.Terminal(); {
		case inv == nil && ends:
			s.tell(ctx, tenant, node, message.KindAck, r.Ref, message.Ack{Ref: r.Ref, Seq: r.Seq, Final: true})
		case inv == nil, inv.Phase != PhaseDone: // its owner will take the next copy
		case ends:
			s.tell(ctx, tenant, node, message.KindAck, r.Ref, message.Ack{Ref: r.Ref, Seq: r.Seq, Final: true})
		default: // its last report ends the story
			s.tell(ctx, tenant, node, message.KindCancel, r.Ref, message.Cancel{Ref: r.Ref, Detail: inv.Detail})
		}
	}
	return nil
}

// evidence reports whether a report is a result that came too late and is to be kept. One that the record already tells of is not: its answer was lost.
func (inv *Invocation) evidence(r *message.Report) bool {
	return r.Detail.Terminal() && inv.Phase == PhaseDone && inv.Attempt == r.Attempt && inv.Late == nil && inv.Seq < r.Seq
}

// tell sends a message outside of any engine.
func (s *Service) tell(ctx context.Context, tenant, node string, k message.Kind, ref message.Ref, body any) {
	until := s.cfg.Now().Add(cancelValid)
	if plane := s.away(tenant, node); plane != "" {
		if n, ok := noteOf(ref, k, until, body); ok {
			if err := s.post(ctx, nil, []letterTo{{plane, tenant, node, n}}); err != nil {
				s.cfg.Log.Debug("message for a node of another control plane not left for it", "node", node, "kind", k, "error", err)
			}
			return
		}
	}
	b, err := message.Marshal(k, body)
	if err == nil {
		err = s.cfg.Sender.Send(ctx, tenant, node, k, ref, until, b)
	}
	if s.cfg.Observer != nil {
		s.tellMessage(ctx, tenant, ref.Command, node, k, err)
	}
	if err != nil {
		s.cfg.Log.Debug("message not handed over", "node", node, "kind", k, "error", err)
	}
}
