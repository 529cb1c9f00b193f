package parameter_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/boltstore"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/memstore"
)

// each returns nanoseconds a call of f, the least of some rounds.
func each(n int, f func(i int)) float64 {
	best := time.Duration(1 << 62)
	for range 5 {
		start := time.Now()
		for i := range n {
			f(i)
		}
		best = min(best, time.Since(start))
	}
	return float64(best) / float64(n)
}

func fileWorld(b testing.TB, change func(*parameter.Config)) *world {
	db, err := boltstore.Open(context.Background(), filepath.Join(b.TempDir(), "store"), nil)
	require.NoError(b, err)
	b.Cleanup(func() { db.Close() })
	w := newWorld(b, func(c *parameter.Config) {
		c.Store, c.Limits, c.Now = db, parameter.NoLimits(), time.Now
		if change != nil {
			change(c)
		}
	})
	w.st = db
	return w
}

// fill makes n parameters /fill/GROUP/N of 100 bytes, a hundred a transaction; each hundredth has the tag env=prod.
func (w *world) fill(n int) {
	value := strings.Repeat("v", 100)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for at := g * 100; at < n; at += 800 {
				var tx parameter.Transaction
				for i := at; i < min(n, at+100); i++ {
					p := parameter.PutRequest{PutParameterRequest: str(fillName(i), value)}
					if i%100 == 0 {
						p.Tags, p.SetTags = []parameter.Tag{{Key: "env", Value: "prod"}}, true
					}
					tx.Puts = append(tx.Puts, p)
				}
				if _, err := w.Transact(admin, tx); err != nil {
					panic(err)
				}
			}
		})
	}
	wg.Wait()
}

func fillName(i int) string { return fmt.Sprintf("/fill/%04d/%07d", i/1000, i) }

func sizeOf() int {
	if long {
		return 1_000_000
	}
	return 5_000
}

// BenchmarkGetString compares a read of a String with the raw store's read of its record.
func BenchmarkGetString(b *testing.B) {
	for name, open := range map[string]func() *world{
		"file":   func() *world { return fileWorld(b, nil) },
		"memory": func() *world { return newWorld(b, nil) },
	} {
		b.Run(name, func(b *testing.B) {
			w := open()
			w.fill(1000)
			ks := make([][]byte, 1000)
			names := make([]string, 1000)
			for i := range ks {
				names[i] = fillName(i)
				ks[i] = key.New("default").Str("parameter").Str("head").Str(names[i])
			}
			i := 0
			get := func(i int) {
				if _, err := w.GetParameter(admin, parameter.GetParameterRequest{Name: names[i*7%1000]}); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				get(i)
				i++
			}
			sustained := each(5000, get)
			own := 1e18
			for range 20 { // while the buffer of the audit log has room
				require.NoError(b, w.log.Flush(admin))
				own = min(own, float64(timed(func() {
					for i := range 1000 {
						get(i)
					}
				}))/1000)
			}
			var n int
			raw := each(5000, func(i int) {
				if err := w.st.View(admin, func(ctx context.Context, r store.Reader) error {
					v, err := r.Get(ctx, ks[i*7%1000])
					n += len(v)
					return err
				}); err != nil {
					b.Fatal(err)
				}
			})
			b.ReportMetric(own, "ns/get")
			b.ReportMetric(sustained/raw, "ratio-with-audit-stored")
			b.ReportMetric(own/raw, "ratio-rawread")
		})
	}
}

// BenchmarkGetDurable is 64 readers whose every read is on disk before it is answered: of Strings with a durable audit log, and of SecureStrings, which are recorded so with any log. The limit is as many raw
// Updates of two records of the size of an audit entry and its chain's head, which the store commits in groups.
func BenchmarkGetDurable(b *testing.B) {
	const readers = 64
	per := 10
	if long {
		per = 200
	}
	w := fileWorld(b, nil)
	w.cfg.Audit = audit.New(audit.Config{Store: w.st, Durable: true})
	s := parameter.New(w.cfg)
	raw, err := boltstore.Open(context.Background(), filepath.Join(b.TempDir(), "raw"), nil)
	require.NoError(b, err)
	defer raw.Close()
	for i := range 100 {
		w.put(fmt.Sprint("/d/text/", i), strings.Repeat("v", 100))
		w.putSecret(fmt.Sprint("/d/secret/", i), strings.Repeat("v", 100))
	}
	var n atomic.Int64
	crowd := func(f func(i int)) time.Duration {
		return timed(func() {
			var wg sync.WaitGroup
			for range readers {
				wg.Go(func() {
					for range per {
						f(int(n.Add(1)))
					}
				})
			}
			wg.Wait()
		})
	}
	get := func(kind string) func(i int) {
		return func(i int) {
			if _, err := s.GetParameter(admin, parameter.GetParameterRequest{Name: fmt.Sprint("/d/", kind, "/", i%100), WithDecryption: true}); err != nil {
				panic(err)
			}
		}
	}
	head := key.New("default").Str("audit").Str("head")
	update := func(i int) {
		if err := raw.Update(admin, func(_ context.Context, tx store.Tx) error {
			return errors.Join(tx.Put(key.New("default").Str("audit").Uint(uint64(i)), make([]byte, 300)), tx.Put(head, make([]byte, 120)))
		}); err != nil {
			panic(err)
		}
	}
	for b.Loop() {
		text, secrets, limit := time.Hour, time.Hour, time.Hour
		for range 5 {
			text, secrets, limit = min(text, crowd(get("text"))), min(secrets, crowd(get("secret"))), min(limit, crowd(update))
		}
		b.ReportMetric(float64(readers*per)/text.Seconds(), "strings/s")
		b.ReportMetric(float64(readers*per)/secrets.Seconds(), "secrets/s")
		b.ReportMetric(float64(text)/float64(limit), "ratio-groupcommit")
		b.ReportMetric(float64(secrets)/float64(limit), "ratio-secret-groupcommit")
	}
}

func timed(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

// BenchmarkSecure compares Put and Get of a SecureString of 1 KB with bare AES-256-GCM under a fresh key; audit off for Get, as its durable record is a commit.
func BenchmarkSecure(b *testing.B) {
	w := newWorld(b, func(c *parameter.Config) { c.Limits = parameter.NoLimits() })
	w.cfg.Audit = nil
	s := parameter.New(w.cfg)
	value := parameter.Secret(secret.String(strings.Repeat("s", 1024)))
	put := func(i int) {
		if _, err := s.PutParameter(admin, parameter.PutParameterRequest{Name: fmt.Sprint("/s/", i%200), Type: parameter.SecureString, Value: value, Overwrite: true}); err != nil {
			b.Fatal(err)
		}
	}
	for i := range 200 {
		put(i)
	}
	plain := make([]byte, 1024)
	gcm := each(2000, func(int) {
		k := make([]byte, 32)
		rand.Read(k) //nolint:errcheck // it never fails
		block, _ := aes.NewCipher(k)
		aead, _ := cipher.NewGCM(block)
		nonce := make([]byte, 12)
		rand.Read(nonce) //nolint:errcheck // it never fails
		aead.Seal(nil, nonce, plain, nil)
	})
	b.Run("Put", func(b *testing.B) {
		i := 0
		for b.Loop() {
			put(i)
			i++
		}
		own := each(400, put)
		b.ReportMetric(own/gcm, "ratio-aesgcm")
	})
	b.Run("Get", func(b *testing.B) {
		get := func(i int) {
			if _, err := s.GetParameter(admin, parameter.GetParameterRequest{Name: fmt.Sprint("/s/", i%200), WithDecryption: true}); err != nil {
				b.Fatal(err)
			}
		}
		i := 0
		for b.Loop() {
			get(i)
			i++
		}
		own := each(2000, get)
		b.ReportMetric(own/gcm, "ratio-aesgcm")
	})
}

// BenchmarkPut compares 64 writers, each of its own parameters, with raw Updates of records of the same number and size, both on files in one run.
func BenchmarkPut(b *testing.B) {
	const writers = 64
	per := 10
	if long {
		per = 200
	}
	w := fileWorld(b, nil)
	raw, err := boltstore.Open(context.Background(), filepath.Join(b.TempDir(), "raw"), nil)
	require.NoError(b, err)
	defer raw.Close()
	round := 0
	crowd := func(f func(i int)) time.Duration {
		round++
		start := time.Now()
		var wg sync.WaitGroup
		for g := range writers {
			wg.Go(func() {
				for i := range per {
					f(round*writers*per + g*per + i)
				}
			})
		}
		wg.Wait()
		return time.Since(start)
	}
	value := strings.Repeat("v", 100)
	for b.Loop() {
		own, limit := time.Duration(1<<62), time.Duration(1<<62)
		for range 3 {
			own = min(own, crowd(func(i int) { w.put(fmt.Sprint("/w/", i), value) }))
			limit = min(limit, crowd(func(i int) {
				if err := raw.Update(admin, func(_ context.Context, tx store.Tx) error {
					for j, size := range []int{180, 5, 5, 20, 250, 30, 300, 120} { // head, two indexes, count, event, feed, audit, chain
						if err := tx.Put(key.New("default").Uint(uint64(j)).Uint(uint64(i)), make([]byte, size)); err != nil {
							return err
						}
					}
					return nil
				}); err != nil {
					panic(err)
				}
			}))
		}
		b.ReportMetric(float64(writers*per)/own.Seconds(), "puts/s")
		b.ReportMetric(float64(own)/float64(limit), "ratio-groupcommit")
	}
}

// BenchmarkList reads pages of a big store: the first and the last by path, a filter by tag; each against the raw scan of as many records.
func BenchmarkList(b *testing.B) {
	w := fileWorld(b, nil)
	n := sizeOf()
	start := time.Now()
	w.fill(n)
	b.Logf("%d parameters made, %.0f a second", n, float64(n)/time.Since(start).Seconds())
	scan := each(200, func(i int) {
		if err := w.st.View(admin, func(ctx context.Context, r store.Reader) error {
			rng := key.New("default").Str("parameter").Str("head").Range()
			rng.Limit = 10
			for _, err := range r.Scan(ctx, rng) {
				if err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	})
	last := fmt.Sprintf("/fill/%04d", (n-1)/1000)
	for name, f := range map[string]func(){
		"first page": func() {
			out, err := w.GetParametersByPath(admin, parameter.GetParametersByPathRequest{Path: "/fill", Recursive: true})
			require.NoError(b, err)
			require.Len(b, out.Parameters, 10)
		},
		"last path": func() {
			out, err := w.GetParametersByPath(admin, parameter.GetParametersByPathRequest{Path: last})
			require.NoError(b, err)
			require.Len(b, out.Parameters, 10)
		},
		"tag": func() {
			out, err := w.DescribeParameters(admin, parameter.DescribeParametersRequest{MaxResults: 10, ParameterFilters: []parameter.ParameterStringFilter{{Key: "tag:env", Values: []string{"prod"}}}})
			require.NoError(b, err)
			require.Len(b, out.Parameters, 10)
		},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				f()
			}
			require.NoError(b, w.log.Flush(admin))
			own := each(100, func(int) { f() })
			b.ReportMetric(own, "ns/page")
			b.ReportMetric(own/scan, "ratio-rawscan")
		})
	}
}

// BenchmarkWatch tells 1,000 watchers of a change and compares that with one.
func BenchmarkWatch(b *testing.B) {
	tell := func(watchers int) float64 {
		w := newWorld(b, func(c *parameter.Config) { c.Store, c.Limits = memstore.New(), parameter.NoLimits() })
		ctx, cancel := context.WithCancel(as("bob"))
		defer cancel()
		var wg sync.WaitGroup
		var ready, got atomic.Int64
		from := uint64(0)
		w.put("/w/first", "v")
		arrived := make(chan struct{}, watchers*100)
		for range watchers {
			wg.Go(func() {
				for c, err := range w.Watch(ctx, parameter.WatchRequest{Path: "/w", After: &from}) {
					if err != nil {
						return
					}
					if c.Seq == 1 {
						ready.Add(1)
					}
					got.Add(1)
					arrived <- struct{}{}
				}
			})
		}
		wait := func(n int) {
			for range n {
				<-arrived
			}
		}
		wait(watchers)
		ns := each(5, func(i int) {
			w.put("/w/x", "v")
			wait(watchers)
		})
		cancel()
		wg.Wait()
		return ns
	}
	for b.Loop() {
		one, many := tell(1), tell(1000)
		b.ReportMetric(many/1e6, "ms/1000-watchers")
		b.ReportMetric((many-one)/1000, "ns/watcher")
	}
}
