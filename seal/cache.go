package seal

import (
	"container/list"
	"crypto/cipher"
	"crypto/sha256"
	"sync"
	"time"
)

// cache remembers ciphers of data keys for decryption: at most limit, each for at most life, the longest unused one going first.
type cache struct {
	limit int
	life  time.Duration
	now   func() time.Time

	mu    sync.Mutex
	items map[[32]byte]*list.Element
	order list.List // of *cached, the last used first
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
	e, ok := c.items[at]
	if !ok {
		return nil, false
	}
	it := e.Value.(*cached)
	if age := c.now().Sub(it.since); age < 0 || age >= c.life { // a clock that went back lengthens nothing
		c.drop(e)
		return nil, false
	}
	c.order.MoveToFront(e)
	return it.aead, true
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
