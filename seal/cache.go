package seal

import (
	"container/list"
	"crypto/cipher"
	"crypto/sha256"
	"sync"
	"time"
)

// cache remembers ciphers of data keys for decryption: at most limit, each for at most life, the longest unused one going first. What is too old is used no more and,
// as long as anything is read at all, dropped within another life.
type cache struct {
	limit int
	life  time.Duration
	now   func() time.Time

	mu    sync.Mutex
	items map[[32]byte]*list.Element
	order list.List // of *cached, the last used first
	swept time.Time
}

type cached struct {
	at    [32]byte
	aead  cipher.AEAD
	since time.Time
}

// cacheKey depends on everything that unwrapping depends on, so that a hit gives nothing that the key service would refuse.
func cacheKey(w Wrapped, aad []byte) [32]byte {
	b := make([]byte, 0, 4+len(w.KeyID)+len(w.Data)+len(aad))
	return sha256.Sum256(append(appendText(appendText(b, w.KeyID), w.Data), aad...))
}

func (c *cache) get(at [32]byte) (cipher.AEAD, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.items) == 0 {
		return nil, false
	}
	now := c.now()
	c.sweep(now)
	e, ok := c.items[at]
	if !ok {
		return nil, false
	}
	it := e.Value.(*cached)
	if c.old(it, now) {
		c.drop(e)
		return nil, false
	}
	c.order.MoveToFront(e)
	return it.aead, true
}

// old reports whether an item is not to be used any more; a clock that went back lengthens nothing.
func (c *cache) old(it *cached, now time.Time) bool {
	age := now.Sub(it.since)
	return age < 0 || age >= c.life
}

// sweep drops all that is old, once in a life.
func (c *cache) sweep(now time.Time) {
	if age := now.Sub(c.swept); age >= 0 && age < c.life {
		return
	}
	c.swept = now
	for e := c.order.Front(); e != nil; {
		next := e.Next()
		if c.old(e.Value.(*cached), now) {
			c.drop(e)
		}
		e = next
	}
}

func (c *cache) put(at [32]byte, aead cipher.AEAD) {
	if c.limit < 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.items[at]; ok {
		c.drop(e)
	}
	if c.items == nil {
		c.items = map[[32]byte]*list.Element{}
	}
	for c.order.Len() >= c.limit {
		c.drop(c.order.Back())
	}
	c.items[at] = c.order.PushFront(&cached{at, aead, c.now()})
}

func (c *cache) drop(e *list.Element) {
	c.order.Remove(e)
	delete(c.items, e.Value.(*cached).at)
}

func (c *cache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.items = nil
	c.order.Init()
}

func (c *cache) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.order.Len()
}
