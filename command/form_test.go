package command

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/observe"
	"github.com/fleetwright/fleetwright/store"
	rec "github.com/fleetwright/fleetwright/store/record"
)

// future adds to records what this release does not know.
func future(t *testing.T, s store.Store, ranges ...store.Range) {
	var c *rec.Codec
	require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
		for _, rng := range ranges {
			puts := map[string][]byte{}
			for it, err := range tx.Scan(ctx, rng) {
				if err != nil {
					return err
				}
				b, err := c.Open(it.Key, it.Value)
				if err != nil {
					return err
				}
				var m map[string]any
				if err := json.Unmarshal(b, &m); err != nil {
					return err
				}
				m["future"] = map[string]any{"must": "stay"}
				if b, err = json.Marshal(m); err != nil {
					return err
				}
				puts[string(it.Key)] = b
			}
			for k, b := range puts {
				if err := tx.Put([]byte(k), c.Seal([]byte(k), b)); err != nil {
					return err
				}
			}
		}
		return nil
	}))
}

// about is all that the store has about a command.
func about(t *testing.T, s store.Store, id string) string {
	var out []string
	for line := range strings.Lines(dump(t, s, store.Range{})) {
		if strings.Contains(line, id) {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

// linesSaid counts log lines.
type linesSaid struct {
	slog.Handler
	text string
	n    *atomic.Int64
}

func (c linesSaid) Enabled(context.Context, slog.Level) bool { return true }
func (c linesSaid) WithAttrs([]slog.Attr) slog.Handler       { return c }
func (c linesSaid) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, c.text) {
		c.n.Add(1)
	}
	return nil
}

// what a newer release wrote is not touched by an older one, not for an hour, whatever nodes and people say to it; the other commands of the same part go on; and who understands
// it finishes it.
func TestR28_ACommandOfANewerReleaseIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSite(t, 6)
		defer w.close()
		w.works(2 * time.Second)
		w.ttl = time.Minute
		for _, n := range w.nodes[2:] {
			w.deafen(n.ID)
		}
		ofForm2 := func(c *Config) { c.form = 2 }
		newer := w.start("newer", ofForm2)
		synctest.Wait()
		c, err := newer.Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: web, MaxConcurrency: "1", TimeoutSeconds: 100_000})
		require.NoError(t, err)
		time.Sleep(5 * time.Second)
		newer.stop()
		w.mu.Lock()
		clear(w.deaf)
		w.mu.Unlock()
		future(t, w.store, exactly(commandKey("default", c.ID)), exactly(stateKey("default", c.ID)), invsKey("default", c.ID).Range())
		before := about(t, w.store, c.ID)
		require.Contains(t, before, `\"future\"`)
		require.Contains(t, before, `\"form\":2`)

		said := &atomic.Int64{}
		old := w.start("old", func(c *Config) {
			c.Observer, c.Log = &heardOf{}, slog.New(linesSaid{slog.DiscardHandler, "newer release", said})
			c.Retention = Retention{Age: time.Second}
		})
		defer old.stop()
		synctest.Wait()
		w.connect(old)
		neighbours := 0
		for i := 0; i < 400 && neighbours < 1; i++ {
			o, err := old.Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: web, MaxConcurrency: "100%", NoRamp: true})
			require.NoError(t, err)
			got, err := old.Wait(t.Context(), o.ID)
			require.NoError(t, err)
			require.Equal(t, message.Success, got.Status)
			if shardOf("default", o.ID) == shardOf("default", c.ID) {
				neighbours++
			}
		}
		require.Equal(t, 1, neighbours, "the part's other commands go on")
		r := message.Ref{Command: c.ID, Attempt: 1}
		for _, n := range w.nodes {
			err := old.Handle(t.Context(), "default", n.ID, envelope(t, message.KindReport, message.Report{Ref: r, Seq: 99, Detail: message.DetailFailed}))
			require.Equal(t, fault.ServiceUnavailable, fault.CodeOf(err), "not taken, so that it is said again: %v", err)
			require.Error(t, old.Handle(t.Context(), "default", n.ID, envelope(t, message.KindOutput, message.Output{Ref: r, Data: []byte("x")})))
			old.Heard("default", n.ID, true)
		}
		if testing.Short() {
			time.Sleep(3 * time.Minute)
		} else {
			time.Sleep(time.Hour)
		}
		_, err = old.Prune(t.Context(), "default")
		require.NoError(t, err)
		same(t, before, about(t, w.store, c.ID), "it was touched")
		var g observe.Gauges
		old.Gauge(&g)
		require.Equal(t, 1, g.Foreign)
		require.EqualValues(t, 1, said.Load(), "said once")
		got, err := old.Get(t.Context(), c.ID)
		require.NoError(t, err)
		require.Equal(t, message.InProgress, got.Status)

		newer = w.start("newer", ofForm2)
		defer newer.stop()
		w.connect(newer)
		got, err = newer.Wait(t.Context(), c.ID)
		require.NoError(t, err)
		require.Equal(t, message.Success, got.Status)
		require.Equal(t, 6, got.Counts[message.DetailSuccess])
		w.checkStarts()
		g = observe.Gauges{}
		old.Gauge(&g)
		require.Zero(t, g.Foreign)
		before = about(t, w.store, c.ID)
		time.Sleep(time.Minute)
		removed, err := old.Prune(t.Context(), "default")
		require.NoError(t, err)
		require.Zero(t, removed)
		same(t, before, about(t, w.store, c.ID), "who does not understand it does not remove it")
		removed, err = newer.Prune(t.Context(), "default")
		require.NoError(t, err)
		require.Zero(t, removed, "its Retention is another one")
	})
}

// A cancellation that an older control plane takes waits for who can carry it out.
func TestR28_AnOrderToCancelWaitsForTheNewerRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSite(t, 3)
		defer w.close()
		w.works(24 * time.Hour)
		newer := w.start("newer", func(c *Config) { c.form = 2 })
		synctest.Wait()
		c, err := newer.Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: web, TimeoutSeconds: 100_000})
		require.NoError(t, err)
		time.Sleep(5 * time.Second)
		newer.stop()
		old := w.start("old", nil)
		defer old.stop()
		synctest.Wait()
		w.connect(old)
		require.NoError(t, old.Cancel(t.Context(), c.ID))
		time.Sleep(time.Minute)
		require.Contains(t, dump(t, w.store, todo().Range()), todoCancel)
		newer = w.start("newer", func(c *Config) { c.form = 2 })
		defer newer.stop()
		w.connect(newer)
		got, err := newer.Wait(t.Context(), c.ID)
		require.NoError(t, err)
		require.Equal(t, message.Cancelled, got.Status)
	})
}

// forbidden is an old release's store: it writes nothing of what the newer one sent but what it leaves for the owner.
type forbidden struct {
	store.Store
	t   *testing.T
	ids *idSet
}

type idSet struct{ ids atomic.Pointer[[]string] }

func (f forbidden) Update(ctx context.Context, fn func(context.Context, store.Tx) error) error {
	return f.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error { return fn(ctx, forbiddenTx{tx, f}) })
}

type forbiddenTx struct {
	store.Tx
	f forbidden
}

func (x forbiddenTx) check(k []byte) {
	ids := x.f.ids.ids.Load()
	if ids == nil || bytes.HasPrefix(k, todo()) {
		return
	}
	for _, id := range *ids {
		if bytes.Contains(k, []byte(id)) {
			x.f.t.Errorf("the older release writes %q", k)
		}
	}
}

func (x forbiddenTx) Put(k, v []byte) error {
	x.check(k)
	return x.Tx.Put(k, v)
}

func (x forbiddenTx) Delete(k []byte) error {
	x.check(k)
	return x.Tx.Delete(k)
}

// Two releases over one store, for as long as an upgrade takes: all commands of both end, nothing starts twice, the older one writes nothing of the newer one's, and in the end each still has work that it may do.
func TestR28_TwoReleasesOverOneStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSite(t, 5)
		defer w.close()
		w.works(3 * time.Second)
		ids := &idSet{}
		old := w.start("old", func(c *Config) { c.Store = forbidden{c.Store, t, ids} })
		defer old.stop()
		synctest.Wait()
		require.Len(t, old.Owned(), Shards)
		newer := w.start("newer", func(c *Config) { c.form = 2 })
		defer newer.stop()
		var all, theirs []string
		for i := range 60 {
			p := []*plane{old, newer}[i%2]
			c, err := p.Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: web, MaxConcurrency: "2"})
			require.NoError(t, err)
			if all = append(all, c.ID); p == newer {
				theirs = append(theirs[:len(theirs):len(theirs)], c.ID)
				ids.ids.Store(&theirs)
			}
			time.Sleep(700 * time.Millisecond)
			if i%7 == 0 {
				w.connect([]*plane{old, newer}[i/7%2])
			}
		}
		w.connect(old)
		for _, id := range all {
			c, err := newer.Wait(t.Context(), id)
			require.NoError(t, err)
			require.Equal(t, message.Success, c.Status)
			require.LessOrEqual(t, w.most(id), 2)
		}
		w.checkStarts()
		time.Sleep(time.Minute)
		require.Empty(t, dump(t, w.store, todo().Range()))
		require.Len(t, append(old.Owned(), newer.Owned()...), Shards, "nothing lies without an owner")
		newer.stop()
		time.Sleep(time.Minute)
		require.Len(t, old.Owned(), Shards, "when the newer one is gone the older one takes what it can do")
	})
}

// Of the passing on to nodes of other control planes: what a node gets is made by who understands the command.
func TestR28_NoBodiesOfANewerRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSite(t, 1)
		defer w.close()
		newer := w.start("newer", func(c *Config) { c.form = 2 })
		defer newer.stop()
		synctest.Wait()
		c, err := newer.Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: web})
		require.NoError(t, err)
		old := w.start("old", nil)
		defer old.stop()
		_, err = old.bodies(t.Context(), actorKey{"default", c.ID})
		require.ErrorIs(t, err, errForeign)
		_, err = newer.bodies(t.Context(), actorKey{"default", c.ID})
		require.NoError(t, err)
	})
}

// A newer record whose fields changed their types is no corrupt one.
func TestR28_AFormIsReadBeforeTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSite(t, 1)
		defer w.close()
		p := w.start("p", nil)
		defer p.stop()
		var c *rec.Codec
		k := stateKey("default", "x")
		require.NoError(t, w.store.Update(t.Context(), func(_ context.Context, tx store.Tx) error {
			return tx.Put(k, c.Seal(k, []byte(`{"form":7,"counts":[1,2],"n":"many"}`)))
		}))
		require.NoError(t, w.store.View(t.Context(), func(ctx context.Context, r store.Reader) error {
			is, err := p.isForeign(ctx, r, "default", "x")
			require.True(t, is)
			return err
		}))
	})
}
