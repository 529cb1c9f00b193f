package node

import (
	"context"
	"slices"
	"sort"

	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// source is one condition as a set of node ids: those listed, or those below any of the index prefixes.
type source struct {
	ids      []string // sorted; used if prefixes is empty
	prefixes []key.K
}

// reads of one index prefix begin small and double.
const (
	firstRead = 32
	mostRead  = 1024
)

// lane reads the ids below one prefix in order.
type lane struct {
	prefix key.K
	buf    []string
	size   int
	after  string
	done   bool
}

// load reads more ids if none are at hand; want is how many can be of use, 0 if that is not known.
func (l *lane) load(ctx context.Context, s *Service, r store.Reader, want int) error {
	if len(l.buf) > 0 || l.done {
		return nil
	}
	rng := l.prefix.Range()
	if l.after != "" {
		rng = l.prefix.After(l.prefix.Str(l.after))
	}
	rng.Limit = l.size
	if want > 0 {
		rng.Limit = min(l.size, want)
	}
	l.size = min(2*l.size, mostRead)
	n := 0
	for it, err := range r.Scan(ctx, rng) {
		if err != nil {
			return err
		}
		id, err := s.indexed(l.prefix, it)
		if err != nil {
			return err
		}
		l.buf = append(l.buf, id)
		n++
	}
	l.done = n < rng.Limit
	if n > 0 {
		l.after = l.buf[len(l.buf)-1]
	}
	return nil
}

// indexed checks an index entry and returns its id.
func (s *Service) indexed(prefix key.K, it store.Item) (string, error) {
	if _, err := s.cfg.Codec.Open(it.Key, it.Value); err != nil {
		return "", err
	}
	k := key.Read(it.Key[len(prefix):])
	id := k.Str()
	return id, k.Err()
}

// stream yields the ids of a source in order, each once.
type stream struct {
	lanes []*lane
	ids   []string
	last  string
}

// open begins the stream after an id. expect is how many ids are wanted, as far as is known.
func (src source) open(after string, expect int) *stream {
	st := &stream{last: after}
	if len(src.prefixes) == 0 {
		i := sort.SearchStrings(src.ids, after)
		for i < len(src.ids) && src.ids[i] <= after {
			i++
		}
		st.ids = src.ids[i:]
		return st
	}
	for _, p := range src.prefixes {
		st.lanes = append(st.lanes, &lane{prefix: p, after: after, size: max(firstRead, min(expect, mostRead))})
	}
	return st
}

// next returns up to n ids; none means that the stream is over.
func (st *stream) next(ctx context.Context, s *Service, r store.Reader, n int) (out []string, err error) {
	if st.lanes == nil {
		out, st.ids = st.ids[:min(n, len(st.ids))], st.ids[min(n, len(st.ids)):]
		return out, nil
	}
	for len(out) < n {
		var least *lane
		want := 0
		if len(st.lanes) == 1 { // of several, nobody knows whose ids come next
			want = n - len(out)
		}
		for _, l := range st.lanes {
			if err := l.load(ctx, s, r, want); err != nil {
				return nil, err
			}
			if len(l.buf) > 0 && (least == nil || l.buf[0] < least.buf[0]) {
				least = l
			}
		}
		if least == nil {
			return out, nil
		}
		id := least.buf[0]
		least.buf = least.buf[1:]
		if id > st.last {
			st.last, out = id, append(out, id)
		}
	}
	return out, nil
}

// count counts entries of a source after an id, up to a limit.
func (src source) count(ctx context.Context, r store.Reader, after string, limit int) (n int, err error) {
	if len(src.prefixes) == 0 {
		return len(src.ids), nil
	}
	for _, p := range src.prefixes {
		rng := p.Range()
		if after != "" {
			rng = p.After(p.Str(after))
		}
		rng.Limit = limit - n
		for _, err := range r.Scan(ctx, rng) {
			if err != nil {
				return 0, err
			}
			n++
		}
		if n >= limit {
			return n, nil
		}
	}
	return n, nil
}

// smallest moves the source with the fewest ids after an id to the front. It looks at a few entries of each, then at more, and stops when one of them ends:
// what it reads is bounded by the smallest, not by the others.
func smallest(ctx context.Context, r store.Reader, srcs []source, after string) error {
	if len(srcs) < 2 {
		return nil
	}
	for limit := 64; limit <= 4096; limit *= 4 {
		best, fewest := -1, limit
		for i, src := range srcs {
			n, err := src.count(ctx, r, after, limit)
			if err != nil {
				return err
			}
			if n < fewest {
				best, fewest = i, n
			}
		}
		if best >= 0 {
			srcs[0], srcs[best] = srcs[best], srcs[0]
			return nil
		}
	}
	return nil
}

// keep returns those of the ids that belong to the source.
func (src source) keep(ctx context.Context, r store.Reader, ids []string) ([]string, error) {
	if len(src.prefixes) == 0 {
		return slices.DeleteFunc(ids, func(id string) bool { _, ok := slices.BinarySearch(src.ids, id); return !ok }), nil
	}
	keys := make([][]byte, 0, len(ids)*len(src.prefixes))
	for _, id := range ids {
		for _, p := range src.prefixes {
			keys = append(keys, p.Str(id))
		}
	}
	if len(keys) == 0 {
		return ids, nil
	}
	found, err := r.GetMany(ctx, keys)
	if err != nil {
		return nil, err
	}
	out, m := ids[:0], len(src.prefixes)
	for i, id := range ids {
		if slices.ContainsFunc(found[i*m:(i+1)*m], func(b []byte) bool { return b != nil }) {
			out = append(out, id)
		}
	}
	return out, nil
}
