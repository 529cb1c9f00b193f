package agent

import "sync"

// budget is how many bytes of output all commands on the node may keep together. Safe for concurrent use.
type budget struct {
	limit int64 // negative: none

	mu   sync.Mutex
	used int64
	by   map[string]int64 // command's directory
}

func newBudget(limit int64) *budget { return &budget{limit: limit, by: map[string]int64{}} }

// of returns how a command takes its share.
func (b *budget) of(dir string) func(n int64) int64 {
	return func(n int64) int64 {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.limit >= 0 {
			n = max(0, min(n, b.limit-b.used))
		}
		b.used += n
		b.by[dir] += n
		return n
	}
}

// add counts what lies on the disk from before.
func (b *budget) add(dir string, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used += n
	b.by[dir] += n
}

// free gives back what a command had: its directory is gone.
func (b *budget) free(dir string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= b.by[dir]
	delete(b.by, dir)
}
