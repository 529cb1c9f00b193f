package audit

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
)

// Run stores what Read queued, every Config.Flush, and signs the chains that grew, every Config.Checkpoint, until ctx ends; then it does both once more. Errors
// are logged and tried again. It returns ctx's error. The goroutine is the caller's.
func (l *Log) Run(ctx context.Context) error {
	flush, sign := time.NewTicker(l.cfg.Flush), time.NewTicker(l.cfg.Checkpoint)
	defer flush.Stop()
	defer sign.Stop()
	try := func(ctx context.Context, what string, f func(context.Context) error) {
		if err := f(ctx); err != nil && ctx.Err() == nil {
			l.cfg.Log.LogAttrs(ctx, slog.LevelError, "audit "+what+" failed", slog.String("error", err.Error()))
		}
	}
	for {
		if l.cfg.Beat != nil {
			l.cfg.Beat(min(l.cfg.Flush, l.cfg.Checkpoint))
		}
		select {
		case <-ctx.Done():
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			try(end, "flush", l.Flush)
			try(end, "checkpoint", l.Checkpoint)
			return ctx.Err()
		case <-flush.C:
			try(ctx, "flush", l.Flush)
		case <-sign.C:
			try(ctx, "checkpoint", l.Checkpoint)
		}
	}
}

// Flush stores what Read queued. If the store refuses, the entries stay queued; beyond Config.Buffer the oldest are dropped, and their number is logged and recorded.
func (l *Log) Flush(ctx context.Context) error {
	if l == nil {
		return nil
	}
	for {
		l.mu.Lock()
		batch := l.queue[:min(len(l.queue), batchOf(l.queue))]
		if l.queue = l.queue[len(batch):]; len(l.queue) == 0 {
			l.queue = nil // the batch is the array's last user
		}
		dropped := l.dropped
		l.dropped = 0
		l.mu.Unlock()
		if len(batch) == 0 {
			return nil
		}
		if err := l.write(ctx, batch, dropped); err != nil {
			l.mu.Lock()
			l.queue = append(append([]Entry(nil), batch...), l.queue...)
			l.dropped += dropped
			lost := max(0, len(l.queue)-l.cfg.Buffer)
			l.queue = l.queue[lost:]
			l.dropped += lost
			l.lost += uint64(lost)
			l.mu.Unlock()
			if lost > 0 {
				l.cfg.Log.LogAttrs(ctx, slog.LevelError, "audit entries of reads dropped: the store takes none and the buffer is full", slog.Int("count", lost))
			}
			return fault.Wrap("audit.Flush", err)
		}
	}
}

// Waiting tells how many entries of reads are not stored yet, when the oldest of them was made, and how many were lost since New.
func (l *Log) Waiting() (n int, oldest time.Time, lost uint64) {
	if l == nil {
		return 0, time.Time{}, 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if n = len(l.queue); n > 0 {
		oldest = l.queue[0].Time
	}
	return n, oldest, l.lost
}

// batchOf returns how many queued entries go into one transaction: few enough for its limits even if each is as large as can be.
func batchOf(q []Entry) int {
	size := 0
	for i, e := range q {
		size += 6*(len(e.Principal)+len(e.Action)+len(e.Resource)+len(e.Digest)) + 512
		for k, v := range e.IDs {
			size += 6 * (len(k) + len(v))
		}
		if i > 0 && size > store.MaxTxBytes/4 {
			return i
		}
	}
	return len(q)
}

func (l *Log) write(ctx context.Context, batch []Entry, dropped int) error {
	byTenant := map[string][]Entry{}
	var order []string
	if first := batch[0].Tenant; !slices.ContainsFunc(batch, func(e Entry) bool { return e.Tenant != first }) {
		byTenant[first], order, batch = batch, []string{first}, nil
	}
	for _, e := range batch {
		if byTenant[e.Tenant] == nil {
			order = append(order, e.Tenant)
		}
		byTenant[e.Tenant] = append(byTenant[e.Tenant], e)
	}
	if dropped > 0 {
		tenant := order[0]
		e := l.fill(ctx, Entry{Tenant: tenant, Principal: l.cfg.Writer, Action: ActionDropped, Outcome: Failed, Code: fault.ServiceUnavailable, IDs: map[string]string{"count": itoa(dropped)}})
		byTenant[tenant] = append([]Entry{e}, byTenant[tenant]...)
	}
	return l.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		for _, tenant := range order {
			if err := l.append(ctx, tx, tenant, byTenant[tenant]); err != nil {
				return err
			}
		}
		return nil
	})
}

// The actions of entries that the log writes about itself.
const (
	ActionDropped = "audit:Dropped" // entries of reads were lost; IDs has the count
	ActionTrim    = "audit:Trim"    // old segments were removed; IDs has the oldest that is left
)

// Checkpoint signs every chain of this writer that grew since its last checkpoint: the end of each segment that was filled, then the tip.
func (l *Log) Checkpoint(ctx context.Context) error {
	if l == nil {
		return nil
	}
	chains, err := l.chains(ctx, "")
	if err != nil {
		return fault.Wrap("audit.Checkpoint", err)
	}
	var errs []error
	for _, c := range chains {
		if c.writer == l.cfg.Writer {
			errs = append(errs, l.checkpoint(ctx, c, 0))
		}
	}
	return fault.Wrap("audit.Checkpoint", errors.Join(errs...))
}

// checkpoint signs one chain. A from above that of the head declares the segments before it trimmed.
func (l *Log) checkpoint(ctx context.Context, c chainID, from uint64) error {
	for {
		var cp Checkpoint
		var h head
		err := l.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) (err error) {
			if h, err = l.t.heads.Get(ctx, r, headKey(c)); err != nil {
				return err
			}
			cp = Checkpoint{Tenant: c.tenant, Writer: c.writer, Seq: h.Seq + 1, From: max(h.From, from), Segment: h.Segment, Count: h.Count, Hash: h.Hash, Prev: h.Signed}
			seg := max(h.SignedIn, 1)
			for ; seg < h.Segment; seg++ { // a filled segment whose end is not signed?
				e, err := l.last(ctx, r, c, seg)
				if err != nil {
					return err
				}
				if seg > h.SignedIn || e.N > h.SignedAt {
					cp.Segment, cp.Count, cp.Hash = seg, e.N, e.Hash
					return nil
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if cp.Segment == h.SignedIn && cp.Count == h.SignedAt && cp.From == h.From {
			return nil
		}
		cp.Hash = append([]byte(nil), cp.Hash...)
		cp.Time = l.cfg.Now().UTC().Round(0)
		if l.cfg.Signer != nil {
			if cp.Signature, err = l.cfg.Signer(cp.Message()); err != nil {
				return err
			}
		}
		err = l.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			now, err := l.t.heads.Get(ctx, tx, headKey(c))
			if err != nil || now.Seq != h.Seq { // another process of this writer was quicker: look again
				return err
			}
			now.From, now.Seq, now.Signed, now.SignedIn, now.SignedAt = cp.From, cp.Seq, cp.sum(), cp.Segment, cp.Count
			if err := l.t.checkpoints.Put(tx, checkpoints(c).Uint(cp.Seq), cp); err != nil {
				return err
			}
			return l.t.heads.Put(tx, headKey(c), now)
		})
		if err != nil {
			return err
		}
	}
}

// last returns the last entry of a segment.
func (l *Log) last(ctx context.Context, r store.Reader, c chainID, segment uint64) (Entry, error) {
	rng := entries(c).Uint(segment).Range()
	rng.Reverse, rng.Limit = true, 1
	for e, err := range l.t.entries.Scan(ctx, r, rng) {
		return e.Value, err
	}
	return Entry{}, &Broken{Tenant: c.tenant, Writer: c.writer, Segment: segment, N: 1, Reason: "the segment has no entries"}
}

// Heads returns the newest checkpoint of every chain. A host that keeps them where the store's operator cannot write makes a rolled-back store detectable.
func (l *Log) Heads(ctx context.Context) ([]Checkpoint, error) {
	chains, err := l.chains(ctx, "")
	if err != nil {
		return nil, fault.Wrap("audit.Heads", err)
	}
	var out []Checkpoint
	for _, c := range chains {
		rng := checkpoints(c).Range()
		rng.Reverse, rng.Limit = true, 1
		err := l.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
			for e, err := range l.t.checkpoints.Scan(ctx, r, rng) {
				if err != nil {
					return err
				}
				out = append(out, e.Value)
			}
			return nil
		})
		if err != nil {
			return nil, fault.Wrap("audit.Heads", err)
		}
	}
	return out, nil
}
