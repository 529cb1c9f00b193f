package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/memstore"
)

// wrong is a store over a right one with some of its parts replaced.
type wrong struct {
	*memstore.Store
	update func(ctx context.Context, fn func(ctx context.Context, tx store.Tx) error) error
	view   func(ctx context.Context, fn func(ctx context.Context, r store.Reader) error) error
	watch  func(ctx context.Context, prefix []byte) (<-chan struct{}, error)
}

func (w *wrong) Update(ctx context.Context, fn func(ctx context.Context, tx store.Tx) error) error {
	if w.update != nil {
		return w.update(ctx, fn)
	}
	return w.Store.Update(ctx, fn)
}

func (w *wrong) View(ctx context.Context, fn func(ctx context.Context, r store.Reader) error) error {
	if w.view != nil {
		return w.view(ctx, fn)
	}
	return w.Store.View(ctx, fn)
}

func (w *wrong) Watch(ctx context.Context, prefix []byte) (<-chan struct{}, error) {
	if w.watch != nil {
		return w.watch(ctx, prefix)
	}
	return w.Store.Watch(ctx, prefix)
}

// part is a Tx, or a Reader, with some of its methods replaced.
type part struct {
	store.Reader
	tx   store.Tx // nil in a View
	get  func(ctx context.Context, key []byte) ([]byte, error)
	many func(ctx context.Context, keys [][]byte) ([][]byte, error)
	scan func(ctx context.Context, r store.Range) iter.Seq2[store.Item, error]
	put  func(key, value []byte) error
	del  func(key []byte) error
}

func (p *part) Get(ctx context.Context, key []byte) ([]byte, error) {
	if p.get != nil {
		return p.get(ctx, key)
	}
	return p.Reader.Get(ctx, key)
}

func (p *part) GetMany(ctx context.Context, keys [][]byte) ([][]byte, error) {
	if p.many != nil {
		return p.many(ctx, keys)
	}
	return p.Reader.GetMany(ctx, keys)
}

func (p *part) Scan(ctx context.Context, r store.Range) iter.Seq2[store.Item, error] {
	if p.scan != nil {
		return p.scan(ctx, r)
	}
	return p.Reader.Scan(ctx, r)
}

type txPart struct{ *part }

func (p txPart) Put(key, value []byte) error {
	if p.put != nil {
		return p.put(key, value)
	}
	return p.tx.Put(key, value)
}

func (p txPart) Delete(key []byte) error {
	if p.del != nil {
		return p.del(key)
	}
	return p.tx.Delete(key)
}

// parts returns a store whose Readers and Txs are changed by change.
func parts(change func(s *memstore.Store, p *part)) store.Store {
	s := memstore.New()
	return &wrong{
		Store: s,
		view: func(ctx context.Context, fn func(ctx context.Context, r store.Reader) error) error {
			return s.View(ctx, func(ctx context.Context, r store.Reader) error {
				p := &part{Reader: r}
				change(s, p)
				return fn(ctx, p)
			})
		},
		update: func(ctx context.Context, fn func(ctx context.Context, tx store.Tx) error) error {
			return s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
				p := &part{Reader: tx, tx: tx}
				change(s, p)
				return fn(ctx, txPart{p})
			})
		},
	}
}

func unordered() store.Store {
	return parts(func(_ *memstore.Store, p *part) {
		p.scan = func(ctx context.Context, r store.Range) iter.Seq2[store.Item, error] {
			return func(yield func(store.Item, error) bool) { // every two neighbours change places
				var held *store.Item
				for it, err := range p.Reader.Scan(ctx, r) {
					if err == nil && held == nil {
						held = &it
						continue
					}
					if !yield(it, err) || err != nil || !yield(*held, nil) {
						return
					}
					held = nil
				}
				if held != nil {
					yield(*held, nil)
				}
			}
		}
	})
}

func limitIgnoredInReverse() store.Store {
	return parts(func(_ *memstore.Store, p *part) {
		p.scan = func(ctx context.Context, r store.Range) iter.Seq2[store.Item, error] {
			if r.Reverse && p.tx == nil {
				r.Limit = 0
			}
			return p.Reader.Scan(ctx, r)
		}
	})
}

func dirtyReads() store.Store {
	var mu sync.Mutex
	uncommitted := map[string][]byte{}
	s := memstore.New()
	return &wrong{Store: s,
		view: func(ctx context.Context, fn func(ctx context.Context, r store.Reader) error) error {
			return s.View(ctx, func(ctx context.Context, r store.Reader) error {
				p := &part{Reader: r}
				p.get = func(ctx context.Context, key []byte) ([]byte, error) {
					v, err := r.Get(ctx, key)
					mu.Lock()
					defer mu.Unlock()
					if d, ok := uncommitted[string(key)]; ok && (err == nil || errors.Is(err, store.ErrNotFound)) {
						return d, nil
					}
					return v, err
				}
				return fn(ctx, p)
			})
		},
		update: func(ctx context.Context, fn func(ctx context.Context, tx store.Tx) error) error {
			return s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
				p := &part{Reader: tx, tx: tx}
				p.put = func(key, value []byte) error {
					mu.Lock()
					defer mu.Unlock()
					uncommitted[string(key)] = clone(value)
					return tx.Put(key, value)
				}
				defer func() {
					mu.Lock()
					defer mu.Unlock()
					clear(uncommitted)
				}()
				return fn(ctx, txPart{p})
			})
		},
	}
}

func unrepeatable() store.Store {
	return parts(func(s *memstore.Store, p *part) {
		if p.tx != nil {
			return
		}
		p.get = func(ctx context.Context, key []byte) (v []byte, err error) {
			if v, err := p.Reader.Get(ctx, key); err != nil && !errors.Is(err, store.ErrNotFound) {
				return v, err
			}
			_ = s.View(context.Background(), func(_ context.Context, r store.Reader) error {
				v, err = r.Get(ctx, key)
				return nil
			})
			return v, err
		}
	})
}

func sharedResults() store.Store {
	return parts(func(_ *memstore.Store, p *part) {
		buf := make([]byte, 0, 1<<20)
		p.get = func(ctx context.Context, key []byte) ([]byte, error) {
			v, err := p.Reader.Get(ctx, key)
			if err != nil {
				return nil, err
			}
			buf = append(buf[:0], v...)
			return buf, nil
		}
	})
}

func keepsArguments() store.Store {
	s := memstore.New()
	return &wrong{Store: s, update: func(ctx context.Context, fn func(ctx context.Context, tx store.Tx) error) error {
		return s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			var keys, values, was [][]byte
			p := &part{Reader: tx, tx: tx}
			p.put = func(key, value []byte) error {
				keys, values, was = append(keys, key), append(values, value), append(was, clone(key))
				return tx.Put(key, value)
			}
			err := fn(ctx, txPart{p})
			for i, k := range keys {
				if err == nil && !bytes.Equal(k, was[i]) { // what the caller made of it meanwhile
					err = tx.Put(k, values[i])
				}
			}
			return err
		})
	}}
}

func swallowsAbort() store.Store {
	s := memstore.New()
	return &wrong{Store: s, update: func(ctx context.Context, fn func(ctx context.Context, tx store.Tx) error) error {
		var mine error
		err := s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			mine = fn(ctx, tx)
			return nil
		})
		if err == nil {
			err = mine
		}
		return err
	}}
}

func halfCommits() store.Store { // what a View sees of a commit is its first half for a moment
	s := memstore.New()
	var mu sync.Mutex
	late := map[string][]byte{}
	return &wrong{Store: s,
		view: func(ctx context.Context, fn func(ctx context.Context, r store.Reader) error) error {
			return s.View(ctx, func(ctx context.Context, r store.Reader) error {
				p := &part{Reader: r}
				p.many = func(ctx context.Context, keys [][]byte) ([][]byte, error) {
					vs, err := r.GetMany(ctx, keys)
					mu.Lock()
					defer mu.Unlock()
					for i := range vs {
						if old, ok := late[string(keys[i])]; ok {
							vs[i] = old
						}
					}
					return vs, err
				}
				return fn(ctx, p)
			})
		},
		update: func(ctx context.Context, fn func(ctx context.Context, tx store.Tx) error) error {
			err := s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
				old, _ := tx.Get(ctx, []byte("right"))
				old = clone(old)
				err := fn(ctx, tx)
				if err == nil && old != nil {
					mu.Lock()
					late["right"] = old
					mu.Unlock()
				}
				return err
			})
			time.Sleep(10 * time.Microsecond)
			runtime.Gosched()
			mu.Lock()
			delete(late, "right")
			mu.Unlock()
			return err
		},
	}
}

func ignoresCancel() store.Store {
	s := memstore.New()
	return &wrong{Store: s, update: func(ctx context.Context, fn func(ctx context.Context, tx store.Tx) error) error {
		return s.Update(context.WithoutCancel(ctx), fn)
	}}
}

func viewIgnoresCancel() store.Store {
	s := memstore.New()
	return &wrong{Store: s, view: func(ctx context.Context, fn func(ctx context.Context, r store.Reader) error) error {
		return s.View(context.WithoutCancel(ctx), fn)
	}}
}

func liesAboutCancel() store.Store { // returns the context's error although it committed
	s := memstore.New()
	return &wrong{Store: s, update: func(ctx context.Context, fn func(ctx context.Context, tx store.Tx) error) error {
		if err := s.Update(ctx, fn); err != nil {
			return err
		}
		return ctx.Err()
	}}
}

func scanMissesOwnWrites() store.Store {
	return parts(func(s *memstore.Store, p *part) {
		if p.tx == nil {
			return
		}
		p.scan = func(ctx context.Context, r store.Range) iter.Seq2[store.Item, error] {
			return func(yield func(store.Item, error) bool) {
				_ = s.View(context.Background(), func(_ context.Context, committed store.Reader) error {
					if _, err := p.tx.GetMany(ctx, nil); err != nil {
						yield(store.Item{}, err)
						return nil
					}
					for it, err := range committed.Scan(ctx, r) {
						if _, dead := p.tx.GetMany(ctx, nil); dead != nil {
							it, err = store.Item{}, dead
						}
						if !yield(it, err) || err != nil {
							break
						}
					}
					return nil
				})
			}
		}
	})
}

func nilForMissing() store.Store {
	return parts(func(_ *memstore.Store, p *part) {
		p.get = func(ctx context.Context, key []byte) ([]byte, error) {
			v, err := p.Reader.Get(ctx, key)
			if errors.Is(err, store.ErrNotFound) {
				return nil, nil
			}
			return v, err
		}
	})
}

func nilForEmpty() store.Store {
	return parts(func(_ *memstore.Store, p *part) {
		p.get = func(ctx context.Context, key []byte) ([]byte, error) {
			v, err := p.Reader.Get(ctx, key)
			if len(v) == 0 && err == nil && string(key) == "empty" {
				return nil, nil
			}
			return v, err
		}
	})
}

func sortsMany() store.Store {
	return parts(func(_ *memstore.Store, p *part) {
		p.many = func(ctx context.Context, keys [][]byte) ([][]byte, error) {
			keys = slices.Clone(keys)
			slices.SortFunc(keys, bytes.Compare)
			return p.Reader.GetMany(ctx, keys)
		}
	})
}

// limits refuses what check refuses although the contract allows it.
func limits(check func(writes, size int, key, value []byte) bool) func() store.Store {
	return func() store.Store {
		return parts(func(_ *memstore.Store, p *part) {
			writes, size := 0, 0
			refuse := func(key, value []byte) error {
				writes, size = writes+1, size+len(key)+len(value)
				if check(writes, size, key, value) {
					return store.ErrTooLarge
				}
				return nil
			}
			p.put = func(key, value []byte) error {
				if err := refuse(key, value); err != nil {
					return err
				}
				return p.tx.Put(key, value)
			}
			p.del = func(key []byte) error {
				if err := refuse(key, nil); err != nil {
					return err
				}
				return p.tx.Delete(key)
			}
		})
	}
}

// lenient lets what is over a limit go by without a word.
func lenient() store.Store {
	return parts(func(_ *memstore.Store, p *part) {
		p.put = func(key, value []byte) error {
			if len(value) > store.MaxValue {
				return store.ErrTooLarge
			}
			return p.tx.Put(key, value)
		}
	})
}

// neighbourUndoes fails every Update that waits beside one whose function ends badly.
func neighbourUndoes() store.Store {
	s := memstore.New()
	var mu sync.Mutex
	spoiled := 0
	return &wrong{Store: s, update: func(ctx context.Context, fn func(ctx context.Context, tx store.Tx) error) error {
		mu.Lock()
		before := spoiled
		mu.Unlock()
		return s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			good := false
			defer func() {
				if !good {
					mu.Lock()
					spoiled++
					mu.Unlock()
				}
			}()
			if err := fn(ctx, tx); err != nil {
				return err
			}
			good = true
			mu.Lock()
			defer mu.Unlock()
			if spoiled != before {
				return errors.New("the batch was undone")
			}
			return nil
		})
	}}
}

// unmarked hides the mark of a running transaction from the store below.
type unmarked struct{ context.Context }

func (u unmarked) Value(key any) any {
	if fmt.Sprintf("%T", key) == "driver.mark" {
		return nil
	}
	return u.Context.Value(key)
}

func nestedDeadlocks() store.Store {
	s := memstore.New()
	return &wrong{Store: s,
		update: func(ctx context.Context, fn func(ctx context.Context, tx store.Tx) error) error {
			return s.Update(unmarked{ctx}, fn)
		},
		view: func(ctx context.Context, fn func(ctx context.Context, r store.Reader) error) error {
			return s.View(unmarked{ctx}, fn)
		},
	}
}

func livesOn() store.Store { // a dead transaction answers from the present state
	return parts(func(s *memstore.Store, p *part) {
		p.get = func(ctx context.Context, key []byte) ([]byte, error) {
			v, err := p.Reader.Get(ctx, key)
			if errors.Is(err, store.ErrClosed) {
				err = s.View(context.Background(), func(_ context.Context, r store.Reader) (err error) {
					v, err = r.Get(ctx, key)
					return err
				})
			}
			return v, err
		}
	})
}

func deadWritesSilently() store.Store {
	return parts(func(_ *memstore.Store, p *part) {
		p.put = func(key, value []byte) error {
			if err := p.tx.Put(key, value); !errors.Is(err, store.ErrClosed) {
				return err
			}
			return nil
		}
	})
}

func breakLeaks() store.Store {
	free := make(chan struct{}, 100) // iterators
	return parts(func(_ *memstore.Store, p *part) {
		p.scan = func(ctx context.Context, r store.Range) iter.Seq2[store.Item, error] {
			return func(yield func(store.Item, error) bool) {
				select {
				case free <- struct{}{}:
				case <-ctx.Done():
					yield(store.Item{}, ctx.Err())
					return
				}
				for it, err := range p.Reader.Scan(ctx, r) {
					if !yield(it, err) {
						return
					}
				}
				<-free
			}
		}
	})
}

func oneCursor() store.Store {
	return parts(func(_ *memstore.Store, p *part) {
		latest := 0
		p.scan = func(ctx context.Context, r store.Range) iter.Seq2[store.Item, error] {
			return func(yield func(store.Item, error) bool) {
				latest++
				me := latest
				for it, err := range p.Reader.Scan(ctx, r) {
					if err == nil && me != latest || !yield(it, err) {
						return
					}
				}
			}
		}
	})
}

// elsewhere runs the function on another goroutine and carries its panic or Goexit over.
func elsewhere() store.Store {
	s := memstore.New()
	return &wrong{Store: s, update: func(ctx context.Context, fn func(ctx context.Context, tx store.Tx) error) error {
		return s.Update(ctx, func(ctx context.Context, tx store.Tx) (err error) {
			var p any
			exited := true
			done := make(chan struct{})
			go func() {
				defer close(done)
				defer func() {
					if p = recover(); p != nil {
						exited = false
					}
				}()
				err = fn(ctx, tx)
				exited = false
			}()
			<-done
			if p != nil {
				panic(p)
			}
			if exited {
				runtime.Goexit()
			}
			return err
		})
	}}
}

func swallowsPanic() store.Store {
	s := memstore.New()
	return &wrong{Store: s, update: func(ctx context.Context, fn func(ctx context.Context, tx store.Tx) error) (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v", p)
			}
		}()
		return s.Update(ctx, fn)
	}}
}

func commitsPanic() store.Store {
	s := memstore.New()
	return &wrong{Store: s, update: func(ctx context.Context, fn func(ctx context.Context, tx store.Tx) error) error {
		var p any
		err := s.Update(ctx, func(ctx context.Context, tx store.Tx) (err error) {
			defer func() { p = recover() }()
			return fn(ctx, tx)
		})
		if p != nil {
			panic(p)
		}
		return err
	}}
}

func wrapsErrors() store.Store {
	s := memstore.New()
	return &wrong{Store: s, view: func(ctx context.Context, fn func(ctx context.Context, r store.Reader) error) error {
		if err := s.View(ctx, fn); err != nil {
			return fmt.Errorf("view: %w", err)
		}
		return nil
	}}
}

func staleReplica() store.Store { // one key lags by one commit
	var mu sync.Mutex
	var before []byte
	return parts(func(_ *memstore.Store, p *part) {
		if p.tx != nil {
			p.put = func(key, value []byte) error {
				if string(key) == "fresh" {
					old, _ := p.tx.Get(context.Background(), key)
					mu.Lock()
					before = clone(old)
					mu.Unlock()
				}
				return p.tx.Put(key, value)
			}
			return
		}
		p.get = func(ctx context.Context, key []byte) ([]byte, error) {
			v, err := p.Reader.Get(ctx, key)
			mu.Lock()
			defer mu.Unlock()
			if string(key) == "fresh" && before != nil {
				return clone(before), err
			}
			return v, err
		}
	})
}

func deafWatch() store.Store {
	s := memstore.New()
	return &wrong{Store: s, watch: func(ctx context.Context, prefix []byte) (<-chan struct{}, error) {
		return s.Watch(ctx, []byte("nobody writes here"))
	}}
}

func everlasting() store.Store { // a View has no end
	return parts(func(s *memstore.Store, p *part) {
		p.get = func(ctx context.Context, key []byte) ([]byte, error) {
			v, err := p.Reader.Get(ctx, key)
			if errors.Is(err, store.ErrTooLong) && p.tx == nil {
				err = s.View(context.Background(), func(_ context.Context, r store.Reader) (err error) {
					v, err = r.Get(ctx, key)
					return err
				})
			}
			return v, err
		}
	})
}
