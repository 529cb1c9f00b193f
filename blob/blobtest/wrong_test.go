package blobtest_test

// A suite that cannot fail proves nothing: each store here breaks one rule, and must fail that case and no other.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/blob"
	"github.com/fleetwright/fleetwright/blob/blobtest"
	"github.com/fleetwright/fleetwright/blob/memblob"
)

// recorder is a T that remembers whether the case failed.
type recorder struct {
	blobtest.T // of the real test, for what is not overridden
	mu         sync.Mutex
	failed     bool
	text       []string
}

func (r *recorder) fail(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed, r.text = true, append(r.text, s)
}

func (r *recorder) Helper()                   {}
func (r *recorder) Logf(f string, a ...any)   {}
func (r *recorder) Log(a ...any)              {}
func (r *recorder) Errorf(f string, a ...any) { r.fail(fmt.Sprintf(f, a...)) }
func (r *recorder) Error(a ...any)            { r.fail(fmt.Sprint(a...)) }
func (r *recorder) Fatalf(f string, a ...any) { r.Errorf(f, a...); runtime.Goexit() }
func (r *recorder) Fatal(a ...any)            { r.Error(a...); runtime.Goexit() }
func (r *recorder) FailNow()                  { r.fail("FailNow"); runtime.Goexit() }
func (r *recorder) Fail()                     { r.fail("Fail") }
func (r *recorder) Failed() bool              { r.mu.Lock(); defer r.mu.Unlock(); return r.failed }
func (r *recorder) run(f func(blobtest.T)) {
	done := make(chan struct{})
	go func() { defer close(done); f(r) }()
	<-done
}
func (r *recorder) Name() string { return "recorder" }

// store is memblob with methods replaced.
type store struct {
	*memblob.Store
	put  func(context.Context, string, io.Reader) (int64, error)
	open func(context.Context, string) (io.ReadCloser, error)
	del  func(context.Context, string) error
}

func (s *store) Put(ctx context.Context, k string, r io.Reader) (int64, error) {
	if s.put != nil {
		return s.put(ctx, k, r)
	}
	return s.Store.Put(ctx, k, r)
}

func (s *store) Open(ctx context.Context, k string) (io.ReadCloser, error) {
	if s.open != nil {
		return s.open(ctx, k)
	}
	return s.Store.Open(ctx, k)
}

func (s *store) Delete(ctx context.Context, k string) error {
	if s.del != nil {
		return s.del(ctx, k)
	}
	return s.Store.Delete(ctx, k)
}

func get(m *memblob.Store, k string) ([]byte, bool) {
	r, err := m.Open(context.Background(), k)
	if err != nil {
		return nil, false
	}
	b, err := io.ReadAll(r)
	return b, err == nil
}

// wrong are the stores; m is the right one below.
var wrong = []struct {
	name, rule string
	make       func(m *memblob.Store, s *store)
}{
	{"joins keys into paths without a look at them", "B-KEY", func(m *memblob.Store, s *store) {
		s.put = func(ctx context.Context, k string, r io.Reader) (int64, error) {
			if strings.Contains(k, "..") {
				k = "elsewhere"
			}
			return m.Put(ctx, k, r)
		}
	}},
	{"takes keys that are too long", "B-KEY", func(m *memblob.Store, s *store) {
		s.put = func(ctx context.Context, k string, r io.Reader) (int64, error) {
			return m.Put(ctx, k[:min(len(k), blob.MaxKey)], r)
		}
	}},
	{"refuses the longest key", "B-KEY", func(m *memblob.Store, s *store) {
		s.put = func(ctx context.Context, k string, r io.Reader) (int64, error) {
			if len(k) >= blob.MaxKey {
				return 0, blob.ErrBadKey
			}
			return m.Put(ctx, k, r)
		}
	}},
	{"deletes although ctx has ended", "B-CANCEL", func(m *memblob.Store, s *store) {
		s.del = func(ctx context.Context, k string) error {
			return errors.Join(ctx.Err(), m.Delete(context.WithoutCancel(ctx), k))
		}
	}},
	{"opens although ctx has ended", "B-CANCEL", func(m *memblob.Store, s *store) {
		s.open = func(ctx context.Context, k string) (io.ReadCloser, error) {
			return m.Open(context.WithoutCancel(ctx), k)
		}
	}},
	{"counts wrong", "B-PUT", func(m *memblob.Store, s *store) {
		s.put = func(ctx context.Context, k string, r io.Reader) (int64, error) {
			n, err := m.Put(ctx, k, r)
			if n > 5 && n < 20 && strings.HasPrefix(k, "k") {
				n--
			}
			return n, err
		}
	}},
	{"leaves the old end behind a shorter blob", "B-PUT", func(m *memblob.Store, s *store) {
		s.put = func(ctx context.Context, k string, r io.Reader) (int64, error) {
			old, ok := get(m, k)
			n, err := m.Put(ctx, k, r)
			if b, _ := get(m, k); ok && err == nil && len(old) > len(b) && k == "k/v" {
				m.Put(ctx, k, bytes.NewReader(append(bytes.Clone(b), old[len(b):]...)))
			}
			return n, err
		}
	}},
	{"has no empty blobs", "B-SIZE", func(m *memblob.Store, s *store) {
		s.open = func(ctx context.Context, k string) (io.ReadCloser, error) {
			if b, ok := get(m, k); ok && len(b) == 0 && k == "size" {
				return nil, blob.ErrNotFound
			}
			return m.Open(ctx, k)
		}
	}},
	{"cuts at a megabyte", "B-SIZE", func(m *memblob.Store, s *store) {
		s.put = func(ctx context.Context, k string, r io.Reader) (int64, error) {
			return m.Put(ctx, k, io.LimitReader(r, 1<<20))
		}
	}},
	{"shows a blob while it is written", "B-WHOLE", func(m *memblob.Store, s *store) {
		s.put = func(ctx context.Context, k string, r io.Reader) (int64, error) {
			old, ok := get(m, k)
			if _, race := r.(*bytes.Reader); race || k == "slow" {
				return m.Put(ctx, k, r)
			}
			head := make([]byte, 60_000)
			n, err := io.ReadFull(r, head)
			if n == len(head) {
				m.Put(ctx, k, bytes.NewReader(head[:n]))
			} else if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
				err = nil
			}
			if err != nil {
				r = failing{err}
			}
			total, err := m.Put(ctx, k, io.MultiReader(bytes.NewReader(head[:n]), r))
			if err != nil && ok {
				m.Put(context.Background(), k, bytes.NewReader(old))
			}
			return total, err
		}
	}},
	{"changes a blob under its readers", "B-WHOLE", func(m *memblob.Store, s *store) {
		s.open = func(ctx context.Context, k string) (io.ReadCloser, error) {
			r, err := m.Open(ctx, k)
			if err != nil {
				return nil, err
			}
			b, _ := get(m, k)
			return &live{r: r, m: m, k: k, was: b}, nil
		}
	}},
	{"keeps what a failing reader gave", "B-ABORT", func(m *memblob.Store, s *store) {
		s.put = func(ctx context.Context, k string, r io.Reader) (int64, error) {
			b, err := io.ReadAll(r)
			if err != nil && strings.HasSuffix(k, "new") {
				m.Put(ctx, k, bytes.NewReader(b))
				return 0, err
			}
			return m.Put(ctx, k, io.MultiReader(bytes.NewReader(b), failing{err}))
		}
	}},
	{"hides the reader's error", "B-ABORT", func(m *memblob.Store, s *store) {
		s.put = func(ctx context.Context, k string, r io.Reader) (int64, error) {
			n, err := m.Put(ctx, k, r)
			if err != nil && ctx.Err() == nil && blob.CheckKey(k) == nil {
				err = errors.New("could not put")
			}
			return n, err
		}
	}},
	{"keeps the caller's bytes", "B-ALIAS", func(m *memblob.Store, s *store) {
		kept := map[string][]byte{}
		var mu sync.Mutex
		s.put = func(ctx context.Context, k string, r io.Reader) (int64, error) {
			n, err := m.Put(ctx, k, struct{ io.Reader }{r})
			if b, ok := r.(*bytes.Buffer); ok && err == nil {
				b.Reset()
				mu.Lock()
				kept[k] = b.AvailableBuffer()[:n] // the bytes that were read
				mu.Unlock()
			}
			return n, err
		}
		s.open = func(ctx context.Context, k string) (io.ReadCloser, error) {
			mu.Lock()
			defer mu.Unlock()
			if b, ok := kept[k]; ok {
				return io.NopCloser(bytes.NewReader(b)), nil
			}
			return m.Open(ctx, k)
		}
	}},
	{"puts one at a time", "B-STALL", func(m *memblob.Store, s *store) {
		turn := make(chan struct{}, 1)
		s.put = func(ctx context.Context, k string, r io.Reader) (int64, error) {
			turn <- struct{}{}
			defer func() { <-turn }()
			return m.Put(ctx, k, r)
		}
	}},
	{"has another error for what is missing", "B-MISSING", func(m *memblob.Store, s *store) {
		s.open = func(ctx context.Context, k string) (io.ReadCloser, error) {
			r, err := m.Open(ctx, k)
			if errors.Is(err, blob.ErrNotFound) && !strings.HasPrefix(k, "r/") {
				err = fs.ErrNotExist
			}
			return r, err
		}
	}},
	{"opens a directory", "B-MISSING", func(m *memblob.Store, s *store) {
		s.open = func(ctx context.Context, k string) (io.ReadCloser, error) {
			r, err := m.Open(ctx, k)
			if _, below := get(m, k+"/c"); below && k == "a/b" && errors.Is(err, blob.ErrNotFound) {
				return io.NopCloser(strings.NewReader("")), nil
			}
			return r, err
		}
	}},
	{"has one position for all readers of a blob", "B-READERS", func(m *memblob.Store, s *store) {
		shared := map[string]io.ReadCloser{}
		s.open = func(ctx context.Context, k string) (io.ReadCloser, error) {
			r, err := m.Open(ctx, k)
			if b, ok := get(m, k); ok && err == nil && len(b) == 50_000 {
				if shared[k] == nil {
					shared[k] = r
				}
				return shared[k], nil
			}
			return r, err
		}
	}},
	{"ends readers on Delete", "B-READERS", func(m *memblob.Store, s *store) {
		s.open = func(ctx context.Context, k string) (io.ReadCloser, error) {
			r, err := m.Open(ctx, k)
			if err != nil || k != "k" {
				return r, err
			}
			return gone{r, m, k}, nil
		}
	}},
	{"has no blob beside a tree of its name", "B-TREE", func(m *memblob.Store, s *store) {
		s.put = func(ctx context.Context, k string, r io.Reader) (int64, error) {
			if _, ok := get(m, k+"/y"); ok {
				return 0, errors.New("is a directory")
			}
			return m.Put(ctx, k, r)
		}
	}},
	{"does not tell case", "B-CASE", func(m *memblob.Store, s *store) {
		lower := func(k string) string {
			if strings.Contains(strings.ToLower(k), "readme") {
				return strings.ToLower(k)
			}
			return k
		}
		s.put = func(ctx context.Context, k string, r io.Reader) (int64, error) { return m.Put(ctx, lower(k), r) }
		s.open = func(ctx context.Context, k string) (io.ReadCloser, error) { return m.Open(ctx, lower(k)) }
	}},
	{"deletes by prefix", "B-DELETE", func(m *memblob.Store, s *store) {
		s.del = func(ctx context.Context, k string) error {
			if err := m.Delete(ctx, k); err != nil {
				return err
			}
			return m.Delete(ctx, k+"c")
		}
	}},
	{"deletes no trees", "B-DELETE", func(m *memblob.Store, s *store) {
		s.del = func(ctx context.Context, k string) error {
			if _, ok := get(m, k); !ok && blob.CheckKey(k) == nil && ctx.Err() == nil {
				return nil
			}
			return m.Delete(ctx, k)
		}
	}},
	{"cannot delete what is missing", "B-DELETE", func(m *memblob.Store, s *store) {
		s.del = func(ctx context.Context, k string) error {
			if strings.HasPrefix(k, "never") {
				return blob.ErrNotFound
			}
			return m.Delete(ctx, k)
		}
	}},
	{"writes in two steps", "B-RACE", func(m *memblob.Store, s *store) {
		s.put = func(ctx context.Context, k string, r io.Reader) (int64, error) {
			if !strings.HasPrefix(k, "r/") {
				return m.Put(ctx, k, r)
			}
			b, err := io.ReadAll(r)
			if err != nil {
				return 0, err
			}
			m.Put(ctx, k, bytes.NewReader(append(bytes.Clone(b[:len(b)/2]), '!')))
			time.Sleep(time.Millisecond)
			return m.Put(ctx, k, bytes.NewReader(b))
		}
	}},
}

// live gives the end of a blob as it is now.
type live struct {
	r   io.ReadCloser
	m   *memblob.Store
	k   string
	was []byte
	n   int
}

func (l *live) Read(b []byte) (int, error) {
	if now, ok := get(l.m, l.k); ok && len(now) == 100_000 && len(l.was) == len(now) && !bytes.Equal(now, l.was) {
		if l.n >= len(now) {
			return 0, io.EOF
		}
		n := copy(b, now[l.n:])
		l.n += n
		return n, nil
	}
	n, err := l.r.Read(b)
	l.n += n
	return n, err
}

func (l *live) Close() error { return l.r.Close() }

type gone struct {
	io.ReadCloser
	m *memblob.Store
	k string
}

func (g gone) Read(b []byte) (int, error) {
	if _, ok := get(g.m, g.k); !ok {
		return 0, fs.ErrClosed
	}
	return g.ReadCloser.Read(b)
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err == nil {
		return 0, io.EOF
	}
	return 0, f.err
}

func TestWrongStoresFailTheirRule(t *testing.T) {
	for _, w := range wrong {
		t.Run(w.name, func(t *testing.T) {
			var failed []string
			text := map[string][]string{}
			for _, c := range blobtest.Cases() {
				if c.Rule == "B-MODEL" {
					continue // random calls may meet any fault
				}
				synctest.Test(t, func(t *testing.T) { // so that a stuck store is found at once
					m := memblob.New()
					s := &store{Store: m}
					w.make(m, s)
					r := &recorder{T: t}
					r.run(func(t blobtest.T) { c.Run(t, s) })
					if r.failed {
						failed = append(failed, c.Rule)
						text[c.Rule] = r.text
					}
				})
			}
			require.Equal(t, []string{w.rule}, failed, "%v", text)
		})
	}
}

// TestModelFindsFaults runs the random case alone against stores that lose a delete, an error and a byte.
func TestModelFindsFaults(t *testing.T) {
	faults := map[string]func(m *memblob.Store, s *store){
		"deletes by prefix": func(m *memblob.Store, s *store) {
			s.del = func(ctx context.Context, k string) error {
				if err := m.Delete(ctx, k); err != nil {
					return err
				}
				return m.Delete(ctx, k+"c")
			}
		},
		"hides a reader's error": func(m *memblob.Store, s *store) {
			s.put = func(ctx context.Context, k string, r io.Reader) (int64, error) {
				b, _ := io.ReadAll(r)
				return m.Put(ctx, k, bytes.NewReader(b))
			}
		},
		"loses a byte": func(m *memblob.Store, s *store) {
			s.put = func(ctx context.Context, k string, r io.Reader) (int64, error) {
				n, err := m.Put(ctx, k, io.LimitReader(r, 3))
				if n == 3 {
					n = 4
				}
				return n, err
			}
		},
	}
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			r := &recorder{T: t}
			for try := 0; try < 50 && !r.failed; try++ { // it is random, and short in short runs
				m := memblob.New()
				s := &store{Store: m}
				f(m, s)
				for _, c := range blobtest.Cases() {
					if c.Rule == "B-MODEL" {
						r.run(func(t blobtest.T) { c.Run(t, s) })
					}
				}
			}
			require.True(t, r.failed)
		})
	}
}

// TestRulesAreNamedOnce: a rule names one case, and says what it is.
func TestRulesAreNamedOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range blobtest.Cases() {
		require.False(t, seen[c.Rule], c.Rule)
		require.NotEmpty(t, c.Text)
		seen[c.Rule] = true
	}
	for _, w := range wrong {
		require.True(t, seen[w.rule], w.rule)
	}
}
