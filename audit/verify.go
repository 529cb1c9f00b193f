package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/record"
)

func itoa(n int) string { return strconv.Itoa(n) }

// Broken names the first entry of a chain that is not as it was written. Its code is DataCorrupt.
type Broken struct {
	Tenant, Writer string
	Segment, N     uint64 // the entry; N 0 where a checkpoint or the whole chain is meant
	Reason         string
}

// Error names the place and the reason.
func (b *Broken) Error() string {
	return fmt.Sprintf("audit: chain %s/%s, segment %d, entry %d: %s", fault.Clean(b.Tenant), fault.Clean(b.Writer), b.Segment, b.N, b.Reason)
}

// FaultCode returns DataCorrupt.
func (b *Broken) FaultCode() fault.Code { return fault.DataCorrupt }

// Report says what Verify looked at.
type Report struct {
	Chains, Entries, Checkpoints int
	Tail                         int      // entries after the last checkpoint of their chain, which nothing vouches for yet
	Trimmed                      []string // chains whose beginning was removed by Trim, as tenant/writer
}

// VerifyOptions of Verify; nil is all tenants and no outside knowledge.
type VerifyOptions struct {
	Tenant string       // only this one's chains
	Heads  []Checkpoint // kept outside the store, see Log.Heads: a chain that does not lead through them was put back
}

const verifyPage = 500

// Verify reads every chain and returns a *Broken for the first entry or checkpoint that is not as it was written. It reads page by page and may run
// beside writers; what they add after it began is not looked at.
func (l *Log) Verify(ctx context.Context, opt *VerifyOptions) (Report, error) {
	if opt == nil {
		opt = &VerifyOptions{}
	}
	var rep Report
	chains, err := l.chains(ctx, opt.Tenant)
	if err != nil {
		return rep, fault.Wrap("audit.Verify", err)
	}
	known := map[chainID][]Checkpoint{}
	for _, cp := range opt.Heads {
		c := chainID{cp.Tenant, cp.Writer}
		if opt.Tenant != "" && cp.Tenant != opt.Tenant {
			continue
		}
		if !slices.Contains(chains, c) {
			return rep, fault.Wrap("audit.Verify", &Broken{c.tenant, c.writer, cp.Segment, 0, "the chain is gone, and a checkpoint of it was kept outside"})
		}
		known[c] = append(known[c], cp)
	}
	for _, c := range chains {
		if err := l.verify(ctx, c, known[c], &rep); err != nil {
			var ce *record.CorruptError
			if errors.As(err, &ce) {
				err = c.corrupt(ce)
			}
			return rep, fault.Wrap("audit.Verify", err)
		}
		rep.Chains++
	}
	return rep, nil
}

// corrupt names the place of a record that failed its checksum.
func (c chainID) corrupt(ce *record.CorruptError) error {
	b := &Broken{Tenant: c.tenant, Writer: c.writer, Reason: "the stored record is damaged: " + ce.Reason}
	if rest, ok := bytes.CutPrefix(ce.Key, entries(c)); ok {
		k := key.Read(rest)
		b.Segment, b.N = k.Uint(), k.Uint()
	}
	return b
}

func (l *Log) verify(ctx context.Context, c chainID, known []Checkpoint, rep *Report) error {
	bad := func(segment, n uint64, format string, args ...any) error {
		return &Broken{c.tenant, c.writer, segment, n, fmt.Sprintf(format, args...)}
	}
	var h head
	err := l.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) (err error) {
		h, err = l.t.heads.Get(ctx, r, headKey(c))
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return bad(0, 0, "the chain's head is gone")
	}
	if err != nil {
		return err
	}
	cps, err := l.verifyCheckpoints(ctx, c, h, known)
	if err != nil {
		return err
	}
	rep.Checkpoints += len(cps)

	// Where to begin, and with which hash.
	from, prev := uint64(1), genesis(c)
	if len(cps) > 0 {
		from = cps[len(cps)-1].From
	}
	if from > 1 {
		i := slices.IndexFunc(cps, func(cp Checkpoint) bool { return cp.Segment >= from })
		if i < 0 {
			i = len(cps)
		}
		if i == 0 || cps[i-1].Segment != from-1 {
			return bad(from, 0, "no checkpoint ends segment %d, before which all was trimmed", from-1)
		}
		prev = cps[i-1].Hash
		cps = cps[i:]
		rep.Trimmed = append(rep.Trimmed, c.tenant+"/"+c.writer)
	}
	seg, n := from, uint64(0) // the place of the last entry seen
	signedSeg, signedN, tail := seg, n, 0
	last := []byte(nil)
	for done := false; !done; {
		var page []record.Entry[Entry]
		err := l.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
			page = page[:0]
			rng := entries(c).Range()
			rng.Start = entries(c).Uint(from)
			if last != nil {
				rng = entries(c).After(last)
			}
			rng.Limit = verifyPage
			for e, err := range l.t.entries.Scan(ctx, r, rng) {
				if err != nil {
					return err
				}
				page = append(page, e)
			}
			return nil
		})
		if err != nil {
			return err
		}
		done = len(page) < verifyPage
		for _, it := range page {
			k := key.Read(it.Key[len(entries(c)):])
			s, i := k.Uint(), k.Uint()
			if k.Err() != nil {
				return bad(seg, n+1, "a key that is none of an entry")
			}
			if s > h.Segment || s == h.Segment && i > h.Count {
				done = true // added since Verify began
				break
			}
			last = it.Key
			if s != seg { // the segment before must be complete
				if len(cps) > 0 && cps[0].Segment == seg {
					return bad(seg, n+1, "removed: the checkpoint counts %d entries and %d are there", cps[0].Count, n)
				}
				if s != seg+1 || i != 1 {
					return bad(seg+1, 1, "removed: the next entry that is there is %d of segment %d", i, s)
				}
				seg, n = s, 0
			}
			if i != n+1 {
				return bad(seg, n+1, "removed: the next entry that is there is %d", i)
			}
			e := it.Value
			if e.Segment != s || e.N != i || e.Writer != c.writer || e.Tenant != c.tenant {
				return bad(s, i, "moved: the entry says that it is %d of segment %d of %s/%s", e.N, e.Segment, fault.Clean(e.Tenant), fault.Clean(e.Writer))
			}
			if want := sum(e, prev); !bytes.Equal(want, e.Hash) {
				return bad(s, i, "edited: its hash does not follow from its content and the entry before")
			}
			n, prev = i, e.Hash
			rep.Entries++
			tail++
			for len(cps) > 0 && cps[0].Segment == s && cps[0].Count == i {
				if !bytes.Equal(cps[0].Hash, e.Hash) {
					first, at := signedSeg, signedN+1
					return bad(first, at, "rewritten, with all up to entry %d of segment %d: checkpoint %d signed other hashes", i, s, cps[0].Seq)
				}
				signedSeg, signedN = s, i
				cps = cps[1:]
				tail = 0
			}
		}
	}
	rep.Tail += tail
	if len(cps) > 0 {
		return bad(seg, n+1, "cut off: checkpoint %d counts %d entries in segment %d", cps[0].Seq, cps[0].Count, cps[0].Segment)
	}
	if seg != h.Segment || n != h.Count || !bytes.Equal(prev, h.Hash) {
		return bad(seg, n+1, "cut off: the chain's head counts %d entries in segment %d", h.Count, h.Segment)
	}
	return nil
}

// verifyCheckpoints reads the checkpoints of a chain, in order, and checks their links, their signatures and what is known from outside.
func (l *Log) verifyCheckpoints(ctx context.Context, c chainID, h head, known []Checkpoint) (cps []Checkpoint, err error) {
	bad := func(seq uint64, format string, args ...any) error {
		return &Broken{c.tenant, c.writer, 0, 0, fmt.Sprintf("checkpoint %d: ", seq) + fmt.Sprintf(format, args...)}
	}
	last := []byte(nil)
	for done := false; !done; {
		n := 0
		err := l.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
			rng := checkpoints(c).Range()
			if last != nil {
				rng = checkpoints(c).After(last)
			}
			rng.Limit = verifyPage
			for e, err := range l.t.checkpoints.Scan(ctx, r, rng) {
				if err != nil {
					return err
				}
				cps, last, n = append(cps, e.Value), e.Key, n+1
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		done = n < verifyPage
	}
	for len(cps) > 0 && cps[len(cps)-1].Seq > h.Seq { // added since Verify began
		cps = cps[:len(cps)-1]
	}
	for i, cp := range cps {
		if l.cfg.Verifier != nil {
			if err := l.cfg.Verifier(cp.Writer, cp.Message(), cp.Signature); err != nil {
				return nil, bad(cp.Seq, "its signature does not hold")
			}
		}
		switch {
		case cp.Tenant != c.tenant || cp.Writer != c.writer:
			return nil, bad(cp.Seq, "it is of another chain")
		case i == 0 && cp.Seq != 1 && cps[len(cps)-1].From <= 1, i > 0 && cp.Seq != cps[i-1].Seq+1:
			return nil, bad(cp.Seq, "the one before it was removed")
		case i > 0 && !bytes.Equal(cp.Prev, cps[i-1].sum()):
			return nil, bad(cp.Seq, "it does not follow from the one before")
		case i > 0 && (cp.From < cps[i-1].From || cp.Segment < cps[i-1].Segment || cp.Segment == cps[i-1].Segment && cp.Count < cps[i-1].Count):
			return nil, bad(cp.Seq, "it goes backwards")
		}
	}
	switch n := len(cps); {
	case n == 0 && h.Seq > 0, n > 0 && cps[n-1].Seq < h.Seq:
		return nil, bad(h.Seq, "it was removed: the head knows it")
	case n > 0 && !bytes.Equal(cps[n-1].sum(), h.Signed):
		return nil, bad(h.Seq, "the head knows another one")
	}
	for _, k := range known {
		i := slices.IndexFunc(cps, func(cp Checkpoint) bool { return cp.Seq == k.Seq })
		switch {
		case i >= 0 && !bytes.Equal(cps[i].sum(), k.sum()):
			return nil, bad(k.Seq, "another one of that number was kept outside")
		case i < 0 && k.Seq > h.Seq:
			return nil, bad(k.Seq, "it was kept outside and is gone: the chain was put back to an older state")
		}
	}
	return cps, nil
}
