package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/store"
)

// Model runs random transactions on one store of the factory and on a sorted map, and compares every answer; rapid shrinks what differs. The number
// of runs is rapid's (-rapid.checks). The store is emptied before each.
func Model(t *testing.T, factory func(t *testing.T) store.Store) {
	model(t, factory(t))
}

func model(t rapid.TB, s store.Store) {
	rapid.Check(t, func(t *rapid.T) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		m := &modelRun{T: t, s: s, state: map[string]string{}}
		m.ok(empty(ctx, s), "emptying the store")
		for range rapid.IntRange(1, 12).Draw(t, "transactions") {
			m.transaction(ctx)
		}
		m.ok(s.View(ctx, func(ctx context.Context, r store.Reader) error {
			m.equal(m.scan(ctx, r, store.Range{}), want(m.state, store.Range{}), "the whole store at the end")
			return nil
		}), "View")
	})
}

// empty deletes everything in pieces that keep the limits.
func empty(ctx context.Context, s store.Store) error {
	for {
		n := 0
		err := update(ctx, s, func(ctx context.Context, tx store.Tx) error {
			n = 0
			for it, err := range tx.Scan(ctx, store.Range{Limit: 1000}) {
				if err != nil {
					return err
				}
				if err := tx.Delete(clone(it.Key)); err != nil {
					return err
				}
				n++
			}
			return nil
		})
		if err != nil || n == 0 {
			return err
		}
	}
}

type modelRun struct {
	*rapid.T
	s     store.Store
	state map[string]string
}

func (m *modelRun) ok(err error, what string) {
	if err != nil {
		m.Fatalf("%s: %v", what, err)
	}
}

func (m *modelRun) equal(got, want any, what string) {
	if g, w := fmt.Sprintf("%q", got), fmt.Sprintf("%q", want); g != w {
		m.Fatalf("%s: got %s, the model has %s", what, g, w)
	}
}

var modelKeys = rapid.Custom(func(t *rapid.T) string {
	alphabet := []string{"a", "b", "a\x00", "\x00", "\xff", "ab", "ab/", "ab0"}
	k := rapid.SampledFrom(alphabet).Draw(t, "head")
	if rapid.Bool().Draw(t, "longer") {
		k += rapid.SampledFrom(alphabet).Draw(t, "tail")
	}
	return k
})

var errAbort = errors.New("the function aborts")

// transaction draws what to do before it runs, since a function may run many times.
func (m *modelRun) transaction(ctx context.Context) {
	type op struct {
		kind string
		keys []string
		val  string
		rng  store.Range
	}
	update := rapid.IntRange(0, 3).Draw(m.T, "view or update") > 0
	kinds := []string{"get", "getmany", "scan"}
	if update {
		kinds = []string{"put", "put", "put", "delete", "get", "getmany", "scan", "run"}
	}
	var ops []op
	for range rapid.IntRange(0, 10).Draw(m.T, "operations") {
		o := op{kind: rapid.SampledFrom(kinds).Draw(m.T, "operation"), keys: []string{modelKeys.Draw(m.T, "key")}}
		switch o.kind {
		case "put", "run":
			o.val = rapid.StringN(0, 5, -1).Draw(m.T, "value")
		case "getmany":
			o.keys = rapid.SliceOfN(modelKeys, 0, 5).Draw(m.T, "keys")
		case "scan":
			bound := func(name string) []byte {
				if rapid.Bool().Draw(m.T, name+" open") {
					return nil
				}
				return []byte(modelKeys.Draw(m.T, name))
			}
			o.rng = store.Range{Start: bound("start"), End: bound("end"), Limit: rapid.IntRange(0, 4).Draw(m.T, "limit"), Reverse: rapid.Bool().Draw(m.T, "reverse")}
		}
		ops = append(ops, o)
	}
	how := "commit"
	if update {
		how = rapid.SampledFrom([]string{"commit", "commit", "commit", "error", "panic"}).Draw(m.T, "end")
	}
	var after map[string]string
	run := func(ctx context.Context, r store.Reader) error {
		tx, _ := r.(store.Tx)
		after = map[string]string{}
		for k, v := range m.state {
			after[k] = v
		}
		for _, o := range ops {
			switch o.kind {
			case "put":
				m.ok(tx.Put([]byte(o.keys[0]), []byte(o.val)), "Put")
				after[o.keys[0]] = o.val
			case "run": // many neighbours
				for i := range 40 {
					k := fmt.Sprintf("%s%02d", o.keys[0], i)
					m.ok(tx.Put([]byte(k), []byte(o.val)), "Put")
					after[k] = o.val
				}
			case "delete":
				m.ok(tx.Delete([]byte(o.keys[0])), "Delete")
				delete(after, o.keys[0])
			case "get":
				v, err := get(ctx, r, o.keys[0])
				m.ok(err, "Get")
				m.equal(v, value(after, o.keys[0]), "Get")
			case "getmany":
				var keys [][]byte
				var w []string
				for _, k := range o.keys {
					keys, w = append(keys, []byte(k)), append(w, value(after, k))
				}
				vs, err := r.GetMany(ctx, keys)
				m.ok(err, "GetMany")
				var got []string
				for _, v := range vs {
					if v == nil {
						got = append(got, "-")
					} else {
						got = append(got, string(v))
					}
				}
				m.equal(got, w, "GetMany")
			case "scan":
				m.equal(m.scan(ctx, r, o.rng), want(after, o.rng), fmt.Sprintf("Scan of %+v", o.rng))
			}
		}
		switch how {
		case "error":
			return errAbort
		case "panic":
			panic(errAbort)
		}
		return nil
	}
	var err error
	switch p := catch(func() {
		if !update {
			err = m.s.View(ctx, func(ctx context.Context, r store.Reader) error { return run(ctx, r) })
			return
		}
		err = m.s.Update(ctx, func(ctx context.Context, tx store.Tx) error { return run(ctx, tx) })
	}); {
	case p != nil && p != errAbort:
		panic(p)
	case p == errAbort && how == "panic", errors.Is(err, errAbort), errors.Is(err, store.ErrConflict):
	case how != "commit":
		m.Fatalf("the function ended by %s, but the transaction returned %v", how, err)
	default:
		m.ok(err, "transaction")
		if update {
			m.state = after
		}
	}
}

func value(state map[string]string, key string) string {
	if v, ok := state[key]; ok {
		return v
	}
	return "-"
}

func (m *modelRun) scan(ctx context.Context, r store.Reader, rng store.Range) []string {
	out, err := scan(ctx, r, rng)
	m.ok(err, "Scan")
	return out
}

// want is what a scan of the model gives.
func want(state map[string]string, rng store.Range) []string {
	keys := []string{}
	for k := range state {
		if k >= string(rng.Start) && (rng.End == nil || k < string(rng.End)) {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b string) int {
		if rng.Reverse {
			return strings.Compare(b, a)
		}
		return strings.Compare(a, b)
	})
	if rng.Limit > 0 && rng.Limit < len(keys) {
		keys = keys[:rng.Limit]
	}
	for i, k := range keys {
		keys[i] = k + "=" + state[k]
	}
	return keys
}

// Durable checks a driver that persists. Every call of reopen closes the store that it returned before, if there is one, and opens the same data again.
func Durable(t *testing.T, reopen func(t *testing.T) store.Store) {
	durable(t, func() store.Store { return reopen(t) })
}

func durable(t T, reopen func() store.Store) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s := reopen()
	state := map[string]string{}
	for round := range 4 {
		k := &c{T: t, s: s, ctx: ctx}
		for i := range 30 {
			key := fmt.Sprintf("d/%02d", (i*7+round)%40)
			switch i % 5 {
			case 0:
				k.ok(k.update(func(ctx context.Context, tx store.Tx) error { return tx.Delete([]byte(key)) }), "Update")
				delete(state, key)
			case 1:
				_ = k.update(func(ctx context.Context, tx store.Tx) error { return errors.Join(tx.Put([]byte(key), nil), errAbort) })
			default:
				v := strings.Repeat("v", i*round)
				k.fill(key, v)
				state[key] = v
			}
		}
		failed := make(chan error, 16)
		for w := range cap(failed) { // a group
			go func() {
				failed <- update(ctx, s, func(ctx context.Context, tx store.Tx) error {
					return tx.Put(fmt.Appendf(nil, "group/%d/%d", round, w), []byte("x"))
				})
			}()
			state[fmt.Sprintf("group/%d/%d", round, w)] = "x"
		}
		for range cap(failed) {
			k.ok(<-failed, "Update")
		}
		before := s
		s = reopen()
		k = &c{T: t, s: s, ctx: ctx}
		k.view(func(ctx context.Context, r store.Reader) error {
			got, err := scan(ctx, r, store.Range{})
			k.equal(got, want(state, store.Range{}), "all that was acknowledged, after the store was opened again (S-DURABLE)")
			return err
		})
		short, stop := context.WithTimeout(ctx, 10*time.Second)
		k.is(before.View(short, func(context.Context, store.Reader) error { return nil }), store.ErrClosed, "View of a store that its owner closed")
		k.is(before.Update(short, func(context.Context, store.Tx) error { return nil }), store.ErrClosed, "Update of a store that its owner closed")
		stop()
	}
}
