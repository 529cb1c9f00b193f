package audit

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/record"
)

// Checkpoint is a signed statement about a chain: the segment has so many entries, the last of which has this hash.
type Checkpoint struct {
	Tenant    string    `json:"tenant"`
	Writer    string    `json:"writer"`
	Seq       uint64    `json:"seq"` // from 1, without gaps
	Time      time.Time `json:"time"`
	From      uint64    `json:"from"` // the oldest segment that Trim left
	Segment   uint64    `json:"segment"`
	Count     uint64    `json:"count"`          // entries of the segment
	Hash      []byte    `json:"hash"`           // of the last of them
	Prev      []byte    `json:"prev,omitempty"` // hash of the checkpoint before
	Signature []byte    `json:"signature,omitempty"`
}

type chainID struct{ tenant, writer string }

// head is the state of a chain. It changes with each entry and each checkpoint.
type head struct {
	From    uint64 `json:"from"`    // the oldest segment that is kept
	Segment uint64 `json:"segment"` // from 1
	Count   uint64 `json:"count"`   // entries of the segment
	Hash    []byte `json:"hash"`    // of the last entry
	// Of the last checkpoint: its number, its hash and what it covers.
	Seq      uint64 `json:"seq,omitempty"`
	Signed   []byte `json:"signed,omitempty"`
	SignedIn uint64 `json:"signedIn,omitempty"`
	SignedAt uint64 `json:"signedAt,omitempty"`
}

type tables struct {
	heads       record.Table[head]
	entries     record.Table[Entry]
	checkpoints record.Table[Checkpoint]
}

func newTables(c *record.Codec) tables {
	return tables{record.NewTable[head](c), record.NewTable[Entry](c), record.NewTable[Checkpoint](c)}
}

func space(tenant string) key.K                   { return key.New(tenant).Str("audit") }
func heads(tenant string) key.K                   { return space(tenant).Str("head") }
func headKey(c chainID) key.K                     { return heads(c.tenant).Str(c.writer) }
func entries(c chainID) key.K                     { return space(c.tenant).Str("entry").Str(c.writer) }
func checkpoints(c chainID) key.K                 { return space(c.tenant).Str("checkpoint").Str(c.writer) }
func entryKey(c chainID, segment, n uint64) key.K { return entries(c).Uint(segment).Uint(n) }

// append adds entries of one tenant to this writer's chain.
func (l *Log) append(ctx context.Context, tx store.Tx, tenant string, es []Entry) error {
	c := chainID{tenant, l.cfg.Writer}
	h, err := l.t.heads.Get(ctx, tx, headKey(c))
	if errors.Is(err, store.ErrNotFound) {
		h = head{From: 1, Segment: 1, Hash: genesis(c)}
	} else if err != nil {
		return err
	}
	w, chain, buf := &encoder{}, entries(c), []byte(nil)
	for _, e := range es {
		if h.Count >= uint64(l.cfg.Segment) {
			h.Segment, h.Count = h.Segment+1, 0
		}
		h.Count++
		e.Segment, e.N = h.Segment, h.Count
		h.Hash = w.sum(&e, h.Hash)
		e.Hash = h.Hash
		if buf, err = e.appendJSON(buf[:0]); err != nil {
			return err
		}
		k := chain.Uint(e.Segment).Uint(e.N)
		if err := tx.Put(k, l.cfg.Codec.Seal(k, buf)); err != nil { // as l.t.entries would
			return err
		}
	}
	return l.t.heads.Put(tx, headKey(c), h)
}

// encoder is the canonical encoding of what is hashed and signed: each part after its length.
type encoder struct{ b []byte }

func (w *encoder) bytes(p []byte) {
	w.b = append(binary.BigEndian.AppendUint32(w.b, uint32(len(p))), p...)
}
func (w *encoder) str(s string) {
	w.b = append(binary.BigEndian.AppendUint32(w.b, uint32(len(s))), s...)
}
func (w *encoder) num(n uint64) { w.b = binary.BigEndian.AppendUint64(w.b, n) }
func (w *encoder) time(t time.Time) {
	w.num(uint64(t.Unix()))
	w.num(uint64(t.Nanosecond()))
}

// genesis is the hash before a chain's first entry.
func genesis(c chainID) []byte {
	w := &encoder{}
	w.str("fleetwright audit chain v1")
	w.str(c.tenant)
	w.str(c.writer)
	s := sha256.Sum256(w.b)
	return s[:]
}

// sum is the hash of an entry at its place after prev.
func sum(e Entry, prev []byte) []byte { return new(encoder).sum(&e, prev) }

// sum is the function of that name, in w's memory.
func (w *encoder) sum(e *Entry, prev []byte) []byte {
	w.b = w.b[:0]
	w.str("fleetwright audit entry v1")
	w.bytes(prev)
	w.str(e.Writer)
	w.num(e.Segment)
	w.num(e.N)
	w.time(e.Time)
	w.str(e.Tenant)
	w.str(e.Principal)
	w.str(e.Action)
	w.str(e.Resource)
	w.str(string(e.Outcome))
	w.str(string(e.Code))
	w.str(e.Digest)
	w.num(uint64(len(e.IDs)))
	for _, k := range sortedKeys(e.IDs) {
		w.str(k)
		w.str(e.IDs[k])
	}
	s := sha256.Sum256(w.b)
	return s[:]
}

// Message returns the bytes that a checkpoint's signature covers: everything but the signature.
func (c Checkpoint) Message() []byte {
	w := &encoder{}
	w.str("fleetwright audit checkpoint v1")
	w.str(c.Tenant)
	w.str(c.Writer)
	w.num(c.Seq)
	w.time(c.Time)
	w.num(c.From)
	w.num(c.Segment)
	w.num(c.Count)
	w.bytes(c.Hash)
	w.bytes(c.Prev)
	return w.b
}

// sum is the checkpoint's hash, its signature included.
func (c Checkpoint) sum() []byte {
	w := &encoder{c.Message()}
	w.bytes(c.Signature)
	s := sha256.Sum256(w.b)
	return s[:]
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
