package pgstore

import (
	"sync"
	"time"
)

// Commit is what one commit was: how many Updates shared it and where the time went.
type Commit struct {
	Updates int           // that waited for it, whether they wrote or not
	Writes  int           // Puts and Deletes
	Bytes   int64         // of keys and values
	Waited  time.Duration // how long the first of them had been in the queue
	Locked  time.Duration // waiting for the lock and fetching what they read; 0 if none of them read
	Ran     time.Duration // running their functions
	Synced  time.Duration // writing and committing; waiting for the lock too, if none of them read
	Err     error         // why it failed; nil if it is durable
}

// Stats are sums since Open, and the state at the moment of asking.
type Stats struct {
	Commits, Failed int64 // Failed not counted in Commits
	Updates         int64 // that commits made durable
	Writes, Bytes   int64
	Waited          time.Duration // sums over commits; see Commit
	Locked          time.Duration
	Ran             time.Duration
	Synced          time.Duration
	Queued          int // Updates that wait at this moment
}

type counters struct {
	mu sync.Mutex
	s  Stats
}

func (c *counters) add(k Commit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k.Err != nil {
		c.s.Failed++
		return
	}
	c.s.Commits++
	c.s.Updates += int64(k.Updates)
	c.s.Writes += int64(k.Writes)
	c.s.Bytes += k.Bytes
	c.s.Waited += k.Waited
	c.s.Locked += k.Locked
	c.s.Ran += k.Ran
	c.s.Synced += k.Synced
}

// Stats returns the sums since Open and the present state.
func (s *Store) Stats() Stats {
	s.counters.mu.Lock()
	out := s.counters.s
	s.counters.mu.Unlock()
	s.mu.Lock()
	out.Queued = len(s.queue)
	s.mu.Unlock()
	return out
}
