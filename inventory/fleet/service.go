package fleet

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/record"
)

// Nodes knows the managed nodes.
type Nodes interface {
	// Tags returns the tags of those of the nodes that exist in the tenant; a node without tags has an empty map. The authorizer is asked with them as attributes.
	Tags(ctx context.Context, tenant string, ids []string) (map[string]map[string]string, error)
}

// Config is what a Service is made of. Store and Authorizer are required, Leases too by what calls Run or Fold; without an authorizer everything is refused.
type Config struct {
	Store      store.Store
	Codec      *record.Codec // may be nil
	Leases     *lease.Leases
	Authorizer access.Authorizer
	Audit      *audit.Log // nil records nothing
	// Nodes says which nodes exist, and their tags; nil takes reports of every node id and gives the authorizer no attributes.
	Nodes Nodes
	// Order is that of LessThan and GreaterThan; nil is inventory.PlainOrder. With inventory.VersionOrder(patch.CompareDeb, patch.CompareRPM) versions of packages are ordered as versions.
	Order  inventory.Order
	Limits *inventory.Limits // nil is AWS's
	// Cache is about how many bytes of decoded index are kept in memory, of all tenants; 0 is 256 MiB, less than 0 keeps none. What does not fit is read from the store.
	Cache int64
	// Batch is how many deltas wait at most until Run folds them, 0 is 1,000; FoldAfter is how long a delta waits at most, 0 is a minute. Queries are exact whatever waits.
	Batch     int
	FoldAfter time.Duration
	// Poll is how often Run looks for work if the store does not tell; 0 is a second.
	Poll time.Duration
	// History is for how long it is kept what changed on a node, and for how long deletions are listed; 0 is 30 days, as AWS keeps inventory.
	History time.Duration
	Now     func() time.Time // nil is time.Now
	Rand    io.Reader        // for the ids of deletions; nil is crypto/rand
	Log     *slog.Logger     // nil logs nothing
}

// Service keeps the inventory of a fleet. All methods are safe for concurrent use, in as many processes as share the store.
type Service struct {
	cfg     Config
	heads   record.Table[head]
	types   record.Table[typeState]
	blocks  record.Table[blocks]
	folds   record.Table[foldState]
	deletes record.Table[deletion]

	mu     sync.Mutex
	given  map[string]*numbers // by tenant: numbers taken from the store and not used yet
	dict   map[string]*dictionary
	cache  cache
	due    map[string]time.Time // when Run first saw deltas of a tenant that it has not folded
	runs   bool
	owned  map[string]lease.Held // by tenant, what Tend took
	loader chan struct{}         // holds a token while an index is loaded into the cache
	swept  map[string]time.Time
}

// New returns a service. It does no I/O and starts nothing.
func New(cfg Config) *Service {
	if cfg.Order == nil {
		cfg.Order = inventory.PlainOrder
	}
	if cfg.Cache == 0 {
		cfg.Cache = 256 << 20
	}
	if cfg.Batch <= 0 {
		cfg.Batch = 1000
	}
	if cfg.FoldAfter <= 0 {
		cfg.FoldAfter = time.Minute
	}
	if cfg.Poll <= 0 {
		cfg.Poll = time.Second
	}
	if cfg.History <= 0 {
		cfg.History = 30 * 24 * time.Hour
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{cfg: cfg, heads: record.NewTable[head](cfg.Codec), types: record.NewTable[typeState](cfg.Codec), blocks: record.NewTable[blocks](cfg.Codec),
		folds: record.NewTable[foldState](cfg.Codec), deletes: record.NewTable[deletion](cfg.Codec), given: map[string]*numbers{}, dict: map[string]*dictionary{},
		due: map[string]time.Time{}, swept: map[string]time.Time{}, owned: map[string]lease.Held{}, loader: make(chan struct{}, 1), cache: cache{tenants: map[string]*tenantIndex{}}}
}

// storeFault gives an error of the store a code; others keep theirs.
func storeFault(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrCommitUnknown):
		return fault.New(op, fault.OutcomeUnknown, "the store did not say whether the change was made; a report may be sent again as it is: %w", err)
	case errors.Is(err, store.ErrReadOnly):
		return fault.New(op, fault.ServiceUnavailable, "the store takes no changes at present; free its disk, then try again: %w", err)
	case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrTooLong), errors.Is(err, store.ErrClosed):
		return fault.New(op, fault.ServiceUnavailable, "the store could not do it now; try again: %w", err)
	}
	return fault.Wrap(op, err)
}

func (s *Service) view(ctx context.Context, fn func(ctx context.Context, r store.Reader) error) error {
	return s.cfg.Store.View(ctx, fn)
}

// audited records a call that changed nothing: a read, or one that failed. A refusal stands whether or not it could be recorded.
func (s *Service) audited(ctx context.Context, action, resource string, err error) {
	if err := s.cfg.Audit.Read(ctx, audit.Of(action, resource, err)); err != nil {
		s.cfg.Log.Warn("a call could not be recorded", "action", action, "error", err)
	}
}

// tagsOf returns what is known of nodes: nil, true if nobody knows nodes.
func (s *Service) tagsOf(ctx context.Context, op, tenant string, ids ...string) (map[string]map[string]string, error) {
	if s.cfg.Nodes == nil || len(ids) == 0 {
		return nil, nil
	}
	tags, err := s.cfg.Nodes.Tags(ctx, tenant, ids)
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	return tags, nil
}

func (s *Service) newID() (string, error) {
	b := make([]byte, 16)
	if _, err := io.ReadFull(s.cfg.Rand, b); err != nil {
		return "", fault.New("fleet", fault.InternalServerError, "no random bytes: %w", err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:], nil
}
