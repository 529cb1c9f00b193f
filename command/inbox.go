package command

import (
	"hash/crc32"
	"slices"
	"sync"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store/key"
)

const (
	// inboxEvents and inboxBytes bound what waits for a command; more is refused, and its nodes send it again.
	inboxEvents = 400_000
	inboxBytes  = 64 << 20
	// takeEvents and takeBytes bound what is stepped before the engine is asked whether it is full, takeRounds how often before time and targets are looked at.
	takeEvents = 256
	takeBytes  = 512 << 10
	takeRounds = 16
)

// item is an event with its size in bytes, who waits for it to be durable, and what in the store is to go with it.
type item struct {
	ev     Event
	size   int
	done   chan<- error // nil when nobody waits; has room for one
	cancel key.K        // the stored cancellation that this is
	mail   []letter     // the stored messages of other control planes that this is

	look func(*Engine) // it is no event: somebody wants to see the engine
}

// letter is a node's message that another control plane took and stored for the owner.
type letter struct {
	key key.K
	sum uint32
}

var letterSum = crc32.MakeTable(crc32.Castagnoli)

// slot names what there is at most one of in an inbox: a newer message of a node replaces the one that waits, so that no node, however much it sends, takes others' room.
type slot struct {
	node string
	kind byte
}

func (it *item) slot() (slot, bool) {
	switch {
	case it.ev.Ready != nil:
		return slot{it.ev.Node, 'r'}, true
	case it.ev.Report != nil:
		return slot{it.ev.Node, 'p'}, true
	case it.ev.Present:
		return slot{it.ev.Node, 'h'}, true
	}
	return slot{}, false
}

// inbox is the queue of events of one command. It is safe for concurrent use. The zero inbox is ready.
type inbox struct {
	mu    sync.Mutex
	queue []*item // from next on
	next  int
	index map[slot]*item
	bytes int
	gone  bool // nothing may be put in any more
}

// put queues an event. It never blocks.
func (b *inbox) put(it item) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone {
		return errGone
	}
	at, single := it.slot()
	if single {
		if was := b.index[at]; was != nil {
			b.bytes -= was.size
			was.merge(&it)
			b.bytes += was.size
			return nil
		}
	}
	if it.done == nil && it.cancel == nil && (len(b.queue)-b.next >= inboxEvents || b.bytes+it.size > inboxBytes) {
		return fault.New("command.Handle", fault.Throttling, "the command's queue is full")
	}
	if single {
		if b.index == nil {
			b.index = map[slot]*item{}
		}
		b.index[at] = &it
	}
	b.queue, b.bytes = append(b.queue, &it), b.bytes+it.size
	return nil
}

// merge takes a later message of the same node and kind.
func (it *item) merge(next *item) {
	for _, l := range next.mail {
		if !slices.ContainsFunc(it.mail, func(m letter) bool { return m.sum == l.sum && string(m.key) == string(l.key) }) {
			it.mail = append(it.mail, l)
		}
	}
	switch {
	case it.ev.Report != nil:
		a, b := it.ev.Report, next.ev.Report
		if ended, ends := a.Detail.Terminal(), b.Detail.Terminal(); ended != ends && !ends || ended == ends && a.Attempt == b.Attempt && b.Seq <= a.Seq {
			return // the one that waits says more
		}
		it.ev, it.size = next.ev, next.size
	case it.ev.Ready != nil:
		it.ev, it.size = next.ev, next.size
	default:
		it.ev.First = it.ev.First || next.ev.First
	}
}

// take returns the next events; none when the inbox is empty.
func (b *inbox) take() []*item {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []*item
	bytes := 0
	for b.next < len(b.queue) && len(out) < takeEvents && (len(out) == 0 || bytes+b.queue[b.next].size <= takeBytes) {
		it := b.queue[b.next]
		b.queue[b.next] = nil
		b.next++
		bytes += it.size
		if at, ok := it.slot(); ok {
			delete(b.index, at)
		}
		out = append(out, it)
	}
	b.bytes -= bytes
	if b.next == len(b.queue) {
		b.queue, b.next = b.queue[:0], 0
		if cap(b.queue) > takeEvents {
			b.queue = nil
		}
	}
	return out
}

// empty reports whether nothing waits.
func (b *inbox) empty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.next == len(b.queue)
}

// answerWaiting gives err to all who wait for an event that was not taken yet. What they wait for is durable: it is carried out from the store.
func (b *inbox) answerWaiting(err error, refuse bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gone = b.gone || refuse
	for _, it := range b.queue[b.next:] {
		if it.done != nil {
			it.done <- err
			it.done = nil
		}
	}
	if b.gone {
		b.queue, b.next, b.index, b.bytes = nil, 0, nil, 0
	}
}
