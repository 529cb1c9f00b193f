package driver

import (
	"bytes"
	"context"
	"slices"
	"sync"
)

// Watchers are the waiting ends of store.Watcher. The zero Watchers is ready; it is safe for concurrent use.
type Watchers struct {
	mu  sync.Mutex
	all map[*watch]struct{}
}

type watch struct {
	prefix []byte
	ch     chan struct{}
}

// Watch returns a channel that receives after a [Watchers.Notify] with a key that has the prefix; signals are merged. It is closed when ctx ends.
func (ws *Watchers) Watch(ctx context.Context, prefix []byte) <-chan struct{} {
	w := &watch{bytes.Clone(prefix), make(chan struct{}, 1)}
	ws.mu.Lock()
	if ws.all == nil {
		ws.all = map[*watch]struct{}{}
	}
	ws.all[w] = struct{}{}
	ws.mu.Unlock()
	context.AfterFunc(ctx, func() {
		ws.mu.Lock()
		defer ws.mu.Unlock()
		delete(ws.all, w)
		close(w.ch)
	})
	return w.ch
}

// Notify signals those whose prefix is that of a key. It sorts keys. It does not block.
func (ws *Watchers) Notify(keys [][]byte) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if len(ws.all) == 0 || len(keys) == 0 {
		return
	}
	slices.SortFunc(keys, bytes.Compare)
	for w := range ws.all {
		i, _ := slices.BinarySearchFunc(keys, w.prefix, bytes.Compare)
		if i < len(keys) && bytes.HasPrefix(keys[i], w.prefix) {
			select {
			case w.ch <- struct{}{}:
			default:
			}
		}
	}
}
