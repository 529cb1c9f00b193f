package command

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// Stray is a command that nodes know and this store does not: after a restore, what was accepted since the backup; else somebody's lie, or another control plane's.
type Stray struct {
	Command string         `json:"command"`
	Nodes   []string       `json:"nodes"` // that report on it, at most 20 of them
	More    bool           `json:"more,omitempty"`
	First   time.Time      `json:"first"`
	Last    time.Time      `json:"last"`   // when a node said something new of it
	Detail  message.Detail `json:"detail"` // of the newest report
}

const (
	maxStrays     = 1000
	maxStrayNodes = 20
	// strayAge is how long after the last news a stray is kept.
	strayAge = 30 * 24 * time.Hour
	// maxToldStrays is how many reports a process remembers, so that the same one again costs no write.
	maxToldStrays = 4096
)

// strayCount is how many strays of a tenant are kept, and how many more there were room for.
type strayCount struct {
	Kept    int `json:"kept"`
	Dropped int `json:"dropped,omitempty"`
}

func straysKey(tenant string) key.K     { return space(tenant, "stray") }
func strayCountKey(tenant string) key.K { return space(tenant, "strays") }

// told is what of strays this process has written down already. The zero told is ready.
type told struct {
	mu  sync.Mutex
	all map[toldKey]message.Detail
}

type toldKey struct{ tenant, id, node string }

func (t *told) has(k toldKey, d message.Detail) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	was, ok := t.all[k]
	return ok && was == d
}

func (t *told) add(k toldKey, d message.Detail) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all == nil || len(t.all) >= maxToldStrays {
		t.all = map[toldKey]message.Detail{}
	}
	t.all[k] = d
}

// noteStray keeps that a node reported on a command that is not known, and returns whether that was news. What is kept is bounded: nodes may lie.
func (s *Service) noteStray(ctx context.Context, tenant, id, node string, d message.Detail) (news bool, err error) {
	k := toldKey{tenant, id, node}
	if !validID(id) || s.strays.has(k, d) {
		return false, nil
	}
	now := s.cfg.Now().UTC().Round(0)
	err = s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		news = false
		at := straysKey(tenant).Str(id)
		x, err := s.lost.Get(ctx, tx, at)
		if errors.Is(err, store.ErrNotFound) {
			room, err := s.strayRoom(ctx, tx, tenant, now)
			if err != nil || !room {
				return err
			}
			x = Stray{Command: id, First: now}
		} else if err != nil {
			return err
		}
		known := slices.Contains(x.Nodes, node)
		if known && x.Detail == d || !known && len(x.Nodes) >= maxStrayNodes && x.More && x.Detail == d {
			return nil
		}
		news = true
		x.Last, x.Detail = now, d
		switch {
		case known:
		case len(x.Nodes) < maxStrayNodes:
			x.Nodes = append(x.Nodes, node)
		default:
			x.More = true
		}
		return s.lost.Put(tx, at, x)
	})
	if err == nil {
		s.strays.add(k, d)
	}
	return news, err
}

// strayRoom reports whether one more stray may be kept, and counts it as kept or dropped. When there is no room, the old ones go.
func (s *Service) strayRoom(ctx context.Context, tx store.Tx, tenant string, now time.Time) (bool, error) {
	n, err := s.lostCount.Get(ctx, tx, strayCountKey(tenant))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return false, err
	}
	if n.Kept >= maxStrays {
		n.Kept = 0
		var old [][]byte
		for e, err := range s.lost.Scan(ctx, tx, straysKey(tenant).Range()) {
			if err != nil {
				return false, err
			}
			if n.Kept++; now.Sub(e.Value.Last) > strayAge {
				old = append(old, e.Key)
			}
		}
		for _, k := range old {
			if err := tx.Delete(k); err != nil {
				return false, err
			}
			n.Kept--
		}
	}
	room := n.Kept < maxStrays
	if room {
		n.Kept++
	} else {
		n.Dropped++
	}
	return room, s.lostCount.Put(tx, strayCountKey(tenant), n)
}

// Strays returns the commands of a tenant that nodes have reported on and that the store does not know, the first first. They are kept in the store, at most 1,000 of them until 30 days
// after the last news; dropped counts reports on further commands, which are not named. It asks for no right.
func (s *Service) Strays(ctx context.Context, tenant string) (out []Stray, dropped int, err error) {
	now := s.cfg.Now()
	err = s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		all := map[string]Stray{}
		n, err := s.lostCount.Get(ctx, r, strayCountKey(tenant))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		for e, err := range s.lost.Scan(ctx, r, straysKey(tenant).Range()) {
			if err != nil {
				return err
			}
			if now.Sub(e.Value.Last) <= strayAge {
				all[e.Value.Command] = e.Value
			}
		}
		out, dropped = slices.Collect(maps.Values(all)), n.Dropped
		return nil
	})
	slices.SortFunc(out, func(a, b Stray) int {
		if c := a.First.Compare(b.First); c != 0 {
			return c
		}
		return strings.Compare(a.Command, b.Command)
	})
	return out, dropped, wrap("command.Strays", err)
}
