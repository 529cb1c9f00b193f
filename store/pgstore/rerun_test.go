package pgstore_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/store"
)

var keys = rapid.StringMatching(`[abc][abc\x00]?`)

func ranges(t *rapid.T) store.Range {
	bound := func(name string) []byte {
		if k := rapid.StringMatching(`[abc]{0,2}`).Draw(t, name); k != "" {
			return []byte(k)
		}
		return nil
	}
	return store.Range{Start: bound("start"), End: bound("end"), Limit: rapid.IntRange(0, 3).Draw(t, "limit"), Reverse: rapid.Bool().Draw(t, "reverse")}
}

// scanned is what a scan of the model gives.
func scanned(m map[string]string, r store.Range) []string {
	all := slices.Sorted(maps.Keys(m))
	if r.Reverse {
		slices.Reverse(all)
	}
	out := []string{}
	for _, k := range all {
		if k >= string(r.Start) && (r.End == nil || k < string(r.End)) && (r.Limit == 0 || len(out) < r.Limit) {
			out = append(out, k+"="+m[k])
		}
	}
	return out
}

type change struct{ key, val string } // an empty value deletes

func changes(t *rapid.T, name, val string, most int) (out []change) {
	for i := range rapid.IntRange(0, most).Draw(t, name) {
		c := change{keys.Draw(t, name), fmt.Sprint(val, i)}
		if rapid.Bool().Draw(t, "delete") {
			c.val = ""
		}
		out = append(out, c)
	}
	return out
}

func apply(m map[string]string, cs []change) {
	for _, c := range cs {
		if c.val == "" {
			delete(m, c.key)
		} else {
			m[c.key] = c.val
		}
	}
}

func write(tx store.Tx, cs []change) error {
	for _, c := range cs {
		var err error
		if c.val == "" {
			err = tx.Delete([]byte(c.key))
		} else {
			err = tx.Put([]byte(c.key), []byte(c.val))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// TestEachRunSeesOneStateWhenTheStoreChangesBetweenThem lets another plane commit during the first run of a function, so that what was learnt is wrong, and
// compares everything that both runs read with a model: the first with the state before, the second with the state after.
func TestEachRunSeesOneStateWhenTheStoreChangesBetweenThem(t *testing.T) {
	name := fresh()
	mine, theirs := openOn(t, pool(t), name, nil), openOn(t, pool(t), name, nil)
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		before := map[string]string{}
		var initial []change // drawn here: a function may run many times
		for _, k := range rapid.SliceOfDistinct(keys, rapid.ID[string]).Draw(t, "there before") {
			initial = append(initial, change{k, "old"})
		}
		apply(before, initial)
		require.NoError(t, theirs.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			for it, err := range tx.Scan(ctx, store.Range{}) {
				if err != nil {
					return err
				}
				if err := tx.Delete(append([]byte(nil), it.Key...)); err != nil {
					return err
				}
			}
			return write(tx, initial)
		}))
		between := append(changes(t, "between", "new", 6), change{"a", "new"})
		after := maps.Clone(before)
		apply(after, between)
		type op struct {
			kind   string
			keys   []string
			rng    store.Range
			writes []change
		}
		var ops []op
		for range rapid.IntRange(1, 6).Draw(t, "operations") {
			ops = append(ops, op{rapid.SampledFrom([]string{"get", "many", "scan", "scan", "write"}).Draw(t, "operation"),
				rapid.SliceOfN(keys, 1, 3).Draw(t, "keys"), ranges(t), changes(t, "own", "own", 2)})
		}
		runs := 0
		var final map[string]string
		require.NoError(t, mine.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			runs++
			state := maps.Clone(after)
			if runs == 1 {
				state = maps.Clone(before)
			}
			_, err := tx.GetMany(ctx, [][]byte{[]byte("a")}) // takes the snapshot
			require.NoError(t, err)
			if runs == 1 {
				require.NoError(t, theirs.Update(context.Background(), func(ctx context.Context, tx store.Tx) error { return write(tx, between) }))
			}
			for i, o := range ops {
				what := fmt.Sprintf("run %d, operation %d: %+v", runs, i, o)
				switch o.kind {
				case "get":
					v, err := tx.Get(ctx, []byte(o.keys[0]))
					if want, ok := state[o.keys[0]]; ok {
						require.NoError(t, err, what)
						require.Equal(t, want, string(v), what)
					} else {
						require.ErrorIs(t, err, store.ErrNotFound, what)
					}
				case "many":
					var ks [][]byte
					for _, k := range o.keys {
						ks = append(ks, []byte(k))
					}
					vs, err := tx.GetMany(ctx, ks)
					require.NoError(t, err, what)
					for j, k := range o.keys {
						want, ok := state[k]
						require.Equal(t, ok, vs[j] != nil, what)
						require.Equal(t, want, string(vs[j]), what)
					}
				case "scan":
					got := []string{}
					for it, err := range tx.Scan(ctx, o.rng) {
						require.NoError(t, err, what)
						got = append(got, string(it.Key)+"="+string(it.Value))
					}
					require.Equal(t, scanned(state, o.rng), got, what)
				case "write":
					require.NoError(t, write(tx, o.writes))
					apply(state, o.writes)
				}
			}
			final = state
			final["end"] = "x"
			return tx.Put([]byte("end"), []byte("x"))
		}))
		require.Equal(t, 2, runs)
		require.NoError(t, theirs.View(ctx, func(ctx context.Context, r store.Reader) error {
			got := []string{}
			for it, err := range r.Scan(ctx, store.Range{}) {
				require.NoError(t, err)
				got = append(got, string(it.Key)+"="+string(it.Value))
			}
			require.Equal(t, scanned(final, store.Range{}), got)
			return nil
		}))
	})
}
