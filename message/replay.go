package message

import (
	"container/heap"
	"context"
	"fmt"
	"sync"
	"time"
)

// ReplayKey names a message for ever: what is signed of it beside the content.
type ReplayKey struct {
	Tenant, From string
	Kind         Kind
	ID           string
	Attempt      int
}

// ReplayKey returns the key under which a Replay remembers e.
func (e *Envelope) ReplayKey() ReplayKey {
	return ReplayKey{Tenant: e.Tenant, From: e.From, Kind: e.Kind, ID: e.ID, Attempt: e.Attempt}
}

// Replay remembers messages, so that none takes effect twice (rules ). A receiver asks it after Open and before it acts. Where an effect must not happen twice even after a
// crash, the memory is what the receiver writes durably in one step with the effect: an agent's journal, a control plane's records. Implementations are safe for concurrent use.
type Replay interface {
	// Seen remembers the key until notAfter and the skew have passed, and reports whether it was remembered already. Exactly one of several concurrent calls
	// with one key gets false. When it cannot remember it returns an error, and the message must not be acted on.
	Seen(ctx context.Context, key ReplayKey, notAfter time.Time) (bool, error)
}

// ReplayMemory is a Replay in memory, for messages whose repetition is harmless after a restart. It never forgets a message that Open would still accept: when it is full it refuses
// new ones with ErrReplayFull. A clock that jumps forward and back does not open it: it forgets for want of room only, and what it may have forgotten counts as seen.
// Set its fields before the first use.
type ReplayMemory struct {
	Now       func() time.Time // the receiver's clock, the one that Open is given; nil is time.Now
	Skew      time.Duration    // the one that Open is given; 0 is DefaultSkew
	PerSender int              // messages remembered of one sender, so that one node cannot use up the room of all; 0 is no such limit

	limit   int
	mu      sync.Mutex
	keys    map[ReplayKey]struct{}
	senders map[sender]int
	queue   expiries
	horizon time.Time // what ends then or before may have been forgotten
}

type sender struct{ tenant, name string }

// NewReplayMemory returns a memory for at most capacity messages.
func NewReplayMemory(capacity int) *ReplayMemory {
	return &ReplayMemory{limit: capacity, keys: map[ReplayKey]struct{}{}, senders: map[sender]int{}}
}

// Seen implements Replay.
func (m *ReplayMemory) Seen(ctx context.Context, key ReplayKey, notAfter time.Time) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	skew := m.Skew
	if skew == 0 {
		skew = DefaultSkew
	}
	clock := m.Now
	if clock == nil {
		clock = time.Now
	}
	now, end := clock(), notAfter.Add(skew)
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.keys[key]; ok || !end.After(m.horizon) {
		return true, nil
	}
	from := sender{key.Tenant, key.From}
	if len(m.keys) >= m.limit || m.PerSender > 0 && m.senders[from] >= m.PerSender {
		m.forget(now)
	}
	switch {
	case len(m.keys) >= m.limit:
		return false, fmt.Errorf("%w: it holds %d messages that have not expired", ErrReplayFull, len(m.keys))
	case m.PerSender > 0 && m.senders[from] >= m.PerSender:
		return false, fmt.Errorf("%w: it holds %d messages of %s that have not expired", ErrReplayFull, m.senders[from], show(key.From))
	}
	m.keys[key] = struct{}{}
	m.senders[from]++
	heap.Push(&m.queue, expiry{end, key})
	return false, nil
}

// Len returns how many messages are remembered, those that have expired included.
func (m *ReplayMemory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.keys)
}

// forget drops what Open refuses from now on. It is called for want of room only, since now may be wrong.
func (m *ReplayMemory) forget(now time.Time) {
	for len(m.queue) > 0 && m.queue[0].end.Before(now) {
		x := heap.Pop(&m.queue).(expiry)
		delete(m.keys, x.key)
		from := sender{x.key.Tenant, x.key.From}
		if m.senders[from]--; m.senders[from] == 0 {
			delete(m.senders, from)
		}
		if x.end.After(m.horizon) {
			m.horizon = x.end
		}
	}
}

type expiry struct {
	end time.Time
	key ReplayKey
}

// expiries is a heap, the earliest end first.
type expiries []expiry

func (h expiries) Len() int           { return len(h) }
func (h expiries) Less(i, j int) bool { return h[i].end.Before(h[j].end) }
func (h expiries) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *expiries) Push(x any)        { *h = append(*h, x.(expiry)) }
func (h *expiries) Pop() any {
	old := *h
	x := old[len(old)-1]
	old[len(old)-1] = expiry{}
	*h = old[:len(old)-1]
	return x
}
