package command

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
)

// inlineHeads is how many bytes of output an invocation's record holds itself; more lies in records of their own, so that lists stay quick.
const inlineHeads = 2 << 10

// heads holds the beginnings of one step's output when they are not in the invocation's record.
type heads struct {
	Stdout string `json:"stdout,omitempty"`
	Stderr string `json:"stderr,omitempty"`
}

// writeChanges writes what an engine decided.
func (s *Service) writeChanges(ctx context.Context, tx store.Tx, tenant string, r *record, ch *Changes) error {
	id := ch.State.ID
	if err := s.states.Put(tx, stateKey(tenant, id), ch.State); err != nil {
		return err
	}
	for i := range ch.Invocations {
		if err := s.writeInvocation(tx, tenant, id, ch.Invocations[i]); err != nil {
			return err
		}
	}
	if ch.Ended {
		if err := tx.Delete(activeKey(r.Shard).Str(tenant).Str(id)); err != nil {
			return err
		}
		if err := s.dropCancels(ctx, tx, r.Shard, tenant, id); err != nil {
			return err
		}
	}
	return s.publish(ctx, tx, tenant, &ch.State, ch.Invocations)
}

// writeInvocation writes one invocation, moving large output into records of its own.
func (s *Service) writeInvocation(tx store.Tx, tenant, id string, inv Invocation) error {
	n := 0
	for _, st := range inv.Steps {
		n += len(st.Stdout.Head) + len(st.Stderr.Head)
	}
	if n > inlineHeads {
		steps := make([]message.StepReport, len(inv.Steps))
		for i, st := range inv.Steps {
			if h := (heads{st.Stdout.Head, st.Stderr.Head}); h != (heads{}) {
				if err := s.heads.Put(tx, headsKey(tenant, id).Str(inv.Node).Uint(uint64(i)), h); err != nil {
					return err
				}
			}
			st.Stdout.Head, st.Stderr.Head = firstLine(st.Stdout.Head), firstLine(st.Stderr.Head)
			steps[i] = st
		}
		inv.Steps, inv.StepsApart = steps, true
	}
	return s.invs.Put(tx, invsKey(tenant, id).Str(inv.Node), inv)
}

// firstLine returns the beginning of text up to its first line feed, at most 200 bytes of whole runes.
func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return cut(line, 200)
}

// late keeps a result that came after the invocation had ended as evidence, and acknowledges it so that the node can forget. Reports about
// commands that this store does not know, or that were never sent to the node, change nothing.
func (s *Service) late(ctx context.Context, tenant, node string, r *message.Report) error {
	if !r.Detail.Terminal() {
		// A command that ended here still runs there: tell the node to stop. Its last report ends the story.
		known, err := s.invocation(ctx, tenant, r.Command, node)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err == nil && known.Phase == PhaseDone {
			s.tell(ctx, tenant, node, message.KindCancel, r.Ref, message.Cancel{Ref: r.Ref, Detail: known.Detail})
		}
		return nil
	}
	_, err := s.invocation(ctx, tenant, r.Command, node)
	switch {
	case errors.Is(err, store.ErrNotFound):
		s.cfg.Log.Warn("a node reports on a command that is not known here", "node", node, "command", fault.Clean(r.Command))
	case err != nil:
		return err
	default:
		err := s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			k := invsKey(tenant, r.Command).Str(node)
			inv, err := s.invs.Get(ctx, tx, k)
			if err != nil {
				return err
			}
			if inv.Phase != PhaseDone {
				return errNotEnded
			}
			if inv.Attempt != r.Attempt || inv.Late != nil || inv.Seq >= r.Seq && inv.Detail == reported(r.Detail) {
				return nil // the answer to the result that is recorded was lost
			}
			inv.Late = &Late{At: s.cfg.Now(), Detail: reported(r.Detail), ExitCode: r.ExitCode}
			return s.invs.Put(tx, k, inv)
		})
		if errors.Is(err, errNotEnded) || errors.Is(err, store.ErrNotFound) {
			return nil // its owner will take the next copy
		}
		if err != nil {
			return err
		}
	}
	s.tell(ctx, tenant, node, message.KindAck, r.Ref, message.Ack{Ref: r.Ref, Seq: r.Seq, Final: true})
	return nil
}

var errNotEnded = errors.New("command: the invocation has not ended")

// tell sends a message outside of any engine.
func (s *Service) tell(ctx context.Context, tenant, node string, k message.Kind, ref message.Ref, body any) {
	b, err := message.Marshal(k, body)
	if err == nil {
		err = s.cfg.Sender.Send(ctx, tenant, node, k, ref, s.cfg.Now().Add(cancelValid), b)
	}
	if err != nil {
		s.cfg.Log.Debug("message not handed over", "node", node, "kind", k, "error", err)
	}
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// record writes the audit entry of a change into its transaction.
func (s *Service) record(ctx context.Context, tx store.Tx, action, resource, id string) error {
	return s.cfg.Audit.Record(ctx, tx, audit.Entry{Action: action, Resource: resource, IDs: map[string]string{"command": id}})
}

// denied audits a request that was refused for lack of rights.
func (s *Service) denied(ctx context.Context, action, resource string, err error) {
	if fault.KindOf(err) == fault.Denied {
		s.cfg.Audit.Read(ctx, audit.Of(action, resource, err)) //nolint:errcheck // the refusal stands anyway
	}
}

// check asks whether the caller may do this and audits a refusal.
func (s *Service) check(ctx context.Context, action, resource string) error {
	err := access.Check(ctx, s.cfg.Authorizer, action, resource, nil)
	if err != nil {
		s.denied(ctx, action, resource, err)
	}
	return err
}
