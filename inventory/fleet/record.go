package fleet

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/fleetwright/fleetwright/inventory"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/record"
)

// head is the record of a node.
type head struct {
	Ordinal uint32          `json:"o"`
	Seq     uint64          `json:"s"` // of its last delta
	Items   map[string]item `json:"i"`
}

// item is what is known of one type of a node beside its entries.
type item struct {
	Version  string            `json:"v"`
	Captured string            `json:"c"`
	Hash     string            `json:"h,omitempty"` // as the node gave it
	Rev      uint64            `json:"r"`           // number of the node's report that wrote the entries
	Again    bool              `json:"a,omitempty"` // entries were repeated, so that no delta can start from it
	Gen      uint64            `json:"g,omitempty"` // of the type when it was reported
	Context  map[string]string `json:"x,omitempty"`
}

// typeState is the record of a custom type.
type typeState struct {
	Gen      uint64            `json:"g,omitempty"`        // raised by each deletion
	Schema   *inventory.Schema `json:"schema,omitempty"`   // as reports showed it; nil if it was deleted
	Disabled string            `json:"disabled,omitempty"` // versions up to it are ignored
}

// blocks is the record of what numbers have been given out, in blocks that processes take.
type blocks struct {
	Ordinal uint64 `json:"ordinal"`
	Entry   uint64 `json:"entry"`
}

// foldState is the owner's record: how often bitmaps were changed.
type foldState struct {
	Gen uint64 `json:"gen"`
}

const space = "inventory"

// todoKey marks a tenant that has work for an owner. It stands under the empty tenant, so that one scan finds all.
func todoKey() key.K { return key.New("").Str(space).Str("todo") }

func root(tenant string) key.K         { return key.New(tenant).Str(space) }
func nodesKey(tenant string) key.K     { return root(tenant).Str("node") }
func nodeKey(tenant, id string) key.K  { return nodesKey(tenant).Str(id) }
func ordinalsKey(tenant string) key.K  { return root(tenant).Str("ordinal") }
func itemsKey(tenant, id string) key.K { return root(tenant).Str("items").Str(id) }
func typesKey(tenant string) key.K     { return root(tenant).Str("type") }
func blocksKey(tenant string) key.K    { return root(tenant).Str("blocks") }
func foldKey(tenant string) key.K      { return root(tenant).Str("fold") }
func journalKey(tenant string) key.K   { return root(tenant).Str("journal") }
func logKey(tenant string) key.K       { return root(tenant).Str("log") }
func hashKey(tenant string, h hash) key.K {
	return root(tenant).Str("hash").Str(string(h[:]))
}
func entriesKey(tenant, typ string) key.K { return root(tenant).Str("entry").Str(typ) }
func byNameKey(tenant, typ, name string) key.K {
	return root(tenant).Str("name").Str(typ).Str(clipName(name))
}
func bitsKey(tenant, typ string) key.K { return root(tenant).Str("bits").Str(typ) }
func historyKey(tenant string, ordinal uint32) key.K {
	return root(tenant).Str("history").Uint(uint64(ordinal))
}
func deadKey(tenant string) key.K      { return root(tenant).Str("dead") }
func deletionsKey(tenant string) key.K { return root(tenant).Str("deletion") }

// mostName is how much of an entry's name stands in the index of names.
const mostName = 160

func clipName(s string) string { return s[:min(len(s), mostName)] }

// lists are the ids that a delta takes away and adds, of one type, each sorted.
type lists struct{ del, add []uint32 }

func (d lists) encode() []byte { return appendIDs(appendIDs(nil, d.del), d.add) }

func decodeLists(b []byte) (d lists, rest []byte, ok bool) {
	if d.del, b, ok = readIDs(b); !ok {
		return d, nil, false
	}
	d.add, b, ok = readIDs(b)
	return d, b, ok
}

func (s *Service) put(tx store.Tx, k key.K, payload []byte) error {
	return tx.Put(k, s.cfg.Codec.Seal(k, payload))
}

// get returns the payload under k; nil if there is none.
func (s *Service) get(ctx context.Context, r store.Reader, k key.K) ([]byte, error) {
	b, err := r.Get(ctx, k)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return s.cfg.Codec.Open(k, b)
}

// orZero makes a missing record the zero value.
func orZero[T any](v T, err error) (T, error) {
	if errors.Is(err, store.ErrNotFound) {
		var zero T
		return zero, nil
	}
	return v, err
}

func corrupt(k []byte, reason string) error {
	return &record.CorruptError{Key: append([]byte(nil), k...), Reason: reason}
}

// A node's entries of a type are stored as a list, and beside it what changed since the list was written, until that is a good part of it: so that a small change is a small write.

// entriesOf is the numbers of entries of one type of a node, as it is stored.
type entriesOf struct {
	ids     []uint32 // as they are now
	base    []uint32 // as the list says
	patched bool
}

func changesKey(list key.K) key.K { return list.Str("") }

// items returns the entries' ids of one type of a node.
func (s *Service) items(ctx context.Context, r store.Reader, tenant, node, typ string) (out entriesOf, err error) {
	k := itemsKey(tenant, node).Str(typ)
	ck := changesKey(k)
	vals, err := r.GetMany(ctx, [][]byte{k, ck})
	if err != nil || vals[0] == nil {
		return out, err
	}
	b, err := s.cfg.Codec.Open(k, vals[0])
	if err != nil {
		return out, err
	}
	rest, ok := []byte(nil), false
	if out.base, rest, ok = readIDs(b); !ok || len(rest) > 0 {
		return out, corrupt(k, "no list of entries")
	}
	out.ids = out.base
	if vals[1] == nil {
		return out, nil
	}
	if b, err = s.cfg.Codec.Open(ck, vals[1]); err != nil {
		return out, err
	}
	d, rest, ok := decodeLists(b)
	if !ok || len(rest) > 0 {
		return out, corrupt(ck, "no change of a list of entries")
	}
	out.ids, out.patched = merge(difference(out.base, d.del), d.add), true
	return out, nil
}

// putItems writes the entries of one type of a node.
func (s *Service) putItems(tx store.Tx, tenant, node, typ string, old entriesOf, ids []uint32) error {
	k := itemsKey(tenant, node).Str(typ)
	if old.base != nil {
		patch := lists{del: difference(old.base, ids), add: difference(ids, old.base)}
		if n := len(patch.del) + len(patch.add); n > 0 && 8*n <= len(old.base) {
			return s.put(tx, changesKey(k), patch.encode())
		}
	}
	if old.patched {
		if err := tx.Delete(changesKey(k)); err != nil {
			return err
		}
	}
	return s.put(tx, k, appendIDs(nil, ids))
}

func (s *Service) dropItems(tx store.Tx, tenant, node, typ string) error {
	k := itemsKey(tenant, node).Str(typ)
	if err := tx.Delete(changesKey(k)); err != nil {
		return err
	}
	return tx.Delete(k)
}

// bitmap reads the folded set of nodes that have an entry. It is the caller's.
func (s *Service) bitmap(ctx context.Context, r store.Reader, tenant, typ string, id uint32) (*roaring.Bitmap, error) {
	out := roaring.New()
	for it, err := range r.Scan(ctx, bitsKey(tenant, typ).Uint(uint64(id)).Range()) {
		if err != nil {
			return nil, err
		}
		if err := s.addBits(out, it); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// A part of a set of nodes speaks of the ordinals of one block of 65,536. It lies under (entry, block); what changed since it was written lies under (entry, block, "") after it.

// addBits adds one stored part of a set to out, or makes the changes of the part before.
func (s *Service) addBits(out *roaring.Bitmap, it store.Item) error {
	b, err := s.cfg.Codec.Open(it.Key, it.Value)
	if err != nil {
		return err
	}
	if _, ok := lastUint(it.Key); !ok {
		return patchBits(out, it.Key, b)
	}
	part, err := decodeBits(it.Key, b)
	if err != nil {
		return err
	}
	if out.IsEmpty() {
		*out = *part
		return nil
	}
	out.Or(part)
	return nil
}

func patchBits(out *roaring.Bitmap, k, b []byte) error {
	d, rest, ok := decodeLists(b)
	if !ok || len(rest) > 0 {
		return corrupt(k, "no change of a set of nodes")
	}
	for _, o := range d.del {
		out.Remove(o)
	}
	out.AddMany(d.add)
	return nil
}

// A part of a set is stored as one byte 0 and up to fewNodes ordinals of 4 bytes, or one byte 1 and RoaringBitmap's portable format.
const fewNodes = 3

func encodeBits(b *roaring.Bitmap) ([]byte, error) {
	if n := b.GetCardinality(); n <= fewNodes {
		out := make([]byte, 1, 1+4*n)
		for _, o := range b.ToArray() {
			out = binary.BigEndian.AppendUint32(out, o)
		}
		return out, nil
	}
	b.RunOptimize()
	body, err := b.ToBytes()
	return append([]byte{1}, body...), err
}

// decodeBits returns a set that shares nothing with b.
func decodeBits(k, b []byte) (*roaring.Bitmap, error) {
	out := roaring.New()
	switch {
	case len(b) > 0 && b[0] == 0 && len(b)%4 == 1:
		for b = b[1:]; len(b) > 0; b = b[4:] {
			out.Add(binary.BigEndian.Uint32(b))
		}
		return out, nil
	case len(b) > 0 && b[0] == 1:
		if err := out.UnmarshalBinary(b[1:]); err == nil {
			return out, nil
		}
	}
	return nil, corrupt(k, "no set of nodes")
}
