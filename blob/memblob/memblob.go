// Package memblob keeps blobs in memory: for tests, simulations and examples. Nothing is durable.
//
//	blobs := memblob.New()
package memblob

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/fleetwright/fleetwright/blob"
	"github.com/fleetwright/fleetwright/fault"
)

// Store is a blob.Store in memory. All methods are safe for concurrent use.
type Store struct {
	mu    sync.RWMutex
	blobs map[string][]byte // the bytes are never changed once they are here
}

var _ blob.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store { return &Store{blobs: map[string][]byte{}} }

// Put implements blob.Store.
func (s *Store) Put(ctx context.Context, key string, r io.Reader) (int64, error) {
	if err := check(ctx, "memblob.Put", key); err != nil {
		return 0, err
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(r); err != nil {
		return 0, fmt.Errorf("memblob: reading what to put under %s: %w", key, err)
	}
	if err := ctx.Err(); err != nil {
		return 0, fault.Wrap("memblob.Put", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[key] = b.Bytes()
	return int64(b.Len()), nil
}

// Open implements blob.Store. The reader is an io.Seeker too.
func (s *Store) Open(ctx context.Context, key string) (io.ReadCloser, error) {
	if err := check(ctx, "memblob.Open", key); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	b, ok := s.blobs[key]
	if !ok {
		return nil, fault.New("memblob.Open", fault.DoesNotExist, "%w: %s", blob.ErrNotFound, key)
	}
	return reader{bytes.NewReader(b)}, nil
}

// Delete implements blob.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := check(ctx, "memblob.Delete", key); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.blobs {
		if k == key || strings.HasPrefix(k, key+"/") {
			delete(s.blobs, k)
		}
	}
	return nil
}

// Len returns the number of blobs.
func (s *Store) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.blobs)
}

func check(ctx context.Context, op, key string) error {
	if err := blob.CheckKey(key); err != nil {
		return err
	}
	return fault.Wrap(op, ctx.Err())
}

type reader struct{ *bytes.Reader }

func (reader) Close() error { return nil }
