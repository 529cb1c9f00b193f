package store_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/memstore"
)

func TestErrorsHaveCodes(t *testing.T) {
	for err, want := range map[error]fault.Code{
		store.ErrNotFound:      fault.DoesNotExist,
		store.ErrConflict:      fault.Throttling,
		store.ErrCommitUnknown: fault.OutcomeUnknown,
		store.ErrReadOnly:      fault.ServiceUnavailable,
		store.ErrTooLarge:      fault.Validation,
		store.ErrTooLong:       fault.ServiceUnavailable,
		store.ErrNested:        fault.InternalServerError,
		store.ErrClosed:        fault.ServiceUnavailable,
	} {
		require.Equal(t, want, fault.CodeOf(err), "%v", err)
		require.Equal(t, want, fault.CodeOf(fmt.Errorf("driver: %w: more", err)), "%v", err)
	}
}

// deaf is a store that is no Watcher.
type deaf struct{ store.Store }

func TestWatchPollsAStoreThatIsNoWatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ch, err := store.Watch(ctx, deaf{memstore.New()}, []byte("k"))
		require.NoError(t, err)
		for range 3 {
			start := time.Now()
			<-ch
			require.Equal(t, store.DefaultPoll, time.Since(start))
		}
		time.Sleep(5*store.DefaultPoll + store.DefaultPoll/2) // signals are merged
		<-ch
		synctest.Wait()
		require.Empty(t, ch)
		cancel()
		_, ok := <-ch
		require.False(t, ok, "closed when the context ends")
	})
}

func TestWatchUsesTheStoresOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ch, err := store.Watch(ctx, s, []byte("a/"))
		require.NoError(t, err)
		put := func(k string) {
			require.NoError(t, s.Update(ctx, func(ctx context.Context, tx store.Tx) error { return tx.Put([]byte(k), nil) }))
		}
		for _, other := range []string{"a", "a0", "b/1", "\x00"} {
			put(other)
		}
		time.Sleep(time.Hour)
		require.Empty(t, ch, "nothing under the prefix was written")
		put("a/1")
		start := time.Now()
		<-ch
		require.Zero(t, time.Since(start), "at once")
	})
}
