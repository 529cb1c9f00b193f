package record_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/memstore"
	"github.com/fleetwright/fleetwright/store/record"
)

func macCodec(t require.TestingT, seed byte) *record.Codec {
	c, err := record.NewCodec(secret.New(bytes.Repeat([]byte{seed}, 32)))
	require.NoError(t, err)
	return c
}

func corrupt(t require.TestingT, err error, key []byte) *record.CorruptError {
	var c *record.CorruptError
	require.ErrorAs(t, err, &c)
	require.Equal(t, key, c.Key, "the record is named")
	require.Equal(t, fault.DataCorrupt, fault.CodeOf(err))
	return c
}

func codecs(t require.TestingT) map[string]*record.Codec {
	return map[string]*record.Codec{"checksum": nil, "MAC": macCodec(t, 7)}
}

func TestSealedOpens(t *testing.T) {
	for name, c := range codecs(t) {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				k, p := rapid.SliceOf(rapid.Byte()).Draw(t, "key"), rapid.SliceOf(rapid.Byte()).Draw(t, "payload")
				got, err := c.Open(k, c.Seal(k, p))
				require.NoError(t, err)
				require.Equal(t, string(p), string(got))
			})
		})
	}
}

// a flip is reported as corruption that names the record, never returned as data.
func TestEveryFlippedBitIsFound(t *testing.T) {
	k, p := []byte("default/command/7"), []byte(`{"status":"Success","exit":0}`)
	for name, c := range codecs(t) {
		t.Run(name, func(t *testing.T) {
			good := c.Seal(k, p)
			for i := range len(good) * 8 {
				bad := bytes.Clone(good)
				bad[i/8] ^= 1 << (i % 8)
				_, err := c.Open(k, bad)
				corrupt(t, err, k)
			}
			for n := range good {
				_, err := c.Open(k, good[:n])
				corrupt(t, err, k)
			}
			_, err := c.Open(k, append(bytes.Clone(good), 0))
			corrupt(t, err, k)
			_, err = c.Open(k, make([]byte, len(good)))
			corrupt(t, err, k)
			for i := range len(k) * 8 {
				other := bytes.Clone(k)
				other[i/8] ^= 1 << (i % 8)
				_, err := c.Open(other, good)
				corrupt(t, err, other)
			}
			_, err = c.Open(k[:len(k)-1], good)
			corrupt(t, err, k[:len(k)-1])
		})
	}
}

func TestChecksumAndMACDoNotMix(t *testing.T) {
	k, p := []byte("k"), []byte("payload")
	mac, other := macCodec(t, 1), macCodec(t, 2)
	var sum *record.Codec
	for name, x := range map[string]struct {
		write, read *record.Codec
		reason      string
	}{
		"a frame without a MAC where one is demanded": {sum, mac, "demands one"},
		"a frame with a MAC and no key":               {mac, sum, "no key was given"},
		"another key":                                 {mac, other, "MAC does not match"},
		"the zero codec is one without a key":         {mac, new(record.Codec), "no key was given"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := x.read.Open(k, x.write.Seal(k, p))
			require.Contains(t, corrupt(t, err, k).Reason, x.reason)
		})
	}
	t.Run("forged with a right checksum", func(t *testing.T) {
		forged := sum.Seal(k, append([]byte("evil"), make([]byte, 16)...))
		forged[0] = 2
		_, err := mac.Open(k, forged)
		require.Contains(t, corrupt(t, err, k).Reason, "MAC does not match")
	})
	t.Run("too short for a MAC", func(t *testing.T) {
		forged := sum.Seal(k, []byte("short"))
		forged[0] = 2
		_, err := mac.Open(k, forged)
		corrupt(t, err, k)
	})
	t.Run("a newer release's frame", func(t *testing.T) {
		newer := sum.Seal(k, p)
		newer[0] = 9
		_, err := sum.Open(k, newer)
		require.Contains(t, corrupt(t, err, k).Reason, "newer release")
	})
}

func TestAMACKeyHas32Bytes(t *testing.T) {
	_, err := record.NewCodec(secret.New(make([]byte, 31)))
	require.Equal(t, fault.Validation, fault.CodeOf(err))
	require.ErrorContains(t, err, "31")
}

func TestACodecKeepsItsOwnCopyOfTheKey(t *testing.T) {
	b := bytes.Repeat([]byte{7}, 32)
	v := secret.Take(b)
	c, err := record.NewCodec(v)
	require.NoError(t, err)
	sealed := c.Seal([]byte("k"), []byte("p"))
	v.Wipe()
	_, err = c.Open([]byte("k"), sealed)
	require.NoError(t, err)
}

// Frames of older releases, made by another implementation.
func TestOldFramesOpenForEver(t *testing.T) {
	b, err := os.ReadFile("testdata/frames-v1.txt")
	require.NoError(t, err)
	n := 0
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(strings.TrimSpace(line), "|")
		require.Len(t, f, 5)
		un := func(s string) []byte {
			b, err := hex.DecodeString(s)
			require.NoError(t, err)
			return b
		}
		var c *record.Codec
		if f[2] != "-" {
			c, err = record.NewCodec(secret.New(un(f[2])))
			require.NoError(t, err)
		}
		got, err := c.Open(un(f[1]), un(f[4]))
		require.NoError(t, err, f[0])
		require.Equal(t, f[3], hex.EncodeToString(got), f[0])
		require.Equal(t, f[4], hex.EncodeToString(c.Seal(un(f[1]), un(f[3]))), f[0])
		n++
	}
	require.Equal(t, 5, n)
}

type machine struct {
	Name string
	Tags map[string]string `json:",omitempty"`
	Seen time.Time
}

func TestTable(t *testing.T) {
	for name, c := range codecs(t) {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			s := memstore.New()
			tab := record.NewTable[machine](c)
			nodes := key.New("default").Str("node")
			web := machine{Name: "web", Tags: map[string]string{"Role": "web"}, Seen: time.Unix(5, 0).UTC()}
			db := machine{Name: "db"}
			require.NoError(t, s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
				require.NoError(t, tab.Put(tx, nodes.Str("1"), web))
				return tab.Put(tx, nodes.Str("2"), db)
			}))
			require.NoError(t, s.View(ctx, func(ctx context.Context, r store.Reader) error {
				got, err := tab.Get(ctx, r, nodes.Str("1"))
				require.NoError(t, err)
				require.Empty(t, cmp.Diff(web, got))
				_, err = tab.Get(ctx, r, nodes.Str("3"))
				require.ErrorIs(t, err, store.ErrNotFound)
				many, err := tab.GetMany(ctx, r, [][]byte{nodes.Str("2"), nodes.Str("3"), nodes.Str("1")})
				require.NoError(t, err)
				require.Empty(t, cmp.Diff([]*machine{&db, nil, &web}, many))
				none, err := tab.GetMany(ctx, r, nil)
				require.NoError(t, err)
				require.Empty(t, none)
				var names []string
				for e, err := range tab.Scan(ctx, r, nodes.Range()) {
					require.NoError(t, err)
					names = append(names, e.Value.Name)
				}
				require.Equal(t, []string{"web", "db"}, names)
				for range tab.Scan(ctx, r, nodes.Range()) {
					break
				}
				return nil
			}))
		})
	}
}

func TestOneBadRecordDoesNotStopTheOthers(t *testing.T) {
	ctx := t.Context()
	s := memstore.New()
	tab := record.NewTable[machine](nil)
	nodes := key.New("default").Str("node")
	require.NoError(t, s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		for i := range 5 {
			require.NoError(t, tab.Put(tx, nodes.Uint(uint64(i)), machine{Name: fmt.Sprint(i)}))
		}
		moved, err := tx.Get(ctx, nodes.Uint(3))
		require.NoError(t, err)
		require.NoError(t, tx.Put(nodes.Uint(1), moved)) // a record under the wrong key
		var c *record.Codec
		return tx.Put(nodes.Uint(2), c.Seal(nodes.Uint(2), []byte("no JSON")))
	}))
	require.NoError(t, s.View(ctx, func(ctx context.Context, r store.Reader) error {
		var good []string
		var bad [][]byte
		for e, err := range tab.Scan(ctx, r, nodes.Range()) {
			if err != nil {
				bad = append(bad, corrupt(t, err, e.Key).Key)
				continue
			}
			good = append(good, e.Value.Name)
		}
		require.Equal(t, []string{"0", "3", "4"}, good)
		require.Equal(t, [][]byte{nodes.Uint(1), nodes.Uint(2)}, bad)
		_, err := tab.Get(ctx, r, nodes.Uint(1))
		corrupt(t, err, nodes.Uint(1))
		_, err = tab.GetMany(ctx, r, [][]byte{nodes.Uint(0), nodes.Uint(2)})
		corrupt(t, err, nodes.Uint(2))
		return nil
	}))
}

func TestWhatCannotBeEncodedIsAnError(t *testing.T) {
	s := memstore.New()
	err := s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
		return record.NewTable[chan int](nil).Put(tx, []byte("k"), make(chan int))
	})
	require.Equal(t, fault.InternalServerError, fault.CodeOf(err))
}

func TestAScanGivesTheStoresErrors(t *testing.T) {
	s := memstore.New()
	var kept store.Reader
	require.NoError(t, s.View(t.Context(), func(_ context.Context, r store.Reader) error { kept = r; return nil }))
	tab := record.NewTable[machine](nil)
	n := 0
	for _, err := range tab.Scan(t.Context(), kept, store.Range{}) {
		require.ErrorIs(t, err, store.ErrClosed)
		n++
	}
	require.Equal(t, 1, n)
	_, err := tab.GetMany(t.Context(), kept, [][]byte{[]byte("k")})
	require.ErrorIs(t, err, store.ErrClosed)
}

func FuzzOpen(f *testing.F) {
	mac := macCodec(f, 7)
	var sum *record.Codec
	f.Add([]byte("k"), sum.Seal([]byte("k"), []byte("payload")))
	f.Add([]byte("k"), mac.Seal([]byte("k"), []byte("payload")))
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, k, framed []byte) {
		for _, c := range []*record.Codec{sum, mac} {
			p, err := c.Open(k, framed)
			if err == nil && !bytes.Equal(c.Seal(k, p), framed) {
				t.Fatalf("%x opens under %x but is not what is sealed", framed, k)
			}
			got, err := c.Open(k, c.Seal(k, framed))
			if err != nil || !bytes.Equal(got, framed) {
				t.Fatalf("%x does not come back: %v", framed, err)
			}
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	k, p := []byte(key.New("default").Str("command").Str("cmd").Str("mi-0123456789abcdef0")), bytes.Repeat([]byte("x"), 300)
	for name, c := range codecs(b) {
		b.Run(name, func(b *testing.B) {
			sealed := c.Seal(k, p)
			b.SetBytes(int64(len(sealed)))
			for b.Loop() {
				if _, err := c.Open(k, sealed); err != nil {
					b.Fatal(err)
				}
			}
			own := float64(b.Elapsed()) / float64(b.N)
			const n = 200_000
			var to [512]byte
			start := time.Now()
			for range n {
				copy(to[:], sealed)
			}
			b.ReportMetric(own/(float64(time.Since(start))/n), "ratio-copy")
		})
	}
}
