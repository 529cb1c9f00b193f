package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fleetwright/fleetwright/store"
)

var limitCases = []Case{
	{Rule: "S-LIMIT", Name: "key", check: limitKey},
	{Rule: "S-LIMIT", Name: "value", check: limitValue},
	{Rule: "S-LIMIT", Name: "writes", check: limitWrites},
	{Rule: "S-LIMIT", Name: "bytes", check: limitBytes},
	{Rule: "S-LIMIT", Name: "an excess sticks", check: limitSticks},
	{Rule: "S-LONG", Name: "view", Slow: true, check: longView},
	{Rule: "S-LONG", Name: "update", Slow: true, check: longUpdate},
}

// refused runs an Update that must fail with ErrTooLarge and leave nothing behind.
func (c *c) refused(what string, fn func(tx store.Tx) error) {
	c.Helper()
	err := c.update(func(ctx context.Context, tx store.Tx) error {
		if err := tx.Put([]byte("witness"), nil); err != nil {
			return err
		}
		return fn(tx)
	})
	c.is(err, store.ErrTooLarge, what)
	c.equal(c.get("witness"), "-", "an earlier write of the refused Update: "+what)
}

func limitKey(c *c) {
	k := bytes.Repeat([]byte{0xfe}, store.MaxKey)
	c.ok(c.update(func(ctx context.Context, tx store.Tx) error { return tx.Put(k, []byte("x")) }), "Put of a key at the limit")
	c.equal(c.get(string(k)), "x", "value of a key at the limit")
	c.view(func(ctx context.Context, r store.Reader) error {
		items, err := scan(ctx, r, store.Range{Start: k})
		c.equal(len(items), 1, "items from a key at the limit")
		return err
	})
	c.ok(c.update(func(ctx context.Context, tx store.Tx) error { return tx.Delete(k) }), "Delete of a key at the limit")
	c.equal(c.get(string(k)), "-", "value after Delete")
	k = append(k, 'x')
	c.refused("Put of a key over the limit", func(tx store.Tx) error { return tx.Put(k, nil) })
	c.refused("Delete of a key over the limit", func(tx store.Tx) error { return tx.Delete(k) })
	c.refused("Put of the empty key", func(tx store.Tx) error { return tx.Put(nil, []byte("x")) })
	c.refused("Delete of the empty key", func(tx store.Tx) error { return tx.Delete([]byte{}) })
}

func limitValue(c *c) {
	v := bytes.Repeat([]byte("v"), store.MaxValue)
	c.ok(c.update(func(ctx context.Context, tx store.Tx) error { return tx.Put([]byte("k"), v) }), "Put of a value at the limit")
	if got := c.get("k"); got != string(v) {
		c.fatal("a value at the limit came back with %d bytes", len(got))
	}
	c.refused("Put of a value over the limit", func(tx store.Tx) error { return tx.Put([]byte("k"), append(v, 'x')) })
}

func limitWrites(c *c) {
	write := func(tx store.Tx, n int) (err error) {
		for i := 0; i < n && err == nil; i++ {
			switch k := fmt.Appendf(nil, "k%05d", i%7000); { // the last three thousand repeat keys
			case i%10 == 3:
				err = tx.Delete(k)
			default:
				err = tx.Put(k, []byte("x"))
			}
		}
		return err
	}
	c.ok(c.update(func(ctx context.Context, tx store.Tx) error { return write(tx, store.MaxWrites) }), "as many writes as the limit")
	c.equal(c.get("k00001"), "x", "a value of many")
	c.refused("one write more than the limit", func(tx store.Tx) error { return write(tx, store.MaxWrites) })
}

func limitBytes(c *c) {
	write := func(tx store.Tx, n int) error {
		v := make([]byte, store.MaxValue)
		for i := 0; n > 0; i++ {
			size := min(n-5, len(v))
			if n-5-size > 0 && n-5-size < 6 {
				size -= 6 // leave room for another key
			}
			if err := tx.Put(fmt.Appendf(nil, "k%04d", i), v[:size]); err != nil {
				return err
			}
			n -= 5 + size
		}
		return nil
	}
	c.ok(c.update(func(ctx context.Context, tx store.Tx) error { return write(tx, store.MaxTxBytes) }), "as many bytes as the limit")
	c.equal(len(c.get("k0000")), store.MaxValue, "length of a value of many")
	const witness = len("witness")
	c.refused("one byte more than the limit", func(tx store.Tx) error { return write(tx, store.MaxTxBytes-witness+1) })
}

func limitSticks(c *c) {
	for what, excess := range map[string]func(tx store.Tx) error{
		"a Put":    func(tx store.Tx) error { return tx.Put([]byte("k"), make([]byte, store.MaxValue+1)) },
		"a Delete": func(tx store.Tx) error { return tx.Delete(make([]byte, store.MaxKey+1)) },
	} {
		c.refused("an Update whose function overlooked the error of "+what, func(tx store.Tx) error {
			if err := excess(tx); !errors.Is(err, store.ErrTooLarge) {
				return fmt.Errorf("%s over the limit: %w", what, err)
			}
			return nil
		})
	}
	c.fill("k", "1")
	c.equal(c.get("k"), "1", "value of the Update after refused ones")
}

func longView(c *c) {
	c.fill("k", "1")
	ctx, cancel := context.WithTimeout(context.Background(), patience+store.MaxView)
	defer cancel()
	_ = c.s.View(ctx, func(ctx context.Context, r store.Reader) error {
		_, err := r.Get(ctx, []byte("k"))
		c.ok(err, "Get")
		time.Sleep(store.MaxView + store.MaxView/20)
		_, err = r.Get(ctx, []byte("k"))
		c.is(err, store.ErrTooLong, "Get of a View over its time")
		_, err = r.GetMany(ctx, [][]byte{[]byte("k")})
		c.is(err, store.ErrTooLong, "GetMany of a View over its time")
		_, err = scan(ctx, r, store.Range{})
		c.is(err, store.ErrTooLong, "Scan of a View over its time")
		return nil
	})
	c.fill("k", "2")
	c.equal(c.get("k"), "2", "value after a View over its time")
}

func longUpdate(c *c) {
	for _, silent := range []bool{false, true} {
		err := c.s.Update(c.ctx, func(ctx context.Context, tx store.Tx) error {
			if err := tx.Put([]byte("k"), []byte("1")); err != nil {
				return err // a driver may count the time of runs together
			}
			time.Sleep(store.MaxUpdate + store.MaxUpdate/5)
			if silent {
				return nil
			}
			_, err := tx.Get(ctx, []byte("k"))
			c.is(err, store.ErrTooLong, "Get of an Update over its time")
			c.is(tx.Put([]byte("k"), []byte("2")), store.ErrTooLong, "Put of an Update over its time")
			c.is(tx.Delete([]byte("k")), store.ErrTooLong, "Delete of an Update over its time")
			return nil
		})
		c.is(err, store.ErrTooLong, "an Update over its time")
		c.equal(c.get("k"), "-", "value of an Update over its time")
	}
	c.fill("k", "3")
	c.equal(c.get("k"), "3", "value after an Update over its time")
}
