package command

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/message"
)

// Stray is a command that nodes know and this store does not: after a restore, what was accepted since the backup; else somebody's lie, or another control plane's.
type Stray struct {
	Command string         `json:"command"`
	Nodes   []string       `json:"nodes"` // that report on it, at most 20 of them
	More    int            `json:"more,omitempty"`
	First   time.Time      `json:"first"`
	Last    time.Time      `json:"last"`
	Detail  message.Detail `json:"detail"` // of the newest report
}

const (
	maxStrays     = 1000
	maxStrayNodes = 20
)

// strays remembers what nodes reported on commands that are not known. It is bounded: nodes may lie. The zero strays is ready.
type strays struct {
	mu  sync.Mutex
	all map[actorKey]*Stray
}

// note remembers a report, and returns whether it says something new.
func (t *strays) note(tenant, id, node string, d message.Detail, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := actorKey{tenant, id}
	x := t.all[k]
	if x == nil {
		if t.all == nil {
			t.all = map[actorKey]*Stray{}
		}
		if len(t.all) >= maxStrays {
			return false
		}
		x = &Stray{Command: id, First: now}
		t.all[k] = x
	}
	news := x.Detail != d
	x.Last, x.Detail = now, d
	switch {
	case slices.Contains(x.Nodes, node):
	case len(x.Nodes) < maxStrayNodes:
		x.Nodes = append(x.Nodes, node)
		news = true
	default:
		x.More++
	}
	return news
}

// Strays returns the commands of a tenant that nodes have reported on since this process started and that the store does not know, the first first; at most 1,000 are remembered. It asks for no right.
func (s *Service) Strays(tenant string) (out []Stray) {
	s.strays.mu.Lock()
	defer s.strays.mu.Unlock()
	for k, x := range s.strays.all {
		if k.tenant == tenant {
			c := *x
			c.Nodes = slices.Clone(x.Nodes)
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b Stray) int {
		if c := a.First.Compare(b.First); c != 0 {
			return c
		}
		return strings.Compare(a.Command, b.Command)
	})
	return out
}
