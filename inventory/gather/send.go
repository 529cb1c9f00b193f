package gather

import (
	"context"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory"
)

// Reporter takes reports to the control plane. An error is a fault with the control plane's code; ItemContentMismatchException and InvalidItemContentException ask for the
// full content. A report may arrive more than once.
type Reporter interface {
	PutInventory(ctx context.Context, r inventory.Report) (inventory.Ack, error)
}

// State is what a node remembers, by type name, of what the control plane accepted.
type State map[string]inventory.Known

// Journal keeps a State durably. It is used by one Sender at a time.
type Journal interface {
	// Load returns the state that was saved last; nil, not an error, when there is none or when it was damaged: then everything is sent in full.
	Load(ctx context.Context) (State, error)
	// Save replaces the state. When it returns nil the state survives a crash.
	Save(ctx context.Context, s State) error
}

// Sender reports items, and of them only what changed (V9). Calls of Send must not overlap. Required: Node, Reporter.
type Sender struct {
	Node     string
	Reporter Reporter
	Journal  Journal // nil remembers nothing: every report is full
	// Whole sends a type that changed in full, as AWS's agent does, and not as the entries that changed. Control planes that know no deltas ask for the content anyway: with Whole they
	// need not.
	Whole  bool
	Limits *inventory.Limits
	// MaxCall is how many bytes of content go into one call at most, unless one item alone is larger; 0 is 1 MiB. AWS's agent sends large types on their own.
	MaxCall int
	// MaxItem is how many bytes of one type's content go into one call at most; 0 is no limit. A type that is larger travels in pieces: the first as a content, the others as deltas that add to
	// it, so that the control plane has a part of the type for a moment. A control plane that knows no deltas gets it whole.
	MaxItem int
}

// Sent says what a Send did.
type Sent struct {
	Calls                  int
	Full, Changed, Hashed  int  // types that went in full, as a delta, as a hash alone
	Bytes                  int  // of content and deltas, of all calls
	Asked                  bool // the control plane asked for full contents
	Entries, ChangedNumber int  // entries of all types, and those in deltas
}

const defaultMaxCall = 1 << 20

// outgoing is an item with what is to be remembered of it.
type outgoing struct {
	item, full inventory.Item
	known      inventory.Known
	size, big  int
}

// Send reports the items. When the control plane does not have what a hash or a delta speaks of, that call is repeated with full contents. What was accepted is remembered after each
// call, so that a Send that fails half way goes on from there next time. Errors: those of Limits.ValidateReport before anything is sent, the Reporter's, and the Journal's.
func (s *Sender) Send(ctx context.Context, items []inventory.Item) (Sent, error) {
	const op = "gather.Send"
	var sent Sent
	if len(items) == 0 {
		return sent, nil
	}
	lim := s.Limits.Resolved()
	for _, it := range items {
		if err := s.Limits.ValidateItem(it); err != nil {
			return sent, fault.Wrap(op, err)
		}
	}
	state := State{}
	if s.Journal != nil {
		loaded, err := s.Journal.Load(ctx)
		if err != nil {
			return sent, fault.Wrap(op, err)
		}
		for k, v := range loaded {
			state[k] = v
		}
	}
	all := make([]outgoing, len(items))
	for i, it := range items {
		all[i] = s.prepare(it, state[it.TypeName])
		sent.Entries += len(it.Content)
	}
	for len(all) > 0 {
		n, size := 0, 0
		for n < len(all) && !(n > 0 && s.pieces(all[n])) && !(n == 1 && s.pieces(all[0])) && (n == 0 || size+all[n].size <= s.maxCall(lim)) && !inventory.Over(n+1, lim.Items) {
			size += all[n].size
			n++
		}
		if err := s.call(ctx, all[:n], &sent); err != nil {
			return sent, fault.Wrap(op, err)
		}
		dirty := false
		for _, o := range all[:n] {
			if state[o.item.TypeName].ContentHash != o.known.ContentHash {
				dirty = true
			}
			state[o.item.TypeName] = o.known
		}
		if dirty && s.Journal != nil {
			if err := s.Journal.Save(ctx, state); err != nil {
				return sent, fault.Wrap(op, err)
			}
		}
		all = all[n:]
	}
	return sent, nil
}

func (s *Sender) maxCall(lim inventory.Limits) int {
	n := s.MaxCall
	if n == 0 {
		n = defaultMaxCall
	}
	if lim.TotalBytes >= 0 {
		n = min(n, lim.TotalBytes)
	}
	return n
}

// prepare chooses how an item travels: as its hash, as a delta where that is smaller than half of the content, or in full.
func (s *Sender) prepare(it inventory.Item, known inventory.Known) outgoing {
	if it.Content == nil {
		it.Content = []inventory.Entry{}
	}
	now := inventory.Know(it.Content)
	it.ContentHash = now.ContentHash
	o := outgoing{item: it, full: it, known: now, big: contentSize(it)}
	o.size = o.big
	switch {
	case known.ContentHash == "":
	case known.ContentHash == now.ContentHash:
		o.item = it.HashOnly()
		o.size = 0
	case !s.Whole:
		c := it.HashOnly()
		c.Delta = known.Diff(it.Content)
		if n := contentSize(c); n < o.size/2 && (s.MaxItem <= 0 || n <= s.MaxItem) {
			o.item, o.size = c, n
		}
	}
	return o
}

// pieces reports whether an item is to travel in pieces.
func (s *Sender) pieces(o outgoing) bool {
	return o.item.Content != nil && s.MaxItem > 0 && o.big > s.MaxItem
}

// call sends one report, and its items in full when it is asked to.
func (s *Sender) call(ctx context.Context, part []outgoing, sent *Sent) error {
	if len(part) == 1 && s.pieces(part[0]) {
		return s.whole(ctx, part[0], sent)
	}
	items, size, short := make([]inventory.Item, len(part)), 0, false
	for i, o := range part {
		items[i] = o.item
		size += o.size
		short = short || o.item.Content == nil
	}
	err := s.put(ctx, items, size, sent)
	if err == nil {
		for _, it := range items {
			switch {
			case it.Delta != nil:
				sent.Changed++
				sent.ChangedNumber += it.Delta.Size()
			case it.Content == nil:
				sent.Hashed++
			default:
				sent.Full++
			}
		}
		return nil
	}
	if !short || !inventory.NeedsContent(err) {
		return err
	}
	sent.Asked = true
	for _, o := range part { // in calls of their own, lest they are too large together
		if err := s.whole(ctx, o, sent); err != nil {
			return err
		}
	}
	return nil
}

func (s *Sender) put(ctx context.Context, items []inventory.Item, size int, sent *Sent) error {
	sent.Calls++
	sent.Bytes += size
	_, err := s.Reporter.PutInventory(ctx, inventory.Report{InstanceID: s.Node, Items: items})
	return err
}

// whole sends the full content of an item, in pieces when it is large.
func (s *Sender) whole(ctx context.Context, o outgoing, sent *Sent) error {
	all := o.full.Content
	if s.MaxItem > 0 && o.big > s.MaxItem {
		for done := 0; done < len(all); {
			n, size := done, 0
			for n < len(all) && (n == done || size+entrySize(all[n]) <= s.MaxItem) {
				size += entrySize(all[n])
				n++
			}
			it := o.full.HashOnly()
			if done == 0 {
				it.Content = all[:n]
			} else {
				it.Delta = &inventory.Delta{Base: inventory.ContentHash(all[:done]), Added: all[done:n]}
			}
			it.ContentHash = inventory.ContentHash(all[:n])
			err := s.put(ctx, []inventory.Item{it}, size, sent)
			if done > 0 && inventory.NeedsContent(err) {
				break // it knows no deltas
			}
			if err != nil {
				return err
			}
			if done = n; done == len(all) {
				sent.Full++
				return nil
			}
		}
	}
	if err := s.put(ctx, []inventory.Item{o.full}, o.big, sent); err != nil {
		return err
	}
	sent.Full++
	return nil
}

// contentSize returns about how many bytes the JSON of an item's content or delta has.
func contentSize(it inventory.Item) int {
	n := 0
	entries := it.Content
	if it.Delta != nil {
		entries = it.Delta.Added
		n += len(strings.Join(it.Delta.Removed, `","`)) + len(it.Delta.Base) + 40
	}
	for _, e := range entries {
		n += entrySize(e)
	}
	return n
}

func entrySize(e inventory.Entry) int {
	n := 3
	for k, v := range e {
		n += len(k) + len(v) + 6
	}
	return n
}
