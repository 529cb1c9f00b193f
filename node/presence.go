package node

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
)

// PingStatus is AWS's word for presence (shape PingStatus).
type PingStatus string

// The ping statuses.
const (
	Online         PingStatus = "Online"
	ConnectionLost PingStatus = "ConnectionLost"
	Inactive       PingStatus = "Inactive"
)

// presence is what memory knows of a node beyond the store.
type presence struct {
	last    time.Time // of the last heartbeat here
	written time.Time // what of it was written
	facts   *message.Facts
	known   []byte // the facts that were last written or found unchanged, as JSON
}

// Presence records go in batches of so many; nodes with new facts in smaller ones, because their records are larger.
const (
	seenBatch  = 1000
	factsBatch = 50
	factsEvery = time.Second

	// A heartbeat that lies further ahead than this was noted before the clock was set back.
	setBack = time.Minute
)

// Seen notes a heartbeat of a node, with its facts when it sent some. It takes no transaction and does not block. The caller has verified who speaks. now is the time of
// receipt, zero for the service's clock. Facts that are over a limit are an error of code Validation; the heartbeat counts all the same.
func (s *Service) Seen(_ context.Context, tenant, node string, facts *message.Facts, now time.Time) error {
	if now.IsZero() {
		now = s.cfg.Now()
	}
	now = now.UTC().Round(0)
	var err error
	var f message.Facts
	var b []byte
	if facts != nil {
		if f, err = checkFacts("node.Seen", *facts); err == nil {
			b, err = json.Marshal(f)
		}
		if err != nil {
			facts = nil
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.presence[nodeID{tenant, node}]
	if p == nil {
		p = &presence{}
		s.presence[nodeID{tenant, node}] = p
	}
	if now.After(p.last) || p.last.Sub(now) > setBack {
		p.last = now
	}
	if facts != nil && !bytes.Equal(b, p.known) {
		p.facts = &f
	}
	return err
}

func (s *Service) forget(tenant, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.presence, nodeID{tenant, id})
}

// status derives the ping status from the last heartbeat.
func (s *Service) status(last, now time.Time) PingStatus {
	switch silent := now.Sub(last); {
	case last.IsZero() || silent >= s.cfg.InactiveAfter:
		return Inactive
	case silent >= s.cfg.LostAfter || -silent > setBack: // from before the clock was set back, and nothing since
		return ConnectionLost
	}
	return Online
}

// newer reports whether heartbeat a is to be shown instead of b.
func newer(a, b time.Time) bool { return !a.IsZero() && (a.After(b) || b.Sub(a) > setBack) }

// overlay returns the newer of the stored heartbeat and memory's, and memory's facts if they wait to be written.
func (s *Service) overlay(tenant, id string, stored time.Time) (last time.Time, facts *message.Facts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.presence[nodeID{tenant, id}]
	if p == nil {
		return stored, nil
	}
	if newer(p.last, stored) {
		stored = p.last
	}
	return stored, p.facts
}

// Run writes heartbeats every Config.Checkpoint, and changed facts and the first heartbeats of nodes every second, until ctx ends; then it writes once more. Errors of the store are logged and
// tried again. It returns ctx's error. The goroutine is the caller's.
func (s *Service) Run(ctx context.Context) error {
	facts, seen := time.NewTicker(factsEvery), time.NewTicker(s.cfg.Checkpoint)
	defer facts.Stop()
	defer seen.Stop()
	try := func(ctx context.Context, f func(context.Context) error) {
		if err := f(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.LogAttrs(ctx, slog.LevelError, "presence not written", slog.String("error", err.Error()))
		}
	}
	for {
		if s.cfg.Beat != nil {
			s.cfg.Beat(factsEvery)
		}
		select {
		case <-ctx.Done():
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			try(end, s.Flush)
			return ctx.Err()
		case <-facts.C:
			try(ctx, s.flushFacts)
			try(ctx, s.flushNew)
		case <-seen.C:
			try(ctx, s.Flush)
		}
	}
}

// Flush writes everything that memory knows beyond the store.
func (s *Service) Flush(ctx context.Context) error {
	if err := s.flushFacts(ctx); err != nil {
		return err
	}
	return s.flushBeats(ctx, func(*presence) bool { return true })
}

// flushNew writes the heartbeats of nodes that this control plane has not written before, so that the others show at once who came.
func (s *Service) flushNew(ctx context.Context) error {
	return s.flushBeats(ctx, func(p *presence) bool { return p.written.IsZero() })
}

// flushBeats writes the heartbeats that the store lacks, of those nodes.
func (s *Service) flushBeats(ctx context.Context, of func(*presence) bool) error {
	type beat struct {
		nodeID
		last time.Time
	}
	var beats []beat
	now := s.now()
	s.mu.Lock()
	for k, p := range s.presence {
		switch {
		case !p.last.Equal(p.written):
			if !of(p) {
				continue
			}
			beats = append(beats, beat{k, p.last})
		case p.facts == nil && now.Sub(p.last) >= s.cfg.LostAfter:
			delete(s.presence, k) // the store knows all that is here
		}
	}
	s.mu.Unlock()
	slices.SortFunc(beats, func(a, b beat) int { return cmp.Or(cmp.Compare(a.tenant, b.tenant), cmp.Compare(a.id, b.id)) })
	for part := range slices.Chunk(beats, seenBatch) {
		exists, keys := make([][]byte, len(part)), make([][]byte, len(part))
		for i, b := range part {
			exists[i], keys[i] = allIndex(b.tenant).Str(b.id), seenKey(b.tenant, b.id)
		}
		var gone []nodeID
		err := s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			gone = nil
			exist, err := tx.GetMany(ctx, exists)
			if err != nil {
				return err
			}
			stored, err := s.seen.GetMany(ctx, tx, keys)
			if err != nil {
				return err
			}
			for i, b := range part {
				if exist[i] == nil { // deregistered since, or never there
					gone = append(gone, b.nodeID)
					continue
				}
				if stored[i] != nil && !newer(b.last, stored[i].Last) {
					continue // another control plane heard of it later
				}
				if err := s.seen.Put(tx, seenKey(b.tenant, b.id), seenRecord{b.last}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fault.Wrap("node.Flush", err)
		}
		s.mu.Lock()
		for _, b := range part {
			if p := s.presence[b.nodeID]; p != nil {
				p.written = b.last
			}
		}
		for _, k := range gone {
			delete(s.presence, k)
		}
		s.mu.Unlock()
	}
	return nil
}

// flushFacts writes the facts that changed.
func (s *Service) flushFacts(ctx context.Context) error {
	type change struct {
		nodeID
		facts *message.Facts
	}
	var changes []change
	s.mu.Lock()
	for k, p := range s.presence {
		if p.facts != nil {
			changes = append(changes, change{k, p.facts})
		}
	}
	s.mu.Unlock()
	slices.SortFunc(changes, func(a, b change) int { return cmp.Or(cmp.Compare(a.tenant, b.tenant), cmp.Compare(a.id, b.id)) })
	for part := range slices.Chunk(changes, factsBatch) {
		keys := make([][]byte, len(part))
		for i, c := range part {
			keys[i] = nodeKey(c.tenant, c.id)
		}
		write := func(ctx context.Context, r store.Reader, put func(key []byte, n nodeRecord) error) error {
			ns, err := s.nodes.GetMany(ctx, r, keys)
			if err != nil {
				return err
			}
			for i, n := range ns {
				if n == nil || sameFacts(n.Facts, *part[i].facts) {
					continue
				}
				n.Facts = *part[i].facts
				if err := put(keys[i], *n); err != nil {
					return err
				}
			}
			return nil
		}
		// A fleet that returns sends what is known already (F12): look first, write only if something differs.
		differs := false
		err := s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
			differs = false
			return write(ctx, r, func([]byte, nodeRecord) error { differs = true; return nil })
		})
		if err == nil && differs {
			err = s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
				return write(ctx, tx, func(k []byte, n nodeRecord) error { return s.nodes.Put(tx, k, n) })
			})
		}
		if err != nil {
			return fault.Wrap("node.Flush", err)
		}
		s.mu.Lock()
		for _, c := range part {
			if p := s.presence[c.nodeID]; p != nil && p.facts == c.facts {
				p.facts = nil
				p.known, _ = json.Marshal(c.facts) //nolint:errcheck // it was marshalled before
			}
		}
		s.mu.Unlock()
	}
	return nil
}

func sameFacts(a, b message.Facts) bool {
	caps := slices.Equal(a.Capabilities, b.Capabilities)
	a.Capabilities, b.Capabilities = nil, nil
	x, _ := json.Marshal(a) //nolint:errcheck // strings only
	y, _ := json.Marshal(b) //nolint:errcheck // strings only
	return caps && bytes.Equal(x, y)
}
