package automation

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"hash/fnv"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/feed"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/record"
	"github.com/fleetwright/fleetwright/target"
)

// Call is a call of an action by a step.
type Call struct {
	Tenant    string
	Execution string
	StepID    string
	Step      string
	Action    string
	Attempt   int
	Inputs    map[string]any // must not be changed
	Token     string         // the same whenever the same attempt is called again
	Role      string         // what the execution runs as; "" is its starter
	StartedBy string
}

// Action runs what a step asks for.
type Action struct {
	// Run does it and returns the answer under AWS's names. ctx ends at the step's deadline, and when the call is of no use any more. An error that is a
	// [*CallError] keeps its stage and type.
	Run func(ctx context.Context, c Call) (output any, err error)
	// Repeat says that a call may be made again with the same Token when a control plane crashed: reading, or idempotent by the token. Where it is false such a step
	// fails, subject to maxAttempts and onFailure, with the detail Interrupted: nobody knows whether it was done.
	Repeat bool
}

// CallError is a Failure as an error.
type CallError struct{ Failure Failure }

// Error returns the message.
func (e *CallError) Error() string { return e.Failure.Message }

// Documents is what the service needs to know of documents. library.Service implements it.
type Documents interface {
	// Fetch returns a document's content by name and version ("", $DEFAULT, $LATEST or a number).
	Fetch(ctx context.Context, tenant, name, version string) (content []byte, format, resolved, hash string, err error)
}

// Targets finds out what targets are.
type Targets interface {
	// Values returns a value of the target parameter for each resource that the targets select.
	Values(ctx context.Context, tenant string, targets []target.Target) ([]string, error)
}

// Observation is how one part of the executions stands after a commit, for a host's gauges.
type Observation struct {
	Shard       int           // which of the [Shards]
	Transitions int           // that were committed together
	Took        time.Duration // the commit
	Err         error         // why nothing was committed; it is tried again
	Held        int           // executions of the part that have not ended, in memory
	Pending     int           // of them those that wait for room (Concurrency)
	Changes     []Changed     // what was committed; nil when nothing was
}

// Changed says that an execution began or ended, or that a step of it ended.
type Changed struct {
	Tenant, Execution, Document string
	Step                        *Step  // that ended, and must not be changed; nil for the execution itself
	Status                      Status // InProgress when it began
	Start, End                  time.Time
}

// Config is what a Service is made of. Store, Documents, Authorizer and Leases are required.
type Config struct {
	Store      store.Store
	Codec      *record.Codec // may be nil
	Documents  Documents
	Authorizer access.Authorizer
	Leases     *lease.Leases
	Audit      *audit.Log        // nil records nothing
	Actions    map[string]Action // by name; a step of an action that is missing fails and says so
	Known      *document.Actions // the table that documents are read with; nil is document.Builtin()
	Parameters document.Resolver // answers {{ssm:name}} in parameters; nil knows no name
	Targets    Targets           // nil: only targets that name their values
	System     System            // what the system variables say
	Limits     Limits

	// Ask tells approvers that they are asked; nil tells nobody. It may be called again for the same Token.
	Ask func(ctx context.Context, tenant string, x *Execution, e Effect)

	// Names gives the other names of a caller by which an approver may be meant: an ARN, roles, groups. nil: only its name.
	Names func(p access.Principal) []string

	// Observe is called after every commit of an owner, by the goroutine that decides: it must not block. nil looks at nothing.
	Observe func(Observation)

	form int // the release's; tests of mixed releases change it

	Concurrency int // executions that this process runs at once, those that wait for people and children apart; 0 is 100 (A21)
	Snapshot    int // events between two snapshots of an execution; 0 is 64
	Now         func() time.Time
	Rand        io.Reader    // for ids; nil is crypto/rand
	Log         *slog.Logger // nil discards
}

// Service starts executions, owns those whose shard it leases, and answers questions about all. It is safe for concurrent use, in as many processes as share the
// store. Nothing is executed unless [Service.Run] runs somewhere.
type Service struct {
	cfg    Config
	heads  record.Table[head]
	forms  record.Table[formed]
	logs   record.Table[logged]
	pieces record.Table[piece]
	inbox  record.Table[letter]
	tokens record.Table[token]
	feed   *feed.Feed

	older atomic.Bool // a control plane of a newer form lives

	mu     sync.Mutex
	owners map[uint64]*owner
	runs   bool
	joined bool                // the group of those who share the executions; Run's goroutine only
	busy   int                 // executions at work here
	books  map[string]*Runbook // by hash of the document
}

// NewService returns a service. It does no I/O and starts nothing.
func NewService(cfg Config) (*Service, error) {
	for _, p := range []struct {
		missing bool
		name    string
	}{{cfg.Store == nil, "Store"}, {cfg.Documents == nil, "Documents"}, {cfg.Authorizer == nil, "Authorizer"}, {cfg.Leases == nil, "Leases"}} {
		if p.missing {
			return nil, fault.New("automation.NewService", fault.Validation, "Config.%s is required", p.name)
		}
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
	if cfg.Concurrency <= 0 {
		cfg.Concurrency = 100
	}
	if cfg.form == 0 {
		cfg.form = Form
	}
	if cfg.Snapshot <= 0 {
		cfg.Snapshot = 64
	}
	c := cfg.Codec
	return &Service{cfg: cfg, heads: record.NewTable[head](c), forms: record.NewTable[formed](c), logs: record.NewTable[logged](c), pieces: record.NewTable[piece](c), inbox: record.NewTable[letter](c),
		tokens: record.NewTable[token](c), feed: feed.New(c), owners: map[uint64]*owner{}, books: map[string]*Runbook{}}, nil
}

// The keys. What is written together lies together.

func space(tenant, name string) key.K { return key.New(tenant).Str("automation").Str(name) }
func own(tenant, id string) key.K     { return space(tenant, "execution").Str(id) } // all that a transition writes
func headKey(tenant, id string) key.K { return own(tenant, id).Str("head") }
func logKey(tenant, id string) key.K  { return own(tenant, id).Str("log") }
func topic(tenant, id string) key.K   { return own(tenant, id).Str("events") }
func pieceKey(tenant, id, which string, n int) key.K {
	return space(tenant, "state").Str(id).Str(which).Uint(uint64(n))
}
func tokenKey(tenant, tok string) key.K { return space(tenant, "token").Str(tok) }
func timesKey(tenant string) key.K      { return space(tenant, "time") }
func activeKey(shard uint64) key.K      { return space("", "active").Uint(shard) }
func inboxKey(shard uint64) key.K       { return space("", "inbox").Uint(shard) }

// Shards is the number of parts into which executions are split; each is owned by one control plane at a time.
const Shards = 16

func shardOf(tenant, id string) uint64 {
	h := fnv.New64a()
	io.WriteString(h, tenant+"\x00"+id) //nolint:errcheck // a hash never fails
	return h.Sum64() % Shards
}

// newID makes an id in the form of a UUID.
func (s *Service) newID() (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(s.cfg.Rand, b[:]); err != nil {
		return "", fault.New("automation.ID", fault.InternalServerError, "no random numbers: %w", err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:], nil
}
