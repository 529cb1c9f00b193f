package fleetwright_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/blob/memblob"
	"github.com/fleetwright/fleetwright/seal/localkeys"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/memstore"
)

// sickStore fails at once, or holds every call and does not heed its context.
type sickStore struct {
	store.Store
	away, holds atomic.Bool
	free        chan struct{}
}

func (s *sickStore) sick() error {
	if s.holds.Load() {
		<-s.free
	}
	if s.away.Load() {
		return errors.New("the database is away")
	}
	return nil
}

func (s *sickStore) View(ctx context.Context, fn func(context.Context, store.Reader) error) error {
	return errors.Join(s.sick(), s.Store.View(ctx, fn))
}

func (s *sickStore) Update(ctx context.Context, fn func(context.Context, store.Tx) error) error {
	if err := s.sick(); err != nil {
		return err
	}
	return s.Store.Update(ctx, fn)
}

// A store that is away makes no loop stuck, for as long as it lasts; a call that never returns does, and the check names the loops and needs no store itself.
func TestLoopsThatAreStuckAreNamed(t *testing.T) {
	keys, err := localkeys.Create(filepath.Join(t.TempDir(), "keys.json"), nil)
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		s := &sickStore{Store: memstore.New(), free: make(chan struct{})}
		f, err := fleetwright.New(fleetwright.Config{Store: s, Blobs: memblob.New(), Keys: keys, Authorizer: access.AllowAll{}, Exclusive: true})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); f.Run(ctx) }() //nolint:errcheck // ends with ctx
		time.Sleep(5 * time.Minute)
		require.True(t, f.Loops().OK)
		s.away.Store(true)
		time.Sleep(30 * time.Minute)
		require.True(t, f.Loops().OK, "they come round, and try again")
		s.away.Store(false)
		s.holds.Store(true)
		time.Sleep(30 * time.Second)
		require.True(t, f.Loops().OK, "a slow call is none that never returns")
		time.Sleep(5 * time.Minute)
		c := f.Loops()
		require.False(t, c.OK)
		require.True(t, strings.HasPrefix(c.Text, "stuck: "), c.Text)
		require.Contains(t, c.Text, "leases for 5m")
		require.NotEmpty(t, c.Do)
		require.Equal(t, []fleetwright.HealthCheck{c}, f.Checks(t.Context(), time.Second), "the store, which holds every call, is not asked")
		h, err := f.Health(t.Context())
		require.NoError(t, err)
		require.Equal(t, []fleetwright.HealthCheck{c}, h.Checks)
		s.holds.Store(false)
		close(s.free)
		time.Sleep(time.Minute)
		require.True(t, f.Loops().OK, "what goes on again is well")
		cancel()
		<-done
		require.True(t, f.Loops().OK, "what has ended is not stuck")
	})
}
