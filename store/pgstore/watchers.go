package pgstore

import (
	"bytes"
	"context"
	"slices"
	"sync"
)

// watchers are the waiting ends of Watch. The zero watchers is ready.
type watchers struct {
	mu  sync.Mutex
	all map[*watcher]struct{}
}

type watcher struct {
	prefix []byte
	ch     chan struct{}
}

// add returns a channel that is closed when ctx or end ends.
func (ws *watchers) add(ctx, end context.Context, prefix []byte) <-chan struct{} {
	w := &watcher{bytes.Clone(prefix), make(chan struct{}, 1)}
	ws.mu.Lock()
	if ws.all == nil {
		ws.all = map[*watcher]struct{}{}
	}
	ws.all[w] = struct{}{}
	ws.mu.Unlock()
	leave := sync.OnceFunc(func() {
		ws.mu.Lock()
		defer ws.mu.Unlock()
		delete(ws.all, w)
		close(w.ch)
	})
	stop := context.AfterFunc(end, leave)
	context.AfterFunc(ctx, func() {
		stop()
		leave()
	})
	return w.ch
}

// wake signals w; signals are merged. ws.mu is held.
func (w *watcher) wake() {
	select {
	case w.ch <- struct{}{}:
	default:
	}
}

// everybody signals all.
func (ws *watchers) everybody() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.all {
		w.wake()
	}
}

// keys signals those whose prefix is that of a key. It sorts the keys.
func (ws *watchers) keys(keys [][]byte) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if len(ws.all) == 0 || len(keys) == 0 {
		return
	}
	slices.SortFunc(keys, bytes.Compare)
	for w := range ws.all {
		i, _ := slices.BinarySearchFunc(keys, w.prefix, bytes.Compare)
		if i < len(keys) && bytes.HasPrefix(keys[i], w.prefix) {
			w.wake()
		}
	}
}

// heads signals those whose prefix may be that of a key of which only the beginning is known.
func (ws *watchers) heads(heads [][]byte) {
	ws.keys(heads)
	set := make(map[string]bool, len(heads))
	for _, h := range heads {
		set[string(h)] = true
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.all {
		for n := range min(len(w.prefix), headSize+1) {
			if set[string(w.prefix[:n])] {
				w.wake()
				break
			}
		}
	}
}
