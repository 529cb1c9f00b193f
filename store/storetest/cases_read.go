package storetest

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/fleetwright/fleetwright/store"
)

var readCases = []Case{
	{Rule: "S-ORDER", Name: "bytewise in both directions", check: orderBytewise},
	{Rule: "S-ORDER", Name: "bounds and limit", check: orderBounds},
	{Rule: "S-ORDER", Name: "a thousand keys written in any order", check: orderMany},
	{Rule: "S-OWN", Name: "get and getmany", check: ownGet},
	{Rule: "S-OWN", Name: "scan", check: ownScan},
	{Rule: "S-MISSING", Name: "missing and empty", check: missing},
	{Rule: "S-MANY", Name: "order gaps and repeats", check: many},
	{Rule: "S-BREAK", Name: "early break gives everything back", check: earlyBreak},
	{Rule: "S-NEST-SCAN", Name: "scan in scan and interleaved", check: nestScan},
	{Rule: "S-NEST-SCAN", Name: "reads and writes within the loop", check: writeInScan},
	{Rule: "S-ALIAS", Name: "arguments are not kept", check: aliasArguments},
	{Rule: "S-ALIAS", Name: "results hold until the function returns", check: aliasResults},
	{Rule: "S-SNAPSHOT", Name: "no dirty read", check: dirtyRead},
	{Rule: "S-SNAPSHOT", Name: "one state beside updates", check: snapshot},
	{Rule: "S-FRESH", Name: "a view sees what returned before it", check: fresh},
	{Rule: "S-ERROR", Name: "the function's error comes back unchanged", check: errorUnchanged},
}

func orderBytewise(c *c) {
	keys := []string{"\x00", "\x00\x00", "\x00\xff", "A", "a", "a\x00", "a\x00b", "a\xff", "aa", "b", "\x7f", "\x80", "é", "\xff", "\xff\x00", "\xff\xff"}
	kv := []string{}
	for _, k := range keys {
		kv = append(kv, k, "v"+k)
	}
	c.fill(kv...)
	slices.Sort(keys)
	both := func(ctx context.Context, r store.Reader, where string) error {
		for _, reverse := range []bool{false, true} {
			got, err := scan(ctx, r, store.Range{Reverse: reverse})
			if err != nil {
				return err
			}
			want := []string{}
			for _, k := range keys {
				want = append(want, k+"=v"+k)
			}
			if reverse {
				slices.Reverse(want)
			}
			c.equal(got, want, fmt.Sprintf("scan of all in %s, reverse %v", where, reverse))
		}
		return nil
	}
	c.view(func(ctx context.Context, r store.Reader) error { return both(ctx, r, "a View") })
	c.ok(c.update(func(ctx context.Context, tx store.Tx) error { return both(ctx, tx, "an Update") }), "Update")
}

func orderBounds(c *c) {
	var kv []string
	for i := range 20 {
		kv = append(kv, fmt.Sprintf("k%02d", i), fmt.Sprint(i))
	}
	c.fill(kv...)
	b := func(s string) []byte {
		if s == "nil" {
			return nil
		}
		return []byte(s)
	}
	for _, k := range []struct {
		start, end string
		limit      int
		want       []int
	}{
		{"k05", "k08", 0, []int{5, 6, 7}},
		{"k05", "k08", 2, []int{5, 6}},
		{"k05", "k08", 9, []int{5, 6, 7}},
		{"k05a", "k08a", 0, []int{6, 7, 8}},
		{"nil", "k03", 0, []int{0, 1, 2}},
		{"", "k03", 0, []int{0, 1, 2}},
		{"k17", "nil", 0, []int{17, 18, 19}},
		{"nil", "nil", 1, []int{0}},
		{"k05", "k05", 0, nil},
		{"k08", "k05", 0, nil},
		{"k20", "nil", 0, nil},
		{"nil", "a", 0, nil},
		{"z", "zz", 5, nil},
		{"k00", "k20", 20, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19}},
	} {
		for _, reverse := range []bool{false, true} {
			rng := store.Range{Start: b(k.start), End: b(k.end), Reverse: reverse, Limit: k.limit}
			all := rng
			all.Limit = 0
			want := []string{}
			for i := range 20 {
				key := fmt.Sprintf("k%02d", i)
				if key >= string(all.Start) && (all.End == nil || key < string(all.End)) {
					want = append(want, fmt.Sprintf("%s=%d", key, i))
				}
			}
			if reverse {
				slices.Reverse(want)
			}
			if k.limit > 0 && k.limit < len(want) {
				want = want[:k.limit]
			}
			if !reverse && len(want) != len(k.want) {
				c.fatal("the suite is wrong about %v", k)
			}
			c.view(func(ctx context.Context, r store.Reader) error {
				got, err := scan(ctx, r, rng)
				c.equal(got, want, fmt.Sprintf("scan from %q to %q, limit %d, reverse %v", k.start, k.end, k.limit, reverse))
				return err
			})
		}
	}
}

func orderMany(c *c) {
	const n = 1000
	for part := range 4 {
		var kv []string
		for i := part; i < n; i += 4 {
			kv = append(kv, fmt.Sprintf("%04d", (i*577)%n), "x")
		}
		c.fill(kv...)
	}
	for _, reverse := range []bool{false, true} {
		c.view(func(ctx context.Context, r store.Reader) error {
			got, err := scan(ctx, r, store.Range{Reverse: reverse})
			c.equal(len(got), n, "number of items")
			if reverse {
				slices.Reverse(got)
			}
			if !slices.IsSorted(got) {
				c.fatal("a scan of %d items, reverse %v, is not in bytewise order", n, reverse)
			}
			return err
		})
	}
}

func ownGet(c *c) {
	c.fill("old", "1", "gone", "1", "changed", "1")
	c.ok(c.update(func(ctx context.Context, tx store.Tx) error {
		put := func(k, v string) { c.ok(tx.Put([]byte(k), []byte(v)), "Put") }
		put("new", "2")
		put("changed", "2")
		put("changed", "3")
		c.ok(tx.Delete([]byte("gone")), "Delete")
		c.ok(tx.Delete([]byte("never")), "Delete of a missing key")
		put("twice", "1")
		c.ok(tx.Delete([]byte("twice")), "Delete")
		put("back", "1")
		c.ok(tx.Delete([]byte("back")), "Delete")
		put("back", "2")
		for k, want := range map[string]string{"old": "1", "new": "2", "changed": "3", "gone": "-", "never": "-", "twice": "-", "back": "2"} {
			got, err := get(ctx, tx, k)
			c.ok(err, "Get")
			c.equal(got, want, "Get of "+k+" after the same transaction's writes")
			vs, err := tx.GetMany(ctx, [][]byte{[]byte(k)})
			c.ok(err, "GetMany")
			if vs[0] == nil {
				got = "-"
			} else {
				got = string(vs[0])
			}
			c.equal(got, want, "GetMany of "+k+" after the same transaction's writes")
		}
		return nil
	}), "Update")
}

func ownScan(c *c) {
	c.fill("a1", "1", "a3", "1", "a5", "1", "a7", "1")
	c.ok(c.update(func(ctx context.Context, tx store.Tx) error {
		for _, k := range []string{"a0", "a2", "a4", "a8"} {
			c.ok(tx.Put([]byte(k), []byte("2")), "Put")
		}
		c.ok(tx.Put([]byte("a5"), []byte("2")), "Put")
		c.ok(tx.Delete([]byte("a3")), "Delete")
		c.ok(tx.Delete([]byte("a8")), "Delete")
		want := []string{"a0=2", "a1=1", "a2=2", "a4=2", "a5=2", "a7=1"}
		for _, limit := range []int{0, 1, 3, 6, 7} {
			for _, reverse := range []bool{false, true} {
				rng := prefix("a")
				rng.Limit, rng.Reverse = limit, reverse
				got, err := scan(ctx, tx, rng)
				c.ok(err, "Scan")
				slices.Sort(got)
				w := slices.Clone(want)
				switch {
				case limit == 0 || limit > len(w):
				case reverse:
					w = w[len(w)-limit:]
				default:
					w = w[:limit]
				}
				c.equal(got, w, fmt.Sprintf("items of a scan after the same transaction's writes, limit %d, reverse %v", limit, reverse))
			}
		}
		return nil
	}), "Update")
}

func missing(c *c) {
	c.fill("empty", "", "full", "x")
	check := func(ctx context.Context, r store.Reader) error {
		v, err := r.Get(ctx, []byte("none"))
		c.is(err, store.ErrNotFound, "Get of a missing key")
		c.equal(v, []byte(nil), "value of a missing key")
		v, err = r.Get(ctx, []byte("empty"))
		c.ok(err, "Get of an empty value")
		if v == nil || len(v) != 0 {
			c.fatal("Get of an empty value gave %#v, want an empty, non-nil slice", v)
		}
		_, err = r.Get(ctx, []byte("empt"))
		c.is(err, store.ErrNotFound, "Get of a prefix of a key")
		_, err = r.Get(ctx, nil)
		c.is(err, store.ErrNotFound, "Get of the empty key, which no store holds")
		_, err = r.Get(ctx, bytes.Repeat([]byte("k"), store.MaxKey+1))
		c.is(err, store.ErrNotFound, "Get of a key over the limit, which no store holds")
		return nil
	}
	c.view(check)
	c.ok(c.update(func(ctx context.Context, tx store.Tx) error { return check(ctx, tx) }), "Update")
}

func many(c *c) {
	c.fill("a", "1", "b", "2", "c", "", "d", "4")
	check := func(ctx context.Context, r store.Reader) error {
		keys := [][]byte{[]byte("d"), []byte("x"), []byte("a"), []byte("c"), []byte("a"), []byte("b"), []byte("y")}
		vs, err := r.GetMany(ctx, keys)
		c.ok(err, "GetMany")
		c.equal(vs, []string{"4", "", "1", "", "1", "2", ""}, "values in the order of the keys")
		if vs[1] != nil || vs[6] != nil {
			c.fatal("GetMany gave a non-nil value for a missing key")
		}
		if vs[3] == nil {
			c.fatal("GetMany gave nil for an empty value")
		}
		vs, err = r.GetMany(ctx, nil)
		c.ok(err, "GetMany of nothing")
		c.equal(len(vs), 0, "values of nothing")
		return nil
	}
	c.view(check)
	c.ok(c.update(func(ctx context.Context, tx store.Tx) error { return check(ctx, tx) }), "Update")
	var kv []string
	var keys [][]byte
	for i := range 1000 {
		kv = append(kv, fmt.Sprintf("m%04d", i), fmt.Sprint(i))
		keys = append(keys, fmt.Appendf(nil, "m%04d", (i*389)%1000))
	}
	c.fill(kv...)
	c.view(func(ctx context.Context, r store.Reader) error {
		vs, err := r.GetMany(ctx, keys)
		c.ok(err, "GetMany of a thousand keys")
		for i := range vs {
			c.equal(vs[i], fmt.Sprint((i*389)%1000), "value of a thousand")
		}
		return nil
	})
}

func earlyBreak(c *c) {
	var kv []string
	for i := range 300 {
		kv = append(kv, fmt.Sprintf("%03d", i), "x")
	}
	c.fill(kv...)
	for i := range 300 {
		c.view(func(ctx context.Context, r store.Reader) error {
			n := 0
			for _, err := range r.Scan(ctx, store.Range{Reverse: i%2 == 1}) {
				c.ok(err, fmt.Sprintf("Scan after %d scans that were left early", i))
				if n++; n > i%3 {
					break
				}
			}
			return nil
		})
	}
	c.ok(c.update(func(ctx context.Context, tx store.Tx) error {
		for range 20 {
			for _, err := range tx.Scan(ctx, store.Range{}) {
				c.ok(err, "Scan in an Update")
				break
			}
		}
		return tx.Put([]byte("after"), []byte("x"))
	}), "Update after scans that were left early")
	c.view(func(ctx context.Context, r store.Reader) error {
		got, err := scan(ctx, r, store.Range{})
		c.equal(len(got), 301, "items of a whole scan after scans that were left early")
		return err
	})
}

func nestScan(c *c) {
	c.fill("a1", "", "a2", "", "a3", "", "b1", "", "b2", "", "b3", "")
	c.view(func(ctx context.Context, r store.Reader) error {
		n := 0
		for x, err := range r.Scan(ctx, prefix("a")) {
			c.ok(err, "outer Scan")
			outer := string(x.Key)
			for _, err := range r.Scan(ctx, prefix("b")) {
				c.ok(err, "inner Scan")
				n++
			}
			c.equal(x.Key, outer, "the outer key after an inner scan")
		}
		c.equal(n, 9, "steps of a scan within a scan")
		nextA, stopA := iter.Pull2(r.Scan(ctx, prefix("a")))
		defer stopA()
		nextB, stopB := iter.Pull2(r.Scan(ctx, prefix("b")))
		defer stopB()
		got := map[string]bool{}
		for {
			a, err, okA := nextA()
			c.ok(err, "Scan")
			if okA {
				got[string(a.Key)] = true
			}
			b, err, okB := nextB()
			c.ok(err, "Scan")
			if okB {
				got[string(b.Key)] = true
			}
			if !okA && !okB {
				break
			}
		}
		c.equal(len(got), 6, "different keys of two interleaved scans")
		return nil
	})
}

func writeInScan(c *c) {
	var kv []string
	for i := range 200 {
		kv = append(kv, fmt.Sprintf("q%03d", i), "x")
	}
	c.fill(kv...)
	c.ok(c.update(func(ctx context.Context, tx store.Tx) error {
		seen := map[string]int{}
		for it, err := range tx.Scan(ctx, prefix("q")) {
			c.ok(err, "Scan")
			k := clone(it.Key)
			if seen[string(k)]++; len(seen) > 300 {
				break // it follows its own writes; that is allowed, but must end
			}
			if len(k) > 4 {
				continue
			}
			_, err := tx.Get(ctx, k)
			c.ok(err, "Get within the loop")
			c.ok(tx.Delete(k), "Delete within the loop")
			c.ok(tx.Put(append([]byte("p"), k...), []byte("moved")), "Put within the loop")
		}
		for i := range 200 {
			c.equal(seen[fmt.Sprintf("q%03d", i)], 1, fmt.Sprintf("times that q%03d was yielded", i))
		}
		return nil
	}), "Update that moves what it scans")
	c.view(func(ctx context.Context, r store.Reader) error {
		old, err := scan(ctx, r, prefix("q"))
		c.ok(err, "Scan")
		moved, err := scan(ctx, r, prefix("pq"))
		c.equal([]int{len(old), len(moved)}, []int{0, 200}, "items left and moved")
		return err
	})
}

func aliasArguments(c *c) {
	k, v := []byte("key1"), []byte("value1")
	scribble := func(b []byte) {
		for i := range b {
			b[i] = '!'
		}
	}
	c.ok(c.update(func(ctx context.Context, tx store.Tx) error {
		copy(k, "key1")
		copy(v, "value1")
		c.ok(tx.Put(k, v), "Put")
		scribble(v)
		scribble(k)
		got, err := get(ctx, tx, "key1")
		c.ok(err, "Get")
		c.equal(got, "value1", "own write after the caller changed the slices it gave to Put")
		copy(k, "key2")
		c.ok(tx.Put(k, []byte("value2")), "Put")
		c.ok(tx.Delete(k), "Delete")
		scribble(k)
		return nil
	}), "Update")
	scribble(v)
	scribble(k)
	c.equal(c.get("key1"), "value1", "value after the caller changed the slices it gave to Put")
	c.equal(c.get("key2"), "-", "key2 after the caller changed the slice it gave to Delete")
	c.equal(c.get("!!!!"), "-", "the key that the caller's changes spell")
	c.view(func(ctx context.Context, r store.Reader) error {
		start, end := []byte("key0"), []byte("key9")
		seq := r.Scan(ctx, store.Range{Start: start, End: end})
		n := 0
		for _, err := range seq {
			c.ok(err, "Scan")
			n++
		}
		c.equal(n, 1, "items")
		return nil
	})
}

func aliasResults(c *c) {
	c.fill("a", "first a", "b", "first b", "c", "first c")
	c.ok(c.update(func(ctx context.Context, tx store.Tx) error {
		a, err := tx.Get(ctx, []byte("a"))
		c.ok(err, "Get")
		bc, err := tx.GetMany(ctx, [][]byte{[]byte("b"), []byte("c")})
		c.ok(err, "GetMany")
		for range 3 {
			c.ok(tx.Put([]byte("a"), []byte("SECOND A")), "Put")
			c.ok(tx.Put([]byte("b"), []byte("SECOND B")), "Put")
			c.ok(tx.Delete([]byte("c")), "Delete")
			for i := range 200 {
				c.ok(tx.Put(fmt.Appendf(nil, "f%d", i), bytes.Repeat([]byte("#"), 100)), "Put")
			}
			_, err = scan(ctx, tx, store.Range{})
			c.ok(err, "Scan")
		}
		c.equal([]string{string(a), string(bc[0]), string(bc[1])}, []string{"first a", "first b", "first c"}, "values read before later writes of the same transaction")
		own, err := tx.Get(ctx, []byte("a"))
		c.ok(err, "Get")
		c.ok(tx.Put([]byte("a"), []byte("THIRD A!")), "Put")
		c.equal(own, "SECOND A", "own write read before the next")
		return nil
	}), "Update")
	c.view(func(ctx context.Context, r store.Reader) error {
		a, err := r.Get(ctx, []byte("a"))
		c.ok(err, "Get")
		kept := clone(a)
		_, err = scan(ctx, r, store.Range{})
		c.ok(err, "Scan")
		for i := range 100 {
			_, err := r.Get(ctx, fmt.Appendf(nil, "f%d", i))
			c.ok(err, "Get")
		}
		c.equal(a, kept, "a value after later reads of the same View")
		return nil
	})
}

func errorUnchanged(c *c) {
	mine := fmt.Errorf("mine")
	if err := c.s.View(c.ctx, func(context.Context, store.Reader) error { return mine }); err != mine {
		c.fatal("View returned %v, want its function's error unchanged", err)
	}
	if err := c.update(func(context.Context, store.Tx) error { return mine }); err != mine {
		c.fatal("Update returned %v, want its function's error unchanged", err)
	}
	if err := c.update(func(ctx context.Context, tx store.Tx) error {
		c.ok(tx.Put([]byte("k"), nil), "Put")
		return mine
	}); err != mine {
		c.fatal("Update that wrote returned %v, want its function's error unchanged", err)
	}
}
