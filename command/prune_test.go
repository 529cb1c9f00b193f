package command

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/blob/memblob"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
)

// stops is a store that takes a number of Updates and fails the others, as if the process had died there.
type stops struct {
	store.Store
	mu   sync.Mutex
	left int // -1 is no limit
}

func (s *stops) after(n int) { s.mu.Lock(); s.left = n; s.mu.Unlock() }

func (s *stops) Update(ctx context.Context, fn func(context.Context, store.Tx) error) error {
	s.mu.Lock()
	left := s.left
	if s.left > 0 {
		s.left--
	}
	s.mu.Unlock()
	if left == 0 {
		return errIO
	}
	return s.Store.Update(ctx, fn)
}

// Prune may die between any two of its transactions: a command is there whole or not at all, and the next Prune clears the rest away.
func TestAnInterruptedPruneIsFinishedLater(t *testing.T) {
	for cut := 0; ; cut++ {
		finished := false
		synctest.Test(t, func(t *testing.T) {
			w := newSite(t, 3)
			defer w.close()
			st := &stops{Store: w.store, left: -1}
			p := w.start("plane", nil)
			defer p.stop()
			synctest.Wait()
			var ids []string
			for range 2 {
				c, err := p.Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: web, ClientToken: "t" + string(rune('0'+len(ids)))})
				require.NoError(t, err)
				ids = append(ids, c.ID)
				time.Sleep(500 * time.Millisecond)
				for _, n := range w.nodes {
					p.Handle(t.Context(), "default", n.ID, envelope(t, message.KindOutput, message.Output{Ref: message.Ref{Command: c.ID, Attempt: 1}, Data: []byte(strings.Repeat("x", 500))})) //nolint:errcheck // those that run keep it
				}
				_, err = p.Wait(t.Context(), c.ID)
				require.NoError(t, err)
				time.Sleep(5 * time.Second)
			}
			pruner, err := New(Config{Store: st, Blobs: w.blobs, Nodes: w, Documents: w, Sender: w, Authorizer: p.cfg.Authorizer, Leases: p.cfg.Leases, Retention: Retention{Count: 1}})
			require.NoError(t, err)
			st.after(cut)
			n, err := pruner.Prune(t.Context(), "default")
			finished = err == nil
			if finished {
				require.Equal(t, 1, n)
			}
			_, err = p.Get(t.Context(), ids[0])
			_, _, pages := p.Invocations(t.Context(), ListRequest{Command: ids[0]})
			if err == nil {
				require.NoError(t, pages, "it is there, whole")
				r, err := p.Invocation(t.Context(), ids[0], w.nodes[0].ID)
				require.NoError(t, err)
				require.Equal(t, message.Success, r.Status)
			} else {
				require.Equal(t, fault.InvalidCommandID, fault.CodeOf(err))
				require.Equal(t, fault.InvalidCommandID, fault.CodeOf(pages))
			}
			list, _, err := p.List(t.Context(), ListRequest{})
			require.NoError(t, err)
			require.NotEmpty(t, list)
			st.after(-1)
			_, err = pruner.Prune(t.Context(), "default")
			require.NoError(t, err)
			require.NotContains(t, dump(t, w.store, store.Range{}), ids[0], "nothing of it is left")
			require.Empty(t, dump(t, w.store, trashKey("default").Range()))
			_, err = p.Get(t.Context(), ids[1])
			require.NoError(t, err, "the other one stays")
			c, err := p.Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: web, ClientToken: "t0"})
			require.NoError(t, err)
			require.NotEqual(t, ids[0], c.ID, "its token is free again")
			_, err = p.Wait(t.Context(), c.ID)
			require.NoError(t, err)
			time.Sleep(5 * time.Second)
		})
		if finished {
			require.Greater(t, cut, 5)
			return
		}
	}
}

func TestRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSite(t, 1)
		defer w.close()
		p := w.start("plane", nil)
		defer p.stop()
		synctest.Wait()
		blobs := w.blobs.(*memblob.Store)
		for range 5 {
			c, err := p.Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: web})
			require.NoError(t, err)
			time.Sleep(500 * time.Millisecond)
			require.NoError(t, p.Handle(t.Context(), "default", w.nodes[0].ID, envelope(t, message.KindOutput, message.Output{Ref: message.Ref{Command: c.ID, Attempt: 1}, Data: make([]byte, 1000)})))
			_, err = p.Wait(t.Context(), c.ID)
			require.NoError(t, err)
			time.Sleep(time.Minute)
		}
		w.works(1000 * time.Hour)
		running, err := p.Send(t.Context(), SendRequest{DocumentName: "Hello", Targets: web, TimeoutSeconds: 2_592_000})
		require.NoError(t, err)
		time.Sleep(time.Second)
		require.Equal(t, 5, blobs.Len())
		prune := func(r Retention) int {
			p.cfg.Retention = r
			n, err := p.Prune(t.Context(), "default")
			require.NoError(t, err)
			return n
		}
		require.Equal(t, 0, prune(Retention{}))
		require.Equal(t, 0, prune(Retention{Age: 6 * time.Minute}))
		require.Equal(t, 1, prune(Retention{Age: 270 * time.Second}), "the oldest, counted from its end")
		require.Equal(t, 4, blobs.Len())
		require.Equal(t, 1, prune(Retention{Bytes: 3000}))
		require.Equal(t, 1, prune(Retention{Count: 3}), "the running one counts")
		require.Equal(t, 2, blobs.Len())
		require.Equal(t, 2, prune(Retention{Age: time.Second}))
		require.Equal(t, 0, blobs.Len())
		time.Sleep(10 * time.Minute)
		require.Equal(t, 0, prune(Retention{Age: time.Minute, Count: 1, Bytes: 1}))
		_, err = p.Get(t.Context(), running.ID)
		require.NoError(t, err, "what runs stays")
		require.NoError(t, p.Cancel(t.Context(), running.ID))
		_, err = p.Wait(t.Context(), running.ID)
		require.NoError(t, err)
	})
}
