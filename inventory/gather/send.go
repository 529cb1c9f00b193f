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
		for n < len(all) && (n == 0 || size+all[n].size <= s.maxCall(lim)) && !inventory.Over(n+1, lim.Items) {
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
		if n := contentSize(c); n < o.size/2 {
			o.item, o.size = c, n
		}
	}
	return o
}

// call sends one report, and once more in full when it is asked to.
func (s *Sender) call(ctx context.Context, part []outgoing, sent *Sent) error {
	put := func(pick func(o outgoing) (inventory.Item, int)) error {
		r := inventory.Report{InstanceID: s.Node}
		var full, changed, hashed, number, size int
		for _, o := range part {
			it, n := pick(o)
			r.Items = append(r.Items, it)
			size += n
			switch {
			case it.Delta != nil:
				changed++
				number += it.Delta.Size()
			case it.Content == nil:
				hashed++
			default:
				full++
			}
		}
		sent.Calls++
		sent.Bytes += size
		if _, err := s.Reporter.PutInventory(ctx, r); err != nil {
			return err
		}
		sent.Full += full
		sent.Changed += changed
		sent.Hashed += hashed
		sent.ChangedNumber += number
		return nil
	}
	short := false
	for _, o := range part {
		short = short || o.item.Content == nil
	}
	err := put(func(o outgoing) (inventory.Item, int) { return o.item, o.size })
	if err == nil || !short || !inventory.NeedsContent(err) {
		return err
	}
	sent.Asked = true
	// In calls of their own, lest they are too large together.
	for _, o := range part {
		one := *s
		err := one.call(ctx, []outgoing{{item: o.full, full: o.full, known: o.known, size: o.big}}, sent)
		if err != nil {
			return err
		}
	}
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
		n += 2
		for k, v := range e {
			n += len(k) + len(v) + 6
		}
	}
	return n
}
