package agent

import (
	"context"
	"errors"
	"sync"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
)

// waiting are those who wait for answers, by the question's id.
type waiting struct {
	mu   sync.Mutex
	byID map[string]chan message.Answer
}

func (w *waiting) add(id string) <-chan message.Answer {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byID == nil {
		w.byID = map[string]chan message.Answer{}
	}
	c := make(chan message.Answer, 1)
	w.byID[id] = c
	return c
}

func (w *waiting) remove(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.byID, id)
}

func (w *waiting) answered(a message.Answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.byID[a.ID]; c != nil {
		delete(w.byID, a.ID)
		c <- a
	}
}

// Ask implements action.Plane: it asks the control plane to do an operation for this node. It waits while the agent is not connected, and works only while Run does: before, it waits; after, it
// fails with ServiceUnavailable.
func (a *Agent) Ask(ctx context.Context, op string, input []byte) ([]byte, error) {
	const name = "agent.Ask"
	if op == "" || len(op) > message.MaxOp {
		return nil, fault.New(name, fault.Validation, "an operation has 1 to %d characters", message.MaxOp)
	}
	body, err := message.Pack(input)
	if err != nil {
		return nil, fault.New(name, fault.Validation, "%w", err)
	}
	q := message.Ask{ID: message.NewID(nil), Op: op, Body: body}
	answer := a.waiting.add(q.ID)
	defer a.waiting.remove(q.ID)
	stopped := fault.New(name, fault.ServiceUnavailable, "the agent has stopped")
	select {
	case a.asking <- Asking{q}:
	case <-ctx.Done():
		return nil, unanswered(ctx, op)
	case <-a.over:
		return nil, stopped
	}
	select {
	case r := <-answer:
		if r.Code != "" {
			return nil, fault.New(name, fault.Code(r.Code), "%w", errors.New(fault.Clean(r.Message)))
		}
		out, err := message.Unpack(r.Body)
		if err != nil {
			return nil, fault.New(name, fault.ServiceUnavailable, "the control plane's answer is not understood: %w", err)
		}
		return out, nil
	case <-ctx.Done():
		select {
		case a.asking <- AskOver{q.ID}:
		case <-a.over:
		}
		return nil, unanswered(ctx, op)
	case <-a.over:
		return nil, stopped
	}
}

func unanswered(ctx context.Context, op string) error {
	return fault.New("agent.Ask", fault.ServiceUnavailable, "the control plane has not answered %s: %w", fault.Clean(op), context.Cause(ctx))
}
