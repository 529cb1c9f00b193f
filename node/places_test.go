package node

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/memstore"
)

// neighbour is one control plane of a test: its connections' places, run by hand.
type neighbour struct {
	*Places
	moved []string
}

// others says who lives; each control plane is called by its name for ever.
type others struct {
	self string
	dead map[string]bool
}

func (o others) Session(context.Context) (string, error)               { return o.self, nil }
func (o others) Look(context.Context, store.Reader) error              { return nil }
func (o others) Living(plane string) bool                              { return !o.dead[plane] }
func (o others) Sweep(context.Context, key.K) (gone []string, _ error) { return nil, nil }

func neighbours(t *testing.T, nodes ...string) (a, b *neighbour, dead map[string]bool, st *counting) {
	st = &counting{Store: memstore.New()}
	require.NoError(t, st.Update(t.Context(), func(_ context.Context, tx store.Tx) error {
		for _, n := range nodes {
			if err := tx.Put(allIndex("t").Str(n), []byte{1}); err != nil {
				return err
			}
		}
		return nil
	}))
	dead = map[string]bool{}
	one := func(name string) *neighbour {
		n := &neighbour{}
		n.Places = NewPlaces(PlacesConfig{Store: st, Planes: others{name, dead}, Moved: func(_, node string) { n.moved = append(n.moved, node) }})
		return n
	}
	return one("a"), one("b"), dead, st
}

// round is what Run does once, for each.
func round(t *testing.T, all ...*neighbour) {
	for range 2 {
		for _, n := range all {
			require.NoError(t, n.follow(t.Context()))
			require.NoError(t, n.write(t.Context()))
		}
	}
}

func TestPlacesFollowANodeThatMoves(t *testing.T) {
	a, b, _, _ := neighbours(t, "n")
	a.Here("t", "n", "s", 1)
	round(t, a, b)
	require.Empty(t, a.Where("t", "n"), "it is here")
	require.Equal(t, "a", b.Where("t", "n"))
	require.Equal(t, []string{"n"}, b.moved)
	b.Here("t", "n", "s", 2)
	require.Empty(t, b.Where("t", "n"), "at once, before anything is written")
	round(t, b, a)
	require.Equal(t, "b", a.Where("t", "n"), "what looked alive here gives way")
	a.Left("t", "n") // its old connection ends at last
	round(t, a, b)
	require.Equal(t, "b", a.Where("t", "n"))
	require.Empty(t, b.Where("t", "n"))
	b.Left("t", "n")
	round(t, b, a)
	require.Empty(t, a.Where("t", "n"), "it is nowhere")
}

// The number of the hello decides, not who writes first.
func TestPlacesTakeTheNewerHello(t *testing.T) {
	for _, first := range []string{"a", "b"} {
		a, b, _, _ := neighbours(t, "n")
		round(t, a, b)
		a.Here("t", "n", "s", 7)
		b.Here("t", "n", "s", 8)
		if first == "a" {
			round(t, a, b)
		} else {
			require.NoError(t, b.write(t.Context()))
			require.NoError(t, a.write(t.Context())) // before it has read what b told
			require.NoError(t, a.cfg.Store.View(t.Context(), func(ctx context.Context, r store.Reader) error {
				rec, err := a.places.Get(ctx, r, placeKey("t", "n"))
				require.Equal(t, "b", rec.Plane)
				return err
			}))
			round(t, b, a)
		}
		require.Equal(t, "b", a.Where("t", "n"), "%s wrote first", first)
		require.Empty(t, b.Where("t", "n"))
		a.Here("t", "n", "s", 7)
		require.Equal(t, "b", a.Where("t", "n"))
		round(t, a, b)
		require.Equal(t, "b", a.Where("t", "n"), "said before it went there")
	}
}

func TestPlacesOfTheDeadAreNowhere(t *testing.T) {
	a, b, dead, _ := neighbours(t, "n")
	a.Here("t", "n", "s", 1)
	round(t, a, b)
	dead["a"] = true
	round(t, b)
	require.Empty(t, b.Where("t", "n"))
	b.moved = nil
	dead["a"] = false
	round(t, b)
	require.Equal(t, "a", b.Where("t", "n"))
	require.Equal(t, []string{"n"}, b.moved, "what waits for it is told")
}

func TestPlacesKeepNothingOfDeregisteredNodes(t *testing.T) {
	a, b, _, _ := neighbours(t, "n")
	a.Here("t", "other", "s", 1)
	round(t, a, b)
	require.Empty(t, b.Where("t", "other"))
}

func TestPlacesOfIdleNodesWriteNothing(t *testing.T) {
	a, b, _, st := neighbours(t, "n")
	a.Here("t", "n", "s", 1)
	round(t, a, b)
	st.updates.Store(0)
	for seq := range uint64(20) {
		a.Here("t", "n", "s", seq+2)
		round(t, a, b)
	}
	require.Zero(t, st.updates.Load())
	require.Equal(t, "a", b.Where("t", "n"))
}

// Who missed what others told, because it was deaf for long, reads all records again.
func TestPlacesThatMissedNewsReadEverything(t *testing.T) {
	a, b, _, st := neighbours(t, "n", "m")
	round(t, a, b)
	a.Here("t", "n", "s", 1)
	round(t, a)
	a.Here("t", "m", "s", 1)
	round(t, a)
	require.NoError(t, st.Update(t.Context(), func(_ context.Context, tx store.Tx) error { return tx.Delete(newsKey().Str("a").Uint(1)) }))
	round(t, b)
	require.Equal(t, "a", b.Where("t", "n"))
	require.Equal(t, "a", b.Where("t", "m"))
}
