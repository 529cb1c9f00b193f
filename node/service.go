package node

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/record"
)

// Config of New. Store, Authorizer and Controller are required.
type Config struct {
	Store      store.Store
	Codec      *record.Codec // may be nil
	Authorizer access.Authorizer
	Audit      *audit.Log // nil records nothing
	// Controller returns the control plane's public keys for a tenant and their epoch, which a new node pins. It is never called within a transaction.
	Controller func(ctx context.Context, tenant string) (keys message.Peer, epoch uint64, err error)

	// Gone is called in the transaction that removes a node, so that what others keep of it goes with it; nil keeps all. Its error keeps the node. Like every function of a transaction it may run several times.
	Gone func(ctx context.Context, tx store.Tx, tenant, id string) error

	LostAfter     time.Duration // silence after which a node is ConnectionLost; 0 is 5 min, AWS's
	InactiveAfter time.Duration // silence after which it is Inactive; 0 is 30 days
	Checkpoint    time.Duration // how often Run writes presence; 0 is two fifths of LostAfter, 2 min at most. A crash makes LastPing older by at most that, and so does looking from another control plane
	Now           func() time.Time
	Rand          io.Reader    // nil is crypto/rand
	Log           *slog.Logger // nil logs nothing
	// Beat is called at the beginning of each round of Run, with the time after which the next one begins; nil is nobody. It must not block.
	Beat func(period time.Duration)
}

// Service is the node service. All methods are safe for concurrent use.
type Service struct {
	cfg         Config
	nodes       nodeTable
	activations record.Table[activationRecord]
	groups      record.Table[groupRecord]
	seen        record.Table[seenRecord]
	owners      record.Table[ownerRecord]

	registering chan struct{} // room for those that register at this moment

	mu       sync.Mutex
	presence map[nodeID]*presence
}

// maxRegistering is how many registrations are worked on at once; others wait in line, so that a fleet that registers in one moment does not starve the transactions under way.
const maxRegistering = 32

type nodeID struct{ tenant, id string }

// New returns a service. It does no I/O and starts nothing.
func New(cfg Config) (*Service, error) {
	switch {
	case cfg.Store == nil:
		return nil, fault.New("node.New", fault.Validation, "Config.Store is missing")
	case cfg.Authorizer == nil:
		return nil, fault.New("node.New", fault.Validation, "Config.Authorizer is missing: give access.AllowAll{} if everybody may do everything")
	case cfg.Controller == nil:
		return nil, fault.New("node.New", fault.Validation, "Config.Controller is missing: new nodes need the control plane's keys")
	}
	if cfg.LostAfter <= 0 {
		cfg.LostAfter = 5 * time.Minute
	}
	if cfg.InactiveAfter <= 0 {
		cfg.InactiveAfter = 30 * 24 * time.Hour
	}
	if cfg.Checkpoint <= 0 {
		cfg.Checkpoint = min(2*time.Minute, cfg.LostAfter*2/5)
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
	return &Service{
		cfg: cfg, nodes: nodeTable{cfg.Codec}, activations: record.NewTable[activationRecord](cfg.Codec), groups: record.NewTable[groupRecord](cfg.Codec),
		seen: record.NewTable[seenRecord](cfg.Codec), owners: record.NewTable[ownerRecord](cfg.Codec), presence: map[nodeID]*presence{},
		registering: make(chan struct{}, maxRegistering),
	}, nil
}

// now returns the time as it is stored: UTC, without a monotonic part.
func (s *Service) now() time.Time { return s.cfg.Now().UTC().Round(0) }

// random fills b; never within a transaction, whose function may run again.
func (s *Service) random(b []byte) error {
	if _, err := io.ReadFull(s.cfg.Rand, b); err != nil {
		return fault.New("node.random", fault.InternalServerError, "no random bytes: %w", err)
	}
	return nil
}

// call is one operation under way: what is asked of the authorizer and written to the audit log.
type call struct {
	s                *Service
	op               string // node.AddTags
	action, resource string
}

// begin asks the authorizer. attributes may be nil.
func (s *Service) begin(ctx context.Context, op, action, resource string, attributes map[string]string) (call, error) {
	c := call{s, op, action, resource}
	return c, access.Check(ctx, s.cfg.Authorizer, action, resource, attributes)
}

// end records a call that failed or only read, and gives its error the operation's name. A write that succeeded was recorded with its effect.
func (c call) end(ctx context.Context, wrote bool, err error) error {
	if err == nil && wrote {
		return nil
	}
	if e := c.s.cfg.Audit.Read(ctx, audit.Of(c.action, c.resource, err)); e != nil {
		c.s.cfg.Log.LogAttrs(ctx, slog.LevelError, "call not recorded", slog.String("action", c.action), slog.String("error", e.Error()))
	}
	var f *fault.Error
	if err == nil || errors.As(err, &f) && f == err {
		return err
	}
	return fault.Wrap(c.op, err)
}

// record writes the audit entry of a write into its transaction.
func (c call) record(ctx context.Context, tx store.Tx, ids map[string]string) error {
	return c.s.cfg.Audit.Record(ctx, tx, audit.Entry{Action: c.action, Resource: c.resource, IDs: ids})
}
