package compliance

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/record"
)

// Nodes tells which nodes there are. A nil Nodes takes every node id.
type Nodes interface {
	// Registered returns the tags of a node; ok is false when there is none of that id.
	Registered(ctx context.Context, tenant, id string) (tags map[string]string, ok bool, err error)
}

// Config is what a Service is made of. Store and Authorizer are required.
type Config struct {
	Store      store.Store
	Codec      *record.Codec // may be nil
	Authorizer access.Authorizer
	Audit      *audit.Log // nil records nothing
	Nodes      Nodes
	Limits     Limits
	Now        func() time.Time // nil is time.Now
	Log        *slog.Logger     // nil logs nothing
}

// Limits are quotas; zero is the default.
type Limits struct {
	Items       int // of a node and type: 10,000 (C2)
	ItemBytes   int // JSON of an item: 16 KiB
	TotalBytes  int // JSON of all items of a report: 2 MiB
	CustomTypes int // of a node: 10 (C1)
}

const (
	maxItemBytes  = 64 << 10
	maxTotalBytes = 5 << 19 // the items and a history record with all of them fit in one transaction
	maxItems      = 10_000
)

func limit(n, standard, most int) int {
	if n <= 0 {
		n = standard
	}
	return min(n, most)
}

// Service keeps compliance. All methods are safe for concurrent use, in as many processes as share the store.
type Service struct {
	cfg     Config
	heads   record.Table[head]
	chunks  record.Table[chunk]
	history record.Table[entry]
}

// New returns a service. It does no I/O and starts nothing. Errors are ValidationException.
func New(cfg Config) (*Service, error) {
	const op = "compliance.New"
	if cfg.Store == nil {
		return nil, fault.New(op, fault.Validation, "Config.Store is required")
	}
	if cfg.Authorizer == nil {
		return nil, fault.New(op, fault.Validation, "Config.Authorizer is required: give access.AllowAll{} if everybody may do everything")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	l := &cfg.Limits
	l.Items, l.ItemBytes = limit(l.Items, maxItems, maxItems), limit(l.ItemBytes, 16<<10, maxItemBytes)
	l.TotalBytes, l.CustomTypes = limit(l.TotalBytes, 2<<20, maxTotalBytes), limit(l.CustomTypes, 10, 1000)
	return &Service{cfg: cfg, heads: record.NewTable[head](cfg.Codec), chunks: record.NewTable[chunk](cfg.Codec), history: record.NewTable[entry](cfg.Codec)}, nil
}

// head is what is known of one type on one node, beside the items: one record, which lists read.
type head struct {
	Summary ResourceSummaryItem `json:"summary"`
	Worst   string              `json:"worst"` // severity among the compliant items, for summaries over nodes
	Hash    string              `json:"hash,omitempty"`
	Chunks  int                 `json:"chunks"`
	Count   int                 `json:"count"`
	Seq     uint64              `json:"seq"` // of the newest history record
	Last    []byte              `json:"last,omitempty"`
	Tags    map[string]string   `json:"tags,omitempty"` // of the node when it reported, for the authorizer
}

// item is an item as it is stored.
type item struct {
	ItemEntry
	Execution ExecutionSummary `json:"Execution"`
}

// chunk holds items in the order of their ids.
type chunk struct {
	Items []item `json:"items"`
}

func root(tenant string) key.K                { return key.New(tenant).Str("compliance") }
func headsKey(tenant string) key.K            { return root(tenant).Str("node") }
func nodeKey(tenant, node string) key.K       { return headsKey(tenant).Str(node) }
func headKey(tenant, node, kind string) key.K { return nodeKey(tenant, node).Str(kind) }
func chunkKey(tenant, node, kind string, n int) key.K {
	return root(tenant).Str("items").Str(node).Str(kind).Uint(uint64(n))
}
func historyKey(tenant, node, kind string) key.K {
	return root(tenant).Str("history").Str(node).Str(kind)
}

// storeFault gives an error of the store a code; others keep theirs.
func storeFault(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrCommitUnknown):
		return fault.New(op, fault.OutcomeUnknown, "the store did not say whether the report was taken; repeat it: %w", err)
	case errors.Is(err, store.ErrReadOnly):
		return fault.New(op, fault.ServiceUnavailable, "the store takes no changes at present; free its disk, then try again: %w", err)
	case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrTooLong), errors.Is(err, store.ErrClosed):
		return fault.New(op, fault.ServiceUnavailable, "the store could not do it now; try again: %w", err)
	}
	return fault.Wrap(op, err)
}

// audited records a call that changed nothing. A refusal stands whether or not it could be recorded.
func (s *Service) audited(ctx context.Context, action, resource string, err error) {
	if err := s.cfg.Audit.Read(ctx, audit.Of(action, resource, err)); err != nil {
		s.cfg.Log.Warn("a call could not be recorded", "action", action, "error", err)
	}
}

func clip(s string) string {
	s = fault.Clean(s)
	if len(s) > 120 {
		s = s[:117] + "…"
	}
	return s
}
