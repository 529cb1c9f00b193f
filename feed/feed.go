// Package feed keeps events: written in the transaction of what they tell of, read in order by cursor, followed live.
//
// A topic is a key: that of a command, of an execution, of a node. Its events have numbers 1, 2, 3 … without gaps, given by the topic's own record; so
// a topic has one writer at a time (DESIGN law 7), and there is no counter that all topics share.
//
//	f := feed.New(codec)
//	topic := key.New(tenant).Str("command").Str("events").Str(id)
//	err := st.Update(ctx, func(ctx context.Context, tx store.Tx) error {
//		… write the state …
//		_, err := f.Append(ctx, tx, topic, feed.Event{Time: now, Kind: "InvocationSuccess", Data: data})
//		return err
//	})
//	for e, err := range f.Subscribe(ctx, st, topic, 0) { … }
//
// Whoever remembers the number of the last event that it handled goes on after it, and misses nothing and sees nothing twice.
package feed

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/record"
)

// Limits.
const (
	MaxData = 64 << 10 // bytes of Event.Data
	MaxKind = 128      // bytes of Event.Kind

	chunkEvents = 512      // events of one stored record
	chunkBytes  = 96 << 10 // bytes of one stored record, roughly
	page        = 1000     // events that Subscribe reads at once
)

// ErrTrimmed: events after the cursor were removed by Trim, so that following on would miss some. Start again from 0, which is the oldest that is kept.
var ErrTrimmed = errors.New("feed: events after the cursor were trimmed")

// Event is one thing that happened. Seq is given by Append.
type Event struct {
	Seq  uint64          `json:"seq"` // from 1; also the cursor that goes on after this event
	Time time.Time       `json:"time"`
	Kind string          `json:"kind"`
	Data json.RawMessage `json:"data,omitempty"` // opaque to this package; valid JSON or empty
}

// Feed reads and writes topics. It is immutable and safe for concurrent use.
type Feed struct {
	heads  record.Table[head]
	chunks record.Table[[]Event]
}

type head struct {
	Last  uint64 `json:"last"`            // number of the newest event
	First uint64 `json:"first,omitempty"` // number of the oldest event that is kept, or Last+1
}

// New returns a feed; codec may be nil.
func New(codec *record.Codec) *Feed {
	return &Feed{record.NewTable[head](codec), record.NewTable[[]Event](codec)}
}

func headKey(topic key.K) key.K { return topic.Str("head") }
func chunks(topic key.K) key.K  { return topic.Str("at") }

func (f *Feed) head(ctx context.Context, r store.Reader, topic key.K) (head, error) {
	h, err := f.heads.Get(ctx, r, headKey(topic))
	if errors.Is(err, store.ErrNotFound) {
		return head{First: 1}, nil
	}
	return h, err
}

// Append writes events to the topic in the caller's transaction, numbers them in order and returns the number of the last. Events of one call lie together in few records. It
// sets no time: the caller does.
func (f *Feed) Append(ctx context.Context, tx store.Tx, topic key.K, events ...Event) (last uint64, err error) {
	h, err := f.head(ctx, tx, topic)
	if err != nil {
		return 0, fault.Wrap("feed.Append", err)
	}
	if len(events) == 0 {
		return h.Last, nil
	}
	var chunk []Event
	size := 0
	flush := func() error {
		if len(chunk) == 0 {
			return nil
		}
		err := f.chunks.Put(tx, chunks(topic).Uint(h.Last), chunk)
		chunk, size = nil, 0
		return err
	}
	for _, e := range events {
		if err := valid(e); err != nil {
			return 0, err
		}
		if len(chunk) == chunkEvents || size+len(e.Data) > chunkBytes {
			if err := flush(); err != nil {
				return 0, fault.Wrap("feed.Append", err)
			}
		}
		h.Last++
		e.Seq = h.Last
		chunk, size = append(chunk, e), size+len(e.Data)+len(e.Kind)+80
	}
	if err := flush(); err != nil {
		return 0, fault.Wrap("feed.Append", err)
	}
	return h.Last, fault.Wrap("feed.Append", f.heads.Put(tx, headKey(topic), h))
}

func valid(e Event) error {
	switch {
	case e.Kind == "" || len(e.Kind) > MaxKind:
		return fault.New("feed.Append", fault.Validation, "the event's kind has %d bytes: give 1 to %d", len(e.Kind), MaxKind)
	case len(e.Data) > MaxData:
		return fault.New("feed.Append", fault.Validation, "the event's data has %d bytes, at most %d are kept: put large things into a blob", len(e.Data), MaxData)
	case len(e.Data) > 0 && !json.Valid(e.Data):
		return fault.New("feed.Append", fault.Validation, "the event's data is no JSON")
	}
	return nil
}

// Last returns the number of the topic's newest event, 0 if it has none: the cursor for who wants only what comes.
func (f *Feed) Last(ctx context.Context, r store.Reader, topic key.K) (uint64, error) {
	h, err := f.head(ctx, r, topic)
	return h.Last, fault.Wrap("feed.Last", err)
}

// Read returns up to limit events after the cursor, in order; 0 begins at the oldest that is kept. No events means that there are none yet. The next cursor is the
// Seq of the last event. A cursor whose next event was trimmed gives ErrTrimmed.
func (f *Feed) Read(ctx context.Context, r store.Reader, topic key.K, after uint64, limit int) ([]Event, error) {
	if after > 0 {
		h, err := f.head(ctx, r, topic)
		if err != nil {
			return nil, fault.Wrap("feed.Read", err)
		}
		if after+1 < h.First {
			return nil, fault.New("feed.Read", fault.Validation, "events %d to %d are gone: %w", after+1, h.First-1, ErrTrimmed)
		}
	}
	var out []Event
	// A chunk lies under the number of its last event, so the first one at or after the cursor holds the next event.
	rng := chunks(topic).Range()
	rng.Start = chunks(topic).Uint(after + 1)
	for c, err := range f.chunks.Scan(ctx, r, rng) {
		if err != nil {
			return nil, fault.Wrap("feed.Read", err)
		}
		for _, e := range c.Value {
			if len(out) >= limit {
				return out, nil
			}
			if e.Seq > after {
				out = append(out, e)
			}
		}
		if len(out) >= limit {
			break
		}
	}
	return out, nil
}

// Subscribe yields the events after the cursor and then those that come, until the caller stops or ctx ends; then, or when reading fails, it yields one error and ends. It
// waits by store.Watch and reads a page at a time; nothing is read while the caller works on an event, and a slow caller slows nobody.
func (f *Feed) Subscribe(ctx context.Context, s store.Store, topic key.K, after uint64) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		changed, err := store.Watch(ctx, s, topic) // before the first look, so that nothing falls between
		if err != nil {
			yield(Event{}, fault.Wrap("feed.Subscribe", err))
			return
		}
		for {
			var events []Event
			err := s.View(ctx, func(ctx context.Context, r store.Reader) (err error) {
				events, err = f.Read(ctx, r, topic, after, page)
				return err
			})
			if err != nil {
				yield(Event{}, fault.Wrap("feed.Subscribe", err))
				return
			}
			for _, e := range events {
				if !yield(e, nil) {
					return
				}
				after = e.Seq
			}
			if len(events) > 0 {
				continue
			}
			select {
			case <-ctx.Done():
				yield(Event{}, fault.Wrap("feed.Subscribe", ctx.Err()))
				return
			case <-changed:
			}
		}
	}
}

// Trim removes the oldest events, so that those after number through stay, in the caller's transaction. It works on whole records: up to 511 events at or before
// through may stay readable. It removes at most limit records and reports whether some are left; numbers go on rising whatever is removed.
func (f *Feed) Trim(ctx context.Context, tx store.Tx, topic key.K, through uint64, limit int) (more bool, err error) {
	h, err := f.head(ctx, tx, topic)
	if err != nil {
		return false, fault.Wrap("feed.Trim", err)
	}
	through = min(through, h.Last)
	rng := chunks(topic).Range()
	rng.End = chunks(topic).Uint(through + 1)
	rng.Limit = limit + 1
	var dead [][]byte
	first := h.First
	for it, err := range tx.Scan(ctx, rng) {
		if err != nil {
			return false, fault.Wrap("feed.Trim", err)
		}
		if len(dead) == limit {
			more = true
			break
		}
		k := append([]byte(nil), it.Key...)
		dead = append(dead, k)
		r := key.Read(k[len(chunks(topic)):])
		if first = r.Uint() + 1; r.Err() != nil {
			return false, fault.Wrap("feed.Trim", &record.CorruptError{Key: k, Reason: "not the key of an event"})
		}
	}
	for _, k := range dead {
		if err := tx.Delete(k); err != nil {
			return false, fault.Wrap("feed.Trim", err)
		}
	}
	if first == h.First {
		return more, nil
	}
	h.First = first
	return more, fault.Wrap("feed.Trim", f.heads.Put(tx, headKey(topic), h))
}

// Delete removes the topic's events and its numbering with what it told of, at most limit records a call, and reports whether some are left. A later event of
// the same topic would be number 1 again.
func (f *Feed) Delete(ctx context.Context, tx store.Tx, topic key.K, limit int) (more bool, err error) {
	if more, err = f.Trim(ctx, tx, topic, ^uint64(0)-1, limit); err != nil || more {
		return more, err
	}
	return false, fault.Wrap("feed.Delete", tx.Delete(headKey(topic)))
}
