package node

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/record"
)

// Planes is what [Places] needs to know of control planes. lease.Leases implements it.
type Planes interface {
	// Session returns this control plane's id. It may become another one; the former is then never used again.
	Session(ctx context.Context) (string, error)
	// Look notes what can be seen of the others in the state that r sees, for Living.
	Look(ctx context.Context, r store.Reader) error
	// Living reports whether a control plane is alive as far as the last Look tells.
	Living(plane string) bool
	// Sweep removes what lies below a prefix, after which keys go on with the id of a control plane, of those that are dead for good, and returns their ids.
	Sweep(ctx context.Context, prefix key.K) ([]string, error)
}

// PlacesConfig is what Places are made of. Store and Planes are required.
type PlacesConfig struct {
	Store  store.Store
	Codec  *record.Codec
	Planes Planes
	// Moved is called for each node that connected to another control plane, and for those of one that is heard of again. It must not block.
	Moved func(tenant, node string)
	Now   func() time.Time // for durations only; nil is time.Now
	Log   *slog.Logger     // nil logs nothing
}

// Places knows which control plane each node is connected to, where several share a store and each reaches only its own connections. A node's connection is a record, written when it
// changes hands, in batches; idle nodes write nothing. Each control plane keeps all records in memory, about 200 bytes a node, and follows the changes by what the others leave for
// it, at most [store.DefaultPoll] late.
//
// The last hello of a node decides: it proves by its signature that the node is where it was said, and by its number that it is newer than another. Connections that only look alive, as
// those of a node that vanished without a word, give way to it. Where a control plane is dead its nodes are nowhere. All methods are safe for concurrent use.
type Places struct {
	cfg    PlacesConfig
	places record.Table[placeRecord]
	news   record.Table[[]moved]
	dirty  chan struct{} // something is to be written

	mu      sync.Mutex
	self    string
	mine    map[nodeID]*mine
	changed map[nodeID]struct{} // of mine, to be written
	away    map[nodeID]away
	living  map[string]bool // of the other control planes of away

	// Of Run's goroutine.
	seq     uint64            // of the last news that was written, or may have been
	written []sent            // news that may be there
	read    map[string]uint64 // the last news that was read, by control plane
	whole   bool              // all records were read
	swept   time.Time
}

// placeRecord is where a node is connected. Version rises with each change, so that news in any order give the same picture.
type placeRecord struct {
	Plane   string `json:"p,omitempty"` // empty: nowhere
	Session string `json:"s,omitempty"` // the agent's, and its hello's number
	Seq     uint64 `json:"n,omitempty"`
	Version uint64 `json:"v"`
}

// moved is a change, told to the others.
type moved struct {
	Tenant string `json:"t"`
	Node   string `json:"i"`
	placeRecord
}

// mine is a node that was heard of on a connection of this control plane.
type mine struct {
	session string
	seq     uint64
	version uint64 // of the record that says so; 0 when none does
	up      bool
}

// away is a node that is connected elsewhere.
type away struct {
	plane   string
	session string
	seq     uint64
	version uint64
}

type sent struct {
	seq uint64
	at  time.Time
}

const (
	placesBatch = 300                   // changes of a transaction, and of a record of news
	placesWait  = 20 * time.Millisecond // how long changes wait for others
	placesPage  = 1000
	keepNews    = 30 * time.Second // who was deaf for longer reads all records again
	sweepEvery  = 10 * time.Second
)

func placesKey() key.K { return key.New("").Str("node").Str("place") }
func newsKey() key.K   { return key.New("").Str("node").Str("moved") }

func placeKey(tenant, id string) key.K { return placesKey().Str(tenant).Str(id) }

// NewPlaces returns Places. It does no I/O and starts nothing.
func NewPlaces(cfg PlacesConfig) *Places {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Moved == nil {
		cfg.Moved = func(string, string) {}
	}
	return &Places{cfg: cfg, places: record.NewTable[placeRecord](cfg.Codec), news: record.NewTable[[]moved](cfg.Codec), dirty: make(chan struct{}, 1),
		mine: map[nodeID]*mine{}, changed: map[nodeID]struct{}{}, away: map[nodeID]away{}, living: map[string]bool{}, read: map[string]uint64{}}
}

// Self returns this control plane's id; empty before Run has found it out.
func (p *Places) Self() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.self
}

// Sweep removes what lies below a prefix, after which keys go on with the id of a control plane, of those that are dead for good.
func (p *Places) Sweep(ctx context.Context, prefix key.K) error {
	_, err := p.cfg.Planes.Sweep(ctx, prefix)
	return err
}

// Where returns the id of the other, living control plane that a node is connected to; empty when it is connected here, or nowhere as far as is known. It waits for nothing.
func (p *Places) Where(tenant, node string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	a, ok := p.away[nodeID{tenant, node}]
	if !ok || !p.living[a.plane] {
		return ""
	}
	return a.plane
}

// Here notes a hello that came from a node over a connection of this control plane; the caller has verified its signature. session is the agent's, seq the hello's number in it. It
// waits for nothing.
func (p *Places) Here(tenant, node, session string, seq uint64) {
	k := nodeID{tenant, node}
	p.mu.Lock()
	defer p.mu.Unlock()
	a, elsewhere := p.away[k]
	if elsewhere && a.session == session && seq <= a.seq {
		return // said before it went there
	}
	m := p.mine[k]
	if m == nil {
		m = &mine{}
		p.mine[k] = m
	}
	settled := m.up && m.session == session && m.version > 0 && !elsewhere
	m.session, m.seq, m.up = session, seq, true
	if elsewhere {
		delete(p.away, k)
		m.version = 0
	}
	if !settled {
		p.mark(k)
	}
}

// Left notes that a node has no connection here any more.
func (p *Places) Left(tenant, node string) {
	k := nodeID{tenant, node}
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := p.mine[k]; m != nil && m.up {
		m.up = false
		p.mark(k)
	}
}

// mark has a node of mine written. The caller holds mu.
func (p *Places) mark(k nodeID) {
	p.changed[k] = struct{}{}
	select {
	case p.dirty <- struct{}{}:
	default:
	}
}

// Forget removes a node's record, in the transaction that removes the node.
func (p *Places) Forget(_ context.Context, tx store.Tx, tenant, node string) error {
	return tx.Delete(placeKey(tenant, node))
}

// Run writes and reads until ctx ends. Errors of the store are logged and tried again. It returns ctx's error. One Run at a time.
func (p *Places) Run(ctx context.Context) error {
	changed, err := store.Watch(ctx, p.cfg.Store, newsKey())
	if err != nil {
		return fault.Wrap("node.Places", err)
	}
	t := time.NewTicker(store.DefaultPoll)
	defer t.Stop()
	ok := true
	for {
		if err := errors.Join(p.follow(ctx), p.write(ctx), p.sweep(ctx)); err != nil && ctx.Err() == nil {
			if ok {
				p.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "where nodes are connected cannot be written or read; trying again", slog.String("error", err.Error()))
			}
			ok = false
		} else {
			ok = true
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		case _, more := <-changed:
			if !more {
				changed = nil
			}
		case <-p.dirty:
			select { // a connection seldom comes alone
			case <-ctx.Done():
			case <-time.After(placesWait):
			}
		}
	}
}

// write writes what changed here.
func (p *Places) write(ctx context.Context) error {
	p.mu.Lock()
	pending := slices.Collect(maps.Keys(p.changed))
	self := p.self
	p.mu.Unlock()
	if self == "" || !p.whole {
		return nil // not yet: the tick comes again
	}
	slices.SortFunc(pending, func(a, b nodeID) int { return cmp.Or(cmp.Compare(a.tenant, b.tenant), cmp.Compare(a.id, b.id)) })
	for part := range slices.Chunk(pending, placesBatch) {
		if err := p.writeSome(ctx, self, part); err != nil {
			return fault.Wrap("node.Places", err)
		}
	}
	return nil
}

func (p *Places) writeSome(ctx context.Context, self string, part []nodeID) error {
	ms := make([]mine, len(part))
	keys, exists := make([][]byte, len(part)), make([][]byte, len(part))
	p.mu.Lock()
	for i, k := range part {
		keys[i], exists[i] = placeKey(k.tenant, k.id), allIndex(k.tenant).Str(k.id)
		ms[i] = *p.mine[k]
		delete(p.changed, k) // what changes from now on is another change
	}
	p.mu.Unlock()
	p.seq++ // also when nobody knows whether it was written: others notice the gap and read all
	now := p.cfg.Now()
	at := newsKey().Str(self).Uint(p.seq)
	var news []moved
	var recs []*placeRecord // as they are now
	var old int
	err := p.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) (err error) {
		news, old = nil, 0
		if recs, err = p.places.GetMany(ctx, tx, keys); err != nil {
			return err
		}
		known, err := tx.GetMany(ctx, exists)
		if err != nil {
			return err
		}
		for i, m := range ms {
			rec, was := placeRecord{}, recs[i]
			if was != nil {
				rec = *was
			}
			here := rec.Plane == self
			switch {
			case known[i] == nil: // deregistered
				continue
			case m.up && (here && rec.Session == m.session || !here && rec.Plane != "" && rec.Session == m.session && rec.Seq > m.seq):
				continue // known already, or it has gone on
			case !m.up && !here:
				continue
			case m.up:
				rec.Plane = self
			default:
				rec.Plane = ""
			}
			rec.Session, rec.Seq, rec.Version = m.session, m.seq, rec.Version+1
			if err := p.places.Put(tx, keys[i], rec); err != nil {
				return err
			}
			recs[i] = &rec
			news = append(news, moved{part[i].tenant, part[i].id, rec})
		}
		if len(news) == 0 {
			return nil
		}
		for old < len(p.written) && now.Sub(p.written[old].at) > keepNews {
			if err := tx.Delete(newsKey().Str(self).Uint(p.written[old].seq)); err != nil {
				return err
			}
			old++
		}
		return p.news.Put(tx, at, news)
	})
	if len(news) == 0 && err == nil {
		p.seq--
	} else {
		p.written = append(p.written[old:], sent{p.seq, now})
	}
	for _, k := range p.settle(self, part, ms, recs, err) {
		p.cfg.Moved(k.tenant, k.id)
	}
	return err
}

// settle notes how the records of nodes of mine are after they were written, and returns the nodes that have gone on to another control plane.
func (p *Places) settle(self string, part []nodeID, ms []mine, recs []*placeRecord, err error) (gone []nodeID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, k := range part {
		if err != nil {
			if p.mine[k] != nil {
				p.changed[k] = struct{}{}
			}
			continue
		}
		m := p.mine[k]
		if m == nil {
			continue
		}
		rec := recs[i]
		switch {
		case rec == nil:
			m.version = 0
		case rec.Plane == self:
			m.version = rec.Version
		case rec.Plane != "" && ms[i].up && p.arrive(moved{k.tenant, k.id, *rec}):
			gone = append(gone, k)
			continue
		}
		if _, again := p.changed[k]; !m.up && !again {
			delete(p.mine, k)
		}
	}
	return gone
}

// arrive takes a change by another control plane, and reports whether it is news that the node is there. The caller holds mu.
func (p *Places) arrive(c moved) bool {
	k := nodeID{c.Tenant, c.Node}
	was, ok := p.away[k]
	if ok && was.version >= c.Version {
		return false
	}
	m := p.mine[k]
	if m != nil && m.up && (m.version >= c.Version || m.session == c.Session && m.seq > c.Seq) { // it came here after that
		if m.version > 0 && m.version < c.Version {
			m.version = 0
			p.mark(k)
		}
		return false
	}
	if c.Plane == "" || c.Plane == p.self {
		delete(p.away, k)
		return false
	}
	if m != nil { // a connection that only looks alive
		m.up, m.version = false, 0
		delete(p.changed, k)
		delete(p.mine, k)
	}
	p.away[k] = away{c.Plane, c.Session, c.Seq, c.Version}
	return true
}
