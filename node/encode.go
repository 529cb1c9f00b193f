package node

import (
	"context"
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/record"
	"github.com/fleetwright/fleetwright/target"
)

// Node records are read for every message and every dispatch, so that they have a compact encoding: one version byte, then each field as its length and its
// bytes. Lists and maps are their length and their elements. Later releases add fields at the end and read shorter records with those empty.
const nodeV1 = 1

func (n *nodeRecord) encode() []byte {
	w := writer{b: append(make([]byte, 0, 512), nodeV1)}
	w.text(n.ID, n.Name, n.Activation, n.Token, n.Role, string(n.SignKey), string(n.SealKey), string(n.Assurance))
	w.num(n.Serial)
	w.num(uint64(n.Registered.Unix()))
	w.num(uint64(n.Registered.Nanosecond()))
	w.num(uint64(len(n.Tags)))
	for _, k := range slices.Sorted(maps.Keys(n.Tags)) {
		w.text(k, n.Tags[k])
	}
	f := &n.Facts
	w.text(f.AgentName, f.AgentVersion, f.PlatformType, f.PlatformName, f.PlatformVersion, f.Architecture, f.ComputerName, f.IPAddress, f.BootID)
	w.num(uint64(len(f.Capabilities)))
	w.text(f.Capabilities...)
	return w.b
}

func (n *nodeRecord) decode(b []byte) (ok bool) {
	if len(b) == 0 || b[0] != nodeV1 {
		return false
	}
	r := reader{s: string(b[1:])} // one copy; every text below is a part of it
	var sign, seal, assurance string
	r.text(&n.ID, &n.Name, &n.Activation, &n.Token, &n.Role, &sign, &seal, &assurance)
	n.SignKey, n.SealKey, n.Assurance = bytesOf(sign), bytesOf(seal), target.Assurance(assurance)
	n.Serial = r.num()
	sec, nsec := int64(r.num()), int64(r.num())
	if n.Registered = (time.Time{}); sec != (time.Time{}).Unix() || nsec != 0 {
		n.Registered = time.Unix(sec, nsec).UTC()
	}
	if tags := r.count(2); tags > 0 {
		n.Tags = make(map[string]string, tags)
		for range tags {
			var k, v string
			r.text(&k, &v)
			n.Tags[k] = v
		}
	}
	f := &n.Facts
	r.text(&f.AgentName, &f.AgentVersion, &f.PlatformType, &f.PlatformName, &f.PlatformVersion, &f.Architecture, &f.ComputerName, &f.IPAddress, &f.BootID)
	if caps := r.count(1); caps > 0 {
		f.Capabilities = make([]string, caps)
		for i := range f.Capabilities {
			r.text(&f.Capabilities[i])
		}
	}
	return !r.bad && nsec < 1e9
}

func bytesOf(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}

type writer struct{ b []byte }

func (w *writer) num(n uint64) { w.b = binary.AppendUvarint(w.b, n) }

func (w *writer) text(ss ...string) {
	for _, s := range ss {
		w.b = append(binary.AppendUvarint(w.b, uint64(len(s))), s...)
	}
}

type reader struct {
	s   string
	bad bool
}

func (r *reader) num() uint64 {
	var n uint64
	for i := 0; i < len(r.s) && i < binary.MaxVarintLen64; i++ {
		c := r.s[i]
		if n |= uint64(c&0x7f) << (7 * i); c < 0x80 {
			r.s = r.s[i+1:]
			return n
		}
	}
	r.bad, r.s = true, ""
	return 0
}

// count reads the length of a list whose elements have at least size bytes, so that no damaged length makes much memory.
func (r *reader) count(size int) int {
	n := r.num()
	if n > uint64(len(r.s)/size) {
		r.bad, r.s = true, ""
		return 0
	}
	return int(n)
}

func (r *reader) text(into ...*string) {
	for _, p := range into {
		n := r.count(1)
		*p, r.s = r.s[:n], r.s[n:]
	}
}

// nodeTable is the typed view of node records, like a record.Table.
type nodeTable struct{ codec *record.Codec }

func (t nodeTable) open(key, framed []byte) (n nodeRecord, err error) {
	b, err := t.codec.Open(key, framed)
	if err == nil && !n.decode(b) {
		err = &record.CorruptError{Key: append([]byte(nil), key...), Reason: "not a node, or written by a newer release"}
	}
	return n, err
}

func (t nodeTable) Get(ctx context.Context, r store.Reader, key []byte) (n nodeRecord, err error) {
	b, err := r.Get(ctx, key)
	if err != nil {
		return n, err
	}
	return t.open(key, b)
}

func (t nodeTable) GetMany(ctx context.Context, r store.Reader, keys [][]byte) ([]*nodeRecord, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	bs, err := r.GetMany(ctx, keys)
	if err != nil {
		return nil, err
	}
	out := make([]*nodeRecord, len(keys))
	for i, b := range bs {
		if b == nil {
			continue
		}
		n, err := t.open(keys[i], b)
		if err != nil {
			return nil, err
		}
		out[i] = &n
	}
	return out, nil
}

func (t nodeTable) Put(tx store.Tx, key []byte, n nodeRecord) error {
	return tx.Put(key, t.codec.Seal(key, n.encode()))
}
