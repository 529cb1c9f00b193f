package fleetwright

import (
	"context"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/transport"
)

// NodeOp does an operation that a node asks for, for that node and no other: who asks is proven by the message's signature. Input and output are JSON as AWS's agents send and get
// them. A question may come more than once, also at the same time and to several control planes, so an operation must be idempotent. It is safe for concurrent use.
type NodeOp func(ctx context.Context, tenant, node string, input []byte) (output []byte, err error)

const (
	maxAsking   = 64 // questions that are answered at the same time
	maxPerNode  = 4
	askTimeout  = 30 * time.Second
	answerValid = 5 * time.Minute
	keepAnswers = 2 * time.Minute // an answer that was lost is given again so long
	maxAnswers  = 4096
)

// desk answers questions of nodes: each on a goroutine of its own, few at once, one at a time for each question. What comes beyond that is dropped; nodes ask again.
type desk struct {
	ops map[string]NodeOp
	now func() time.Time

	mu     sync.Mutex
	open   map[askKey]bool
	byNode map[transport.Address]int
	given  map[askKey]given
	wg     sync.WaitGroup
}

type askKey struct {
	node transport.Address
	id   string
}

type given struct {
	answer message.Answer
	at     time.Time
}

func newDesk(ops map[string]NodeOp, now func() time.Time) *desk {
	return &desk{ops: ops, now: now, open: map[askKey]bool{}, byNode: map[transport.Address]int{}, given: map[askKey]given{}}
}

// take has a question answered and the answer sent, without waiting for either.
func (d *desk) take(ctx context.Context, a transport.Address, q message.Ask, send func(ctx context.Context, r message.Answer)) {
	k := askKey{a, q.ID}
	d.mu.Lock()
	defer d.mu.Unlock()
	g, again := d.given[k]
	switch {
	case again && d.now().Sub(g.at) < keepAnswers:
	case d.open[k] || len(d.open) >= maxAsking || d.byNode[a] >= maxPerNode:
		return
	default:
		again = false
	}
	d.open[k] = true
	d.byNode[a]++
	d.wg.Go(func() {
		r := g.answer
		if !again {
			r = d.answer(ctx, a, q)
		}
		d.close(k, r)
		send(ctx, r)
	})
}

func (d *desk) close(k askKey, r message.Answer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.open, k)
	if d.byNode[k.node]--; d.byNode[k.node] == 0 {
		delete(d.byNode, k.node)
	}
	now := d.now()
	if len(d.given) >= maxAnswers {
		for k, g := range d.given {
			if now.Sub(g.at) >= keepAnswers {
				delete(d.given, k)
			}
		}
		if len(d.given) >= maxAnswers {
			clear(d.given)
		}
	}
	if len(r.Body) <= 4<<10 { // a large one is made again
		d.given[k] = given{r, now}
	}
}

func (d *desk) answer(ctx context.Context, a transport.Address, q message.Ask) (r message.Answer) {
	r.ID = q.ID
	refuse := func(err error) {
		r.Code, r.Message, r.Body = string(fault.CodeOf(err)), fault.Clean(err.Error()), nil
		r.Message = r.Message[:min(len(r.Message), 2000)]
	}
	const op = "fleetwright.Ask"
	defer func() {
		if p := recover(); p != nil {
			refuse(fault.New(op, fault.InternalServerError, "the operation broke down (panic): this is a defect of the control plane"))
		}
	}()
	do, ok := d.ops[q.Op]
	if !ok {
		refuse(fault.New(op, fault.UnsupportedOperation, "this control plane does not know the operation %s", fault.Clean(q.Op)))
		return r
	}
	in, err := message.Unpack(q.Body)
	if err != nil {
		refuse(fault.New(op, fault.Validation, "%w", err))
		return r
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	out, err := do(ctx, a.Tenant, a.Name, in)
	if err == nil {
		r.Body, err = message.Pack(out)
	}
	if err != nil {
		refuse(err)
	}
	return r
}

// ask takes a node's question.
func (h *hub) ask(ctx context.Context, via transport.Transport, a transport.Address, q message.Ask) {
	h.desk.take(ctx, a, q, func(ctx context.Context, r message.Answer) {
		body, err := message.Marshal(message.KindAnswer, r)
		if err == nil {
			err = h.send(ctx, via, a, message.KindAnswer, 0, h.f.cfg.Now().Add(answerValid), body)
		}
		if err != nil && ctx.Err() == nil {
			h.f.cfg.Log.Debug("an answer was not sent", "node", a.Name, "op", fault.Clean(q.Op), "error", err)
		}
	})
}
