package storetest

import (
	"context"
	"iter"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/driver"
)

// Harsh returns a store over s that takes every liberty the contract gives a driver, so that a service's tests find what the service
// must not rely on: the function of every Update runs twice, the first time in vain, and the bytes that a Reader returned are overwritten as soon as they
// are no longer valid. It keeps the contract if s does.
func Harsh(s store.Store) store.Store { return harsh{s} }

type harsh struct{ s store.Store }

func (h harsh) View(ctx context.Context, fn func(ctx context.Context, r store.Reader) error) error {
	return h.s.View(ctx, func(ctx context.Context, r store.Reader) error {
		p := &poisoner{Reader: r}
		defer p.poison()
		return fn(ctx, p)
	})
}

func (h harsh) Update(ctx context.Context, fn func(ctx context.Context, tx store.Tx) error) error {
	return h.s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		vain(ctx, tx, fn)
		p := &poisoner{Reader: tx}
		defer p.poison()
		return fn(ctx, harshTx{p, tx})
	})
}

// Watch implements store.Watcher.
func (h harsh) Watch(ctx context.Context, prefix []byte) (<-chan struct{}, error) {
	return store.Watch(ctx, h.s, prefix)
}

// vain runs fn on tx without effect, whatever it returns or panics with.
func vain(ctx context.Context, tx store.Tx, fn func(ctx context.Context, tx store.Tx) error) {
	t := &vainTx{Tx: tx}
	p := &poisoner{Reader: t}
	defer func() {
		_ = recover()
		p.poison()
		t.ended = true
	}()
	_ = fn(ctx, harshTx{p, t})
}

// vainTx keeps writes to itself.
type vainTx struct {
	store.Tx
	w     driver.Writes
	ended bool
}

func (t *vainTx) Get(ctx context.Context, key []byte) ([]byte, error) {
	if _, err := t.Tx.GetMany(ctx, nil); err != nil || t.ended {
		return nil, closed(err)
	}
	v, known := t.w.Get(key)
	switch {
	case !known:
		return t.Tx.Get(ctx, key)
	case v == nil:
		return nil, store.ErrNotFound
	}
	return v, nil
}

func (t *vainTx) GetMany(ctx context.Context, keys [][]byte) ([][]byte, error) {
	if t.ended {
		return nil, store.ErrClosed
	}
	out, err := t.Tx.GetMany(ctx, keys)
	for i := range out {
		if v, known := t.w.Get(keys[i]); known {
			out[i] = v
		}
	}
	return out, err
}

func (t *vainTx) Scan(ctx context.Context, r store.Range) iter.Seq2[store.Item, error] {
	all := r
	all.Limit = 0
	merged := t.w.Scan(r, t.Tx.Scan(ctx, all))
	return func(yield func(store.Item, error) bool) {
		for it, err := range merged {
			if t.ended && err == nil {
				it, err = store.Item{}, store.ErrClosed
			}
			if !yield(it, err) || err != nil {
				return
			}
		}
	}
}

// alive says why a write must fail; asking for nothing costs no round trip.
func (t *vainTx) alive() error {
	if t.ended {
		return store.ErrClosed
	}
	_, err := t.Tx.GetMany(context.Background(), nil)
	return err
}

func (t *vainTx) Put(key, value []byte) error {
	if err := t.alive(); err != nil {
		return err
	}
	return t.w.Put(key, value)
}

func (t *vainTx) Delete(key []byte) error {
	if err := t.alive(); err != nil {
		return err
	}
	return t.w.Delete(key)
}

func closed(err error) error {
	if err == nil {
		return store.ErrClosed
	}
	return err
}

type harshTx struct {
	*poisoner
	tx store.Tx
}

func (t harshTx) Put(key, value []byte) error { return t.tx.Put(key, value) }
func (t harshTx) Delete(key []byte) error     { return t.tx.Delete(key) }

// poisoner hands out copies and overwrites them when the contract ends their life.
type poisoner struct {
	store.Reader
	out [][]byte
}

func scribble(b []byte) {
	for i := range b {
		b[i] = 0xdb
	}
}

func (p *poisoner) poison() {
	for _, b := range p.out {
		scribble(b)
	}
	p.out = nil
}

func (p *poisoner) copy(b []byte) []byte {
	b = clone(b)
	if len(b) > 0 {
		p.out = append(p.out, b)
	}
	return b
}

func (p *poisoner) Get(ctx context.Context, key []byte) ([]byte, error) {
	v, err := p.Reader.Get(ctx, key)
	return p.copy(v), err
}

func (p *poisoner) GetMany(ctx context.Context, keys [][]byte) ([][]byte, error) {
	vs, err := p.Reader.GetMany(ctx, keys)
	for i := range vs {
		vs[i] = p.copy(vs[i])
	}
	return vs, err
}

func (p *poisoner) Scan(ctx context.Context, r store.Range) iter.Seq2[store.Item, error] {
	return func(yield func(store.Item, error) bool) {
		for it, err := range p.Reader.Scan(ctx, r) {
			it.Key, it.Value = clone(it.Key), clone(it.Value)
			ok := yield(it, err)
			scribble(it.Key)
			scribble(it.Value)
			if !ok {
				return
			}
		}
	}
}
