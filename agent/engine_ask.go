package agent

import (
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/message"
)

// Asking: something on the node wants an answer of the control plane. The engine repeats the question until it is answered or AskOver.
type Asking struct{ Ask message.Ask }

// AskOver: nobody waits for the answer any more.
type AskOver struct{ ID string }

// Answered hands an answer to who asked. There is at most one for each Asking.
type Answered struct{ Answer message.Answer }

func (Asking) event()    {}
func (AskOver) event()   {}
func (Answered) effect() {}

// asking is a question without an answer.
type asking struct {
	message.Ask
	due     time.Time
	backoff time.Duration
	sends   uint64
}

const (
	maxAsks      = 64 // how many questions may be open at once
	lastAskAgain = 30 * time.Second
)

func (e *Engine) ask(now time.Time, a message.Ask) {
	if len(e.asks) >= maxAsks {
		e.out.send = append(e.out.send, Answered{message.Answer{ID: a.ID, Code: "ThrottlingException", Message: "this node has too many questions open"}})
		return
	}
	e.asks = append(e.asks, &asking{Ask: a, due: now})
}

// answer takes an answer. One that nobody waits for is left alone: the question may have been repeated, and the answers with it.
func (e *Engine) answer(a *message.Answer) {
	if i := slices.IndexFunc(e.asks, func(q *asking) bool { return q.ID == a.ID }); i >= 0 {
		e.asks = slices.Delete(e.asks, i, i+1)
		e.out.send = append(e.out.send, Answered{*a})
	}
}

// sendAsks sends what is due. Nothing is asked before the control plane's clock is known: it judges a message by its time.
func (e *Engine) sendAsks(now time.Time) {
	if !e.clock.synced {
		return
	}
	for _, q := range e.asks {
		if now.Before(q.due) {
			continue
		}
		q.sends++
		q.backoff = min(max(2*q.backoff, firstResend), lastAskAgain)
		q.due = now.Add(e.jitter(q.backoff, q.sends, q.ID))
		e.send(now, message.KindAsk, 0, q.Ask)
	}
}

// askAgain makes open questions due, after a reconnect: what was sent before may have been lost.
func (e *Engine) askAgain(now time.Time) {
	for _, q := range e.asks {
		q.due, q.backoff = now, 0
	}
}
