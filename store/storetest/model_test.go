package storetest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/memstore"
)

// failingTB lets rapid fail without failing the test that watches.
type failingTB struct {
	*testing.T
	mu   sync.Mutex
	said []string
}

func (f *failingTB) say(s string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.said = append(f.said, s)
}
func (f *failingTB) Logf(format string, args ...any) { f.say(fmt.Sprintf(format, args...)) }
func (f *failingTB) Log(args ...any)                 { f.say(fmt.Sprint(args...)) }
func (f *failingTB) Errorf(format string, args ...any) {
	f.say("ERROR " + fmt.Sprintf(format, args...))
}
func (f *failingTB) Error(args ...any) { f.say("ERROR " + fmt.Sprint(args...)) }
func (f *failingTB) Fatalf(format string, args ...any) {
	f.say("ERROR " + fmt.Sprintf(format, args...))
}
func (f *failingTB) Fatal(args ...any) { f.say("ERROR " + fmt.Sprint(args...)) }
func (f *failingTB) Fail()             { f.say("ERROR") }
func (f *failingTB) FailNow()          { f.say("ERROR") }
func (f *failingTB) Failed() bool      { return strings.Contains(f.text(), "ERROR") }
func (f *failingTB) Name() string      { return "a wrong store" }

func (f *failingTB) text() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.said, "\n")
}

var _ rapid.TB = (*failingTB)(nil)

func TestModelAgreesWithRightStores(t *testing.T) {
	t.Run("memstore", func(t *testing.T) { Model(t, func(*testing.T) store.Store { return memstore.New() }) })
	t.Run("harsh", func(t *testing.T) { Model(t, func(*testing.T) store.Store { return Harsh(memstore.New()) }) })
	t.Run("optimistic", func(t *testing.T) { Model(t, func(*testing.T) store.Store { return rightOptimistic() }) })
}

func TestModelFindsWrongStores(t *testing.T) {
	for name, value := range map[string]string{"rapid.nofailfile": "true", "rapid.shrinktime": "200ms"} {
		f := flag.Lookup(name)
		old := f.Value.String()
		require.NoError(t, f.Value.Set(value))
		t.Cleanup(func() { require.NoError(t, f.Value.Set(old)) })
	}
	for name, open := range map[string]func() store.Store{
		"unordered": unordered, "own writes": scanMissesOwnWrites, "abort commits": swallowsAbort, "panic commits": commitsPanic,
		"limit in reverse": limitIgnoredInReverse, "many": sortsMany,
	} {
		t.Run(name, func(t *testing.T) {
			f := &failingTB{T: t}
			model(f, open())
			require.Contains(t, f.text(), "the model has", "rapid should have found and shrunk a difference")
		})
	}
}

// forgetful loses what the last Update before a reopening wrote.
type forgetful struct {
	store.Store
	mu     sync.Mutex
	closed bool
	undo   func()
}

func (f *forgetful) isClosed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}

func (f *forgetful) View(ctx context.Context, fn func(ctx context.Context, r store.Reader) error) error {
	if f.isClosed() {
		return store.ErrClosed
	}
	return f.Store.View(ctx, fn)
}

func (f *forgetful) Update(ctx context.Context, fn func(ctx context.Context, tx store.Tx) error) error {
	if f.isClosed() {
		return store.ErrClosed
	}
	return f.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		return fn(ctx, noting{tx, func(key []byte) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.undo = func() {
				_ = f.Store.Update(context.Background(), func(ctx context.Context, tx store.Tx) error { return tx.Delete(key) })
			}
		}})
	})
}

type noting struct {
	store.Tx
	put func(key []byte)
}

func (n noting) Put(key, value []byte) error {
	n.put(clone(key))
	return n.Tx.Put(key, value)
}

func TestDurable(t *testing.T) {
	run := func(loses bool) []string {
		inner := memstore.New()
		var last *forgetful
		r := &recorder{}
		synctest.Test(t, func(t *testing.T) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				durable(r, func() store.Store {
					if last != nil {
						last.mu.Lock()
						last.closed = true
						undo := last.undo
						last.mu.Unlock()
						if loses && undo != nil {
							undo()
						}
					}
					last = &forgetful{Store: inner}
					return last
				})
			}()
			<-done
		})
		return r.said
	}
	require.Empty(t, run(false))
	said := run(true)
	require.NotEmpty(t, said)
	require.Contains(t, said[0], "S-DURABLE")
}

func TestHarshRunsTwiceAndOverwrites(t *testing.T) {
	s := Harsh(memstore.New())
	runs := 0
	var kept []byte
	require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
		runs++
		if _, err := tx.Get(ctx, []byte("k")); !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("run %d sees what an earlier run wrote: %v", runs, err)
		}
		if err := tx.Put([]byte("k"), []byte("value")); err != nil {
			return err
		}
		v, err := tx.Get(ctx, []byte("k"))
		kept = v
		return err
	}))
	require.Equal(t, 2, runs)
	require.Equal(t, "\xdb\xdb\xdb\xdb\xdb", string(kept), "bytes kept beyond their life")
}
