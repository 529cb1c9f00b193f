package boltstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/boltstore"
	"github.com/fleetwright/fleetwright/store/storetest"
)

func openB(b testing.TB, opts *boltstore.Options) *boltstore.Store {
	s, err := boltstore.Open(context.Background(), filepath.Join(b.TempDir(), "store.db"), opts)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, s.Close()) })
	return s
}

// rawBolt is the engine by hand: one transaction an operation.
func rawBolt(b *testing.B) storetest.Raw {
	dir := b.TempDir()
	db, err := bolt.Open(filepath.Join(dir, "raw.db"), 0o600, &bolt.Options{FreelistType: bolt.FreelistMapType, InitialMmapSize: 1 << 30})
	require.NoError(b, err)
	b.Cleanup(func() { db.Close() })
	name := []byte("kv")
	value := bytes.Repeat([]byte("v"), 300)
	require.NoError(b, db.Update(func(tx *bolt.Tx) error {
		bucket, err := tx.CreateBucket(name)
		for i := 0; i < 20_000 && err == nil; i++ {
			err = bucket.Put(fmt.Appendf(nil, "bench/%08d", i), value)
		}
		return err
	}))
	log, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(b, err)
	b.Cleanup(func() { log.Close() })
	page := make([]byte, 4096)
	return storetest.Raw{
		Commit: func(key, value []byte) error {
			return db.Update(func(tx *bolt.Tx) error { return tx.Bucket(name).Put(key, value) })
		},
		Get: func(key []byte) error {
			return db.View(func(tx *bolt.Tx) error {
				if tx.Bucket(name).Get(key) == nil {
					return store.ErrNotFound
				}
				return nil
			})
		},
		Scan: func(start, end []byte) (n int, err error) {
			err = db.View(func(tx *bolt.Tx) error {
				c := tx.Bucket(name).Cursor()
				for k, _ := c.Seek(start); k != nil && bytes.Compare(k, end) < 0; k, _ = c.Next() {
					n++
				}
				return nil
			})
			return n, err
		},
		Sync: func() error {
			if _, err := log.Write(page); err != nil {
				return err
			}
			return datasync(log)
		},
	}
}

func Benchmark(b *testing.B) {
	storetest.Bench(b, func(b *testing.B) store.Store { return openB(b, nil) }, rawBolt)
}

// BenchmarkRandom is the worst case of a B+tree: read-modify-write of random keys of 200,000.
func BenchmarkRandom(b *testing.B) {
	const keys = 200_000
	value := make([]byte, 200)
	key := func(i int) []byte { return fmt.Appendf(nil, "node/%08d", i) }
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			s := openB(b, nil)
			for from := 0; from < keys; from += 5_000 {
				require.NoError(b, s.Update(context.Background(), func(ctx context.Context, tx store.Tx) error {
					for i := from; i < from+5_000; i++ {
						if err := tx.Put(key(i), value); err != nil {
							return err
						}
					}
					return nil
				}))
			}
			before := s.Stats()
			b.SetParallelism(max(1, callers/runtime.GOMAXPROCS(0)))
			b.ResetTimer()
			var seed atomic.Uint64
			work := func(next func() bool) {
				rnd := rand.New(rand.NewPCG(seed.Add(1), 2))
				for next() {
					k := key(rnd.IntN(keys))
					if err := s.Update(context.Background(), func(ctx context.Context, tx store.Tx) error {
						if _, err := tx.Get(ctx, k); err != nil {
							return err
						}
						return tx.Put(k, value)
					}); err != nil {
						b.Error(err)
						return
					}
				}
			}
			if callers == 1 {
				n := 0
				work(func() bool { n++; return n <= b.N })
			} else {
				b.RunParallel(func(pb *testing.PB) { work(pb.Next) })
			}
			b.StopTimer()
			after := s.Stats()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
			b.ReportMetric(float64(after.Updates-before.Updates)/float64(max(1, after.Commits-before.Commits)), "updates/batch")
			b.ReportMetric(float64(after.Synced-before.Synced)/float64(b.Elapsed()), "share-sync")
			log, err := os.Create(filepath.Join(b.TempDir(), "log"))
			require.NoError(b, err)
			defer log.Close()
			const n = 100
			start := time.Now()
			for range n {
				_, err := log.Write(make([]byte, 4096))
				require.NoError(b, errors.Join(err, datasync(log)))
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/(n/time.Since(start).Seconds()), "ratio-disk")
		})
	}
}

// BenchmarkFleet writes 100,000 records as a batcher does, a thousand neighbours an Update, against the same transactions on the engine alone.
func BenchmarkFleet(b *testing.B) {
	const nodes, batch = 100_000, 1_000
	value := make([]byte, 300)
	key := func(i int) []byte { return fmt.Appendf(nil, "inv/cmd-1/%08d", i) }
	for b.Loop() {
		s := openB(b, nil)
		start := time.Now()
		for from := 0; from < nodes; from += batch {
			require.NoError(b, s.Update(context.Background(), func(ctx context.Context, tx store.Tx) error {
				for i := from; i < from+batch; i++ {
					if err := tx.Put(key(i), value); err != nil {
						return err
					}
				}
				return nil
			}))
		}
		own := time.Since(start)
		db, err := bolt.Open(filepath.Join(b.TempDir(), "raw.db"), 0o600, &bolt.Options{FreelistType: bolt.FreelistMapType, InitialMmapSize: 1 << 30})
		require.NoError(b, err)
		start = time.Now()
		for from := 0; from < nodes; from += batch {
			require.NoError(b, db.Update(func(tx *bolt.Tx) error {
				bucket, err := tx.CreateBucketIfNotExists([]byte("kv"))
				for i := from; i < from+batch && err == nil; i++ {
					err = bucket.Put(key(i), value)
				}
				return err
			}))
		}
		raw := time.Since(start)
		require.NoError(b, db.Close())
		b.ReportMetric(nodes/own.Seconds(), "records/s")
		b.ReportMetric(own.Seconds()/raw.Seconds(), "time-to-raw")
	}
}
