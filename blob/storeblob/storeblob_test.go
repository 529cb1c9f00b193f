package storeblob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/blob"
	"github.com/fleetwright/fleetwright/blob/blobtest"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/memstore"
	"github.com/fleetwright/fleetwright/store/record"
)

func TestStore(t *testing.T) {
	blobtest.Run(t, func(testing.TB) blob.Store { return New(memstore.New(), nil, nil) })
}

func TestStoreWithAuthenticatedRecords(t *testing.T) {
	codec, err := record.NewCodec(secret.New(bytes.Repeat([]byte{7}, 32)))
	require.NoError(t, err)
	blobtest.Run(t, func(testing.TB) blob.Store { return New(memstore.New(), codec, nil) })
}

// records counts what lies under a name.
func records(t *testing.T, st store.Store, name string) (n int) {
	t.Helper()
	require.NoError(t, st.View(t.Context(), func(ctx context.Context, r store.Reader) error {
		n = 0
		for _, err := range r.Scan(ctx, space(name).Range()) {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	}))
	return n
}

type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func put(t *testing.T, s *Store, k string, b []byte) {
	t.Helper()
	n, err := s.Put(t.Context(), k, bytes.NewReader(b))
	require.NoError(t, err)
	require.EqualValues(t, len(b), n)
}

func get(t *testing.T, s *Store, k string) []byte {
	t.Helper()
	r, err := s.Open(t.Context(), k)
	require.NoError(t, err)
	defer r.Close() //nolint:errcheck // nothing to lose
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	return b
}

func TestNothingIsLeftBehind(t *testing.T) {
	c := &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	st := memstore.New()
	s := New(st, nil, &Options{Now: c.now, Grace: time.Minute})
	big := bytes.Repeat([]byte("0123456789abcdef"), 5<<20/16) // more than one transaction
	for i := range 3 {
		put(t, s, "a/b", append(big, byte(i)))
		put(t, s, fmt.Sprintf("a/b/c%d", i), []byte("small"))
	}
	put(t, s, "a/empty", nil)
	require.Equal(t, 3, records(t, st, "dead")-0+1, "two generations were replaced")
	r, err := s.Open(t.Context(), "a/b")
	require.NoError(t, err)
	require.NoError(t, s.Delete(t.Context(), "a"))
	require.Zero(t, records(t, st, "head"))
	n, err := s.Sweep(t.Context())
	require.NoError(t, err)
	require.Zero(t, n, "nothing is due")
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, append(big, 2), got, "who had it open reads on")
	c.t = c.t.Add(time.Minute + 1)
	n, err = s.Sweep(t.Context())
	require.NoError(t, err)
	require.Equal(t, 6, n)
	require.Zero(t, records(t, st, "data"))
	require.Zero(t, records(t, st, "dead"))
	_, err = r.(io.Seeker).Seek(0, io.SeekStart)
	require.NoError(t, err)
	_, err = io.ReadAll(r)
	require.Equal(t, fault.ServiceUnavailable, fault.CodeOf(err))
}

// A blob of more chunks than a transaction clears away, and one that was cut off.
func TestSweepInParts(t *testing.T) {
	c := &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	st := memstore.New()
	s := New(st, nil, &Options{Now: c.now, Grace: time.Minute})
	for g, n := range map[string]int{"counted": 2*page + 3, "uncounted": 3*batch + 1} {
		for i := 0; i < n; i += 1000 {
			require.NoError(t, st.Update(t.Context(), func(_ context.Context, tx store.Tx) error {
				for j := i; j < min(n, i+1000); j++ {
					if err := tx.Put(dataKey(g, j), []byte("x")); err != nil {
						return err
					}
				}
				return nil
			}))
		}
	}
	require.NoError(t, st.Update(t.Context(), func(_ context.Context, tx store.Tx) error {
		return errors.Join(s.dead.Put(tx, deadKey(c.t, "counted"), grave{2*page + 3}), s.dead.Put(tx, deadKey(c.t, "uncounted"), grave{-1}))
	}))
	c.t = c.t.Add(1)
	put(t, s, "other", []byte("x")) // in passing
	require.Equal(t, 1, records(t, st, "data"))
	require.Zero(t, records(t, st, "dead"))
	require.Equal(t, "x", string(get(t, s, "other")))
}

func TestAnAbandonedPutIsClearedAway(t *testing.T) {
	c := &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	st := memstore.New()
	s := New(st, nil, &Options{Now: c.now})
	put(t, s, "k", []byte("old"))
	broken := errors.New("broken")
	_, err := s.Put(t.Context(), "k", io.MultiReader(bytes.NewReader(make([]byte, 6<<20)), failing{broken}))
	require.ErrorIs(t, err, broken)
	require.Greater(t, records(t, st, "data"), batch)
	c.t = c.t.Add(1)
	n, err := s.Sweep(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, 1, records(t, st, "data"))
	require.Equal(t, "old", string(get(t, s, "k")))

	// One that takes longer than a day does not end as half a blob.
	_, err = s.Put(t.Context(), "k", io.MultiReader(bytes.NewReader(make([]byte, 6<<20)), doing{func() {
		c.t = c.t.Add(unfinished + 1)
		_, err := s.Sweep(t.Context())
		require.NoError(t, err)
	}}))
	require.Equal(t, fault.ServiceUnavailable, fault.CodeOf(err))
	require.Equal(t, "old", string(get(t, s, "k")))
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

type doing struct{ do func() }

func (d doing) Read([]byte) (int, error) { d.do(); return 0, io.EOF }

func TestDamageIsNamed(t *testing.T) {
	st := memstore.New()
	s := New(st, nil, nil)
	put(t, s, "k", []byte("some bytes"))
	var at []byte
	require.NoError(t, st.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
		for it, err := range tx.Scan(ctx, space("data").Range()) {
			if err != nil {
				return err
			}
			at = bytes.Clone(it.Key)
			v := bytes.Clone(it.Value)
			v[3] ^= 1
			return tx.Put(at, v)
		}
		return nil
	}))
	r, err := s.Open(t.Context(), "k")
	require.NoError(t, err)
	_, err = io.ReadAll(r)
	require.Equal(t, fault.DataCorrupt, fault.CodeOf(err))
	require.NoError(t, st.Update(t.Context(), func(_ context.Context, tx store.Tx) error {
		return tx.Put(at, s.codec.Seal(at, []byte("short")))
	}))
	_, err = io.ReadAll(r)
	require.Equal(t, fault.DataCorrupt, fault.CodeOf(err))
	require.NoError(t, r.Close())
	_, err = r.Read(make([]byte, 1))
	require.Error(t, err)
}

func TestSeek(t *testing.T) {
	s := New(memstore.New(), nil, nil)
	var b bytes.Buffer
	for i := 0; b.Len() < 3*chunk+5; i++ {
		fmt.Fprintf(&b, "%d,", i)
	}
	put(t, s, "k", b.Bytes())
	for _, at := range []int64{0, 1, chunk - 1, chunk, chunk + 1, 3 * chunk, int64(b.Len()), int64(b.Len()) + 9} {
		r, err := blob.OpenAt(t.Context(), s, "k", at)
		require.NoError(t, err)
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		require.True(t, bytes.Equal(b.Bytes()[min(at, int64(b.Len())):], got), at)
		end, err := r.(io.Seeker).Seek(-2, io.SeekEnd)
		require.NoError(t, err)
		require.EqualValues(t, b.Len()-2, end)
		_, err = r.(io.Seeker).Seek(-1, io.SeekStart)
		require.Error(t, err)
	}
}

// Keys of blobs are as long as keys of the store allow, whatever their segments.
func TestLongestKeysFit(t *testing.T) {
	k := strings.Repeat("a/", 255) + "aa"
	require.Len(t, k, blob.MaxKey)
	require.LessOrEqual(t, len(headKey(k)), store.MaxKey)
	require.True(t, bytes.HasPrefix(headKey(k+"/x"), below(k).Start))
	require.True(t, bytes.Compare(headKey(k+"/~"), below(k).End) < 0)
	require.True(t, bytes.Compare(headKey(k+"0"), below(k).End) >= 0)
	require.NoError(t, key.Read(headKey(k)[:0:0]).Err())
}

// What Keeps says of every record that the driver writes, and of others.
func TestKeepsNamesItsRecords(t *testing.T) {
	s := memstore.New()
	b := New(s, nil, nil)
	for _, name := range []string{"a", "a/b", "z"} {
		_, err := b.Put(t.Context(), name, strings.NewReader("some"))
		require.NoError(t, err)
	}
	require.NoError(t, b.Delete(t.Context(), "z"))
	var names []string
	n := 0
	require.NoError(t, s.View(t.Context(), func(ctx context.Context, r store.Reader) error {
		for it, err := range r.Scan(ctx, store.Range{}) {
			if err != nil {
				return err
			}
			name, ok := b.Keeps(it.Key)
			require.True(t, ok)
			n++
			if name != "" {
				names = append(names, name)
			}
		}
		return nil
	}))
	require.Equal(t, []string{"a", "a/b"}, names)
	require.Equal(t, 2+3+1, n)
	for _, k := range [][]byte{nil, {0xff}, key.New(""), key.New("").Str("blob"), key.New("").Str("blob").Str("other"), key.New("").Str("blobs").Str("head").Str("a"),
		key.New("t").Str("blob").Str("head").Str("a"), key.New("").Str("blob").Str("head"), key.New("").Str("blob").Str("head").Str("../a"), key.New("").Str("blob").Str("head").Str("a").Str("b")} {
		_, ok := b.Keeps(k)
		require.False(t, ok, "%x", k)
	}
}
