package audit

import (
	"cmp"
	"context"
	"slices"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// There is no list of chains that could be shortened: they are found where they lie, by jumping from one tenant's keys to the next's, and from one
// writer's to the next's.

// jumpsPerView bounds one View of a search.
const jumpsPerView = 1000

// next returns the first text that follows prefix in any key of the store after the given one; ok is false at the end.
func next(ctx context.Context, r store.Reader, prefix key.K, after string, first bool) (text string, ok bool, err error) {
	rng := store.Range{Start: []byte{2}, End: []byte{3}} // where keys that begin with a text lie
	if prefix != nil {
		rng = prefix.Range()
	}
	if !first {
		rng.Start = append(append([]byte(nil), prefix.Str(after)...), 0xff)
	}
	rng.Limit = 1
	for {
		var k []byte
		for it, err := range r.Scan(ctx, rng) {
			if err != nil {
				return "", false, err
			}
			k = append([]byte(nil), it.Key...)
		}
		if k == nil {
			return "", false, nil
		}
		e := key.Read(k[len(prefix):])
		if text = e.Str(); e.More() || e.Err() == nil {
			return text, true, nil
		}
		rng.Start = append(k, 0) // the host's own key, of another form
	}
}

// names returns all texts that follow prefix.
func (l *Log) names(ctx context.Context, prefix key.K) (out []string, err error) {
	for more := true; more; {
		err := l.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
			for range jumpsPerView {
				after := ""
				if len(out) > 0 {
					after = out[len(out)-1]
				}
				name, ok, err := next(ctx, r, prefix, after, len(out) == 0)
				if err != nil || !ok {
					more = false
					return err
				}
				out = append(out, name)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// chains returns all chains of which anything is left, of one tenant or of all if tenant is empty.
func (l *Log) chains(ctx context.Context, tenant string) (out []chainID, err error) {
	tenants := []string{tenant}
	if tenant == "" {
		if tenants, err = l.names(ctx, nil); err != nil {
			return nil, err
		}
	}
	for _, t := range tenants {
		for _, kind := range []string{"head", "entry", "checkpoint"} {
			writers, err := l.names(ctx, space(t).Str(kind))
			if err != nil {
				return nil, err
			}
			for _, w := range writers {
				out = append(out, chainID{t, w})
			}
		}
	}
	slices.SortFunc(out, func(a, b chainID) int {
		return cmp.Or(cmp.Compare(a.tenant, b.tenant), cmp.Compare(a.writer, b.writer))
	})
	return slices.Compact(out), nil
}

// writers returns the writers of a tenant's chains.
func (l *Log) writers(ctx context.Context, r store.Reader, tenant string) (out []string, err error) {
	for after, first := "", true; ; first = false {
		w, ok, err := next(ctx, r, heads(tenant), after, first)
		if err != nil || !ok {
			return out, err
		}
		out, after = append(out, w), w
	}
}
