package command

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
)

// Explanation is how a command stands, in more detail than a face shows: for an operator who asks why it waits.
type Explanation struct {
	Command     Command   `json:"command"`
	Turn        int       `json:"turn"` // targets that had their turn
	Slots       int       `json:"slots"`
	Concurrency int       `json:"concurrency"` // most slots
	Room        int       `json:"room"`        // nodes that could be offered the command now; fewer than free slots while it begins gently
	Offered     int       `json:"offered"`
	Waiting     int       `json:"waiting"` // Delayed nodes that answered and wait for a slot; known where it is owned
	ErrorLimit  int       `json:"errorLimit"`
	Closing     string    `json:"closing,omitempty"`  // why nothing new starts: Cancelled, Terminated, DeliveryTimedOut
	Lease       string    `json:"lease"`              // the name of the lease, of no tenant, whose holder goes on with it
	Active      bool      `json:"active"`             // it stands in the list that its owner reads
	Here        bool      `json:"here"`               // this control plane is at work on it
	Troubled    bool      `json:"troubled,omitempty"` // its last commit failed
	Busy        bool      `json:"busy,omitempty"`     // its owner did not answer: what only memory knows is missing
	Holders     []Holding `json:"holders,omitempty"`  // some of those that hold a slot, the longest first

	Node *NodeExplanation `json:"node,omitempty"`
}

// Holding is a node that holds a slot.
type Holding struct {
	Node  string         `json:"node"`
	Phase Phase          `json:"phase"` // offered, delivered
	Since time.Time      `json:"since"`
	Step  string         `json:"step,omitempty"`
	State message.Detail `json:"state"`
}

// NodeExplanation is how the command stands on one node.
type NodeExplanation struct {
	Result   Result    `json:"result"`
	Phase    Phase     `json:"phase,omitempty"` // "" before its turn
	Ahead    int       `json:"ahead"`           // targets before it that had no turn either
	AskedAt  time.Time `json:"askedAt,omitzero"`
	GivesUp  time.Time `json:"givesUp,omitzero"`  // when its delivery timeout ends it
	LastSent time.Time `json:"lastSent,omitzero"` // known where the command is owned
	NextSend time.Time `json:"nextSend,omitzero"` // likewise; zero when nothing is to be sent
	Waiting  bool      `json:"waiting,omitempty"` // it answered and waits for a slot
	Reported bool      `json:"reported,omitempty"`
	Asked    bool      `json:"cancelling,omitempty"` // it was asked to stop
}

const (
	maxHoldings = 5
	// explainScan bounds how many invocations are read to find who holds slots, where the owner's memory does not tell.
	explainScan = 10 * scanPage
	// explainWait is how long the owner of a command may take to say what its memory holds.
	explainWait = time.Second
)

// Explain returns how a command stands and, when node is not "", how it stands there. It needs what Get and Invocation need. Errors: InvalidCommandId, InvocationDoesNotExist.
func (s *Service) Explain(ctx context.Context, id, node string) (x Explanation, err error) {
	const op = "command.Explain"
	if err := s.may(ctx, op, "ssm:ListCommands", id); err != nil {
		return x, err
	}
	if node != "" {
		if err := s.may(ctx, op, "ssm:GetCommandInvocation", id); err != nil {
			return x, err
		}
	}
	tenant := access.Tenant(ctx)
	var st State
	var inv *Invocation
	err = s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		inv, x.Node = nil, nil
		rec, state, err := s.read(ctx, r, op, tenant, id)
		if err != nil {
			return err
		}
		st = state
		x.Command = view(&rec, &st)
		_, err = r.Get(ctx, ActiveKey(tenant, id))
		if x.Active = err == nil; err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if node == "" {
			return nil
		}
		i, err := s.invs.Get(ctx, r, invsKey(tenant, id).Str(node))
		if err == nil {
			inv = &i
			return nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		ok, err := s.isTarget(ctx, r, tenant, &rec, node)
		if err == nil && !ok {
			err = fault.New(op, fault.InvocationDoesNotExist, "command %s was not sent to node %s", id, fault.Clean(cut(node, maxNode)))
		}
		if err != nil {
			return err
		}
		x.Node = &NodeExplanation{}
		x.Node.Ahead, err = s.ahead(ctx, r, tenant, &rec, &st, node)
		return err
	})
	if err != nil {
		return x, wrap(op, err)
	}
	x.Turn, x.Slots, x.Concurrency, x.Offered, x.ErrorLimit, x.Closing = st.Turn, st.Slots, st.Concurrency, st.Offered, st.ErrorLimit, string(st.Closing)
	x.Room, x.Lease = st.Room(), leaseName(shardOf(tenant, id))
	if node != "" {
		if inv != nil {
			x.Node = &NodeExplanation{Phase: inv.Phase, AskedAt: inv.AskedAt, Reported: inv.Seq > 0, Asked: inv.Cancelling}
			if inv.Phase == PhaseOffered || inv.Phase == PhaseDelayed {
				x.Node.GivesUp = sooner(inv.OfferedAt.Add(st.DeliveryTimeout), st.ExpiresAt)
			}
		}
		if x.Node.Result, err = s.readInvocation(ctx, op, id, node); err != nil {
			return x, err
		}
	}
	if st.Done() {
		return x, nil
	}
	if a := s.actor(tenant, id); a != nil {
		x.Here, x.Troubled = true, a.stands.troubled.Load()
		if a.explain(ctx, &x, node) {
			return x, nil
		}
		x.Busy = true
	}
	return x, wrap(op, s.holdings(ctx, &x, tenant, id))
}

// ahead counts the targets between those that had their turn and the node.
func (s *Service) ahead(ctx context.Context, r store.Reader, tenant string, rec *record, st *State, node string) (int, error) {
	i, ok := rec.chunkOf(node)
	if !ok {
		return 0, nil
	}
	ids, err := s.chunks.Get(ctx, r, chunksKey(tenant, rec.ID).Uint(uint64(i)))
	if err != nil {
		return 0, err
	}
	at, _ := slices.BinarySearch(ids, node)
	return max(0, i*rec.chunkSize()+at-st.Turn), nil
}

// explain asks the command's actor for what only memory knows. false: it is busy, or gone.
func (a *actor) explain(ctx context.Context, x *Explanation, node string) bool {
	type answer struct {
		waiting int
		holders []Holding
		node    *NodeExplanation
	}
	got := make(chan answer, 1)
	err := a.put(item{look: func(e *Engine) {
		var out answer
		for _, o := range e.open {
			if o.waiting {
				out.waiting++
			}
			if o.Phase == PhaseOffered || o.Phase == PhaseDelivered {
				out.holders = append(out.holders, holding(&o.Invocation))
			}
		}
		out.holders = oldest(out.holders)
		if o := e.open[node]; o != nil {
			out.node = &NodeExplanation{LastSent: o.said, NextSend: o.due, Waiting: o.waiting, Reported: o.reported}
		}
		got <- out
	}})
	if err != nil {
		return false
	}
	wait := time.NewTimer(explainWait)
	defer wait.Stop()
	select {
	case out := <-got:
		x.Waiting, x.Holders = out.waiting, out.holders
		if n := out.node; n != nil && x.Node != nil {
			x.Node.LastSent, x.Node.NextSend, x.Node.Waiting, x.Node.Reported = n.LastSent, n.NextSend, n.Waiting, n.Reported
		}
		return true
	case <-wait.C:
	case <-ctx.Done():
	}
	return false
}

func holding(inv *Invocation) Holding {
	h := Holding{Node: inv.Node, Phase: inv.Phase, Since: inv.AskedAt, State: inv.Detail}
	if inv.Phase == PhaseDelivered {
		h.Since = inv.DeliveredAt
		for _, st := range inv.Steps {
			if st.Status == message.InProgress {
				h.Step = st.Name
			}
		}
	}
	return h
}

// oldest leaves those that hold their slot longest.
func oldest(hs []Holding) []Holding {
	slices.SortFunc(hs, func(a, b Holding) int {
		if c := a.Since.Compare(b.Since); c != 0 {
			return c
		}
		if a.Node < b.Node {
			return -1
		}
		return 1
	})
	return hs[:min(len(hs), maxHoldings)]
}

// holdings finds in the store who holds slots.
func (s *Service) holdings(ctx context.Context, x *Explanation, tenant, id string) error {
	var hs []Holding
	n := 0
	for inv, err := range s.scanInvocations(ctx, tenant, id) {
		if err != nil {
			return err
		}
		if inv.Phase == PhaseOffered || inv.Phase == PhaseDelivered {
			hs = append(hs, holding(&inv))
		}
		if n++; n == explainScan || len(hs) >= x.Slots {
			break
		}
	}
	x.Holders = oldest(hs)
	return nil
}
