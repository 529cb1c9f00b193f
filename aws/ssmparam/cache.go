package ssmparam

import (
	"cmp"
	"container/list"
	"context"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/parameter"
)

// Cache says what of the answers is kept.
type Cache struct {
	TTL     time.Duration // for how long; 0 is 1 minute
	Entries int           // how many values at most, those used last; 0 is 1,000
	Secrets bool          // decrypted SecureStrings too: they stay in memory for TTL
}

// place is what an answer was asked for with.
type place struct {
	name      string // with selector, as it was asked for
	decrypted bool
}

// stripes is how many counters of writes there are: names share them.
const stripes = 256

// cache keeps values. A nil cache keeps nothing.
type cache struct {
	Cache
	now  func() time.Time
	seed maphash.Seed

	mu      sync.Mutex
	kept    map[place]*list.Element   // of *entry
	of      map[string]map[place]bool // by the parameter, without selector
	used    *list.List                // the last used first
	writes  [stripes]uint64           // beginnings and ends of writes
	flights map[place]*flight         // under way
}

type entry struct {
	at    place
	value parameter.Parameter
	until time.Time
}

// flight is a read under way.
type flight struct {
	done   chan struct{}
	writes uint64 // when it began
	value  parameter.Parameter
	err    error
	own    bool // err is of the leader's ctx
}

func newCache(c Cache, now func() time.Time) *cache {
	if c.TTL <= 0 {
		c.TTL = time.Minute
	}
	if c.Entries <= 0 {
		c.Entries = 1000
	}
	return &cache{Cache: c, now: now, seed: maphash.MakeSeed(), kept: map[place]*list.Element{}, of: map[string]map[place]bool{}, used: list.New(), flights: map[place]*flight{}}
}

// subject is the parameter that a name, ARN or either with a selector speaks of: as it is written, with a slash.
func subject(name string) string {
	name = strings.Trim(name, " ")
	if rest, ok := strings.CutPrefix(name, "arn:"); ok {
		if _, own, ok := strings.Cut(rest, ":parameter/"); ok {
			name = own
		}
	}
	name, _, _ = strings.Cut(name, ":")
	return "/" + strings.TrimPrefix(name, "/")
}

func (c *cache) stripe(subject string) *uint64 {
	return &c.writes[maphash.String(c.seed, subject)%stripes]
}

// drop forgets all of the parameters and whatever of them is being read.
func (c *cache) drop(names []string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		sub := subject(name)
		*c.stripe(sub)++
		for at := range c.of[sub] {
			c.forget(c.kept[at])
		}
	}
}

// forget removes an entry. c.mu is held.
func (c *cache) forget(e *list.Element) {
	at := c.used.Remove(e).(*entry).at
	delete(c.kept, at)
	sub := subject(at.name)
	delete(c.of[sub], at)
	if len(c.of[sub]) == 0 {
		delete(c.of, sub)
	}
}

// look returns what is kept. c.mu is held.
func (c *cache) look(at place) (parameter.Parameter, bool) {
	e := c.kept[at]
	if e == nil {
		return parameter.Parameter{}, false
	}
	if kept := e.Value.(*entry); c.now().Before(kept.until) {
		c.used.MoveToFront(e)
		return kept.value, true
	}
	c.forget(e)
	return parameter.Parameter{}, false
}

// keep keeps a value that was read since the writes of the parameter were that many. c.mu is held.
func (c *cache) keep(at place, p parameter.Parameter, writes uint64) {
	sub := subject(at.name)
	if *c.stripe(sub) != writes || p.Value.IsSecret() && !c.Secrets {
		return
	}
	if e := c.kept[at]; e != nil {
		c.forget(e)
	}
	for len(c.kept) >= c.Entries {
		c.forget(c.used.Back())
	}
	c.kept[at] = c.used.PushFront(&entry{at, p, c.now().Add(c.TTL)})
	if c.of[sub] == nil {
		c.of[sub] = map[place]bool{}
	}
	c.of[sub][at] = true
}

// get returns what is kept, or what read gives. Who asks while the same is being read waits for that, unless the parameter was written since it began.
func (c *cache) get(ctx context.Context, name string, decrypted bool, read func() (parameter.Parameter, error)) (parameter.Parameter, error) {
	if c == nil {
		return read()
	}
	at := place{name, decrypted}
	for {
		c.mu.Lock()
		if p, ok := c.look(at); ok {
			c.mu.Unlock()
			return p, nil
		}
		writes := *c.stripe(subject(name))
		f := c.flights[at]
		if f == nil || f.writes != writes {
			f = &flight{done: make(chan struct{}), writes: writes}
			c.flights[at] = f
			c.mu.Unlock()
			return c.lead(ctx, at, f, read)
		}
		c.mu.Unlock()
		select {
		case <-f.done:
			if !f.own {
				return f.value, f.err
			}
		case <-ctx.Done():
			return parameter.Parameter{}, failed(ctx, "ssmparam.GetParameter", ctx.Err(), false)
		}
	}
}

// lead reads for all who wait.
func (c *cache) lead(ctx context.Context, at place, f *flight, read func() (parameter.Parameter, error)) (parameter.Parameter, error) {
	f.own = true // also when read panics
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.flights[at] == f {
			delete(c.flights, at)
		}
		if !f.own && f.err == nil {
			c.keep(at, f.value, f.writes)
		}
		close(f.done)
	}()
	f.value, f.err = read()
	f.own = f.err != nil && ctx.Err() != nil
	return f.value, f.err
}

// getMany is the same of GetParameters: what is kept is not asked for.
func (c *cache) getMany(req parameter.GetParametersRequest, read func(names []string) (parameter.GetParametersResult, error)) (parameter.GetParametersResult, error) {
	if c == nil || !plain(req.Names) {
		return read(req.Names)
	}
	var hits []parameter.Parameter
	var ask []string
	writes := map[string]uint64{}
	c.mu.Lock()
	for _, name := range req.Names {
		if p, ok := c.look(place{name, req.WithDecryption}); ok {
			hits = append(hits, p)
			continue
		}
		ask = append(ask, name)
		writes[name] = *c.stripe(subject(name))
	}
	c.mu.Unlock()
	if len(ask) == 0 {
		return parameter.GetParametersResult{Parameters: sorted(hits), InvalidParameters: []string{}}, nil
	}
	out, err := read(ask)
	if err != nil {
		return out, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range out.Parameters {
		for _, name := range ask {
			if name == p.Name+p.Selector || "/"+name == p.Name+p.Selector || name == "/"+p.Name+p.Selector {
				c.keep(place{name, req.WithDecryption}, p, writes[name])
			}
		}
	}
	out.Parameters = sorted(append(hits, out.Parameters...))
	return out, nil
}

// plain reports whether a list can be asked for in parts: AWS takes the number of names, none is there twice, and each is told by its answer.
func plain(names []string) bool {
	if len(names) == 0 || len(names) > 10 {
		return false
	}
	seen := map[string]bool{}
	for _, n := range names {
		sub, _, _ := strings.Cut(n, ":")
		if sub == "arn" || sub != strings.Trim(sub, " ") || seen[subject(n)] {
			return false
		}
		seen[subject(n)] = true
	}
	return true
}

func sorted(ps []parameter.Parameter) []parameter.Parameter {
	slices.SortFunc(ps, func(a, b parameter.Parameter) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Selector, b.Selector))
	})
	return ps
}
