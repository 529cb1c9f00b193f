package audit

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/internal/testenv"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/memstore"
	"github.com/fleetwright/fleetwright/store/record"
)

var chain = chainID{"t", "w"}

// tampered makes a chain of 13 entries in segments of 5, signed after the 8th and the 12th, lets an attacker with the store at it, and returns what Verify says.
func tampered(t *testing.T, attack func(ctx context.Context, tx store.Tx, l *Log) error, opt *VerifyOptions) *Broken {
	t.Helper()
	l := newLog(memstore.New(), "w", nil)
	write(t, l, "t", 8)
	require.NoError(t, l.Checkpoint(t.Context()))
	write(t, l, "t", 4)
	require.NoError(t, l.Checkpoint(t.Context()))
	write(t, l, "t", 1)
	rep, err := l.Verify(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, Report{Chains: 1, Entries: 13, Checkpoints: 4, Tail: 1}, rep, "segment ends at 5 and 10, tips at 8 and 12")
	require.NoError(t, l.cfg.Store.Update(t.Context(), func(ctx context.Context, tx store.Tx) error { return attack(ctx, tx, l) }))
	_, err = l.Verify(t.Context(), opt)
	if err == nil {
		return nil
	}
	var b *Broken
	require.True(t, errors.As(err, &b), "%v", err)
	require.Equal(t, fault.DataCorrupt, fault.CodeOf(err))
	require.Equal(t, "t", b.Tenant)
	return b
}

// rechain gives all entries from n of the segment on correct hashes again, and the head too: an attacker who knows how the chain is made.
func rechain(ctx context.Context, tx store.Tx, l *Log) error {
	prev := genesis(chain)
	var h head
	var all []record.Entry[Entry]
	for e, err := range l.t.entries.Scan(ctx, tx, entries(chain).Range()) {
		if err != nil {
			return err
		}
		all = append(all, e)
	}
	h, err := l.t.heads.Get(ctx, tx, headKey(chain))
	if err != nil {
		return err
	}
	for _, e := range all {
		e.Value.Hash = sum(e.Value, prev)
		prev = e.Value.Hash
		if err := l.t.entries.Put(tx, e.Key, e.Value); err != nil {
			return err
		}
		h.Segment, h.Count, h.Hash = e.Value.Segment, e.Value.N, prev
	}
	return l.t.heads.Put(tx, headKey(chain), h)
}

func TestVerifyNamesTheFirstBrokenEntry(t *testing.T) {
	type attack = func(ctx context.Context, tx store.Tx, l *Log) error
	edit := func(segment, n uint64, f func(*Entry)) attack {
		return func(ctx context.Context, tx store.Tx, l *Log) error {
			e, err := l.t.entries.Get(ctx, tx, entryKey(chain, segment, n))
			if err != nil {
				return err
			}
			f(&e)
			return l.t.entries.Put(tx, entryKey(chain, segment, n), e)
		}
	}
	remove := func(keys ...key.K) attack {
		return func(_ context.Context, tx store.Tx, _ *Log) error {
			for _, k := range keys {
				if err := tx.Delete(k); err != nil {
					return err
				}
			}
			return nil
		}
	}
	all := func(as ...attack) attack {
		return func(ctx context.Context, tx store.Tx, l *Log) error {
			for _, a := range as {
				if err := a(ctx, tx, l); err != nil {
					return err
				}
			}
			return nil
		}
	}
	headTo := func(f func(*head)) attack {
		return func(ctx context.Context, tx store.Tx, l *Log) error {
			h, err := l.t.heads.Get(ctx, tx, headKey(chain))
			if err != nil {
				return err
			}
			f(&h)
			return l.t.heads.Put(tx, headKey(chain), h)
		}
	}
	at := func(s, n uint64) key.K { return entryKey(chain, s, n) }
	for name, c := range map[string]struct {
		attack     attack
		segment, n uint64
		reason     string
	}{
		"who":                         {edit(2, 3, func(e *Entry) { e.Principal = "bob" }), 2, 3, "edited"},
		"when":                        {edit(1, 1, func(e *Entry) { e.Time = e.Time.Add(1) }), 1, 1, "edited"},
		"what":                        {edit(1, 2, func(e *Entry) { e.Action = "x" }), 1, 2, "edited"},
		"on what":                     {edit(1, 2, func(e *Entry) { e.Resource = "x" }), 1, 2, "edited"},
		"outcome":                     {edit(1, 2, func(e *Entry) { e.Outcome = Denied }), 1, 2, "edited"},
		"code":                        {edit(1, 2, func(e *Entry) { e.Code = "x" }), 1, 2, "edited"},
		"digest":                      {edit(1, 2, func(e *Entry) { e.Digest = "x" }), 1, 2, "edited"},
		"id":                          {edit(1, 2, func(e *Entry) { e.IDs["command"] = "x" }), 1, 2, "edited"},
		"hash":                        {edit(1, 2, func(e *Entry) { e.Hash[0]++ }), 1, 2, "edited"},
		"tenant":                      {edit(1, 2, func(e *Entry) { e.Tenant = "u" }), 1, 2, "moved"},
		"place":                       {edit(1, 2, func(e *Entry) { e.N = 3 }), 1, 2, "moved"},
		"the first":                   {remove(at(1, 1)), 1, 1, "removed"},
		"the middle":                  {remove(at(2, 2)), 2, 2, "removed"},
		"segment's end":               {remove(at(1, 5)), 1, 5, "removed"},
		"a segment":                   {remove(at(2, 1), at(2, 2), at(2, 3), at(2, 4), at(2, 5)), 2, 1, "removed"},
		"the tail":                    {remove(at(3, 3)), 3, 3, "cut off"},
		"the tail and the head told":  {all(remove(at(3, 2), at(3, 3)), rechain), 3, 2, "cut off: checkpoint 4"},
		"edited and chained again":    {all(edit(2, 4, func(e *Entry) { e.Principal = "bob" }), rechain), 2, 4, "rewritten"},
		"edited early, chained again": {all(edit(1, 2, func(e *Entry) { e.Principal = "bob" }), rechain), 1, 1, "rewritten"},
		"two swapped": {func(ctx context.Context, tx store.Tx, l *Log) error {
			a, err := l.t.entries.Get(ctx, tx, at(2, 1))
			if err != nil {
				return err
			}
			b, err := l.t.entries.Get(ctx, tx, at(2, 2))
			if err != nil {
				return err
			}
			a.N, b.N = 2, 1
			return errors.Join(l.t.entries.Put(tx, at(2, 1), b), l.t.entries.Put(tx, at(2, 2), a))
		}, 2, 1, "edited"},
		"one added at the end": {func(_ context.Context, tx store.Tx, l *Log) error {
			return l.t.entries.Put(tx, at(3, 4), Entry{Tenant: "t", Writer: "w", Segment: 3, N: 4})
		}, 0, 0, ""}, // after the head: it is no entry at all, and List shows it; see below
		"one added in between": {func(_ context.Context, tx store.Tx, l *Log) error {
			return l.t.entries.Put(tx, at(1, 6), Entry{Tenant: "t", Writer: "w", Segment: 1, N: 6})
		}, 1, 6, "edited"},
		"a bit": {func(_ context.Context, tx store.Tx, _ *Log) error { return tx.Put(at(2, 2), []byte{1, 2, 3, 4, 5, 6}) }, 2, 2, "damaged"},
		"a strange key": {func(_ context.Context, tx store.Tx, l *Log) error {
			return l.t.entries.Put(tx, at(1, 3).Str("x"), Entry{})
		}, 1, 4, "a key"},
		"the head":                     {remove(headKey(chain)), 0, 0, "head is gone"},
		"the head and its checkpoints": {remove(headKey(chain), checkpoints(chain).Uint(1), checkpoints(chain).Uint(2), checkpoints(chain).Uint(3), checkpoints(chain).Uint(4)), 0, 0, "head is gone"},
		"the head's count":             {headTo(func(h *head) { h.Count = 9 }), 3, 4, "cut off"},
		"all entries":                  {remove(at(1, 1), at(1, 2), at(1, 3), at(1, 4), at(1, 5), at(2, 1), at(2, 2), at(2, 3), at(2, 4), at(2, 5), at(3, 1), at(3, 2), at(3, 3)), 1, 1, "cut off"},
		"a checkpoint":                 {remove(checkpoints(chain).Uint(2)), 0, 0, "checkpoint 3: the one before it was removed"},
		"the last checkpoint":          {remove(checkpoints(chain).Uint(4)), 0, 0, "checkpoint 4: it was removed"},
		"the first ones":               {remove(checkpoints(chain).Uint(1)), 0, 0, "the one before it was removed"},
		"a checkpoint's claim": {func(ctx context.Context, tx store.Tx, l *Log) error {
			cp, err := l.t.checkpoints.Get(ctx, tx, checkpoints(chain).Uint(2))
			if err != nil {
				return err
			}
			cp.Count = 7
			return l.t.checkpoints.Put(tx, checkpoints(chain).Uint(2), cp)
		}, 0, 0, "checkpoint 2: its signature does not hold"},
		"a forged trim": {all(remove(at(1, 1), at(1, 2), at(1, 3), at(1, 4), at(1, 5)), headTo(func(h *head) { h.From = 2 })), 1, 1, "removed"},
	} {
		t.Run(name, func(t *testing.T) {
			b := tampered(t, c.attack, nil)
			if c.reason == "" {
				require.Nil(t, b)
				return
			}
			require.NotNil(t, b, "not seen")
			require.Contains(t, b.Error(), c.reason)
			require.Equal(t, []uint64{c.segment, c.n}, []uint64{b.Segment, b.N}, "%v", b)
		})
	}
}

// A chain put back to an older state, checkpoints included, is consistent in itself. A checkpoint that was kept elsewhere shows it.
func TestARolledBackChainIsSeenByAHeadKeptOutside(t *testing.T) {
	s := memstore.New()
	l := newLog(s, "w", nil)
	write(t, l, "t", 7)
	require.NoError(t, l.Checkpoint(t.Context()))
	old := map[string][]byte{}
	require.NoError(t, s.View(t.Context(), func(ctx context.Context, r store.Reader) error {
		for it := range r.Scan(ctx, store.Range{}) {
			old[string(it.Key)] = append([]byte(nil), it.Value...)
		}
		return nil
	}))
	write(t, l, "t", 3)
	require.NoError(t, l.Checkpoint(t.Context()))
	heads, err := l.Heads(t.Context())
	require.NoError(t, err)
	require.Len(t, heads, 1)
	rolledBack := func(keep map[string][]byte) {
		require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
			var dead [][]byte
			for it := range tx.Scan(ctx, store.Range{}) {
				dead = append(dead, append([]byte(nil), it.Key...))
			}
			for _, k := range dead {
				if err := tx.Delete(k); err != nil {
					return err
				}
			}
			for k, v := range keep {
				if err := tx.Put([]byte(k), v); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	_, err = l.Verify(t.Context(), &VerifyOptions{Heads: heads})
	require.NoError(t, err)
	rolledBack(old)
	_, err = l.Verify(t.Context(), nil)
	require.NoError(t, err)
	_, err = l.Verify(t.Context(), &VerifyOptions{Heads: heads})
	require.ErrorContains(t, err, "put back to an older state")
	write(t, l, "t", 4)
	require.NoError(t, l.Checkpoint(t.Context()))
	_, err = l.Verify(t.Context(), &VerifyOptions{Heads: heads})
	require.ErrorContains(t, err, "another one of that number", "nor does going on from there hide it")
	rolledBack(nil)
	_, err = l.Verify(t.Context(), &VerifyOptions{Heads: heads})
	require.ErrorContains(t, err, "the chain is gone")
	_, err = l.Verify(t.Context(), &VerifyOptions{Heads: heads, Tenant: "u"})
	require.NoError(t, err, "another tenant's chains do not matter here")
}

func TestTrimRemovesWholeSegmentsAndSaysSo(t *testing.T) {
	for _, entriesToo := range []int{0, 3} {
		l := newLog(memstore.New(), "w", nil)
		write(t, l, "t", 18)
		write(t, l, "u", 2)
		got, _, err := l.List(as("t", "x"), Filter{}, &Page{MaxResults: 100})
		require.NoError(t, err)
		require.NoError(t, l.Trim(t.Context(), got[6].Time), "the 12th of 18: two segments of 5 are older")
		write(t, l, "t", entriesToo)
		rep, err := l.Verify(t.Context(), nil)
		require.NoError(t, err)
		require.Equal(t, []string{"t/w"}, rep.Trimmed)
		require.Equal(t, 8+1+2+entriesToo, rep.Entries)
		left, _, err := l.List(as("t", "x"), Filter{Action: ActionTrim}, nil)
		require.NoError(t, err)
		require.Equal(t, "3", left[0].IDs["oldest"])
		require.NoError(t, l.Trim(t.Context(), got[6].Time), "again is nothing")
		require.NoError(t, l.Checkpoint(t.Context()))

		require.NoError(t, l.Trim(t.Context(), time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)), "the segment that is being filled stays")
		rep, err = l.Verify(t.Context(), nil)
		require.NoError(t, err)
		require.NotZero(t, rep.Entries)

		require.NoError(t, l.cfg.Store.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
			var first []byte
			for it := range tx.Scan(ctx, entries(chain).Range()) {
				first = append([]byte(nil), it.Key...)
				break
			}
			return tx.Delete(first)
		}))
		_, err = l.Verify(t.Context(), nil)
		require.ErrorContains(t, err, "removed", "a trimmed chain is as strict as before")
	}
}

// Any single change of any stored byte of a chain is seen, or is harmless because Verify's picture of the chain did not change.
func TestEveryFlippedByteIsSeen(t *testing.T) {
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		s := memstore.New()
		l := newLog(s, "w", nil)
		write(t, l, "t", 7)
		require.NoError(rt, l.Checkpoint(context.Background()))
		write(t, l, "t", 1)
		var items []store.Item
		require.NoError(rt, s.View(context.Background(), func(ctx context.Context, r store.Reader) error {
			for it := range r.Scan(ctx, key.New("t").Range()) {
				items = append(items, store.Item{Key: append([]byte(nil), it.Key...), Value: append([]byte(nil), it.Value...)})
			}
			return nil
		}))
		it := rapid.SampledFrom(items).Draw(rt, "record")
		it.Value[rapid.IntRange(0, len(it.Value)-1).Draw(rt, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
		require.NoError(rt, s.Update(context.Background(), func(_ context.Context, tx store.Tx) error { return tx.Put(it.Key, it.Value) }))
		_, err := l.Verify(context.Background(), nil)
		var b *Broken
		if !errors.As(err, &b) {
			rt.Fatalf("a flipped bit under %q was not seen: %v", it.Key, err)
		}
	})
	testenv.Figure(t, "bits flipped in the audit chain", n, 0)
}

// Many writers and many processes of one writer at once: the chains stay whole.
func TestConcurrentRecords(t *testing.T) {
	s := memstore.New()
	done := make(chan error)
	for _, w := range []string{"a", "a", "b", "b"} {
		l := newLog(s, w, nil)
		go func() {
			for i := range 50 {
				if err := s.Update(context.Background(), func(ctx context.Context, tx store.Tx) error {
					return l.Record(ctx, tx, Entry{Tenant: "t", Action: "a"})
				}); err != nil {
					done <- err
					return
				}
				if i%10 == 0 {
					if err := l.Checkpoint(context.Background()); err != nil {
						done <- err
						return
					}
				}
			}
			done <- nil
		}()
	}
	for range 4 {
		require.NoError(t, <-done)
	}
	rep, err := newLog(s, "a", nil).Verify(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, 2, rep.Chains)
	require.Equal(t, 200, rep.Entries)
}

// Every field of every checkpoint is under its signature, also against who puts the head in order afterwards.
func TestEveryFieldOfACheckpointIsSigned(t *testing.T) {
	for name, f := range map[string]func(*Checkpoint){
		"tenant": func(c *Checkpoint) { c.Tenant = "u" }, "writer": func(c *Checkpoint) { c.Writer = "v" }, "seq": func(c *Checkpoint) { c.Seq++ },
		"time": func(c *Checkpoint) { c.Time = c.Time.Add(1) }, "from": func(c *Checkpoint) { c.From++ }, "segment": func(c *Checkpoint) { c.Segment++ },
		"count": func(c *Checkpoint) { c.Count-- }, "hash": func(c *Checkpoint) { c.Hash[3]++ }, "prev": func(c *Checkpoint) { c.Prev[3]++ }, "signature": func(c *Checkpoint) { c.Signature[3]++ },
	} {
		for _, seq := range []uint64{2, 4} {
			b := tampered(t, func(ctx context.Context, tx store.Tx, l *Log) error {
				cp, err := l.t.checkpoints.Get(ctx, tx, checkpoints(chain).Uint(seq))
				if err != nil {
					return err
				}
				f(&cp)
				h, err := l.t.heads.Get(ctx, tx, headKey(chain))
				if err != nil {
					return err
				}
				if seq == h.Seq {
					h.Signed = cp.sum()
				}
				return errors.Join(l.t.heads.Put(tx, headKey(chain), h), l.t.checkpoints.Put(tx, checkpoints(chain).Uint(seq), cp))
			}, nil)
			require.NotNil(t, b, "%s of checkpoint %d", name, seq)
			if name != "seq" { // that one cannot even be found
				require.Contains(t, b.Reason, "its signature does not hold", name)
			}
		}
	}
}

// Without signatures the links still show accidents.
func TestCheckpointsAreLinkedWithoutSignaturesToo(t *testing.T) {
	l := newLog(memstore.New(), "w", func(c *Config) { c.Signer, c.Verifier = nil, nil })
	for range 3 {
		write(t, l, "t", 2)
		require.NoError(t, l.Checkpoint(t.Context()))
	}
	_, err := l.Verify(t.Context(), nil)
	require.NoError(t, err)
	require.NoError(t, l.cfg.Store.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
		cp, err := l.t.checkpoints.Get(ctx, tx, checkpoints(chain).Uint(2))
		cp.Time = cp.Time.Add(1)
		return errors.Join(err, l.t.checkpoints.Put(tx, checkpoints(chain).Uint(2), cp))
	}))
	_, err = l.Verify(t.Context(), nil)
	require.ErrorContains(t, err, "checkpoint 3: it does not follow from the one before")
}

// Two processes of one name sign at the same moment: one of them looks again, and no checkpoint is lost.
func TestTwoSignersOfOneChain(t *testing.T) {
	base := memstore.New()
	other := newLog(base, "w", nil)
	l := newLog(base, "w", func(c *Config) {
		once := false
		c.Signer = func(msg []byte) ([]byte, error) { // called between looking and writing
			if !once {
				once = true
				require.NoError(t, other.Checkpoint(context.Background()))
				write(t, other, "t", 1)
				require.NoError(t, other.Checkpoint(context.Background()))
				write(t, other, "t", 1)
			}
			return sign(msg)
		}
	})
	write(t, l, "t", 3)
	require.NoError(t, l.Checkpoint(t.Context()))
	rep, err := l.Verify(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, Report{Chains: 1, Entries: 5, Checkpoints: 3}, rep)
}

// Chains are found among whatever else lies in the store, of this library or of the host.
func TestChainsAreFoundAmongOtherKeys(t *testing.T) {
	s := memstore.New()
	require.NoError(t, s.Update(t.Context(), func(_ context.Context, tx store.Tx) error {
		for _, k := range [][]byte{{1}, {2}, {2, 'x'}, {2, 'x', 0}, {2, 0, 1, 9}, {3}, []byte("host/key"), key.New("").Str("node"), key.New("a"), key.New("z").Uint(1), {0xff}} {
			if err := tx.Put(k, nil); err != nil {
				return err
			}
		}
		return nil
	}))
	var want []chainID
	for _, tenant := range []string{"a", "b\x00", "x", "\xff\xff"} {
		for _, w := range []string{"u", "v\x00w"} {
			write(t, newLog(s, w, nil), tenant, 2)
			want = append(want, chainID{tenant, w})
		}
	}
	got, err := newLog(s, "u", nil).chains(t.Context(), "")
	require.NoError(t, err)
	require.Equal(t, want, got)
	got, err = newLog(s, "u", nil).chains(t.Context(), "x")
	require.NoError(t, err)
	require.Equal(t, want[4:6], got)
}

// The limit is the same transaction writing a plain record of the same size.
func BenchmarkRecord(b *testing.B) {
	l := newLog(memstore.New(), "w", func(c *Config) { c.Segment = 1 << 30 })
	ctx := as("t", "alice")
	e := Entry{Action: "ssm:SendCommand", Resource: "document/AWS-RunShellScript", IDs: map[string]string{"command": "0b5a3f0e-5a5e-4c53-9d0e-111111111111"}}
	run := func(f func(ctx context.Context, tx store.Tx, i int) error) time.Duration {
		start := time.Now()
		for i := range b.N {
			require.NoError(b, l.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error { return f(ctx, tx, i) }))
		}
		return time.Since(start)
	}
	plain := run(func(_ context.Context, tx store.Tx, i int) error {
		return l.t.entries.Put(tx, key.New("t").Str("plain").Uint(uint64(i)), e)
	})
	audited := run(func(ctx context.Context, tx store.Tx, _ int) error { return l.Record(ctx, tx, e) })
	b.ReportMetric(float64(audited)/float64(plain), "ratio")
}
