package command

import (
	"context"
	"hash/fnv"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/blob"
	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/feed"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/observe"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	rec "github.com/fleetwright/fleetwright/store/record"
	"github.com/fleetwright/fleetwright/target"
)

// Nodes is what the service needs to know of nodes. node.Service implements it.
type Nodes interface {
	// Resolve returns a page of the ids, in ascending order, of the nodes that all targets match, and where the next page begins ("" at the end).
	Resolve(ctx context.Context, tenant string, targets []target.Target, after string, limit int) (ids []string, next string, err error)
	// Nodes returns the nodes of these ids; unknown ones are left out.
	Nodes(ctx context.Context, tenant string, ids []string) ([]target.Node, error)
}

// Documents is what the service needs to know of documents. library.Service implements it.
type Documents interface {
	// Fetch returns a document's content by name and version ("", $DEFAULT, $LATEST or a number).
	Fetch(ctx context.Context, tenant, name, version string) (content []byte, format, resolved, hash string, err error)
}

// Sender carries messages to nodes. It may lose them; the service sends again. It is called from many goroutines at once, also for one node.
type Sender interface {
	// Send hands a message over for the node. It does not block for long. The body is shared: it must not be changed.
	Send(ctx context.Context, tenant, node string, kind message.Kind, ref message.Ref, notAfter time.Time, body []byte) error
	// Connected reports whether the node has a connection at present, as far as is known.
	Connected(tenant, node string) bool
}

// Planes is what the service needs to know of the other control planes on its store. node.Places implements it.
type Planes interface {
	// Self returns this control plane's id, "" as long as it has none. Ids are never used again.
	Self() string
	// Where returns the id of the other, living control plane that a node is connected to; "" when it is connected here, or nowhere as far as is known. It waits for nothing.
	Where(tenant, node string) string
	// Sweep removes what lies below a prefix, after which keys go on with a control plane's id, of those that are dead for good.
	Sweep(ctx context.Context, prefix key.K) error
}

// Config is what a Service is made of. Store, Blobs, Nodes, Documents, Sender, Authorizer and Leases are required.
type Config struct {
	Store      store.Store
	Codec      *rec.Codec
	Blobs      blob.Store
	Nodes      Nodes
	Documents  Documents
	Sender     Sender
	Planes     Planes // where nodes that Sender does not reach are connected; nil: nowhere
	Authorizer access.Authorizer
	Audit      *audit.Log // nil records nothing
	Leases     *lease.Leases
	Actions    *document.Actions // nil is the built-in ones
	Parameters document.Resolver // answers {{ssm:name}}; nil knows no name

	Observer observe.Observer // nil tells nobody

	Now  func() time.Time // nil is time.Now
	Rand io.Reader        // for ids; nil is crypto/rand
	Log  *slog.Logger     // nil discards

	Timing Timing
	// Beat is called at the beginning of each round of Run, with the time after which the next one begins; nil is nobody. It must not block.
	Beat func(period time.Duration)

	RefuseRaw   bool  // refuse documents that paste parameters into scripts
	OutputLimit int64 // bytes of output that an invocation may keep when the request does not say; 0 is 64 MiB
	Retention   Retention
	MaxTargets  int // nodes a command may have; 0 is 250,000

	form int // the release's; tests of mixed releases change it
}

// Retention says what [Service.Prune] removes: ended commands that are older, or beyond the count, or beyond the bytes. Zero fields keep everything.
type Retention struct {
	Age   time.Duration
	Count int
	Bytes int64 // of output kept in blobs
}

// Service sends commands, owns those whose shard it leases, and answers questions about all. It is safe for concurrent use.
// Nothing is dispatched unless [Service.Run] runs.
type Service struct {
	cfg      Config
	commands rec.Table[record]
	forms    rec.Table[formed]
	states   rec.Table[State]
	chunks   rec.Table[[]string]
	docs     rec.Table[message.Included]
	invs     rec.Table[Invocation]
	heads    rec.Table[[]head]
	streams  rec.Table[stream]
	tokens   rec.Table[token]
	marks    rec.Table[mark]
	cancels  rec.Table[[]string]
	trash    rec.Table[trash]
	feed     *feed.Feed

	lost      rec.Table[Stray]
	lostCount rec.Table[strayCount]
	strays    told

	outputs [64]sync.Mutex // by node: pieces of one node's output are taken one after another

	mu      sync.Mutex
	actors  map[actorKey]*actor
	owned   map[uint64]*ownedShard // by shard
	leaving map[uint64]bool        // shards that are being given back
	heard   map[nodeKey][]*actor   // who wants to know of a node; the slices are replaced, never changed in place
	runs    bool                   // Run runs
	joined  bool                   // the group of those who share the commands; Run's goroutine only
}

type actorKey struct{ tenant, id string }
type nodeKey struct{ tenant, node string }

// mark is an index record without content.
type mark struct{}

// token remembers which command a client token made.
type token struct {
	Command string `json:"command"`
	Digest  string `json:"digest"`
}

// New returns a service.
func New(cfg Config) (*Service, error) {
	const op = "command.New"
	for _, p := range []struct {
		missing bool
		name    string
	}{{cfg.Store == nil, "Store"}, {cfg.Blobs == nil, "Blobs"}, {cfg.Nodes == nil, "Nodes"}, {cfg.Documents == nil, "Documents"},
		{cfg.Sender == nil, "Sender"}, {cfg.Authorizer == nil, "Authorizer"}, {cfg.Leases == nil, "Leases"}} {
		if p.missing {
			return nil, fault.New(op, fault.Validation, "Config.%s is required", p.name)
		}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.OutputLimit == 0 {
		cfg.OutputLimit = 64 << 20
	}
	if cfg.MaxTargets == 0 {
		cfg.MaxTargets = 250_000
	}
	if cfg.form == 0 {
		cfg.form = Form
	}
	cfg.Timing = cfg.Timing.withDefaults()
	c := cfg.Codec
	return &Service{cfg: cfg, commands: rec.NewTable[record](c), forms: rec.NewTable[formed](c), states: rec.NewTable[State](c), chunks: rec.NewTable[[]string](c), docs: rec.NewTable[message.Included](c),
		invs: rec.NewTable[Invocation](c), heads: rec.NewTable[[]head](c), streams: rec.NewTable[stream](c), tokens: rec.NewTable[token](c), marks: rec.NewTable[mark](c),
		cancels: rec.NewTable[[]string](c), trash: rec.NewTable[trash](c), lost: rec.NewTable[Stray](c), lostCount: rec.NewTable[strayCount](c), feed: feed.New(c),
		actors: map[actorKey]*actor{}, owned: map[uint64]*ownedShard{}, leaving: map[uint64]bool{}, heard: map[nodeKey][]*actor{}}, nil
}

// Keys. What an Update touches together lies together: a command's invocations, in the order of their nodes.

func space(tenant, name string) key.K { return key.New(tenant).Str("command").Str(name) }

func commandKey(tenant, id string) key.K { return space(tenant, "command").Str(id) }
func stateKey(tenant, id string) key.K   { return space(tenant, "state").Str(id) }
func chunksKey(tenant, id string) key.K  { return space(tenant, "target").Str(id) }
func docsKey(tenant, id string) key.K    { return space(tenant, "document").Str(id) }
func invsKey(tenant, id string) key.K    { return space(tenant, "invocation").Str(id) }
func headsKey(tenant, id string) key.K   { return space(tenant, "head").Str(id) }
func streamsKey(tenant, id string) key.K { return space(tenant, "stream").Str(id) }
func tokenKey(tenant, tok string) key.K  { return space(tenant, "token").Str(tok) }
func timesKey(tenant string) key.K       { return space(tenant, "time") }
func timeKey(tenant string, t time.Time, id string) key.K {
	return timesKey(tenant).Time(t).Str(id)
}

// activeKey is the system's own index, of no tenant, of the commands that have not ended, by shard.
func activeKey(shard uint64) key.K { return space("", "active").Uint(shard) }

// Shards is the number of parts into which commands are split; each is owned by one control plane at a time.
const Shards = 16

func shardOf(tenant, id string) uint64 {
	h := fnv.New64a()
	io.WriteString(h, tenant) //nolint:errcheck // a hash never fails
	h.Write([]byte{0})        //nolint:errcheck // likewise
	io.WriteString(h, id)     //nolint:errcheck // likewise
	return h.Sum64() % Shards
}

// validID reports whether id can be that of a command: what is none is not looked for.
func validID(id string) bool {
	if id == "" || len(id) > maxCommand {
		return false
	}
	for i := range len(id) {
		if c := id[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
