package feed_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/feed"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/memstore"
)

var when = time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)

func topic(name string) key.K { return key.New("t").Str("test").Str(name) }

func events(n int) []feed.Event {
	out := make([]feed.Event, n)
	for i := range out {
		out[i] = feed.Event{Time: when, Kind: "K", Data: json.RawMessage(fmt.Sprintf(`{"i":%d}`, i))}
	}
	return out
}

func appendTo(t require.TestingT, s store.Store, f *feed.Feed, name string, es ...feed.Event) (last uint64) {
	require.NoError(t, s.Update(context.Background(), func(ctx context.Context, tx store.Tx) (err error) {
		last, err = f.Append(ctx, tx, topic(name), es...)
		return err
	}))
	return last
}

func read(t require.TestingT, s store.Store, f *feed.Feed, name string, after uint64, limit int) (out []feed.Event, err error) {
	err = s.View(context.Background(), func(ctx context.Context, r store.Reader) (err error) {
		out, err = f.Read(ctx, r, topic(name), after, limit)
		return err
	})
	return out, err
}

func TestEventsCommitWithTheirCause(t *testing.T) {
	s, f := memstore.New(), feed.New(nil)
	err := s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
		_, err := f.Append(ctx, tx, topic("a"), events(3)...)
		require.NoError(t, err)
		return context.Canceled
	})
	require.ErrorIs(t, err, context.Canceled)
	got, err := read(t, s, f, "a", 0, 10)
	require.NoError(t, err)
	require.Empty(t, got)

	require.EqualValues(t, 3, appendTo(t, s, f, "a", events(3)...))
	require.EqualValues(t, 2, appendTo(t, s, f, "b", events(2)...), "topics number their own")
	require.EqualValues(t, 3, appendTo(t, s, f, "a"))
	got, err = read(t, s, f, "a", 1, 10)
	require.NoError(t, err)
	want := events(3)[1:]
	want[0].Seq, want[1].Seq = 2, 3
	require.Empty(t, cmp.Diff(want, got))
}

func TestAppendRefuses(t *testing.T) {
	s, f := memstore.New(), feed.New(nil)
	for name, e := range map[string]feed.Event{
		"no kind":       {},
		"a long kind":   {Kind: strings.Repeat("k", feed.MaxKind+1)},
		"too much data": {Kind: "K", Data: append(append([]byte{'"'}, bytes.Repeat([]byte("x"), feed.MaxData)...), '"')},
		"no JSON":       {Kind: "K", Data: json.RawMessage("{")},
	} {
		err := s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
			_, err := f.Append(ctx, tx, topic("a"), e)
			return err
		})
		require.Equal(t, fault.Validation, fault.CodeOf(err), name)
	}
	big := feed.Event{Kind: strings.Repeat("k", feed.MaxKind), Data: append(append([]byte{'"'}, bytes.Repeat([]byte("x"), feed.MaxData-2)...), '"')}
	require.EqualValues(t, 10, appendTo(t, s, f, "a", big, big, big, big, big, big, big, big, big, big), "many large ones go into several records")
	got, err := read(t, s, f, "a", 4, 3)
	require.NoError(t, err)
	require.Len(t, got, 3)
	require.EqualValues(t, 5, got[0].Seq)
}

// Appends of any size, trims and reads from any cursor: what is read is exactly what was written after the cursor, in order, unless it was
// trimmed, and then ErrTrimmed says so.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, f := memstore.New(), feed.New(nil)
		var model []feed.Event // all ever written
		kept := uint64(1)      // oldest number that may not be gone
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				es := events(rapid.SampledFrom([]int{1, 2, 3, 4, 5, 600}).Draw(t, "n"))
				last := appendTo(t, s, f, "a", es...)
				for _, e := range es {
					e.Seq = uint64(len(model) + 1)
					model = append(model, e)
				}
				require.EqualValues(t, len(model), last)
			},
			"read": func(t *rapid.T) {
				after := uint64(rapid.IntRange(0, len(model)+2).Draw(t, "after"))
				limit := rapid.SampledFrom([]int{1, 2, 700, 5000}).Draw(t, "limit")
				got, err := read(t, s, f, "a", after, limit)
				if after > 0 && after+1 < kept && err != nil {
					require.ErrorIs(t, err, feed.ErrTrimmed)
					return
				}
				require.NoError(t, err)
				if len(got) == 0 {
					require.GreaterOrEqual(t, max(after, kept-1), uint64(len(model)))
					return
				}
				first := got[0].Seq
				if after > 0 {
					require.Equal(t, after+1, first)
				} else {
					require.LessOrEqual(t, first, kept)
				}
				want := model[first-1:]
				require.True(t, slices.EqualFunc(want[:min(limit, len(want))], got, func(a, b feed.Event) bool {
					return a.Seq == b.Seq && a.Time.Equal(b.Time) && a.Kind == b.Kind && bytes.Equal(a.Data, b.Data)
				}))
			},
			"trim": func(t *rapid.T) {
				through := uint64(rapid.IntRange(0, len(model)+5).Draw(t, "through"))
				require.NoError(t, s.Update(context.Background(), func(ctx context.Context, tx store.Tx) error {
					_, err := f.Trim(ctx, tx, topic("a"), through, rapid.IntRange(1, 5).Draw(t, "limit"))
					return err
				}))
				kept = max(kept, min(through, uint64(len(model)))+1)
			},
		})
	})
}

func TestDeleteLeavesNothing(t *testing.T) {
	s, f := memstore.New(), feed.New(nil)
	for range 5 {
		appendTo(t, s, f, "a", events(2)...)
	}
	rounds := 0
	for more := true; more; rounds++ {
		require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx store.Tx) (err error) {
			more, err = f.Delete(ctx, tx, topic("a"), 2)
			return err
		}))
	}
	require.Equal(t, 3, rounds)
	require.NoError(t, s.View(t.Context(), func(ctx context.Context, r store.Reader) error {
		for it := range r.Scan(ctx, store.Range{}) {
			t.Errorf("left: %q", it.Key)
		}
		return nil
	}))
}

func TestSubscribeFollows(t *testing.T) {
	for name, wrap := range map[string]func(store.Store) store.Store{
		"a store that can watch": func(s store.Store) store.Store { return s },
		"a store that is polled": func(s store.Store) store.Store { return struct{ store.Store }{s} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				s, f := wrap(memstore.New()), feed.New(nil)
				appendTo(t, s, f, "a", events(1500)...)
				done := make(chan []uint64)
				go func() {
					var got []uint64
					for e, err := range f.Subscribe(ctx, s, topic("a"), 5) {
						if err != nil {
							require.ErrorIs(t, err, context.Canceled)
							continue
						}
						got = append(got, e.Seq)
						if e.Seq == 1600 {
							cancel()
						}
					}
					done <- got
				}()
				for range 10 {
					time.Sleep(time.Minute)
					appendTo(t, s, f, "other", events(1)...)
					appendTo(t, s, f, "a", events(10)...)
				}
				got := <-done
				require.Len(t, got, 1595)
				for i, seq := range got {
					require.EqualValues(t, i+6, seq)
				}
			})
		})
	}
}

func TestSubscribeEndsEarlyAndTellsOfTrimming(t *testing.T) {
	s, f := memstore.New(), feed.New(nil)
	for range 10 {
		appendTo(t, s, f, "a", events(1)...)
	}
	for e, err := range f.Subscribe(t.Context(), s, topic("a"), 0) {
		require.NoError(t, err)
		require.EqualValues(t, 1, e.Seq)
		break
	}
	require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
		_, err := f.Trim(ctx, tx, topic("a"), 6, 100)
		return err
	}))
	for _, err := range f.Subscribe(t.Context(), s, topic("a"), 3) {
		require.ErrorIs(t, err, feed.ErrTrimmed)
	}
	for _, after := range []uint64{0, 6} { // who has seen the last one that is gone misses nothing
		for e, err := range f.Subscribe(t.Context(), s, topic("a"), after) {
			require.NoError(t, err)
			require.EqualValues(t, 7, e.Seq)
			break
		}
	}
	require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
		more, err := f.Trim(ctx, tx, topic("a"), ^uint64(0), 100)
		require.False(t, more)
		return err
	}))
	got, err := read(t, s, f, "a", 0, 10)
	require.NoError(t, err)
	require.Empty(t, got)
	require.EqualValues(t, 11, appendTo(t, s, f, "a", events(1)...), "numbers go on")
}

// The limit is writing the same bytes as plain records, one an event, 1,000 a transaction.
func BenchmarkAppend(b *testing.B) {
	f, es := feed.New(nil), events(1000)
	var plain, fed time.Duration
	for n := 0; b.Loop(); n++ {
		s := memstore.New()
		start := time.Now()
		require.NoError(b, s.Update(b.Context(), func(_ context.Context, tx store.Tx) error {
			for i, e := range es {
				v, err := json.Marshal(e)
				if err != nil {
					return err
				}
				if err := tx.Put(topic("p").Uint(uint64(i)), v); err != nil {
					return err
				}
			}
			return nil
		}))
		plain += time.Since(start)
		start = time.Now()
		appendTo(b, s, f, "a", es...)
		fed += time.Since(start)
	}
	b.ReportMetric(float64(fed)/float64(plain), "ratio")
}
