package fleetwright

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/record"
)

// sharedClock corrects a control plane's clock by those of the others on its store, so that one that is far off changes nothing: neither when commands expire, nor what nodes take.
//
// Each writes what its clock says, again and again, and reads the others'. Where most of those that live agree on another time than its own, that is the time. Two that differ cannot know who
// is right: each keeps its own, and says so.
type sharedClock struct {
	store  store.Store
	leases *lease.Leases
	table  record.Table[clockRecord]
	raw    func() time.Time
	every  time.Duration // between two looks
	valid  time.Duration // how long a reading counts
	log    *slog.Logger

	mu  sync.Mutex
	off time.Duration // what is added

	// Of run's goroutine.
	seen   map[string]reading
	looked time.Time
	doubt  bool // who is right is not known, and that was said
}

// clockRecord is what a control plane's clock said when it wrote this.
type clockRecord struct {
	Wall time.Time `json:"wall"`
	Beat uint64    `json:"beat"`
}

// reading is what is known of another's clock.
type reading struct {
	beat uint64
	at   time.Time     // when it was seen, by the raw clock
	off  time.Duration // by how much the other one is ahead, to within the time between two looks
	good bool          // it was seen soon after it was written
}

// clockTolerance is by how much clocks may differ without anything being done: less than what messages allow, more than a look is late.
const clockTolerance = time.Minute

func clockKey() key.K { return key.New("").Str("plane").Str("clock") }

func newClock(cfg *Config, leases *lease.Leases) *sharedClock {
	ttl := cfg.LeaseTTL
	if ttl <= 0 {
		ttl = 15 * time.Second
	}
	return &sharedClock{store: cfg.Store, leases: leases, table: record.NewTable[clockRecord](cfg.Codec), raw: cfg.Now, every: ttl / 4, valid: ttl, log: cfg.Log, seen: map[string]reading{}}
}

// now is the corrected time.
func (c *sharedClock) now() time.Time { return c.raw().Add(c.offset()) }

func (c *sharedClock) offset() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.off
}

// run writes and reads until ctx ends. settled is called once, when the clock can be trusted as far as the others can tell.
func (c *sharedClock) run(ctx context.Context, settled func()) error {
	t := time.NewTicker(c.every)
	defer t.Stop()
	began, waits := c.raw(), true
	for beat := uint64(1); ; beat++ {
		waiting, err := c.look(ctx, beat)
		if err != nil && ctx.Err() == nil {
			c.log.Warn("the clocks of the other control planes cannot be read; trying again", "error", err)
		}
		if waits && (err == nil && !waiting || c.raw().Sub(began) > 2*c.valid) {
			waits = false
			settled()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}

// look writes this clock, reads the others', and corrects. waiting says that another may live whose clock is not known yet.
func (c *sharedClock) look(ctx context.Context, beat uint64) (waiting bool, err error) {
	const op = "fleetwright.clock"
	self, err := c.leases.Session(ctx)
	if err != nil {
		return true, fault.Wrap(op, err)
	}
	if _, err := c.leases.Sweep(ctx, clockKey()); err != nil {
		return true, fault.Wrap(op, err)
	}
	err = c.store.Update(ctx, func(_ context.Context, tx store.Tx) error {
		return c.table.Put(tx, clockKey().Str(self), clockRecord{c.raw().UTC().Round(0), beat})
	})
	if err != nil {
		return true, fault.Wrap(op, err)
	}
	others := map[string]clockRecord{}
	err = c.store.View(ctx, func(ctx context.Context, r store.Reader) error {
		clear(others)
		return lease.EachSession(ctx, r, clockKey(), func(session string) error {
			if session == self {
				return nil
			}
			rec, err := c.table.Get(ctx, r, clockKey().Str(session))
			if err == nil {
				others[session] = rec
			} else if errors.Is(err, store.ErrNotFound) {
				return nil
			}
			return err
		})
	})
	if err != nil {
		return true, fault.Wrap(op, err)
	}
	return c.judge(others), nil
}

// judge takes what the others' clocks said.
func (c *sharedClock) judge(others map[string]clockRecord) (waiting bool) {
	now := c.raw()
	fresh := !c.looked.IsZero() && now.Sub(c.looked) < c.valid // what changed since the last look was written since
	c.looked = now
	seen := map[string]reading{}
	offs := []time.Duration{0}
	for session, rec := range others {
		r, ok := c.seen[session]
		if !ok || r.beat != rec.Beat {
			r = reading{rec.Beat, now, rec.Wall.Sub(now.Round(0)), ok && fresh}
		}
		seen[session] = r
		switch age := now.Sub(r.at); {
		case age >= c.valid: // it is dead, or stopped
		case r.good:
			offs = append(offs, r.off)
		default:
			waiting = true
		}
	}
	c.seen = seen
	off, known := agreed(offs)
	if waiting {
		return true
	}
	if !known {
		if !c.doubt {
			c.log.Error("the clocks of the control planes differ and no more than half of them agree: set them right", "differences", offs)
		}
		c.doubt = true
		return false
	}
	c.doubt = false
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := off - c.off; d.Abs() > clockTolerance/2 { // it does not follow every tremor
		c.off = off
		c.log.Warn("this control plane's clock is off by what the others say; it goes by theirs", "ahead", (-off).Round(time.Second))
	}
	return false
}

// agreed returns what is to be added to the own clock, given by how much each clock is ahead of it, the own included: 0 when the own one is of the majority.
func agreed(offs []time.Duration) (off time.Duration, known bool) {
	slices.Sort(offs)
	low, high := offs[(len(offs)-1)/2], offs[len(offs)/2]
	if high-low > clockTolerance {
		return 0, false
	}
	if mid := low + (high-low)/2; mid.Abs() > clockTolerance {
		return mid, true
	}
	return 0, true
}
