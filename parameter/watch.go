package parameter

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/feed"
	"github.com/fleetwright/fleetwright/store"
)

// WatchRequest says what to follow.
type WatchRequest struct {
	Path      string  // "" and "/" are all
	Recursive bool    // all levels below the path, not only the next; a Path that is itself a parameter is followed too
	After     *uint64 // the Seq of the last change that was seen; nil is only what comes
}

// Change is an event with its place.
type Change struct {
	Seq  uint64 // rises within a tenant; WatchRequest.After to go on behind it
	Time time.Time
	Kind string // EventChange or EventPolicy
	Event
}

// Watch yields changes of parameters below a path as they are committed, in order, each once, until the caller stops or ctx ends; then it yields one error. It yields those of parameters that the caller may
// describe (ssm:DescribeParameters, by the tags that the parameter had). Values are not in it: get them. A tenant's watchers share one reader of the store, so that a thousand cost little more than one.
// It reads nothing while the caller works on a change; who is slow reads from the store.
func (s *Service) Watch(ctx context.Context, req WatchRequest) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		const op, action = "parameter.Watch", "ssm:DescribeParameters"
		if req.Path == "" {
			req.Path = "/"
		}
		path, err := checkPath(op, req.Path)
		if err != nil {
			yield(Change{}, err)
			return
		}
		tenant := access.Tenant(ctx)
		h, err := s.join(ctx, tenant)
		if err != nil {
			yield(Change{}, storeFault(op, err))
			return
		}
		defer s.leave(tenant, h)
		s.audited(ctx, action, resource(clip(req.Path)), nil)
		var cursor uint64
		if req.After != nil {
			cursor = *req.After
		} else {
			cursor = h.tip()
		}
		for {
			batch, wake, err := h.after(cursor)
			if batch == nil && err == nil && wake == nil { // behind what the hub remembers
				batch, err = s.readEvents(ctx, tenant, cursor)
			}
			if err != nil {
				if errors.Is(err, feed.ErrTrimmed) {
					err = fault.New(op, fault.InvalidNextToken, "changes after %d are not kept any more: read the parameters, then watch from now: %w", cursor, err)
				}
				yield(Change{}, storeFault(op, err))
				return
			}
			for _, c := range batch {
				cursor = c.Seq
				canon := canonical(c.Name)
				if canon+"/" != path && !below(path, !req.Recursive, canon) || s.check(ctx, action, canon, c.Tags) != nil {
					continue
				}
				if !yield(c, nil) {
					return
				}
			}
			if len(batch) > 0 {
				continue
			}
			select {
			case <-ctx.Done():
				yield(Change{}, fault.Wrap(op, ctx.Err()))
				return
			case <-wake:
			}
		}
	}
}

// readEvents reads a page of events from the store.
func (s *Service) readEvents(ctx context.Context, tenant string, after uint64) (out []Change, err error) {
	err = s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		out = nil
		es, err := s.feed.Read(ctx, r, topicKey(tenant), after, 500)
		if err != nil {
			return err
		}
		for _, e := range es {
			c := Change{Seq: e.Seq, Time: e.Time, Kind: e.Kind}
			if err := json.Unmarshal(e.Data, &c.Event); err != nil {
				return err
			}
			out = append(out, c)
		}
		return nil
	})
	return out, err
}

const hubKeeps = 4096 // changes that a hub remembers

// hub reads the events of a tenant for all its watchers. It lives as long as there are any.
type hub struct {
	refs  int // under Service.mu
	stop  context.CancelFunc
	ended chan struct{}
	ready chan struct{}

	mu     sync.Mutex
	recent []Change // the newest, without gaps up to last
	last   uint64
	wake   chan struct{} // closed when something came
	err    error
}

// join finds or starts the hub of a tenant.
func (s *Service) join(ctx context.Context, tenant string) (*hub, error) {
	s.mu.Lock()
	h := s.hubs[tenant]
	if h == nil {
		run, stop := context.WithCancel(context.WithoutCancel(ctx))
		h = &hub{stop: stop, ended: make(chan struct{}), ready: make(chan struct{}), wake: make(chan struct{})}
		s.hubs[tenant] = h
		go s.pump(run, tenant, h)
	}
	h.refs++
	s.mu.Unlock()
	select {
	case <-h.ready:
	case <-ctx.Done():
		s.leave(tenant, h)
		return nil, ctx.Err()
	}
	h.mu.Lock()
	err := h.err
	h.mu.Unlock()
	if err != nil {
		s.leave(tenant, h)
		return nil, err
	}
	return h, nil
}

// leave ends the hub with its last watcher, and waits for its end.
func (s *Service) leave(tenant string, h *hub) {
	s.mu.Lock()
	h.refs--
	over := h.refs == 0
	if over && s.hubs[tenant] == h {
		delete(s.hubs, tenant)
	}
	s.mu.Unlock()
	if over {
		h.stop()
		<-h.ended
	}
}

// pump reads what is new after each signal of the store.
func (s *Service) pump(ctx context.Context, tenant string, h *hub) {
	defer close(h.ended)
	signals, err := store.Watch(ctx, s.cfg.Store, topicKey(tenant))
	if err == nil {
		err = s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) (err error) {
			h.last, err = s.feed.Last(ctx, r, topicKey(tenant))
			return err
		})
	}
	h.err = err
	close(h.ready)
	if err != nil {
		s.drop(tenant, h)
		return
	}
	for range signals {
		for {
			batch, err := s.readEvents(ctx, tenant, h.tip())
			switch {
			case ctx.Err() != nil:
				return
			case errors.Is(err, store.ErrClosed), errors.Is(err, feed.ErrTrimmed):
				h.fail(err)
				s.drop(tenant, h)
				return
			case err != nil:
				s.cfg.Log.Warn("reading parameter events failed and is tried again at the next change", "error", err)
			}
			if len(batch) == 0 {
				break
			}
			h.add(batch)
		}
	}
}

// drop makes room for a new hub of the tenant.
func (s *Service) drop(tenant string, h *hub) {
	s.mu.Lock()
	if s.hubs[tenant] == h {
		delete(s.hubs, tenant)
	}
	s.mu.Unlock()
}

func (h *hub) tip() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

func (h *hub) add(batch []Change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.recent) + len(batch) - hubKeeps; n > 0 {
		h.recent = append([]Change(nil), h.recent[min(n, len(h.recent)):]...)
	}
	h.recent = append(h.recent, batch...)
	h.last = batch[len(batch)-1].Seq
	close(h.wake)
	h.wake = make(chan struct{})
}

func (h *hub) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = err
	close(h.wake)
	h.wake = make(chan struct{})
}

// after returns the changes behind a cursor, or what to wait for; nothing at all when it does not remember so far back.
func (h *hub) after(cursor uint64) (batch []Change, wake <-chan struct{}, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.err != nil:
		return nil, nil, h.err
	case cursor >= h.last:
		return nil, h.wake, nil
	case len(h.recent) == 0 || h.recent[0].Seq > cursor+1:
		return nil, nil, nil
	}
	return h.recent[cursor+1-h.recent[0].Seq:], nil, nil
}
