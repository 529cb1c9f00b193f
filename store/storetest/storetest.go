// Package storetest is the conformance suite of package store: every rule of the contract is a named case, run against a fresh store.
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) store.Store { return mystore.New(t) })
//	}
//
// A driver also runs [Model] (random transactions against a model, shrunk when they disagree), [Durable] if it persists, and [Bench]. Services test
// themselves on a [Harsh] store, which takes every liberty that the contract gives a driver.
//
// The suite assumes no single process, no particular isolation mechanism and no fast factory: a driver over a network database may rerun functions,
// make them wait and refuse with store.ErrConflict where many compete. It needs the standard library and pgregory.net/rapid only.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fleetwright/fleetwright/store"
)

// T is what a case needs of a *testing.T. FailNow must end the calling goroutine, as that of testing does.
type T interface {
	Helper()
	Errorf(format string, args ...any)
	FailNow()
	Logf(format string, args ...any)
}

// Case checks one rule of the contract on an empty store.
type Case struct {
	Rule  string // as in the comments of package store, e.g. "S-ORDER"
	Name  string // what is checked, e.g. "reverse"
	Slow  bool   // waits for the limits of time: seven seconds by the wall clock
	check func(c *c)
}

// Check runs the case on a store that holds nothing.
func (k Case) Check(t T, s store.Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	k.check(&c{T: t, s: s, ctx: ctx})
}

// patience is how long a case waits for what must happen.
const patience = 60 * time.Second

// Cases returns all cases in the order of their rules in the contract.
func Cases() []Case {
	var all []Case
	for _, part := range [][]Case{readCases, writeCases, endCases, cancelCases, limitCases, serialCases} {
		all = append(all, part...)
	}
	return all
}

// Run runs every case on a store of its own. factory returns an empty store and arranges for its end with t.Cleanup. Cases that wait for limits of
// time are left out by -short.
func Run(t *testing.T, factory func(t *testing.T) store.Store) {
	for _, k := range Cases() {
		t.Run(strings.ReplaceAll(k.Rule, "/", ":")+"/"+strings.ReplaceAll(k.Name, " ", "-"), func(t *testing.T) {
			if k.Slow && testing.Short() {
				t.Skip("SKIPPED: waits for the contract's limits of time; run without -short")
			}
			k.Check(t, factory(t))
		})
	}
}

// c is a case that runs.
type c struct {
	T
	s   store.Store
	ctx context.Context
}

// fatal fails the case and ends it.
func (c *c) fatal(format string, args ...any) {
	c.Helper()
	c.Errorf(format, args...)
	c.FailNow()
}

func (c *c) ok(err error, what string) {
	c.Helper()
	if err != nil {
		c.fatal("%s: %v", what, err)
	}
}

func (c *c) is(err, want error, what string) {
	c.Helper()
	if !errors.Is(err, want) {
		c.fatal("%s: got the error %v, want %v", what, err, want)
	}
}

func (c *c) equal(got, want any, what string) {
	c.Helper()
	if g, w := fmt.Sprintf("%q", got), fmt.Sprintf("%q", want); g != w {
		c.fatal("%s: got %s, want %s", what, short(g), short(w))
	}
}

func short(s string) string {
	if len(s) > 400 {
		return s[:400] + "…"
	}
	return s
}

// update runs fn and retries where the contract lets a driver refuse because of conflicts.
func (c *c) update(fn func(ctx context.Context, tx store.Tx) error) error {
	return update(c.ctx, c.s, fn)
}

func update(ctx context.Context, s store.Store, fn func(ctx context.Context, tx store.Tx) error) error {
	for {
		err := s.Update(ctx, fn)
		if !errors.Is(err, store.ErrConflict) || ctx.Err() != nil {
			return err
		}
	}
}

// fill writes the pairs key, value, key, value …
func (c *c) fill(kv ...string) {
	c.Helper()
	c.ok(c.update(func(ctx context.Context, tx store.Tx) error {
		for i := 0; i < len(kv); i += 2 {
			if err := tx.Put([]byte(kv[i]), []byte(kv[i+1])); err != nil {
				return err
			}
		}
		return nil
	}), "Update that fills the store")
}

// get reads key in a View of its own; missing is "-".
func (c *c) get(key string) string {
	c.Helper()
	var out string
	c.ok(c.s.View(c.ctx, func(ctx context.Context, r store.Reader) (err error) {
		out, err = get(ctx, r, key)
		return err
	}), "View")
	return out
}

// get returns the value of key, "-" if it is missing.
func get(ctx context.Context, r store.Reader, key string) (string, error) {
	v, err := r.Get(ctx, []byte(key))
	if errors.Is(err, store.ErrNotFound) || v == nil && err == nil {
		return "-", nil
	}
	return string(v), err
}

// scan returns the items of the range as key=value.
func scan(ctx context.Context, r store.Reader, rng store.Range) ([]string, error) {
	out := []string{}
	for it, err := range r.Scan(ctx, rng) {
		if err != nil {
			return out, err
		}
		out = append(out, string(it.Key)+"="+string(it.Value))
	}
	return out, nil
}

// view runs fn in a View that must succeed.
func (c *c) view(fn func(ctx context.Context, r store.Reader) error) {
	c.Helper()
	c.ok(c.s.View(c.ctx, fn), "View")
}

// prefix is the range of keys that begin with p, which does not end in 0xff.
func prefix(p string) store.Range {
	end := []byte(p)
	end[len(end)-1]++
	return store.Range{Start: []byte(p), End: end}
}

func clone(b []byte) []byte { return bytes.Clone(b) }
