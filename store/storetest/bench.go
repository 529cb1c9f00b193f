package storetest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fleetwright/fleetwright/store"
)

// Raw is the engine under a driver, used by hand. A nil field is not compared.
type Raw struct {
	// Commit makes one write durable. It is called concurrently.
	Commit func(key, value []byte) error
	// Get reads the value of key in a transaction of its own.
	Get func(key []byte) error
	// Scan reads the range in a transaction of its own and returns the number of items.
	Scan func(start, end []byte) (int, error)
	// Sync is the disk alone: an append of 4 KiB and an fsync. It is not called concurrently.
	Sync func() error
}

const (
	benchItems = 20_000
	benchValue = 300
)

func benchKey(i int) []byte { return fmt.Appendf(nil, "bench/%08d", i) }

// Bench measures commits/s with 1, 64 and 1,024 callers (adjacent keys), reads/s and scans of 100 items/s, and prints each with its ratio to the engine used raw in the
// same run (more is better). raw returns the engine over data of its own; it is filled through Commit.
func Bench(b *testing.B, factory func(b *testing.B) store.Store, raw func(b *testing.B) Raw) {
	ctx := context.Background()
	value := make([]byte, benchValue)
	for _, callers := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("Commits/%d", callers), func(b *testing.B) {
			s, r := factory(b), raw(b)
			rate := timed(b, callers, func(i int) error {
				return s.Update(ctx, func(ctx context.Context, tx store.Tx) error { return tx.Put(benchKey(i), value) })
			})
			b.ReportMetric(rate, "commits/s")
			if r.Commit != nil {
				against(b, "raw", rate, callers, func(i int) error { return r.Commit(benchKey(i), value) })
			}
			if r.Sync != nil {
				against(b, "disk", rate, 1, func(int) error { return r.Sync() })
			}
		})
	}
	fill := func(b *testing.B) (store.Store, Raw) {
		s, r := factory(b), raw(b)
		for from := 0; from < benchItems; from += 1000 {
			if err := s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
				for i := from; i < from+1000; i++ {
					if err := tx.Put(benchKey(i), value); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				b.Fatal(err)
			}
		}
		return s, r
	}
	b.Run("Reads", func(b *testing.B) {
		s, r := fill(b)
		rate := timed(b, 1, func(i int) error {
			return s.View(ctx, func(ctx context.Context, r store.Reader) error {
				_, err := r.Get(ctx, benchKey(i*7919%benchItems))
				return err
			})
		})
		b.ReportMetric(rate, "reads/s")
		if r.Get != nil {
			against(b, "raw", rate, 1, func(i int) error { return r.Get(benchKey(i * 7919 % benchItems)) })
		}
	})
	b.Run("Scans", func(b *testing.B) {
		s, r := fill(b)
		rate := timed(b, 1, func(i int) error {
			at := i * 7919 % (benchItems - 100)
			n := 0
			err := s.View(ctx, func(ctx context.Context, r store.Reader) error {
				n = 0
				for _, err := range r.Scan(ctx, store.Range{Start: benchKey(at), End: benchKey(at + 100)}) {
					if err != nil {
						return err
					}
					n++
				}
				return nil
			})
			if err == nil && n != 100 {
				err = fmt.Errorf("a scan gave %d items", n)
			}
			return err
		})
		b.ReportMetric(rate, "scans/s")
		if r.Scan != nil {
			against(b, "raw", rate, 1, func(i int) error {
				at := i * 7919 % (benchItems - 100)
				n, err := r.Scan(benchKey(at), benchKey(at+100))
				if err == nil && n != 100 {
					err = fmt.Errorf("a raw scan gave %d items", n)
				}
				return err
			})
		}
	})
}

// timed runs op b.N times with so many callers and returns the rate.
func timed(b *testing.B, callers int, op func(i int) error) float64 {
	b.Helper()
	b.ResetTimer()
	took, err := spread(callers, func(i int) bool { return i < b.N }, op)
	b.StopTimer()
	if err != nil {
		b.Fatal(err)
	}
	return float64(b.N) / took.Seconds()
}

// against runs op for as long as the measurement before took, at least a quarter of a second, and reports the ratio of the rates.
func against(b *testing.B, name string, rate float64, callers int, op func(i int) error) {
	b.Helper()
	if b.N < 10 {
		return // the testing package only finds out how many are a second
	}
	var n atomic.Int64
	until := time.Now().Add(max(b.Elapsed(), 250*time.Millisecond))
	took, err := spread(callers, func(int) bool { return time.Now().Before(until) }, func(i int) error {
		n.Add(1)
		return op(i)
	})
	if err != nil {
		b.Fatal(err)
	}
	other := float64(n.Load()) / took.Seconds()
	b.ReportMetric(other, name+"/s")
	b.ReportMetric(rate/other, "ratio-"+name)
}

func spread(callers int, more func(i int) bool, op func(i int) error) (time.Duration, error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, callers)
	start := time.Now()
	for range callers {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if !more(i) {
					return
				}
				if err := op(i); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	select {
	case err := <-errs:
		return took, err
	default:
		return took, nil
	}
}
