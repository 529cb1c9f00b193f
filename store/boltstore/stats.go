package boltstore

import (
	"os"
	"sync"
	"time"
)

// Commit is what one commit of the engine was: how many Updates shared it and where the time went.
type Commit struct {
	Updates int           // that waited for it, whether they wrote or not
	Writes  int           // Puts and Deletes
	Bytes   int64         // of keys and values
	Waited  time.Duration // how long the first of them had been in the queue
	Ran     time.Duration // running their functions
	Synced  time.Duration // writing, fsync included
	Err     error         // why it failed; nil if it is durable
}

// Stats are sums since Open, and the state at the moment of asking.
type Stats struct {
	Commits, Failed int64 // of the engine, Failed not counted in Commits
	Reopened        int64 // how often the file was opened anew because a commit failed: nothing that a failed fsync left in memory is used again
	Updates         int64 // that commits made durable
	Writes, Bytes   int64
	Waited          time.Duration // sums over commits; see Commit
	Ran             time.Duration
	Synced          time.Duration
	Queued          int   // Updates that wait at this moment
	FileSize        int64 // bytes of the file; what of them is in use is not known without reading it
	DiskFree        int64 // bytes that the file system has left, -1 if that cannot be known
	Err             error // as Store.Err
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
	c.s.Ran += k.Ran
	c.s.Synced += k.Synced
}

// DiskFree implements store.Disk.
func (s *Store) DiskFree() int64 { return diskFree(s.path) }

// Stats returns the sums since Open and the present state.
func (s *Store) Stats() Stats {
	s.counters.mu.Lock()
	out := s.counters.s
	s.counters.mu.Unlock()
	out.Err = s.Err()
	out.DiskFree = diskFree(s.path)
	if info, err := os.Stat(s.path); err == nil {
		out.FileSize = info.Size()
	}
	s.mu.Lock()
	out.Queued = len(s.queue)
	s.mu.Unlock()
	return out
}
