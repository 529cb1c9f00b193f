// Package audit records who called what, so that tampering with the record shows.
//
// Every operation writes an [Entry]: a write in the transaction of its effect ([Log.Record]), a refused call or a read through a bounded buffer ([Log.Read]), which
// [Log.Run] flushes every second. Entries hold ids, codes and a digest of the request, never parameters or secrets.
//
//	log := audit.New(audit.Config{Store: st, Writer: "plane-1", Signer: key.Sign, Verifier: key.Verify})
//	go log.Run(ctx)
//	err := st.Update(ctx, func(ctx context.Context, tx store.Tx) error {
//		… write …
//		return log.Record(ctx, tx, audit.Entry{Action: "ssm:SendCommand", Resource: "document/" + name, IDs: map[string]string{"command": id}})
//	})
//	report, err := log.Verify(ctx, nil)
//
// # The chain
//
// Each writer (a control plane) has one chain a tenant, stored in segments. An entry's hash covers all of it, its place, and the hash before it. [Log.Checkpoint]
// signs the chain's length and last hash, at the end of every segment and at the tip; each checkpoint names the hash of the one before it. [Log.Verify] names
// the first entry that was edited, removed, added or moved, and a tail that was cut off after a checkpoint. [Log.Trim] removes whole old segments, and the
// checkpoint after it says so under its signature.
//
// What is not seen: entries changed or removed at the tail before a checkpoint covered them, by who can write to the store; and a chain put back to an older
// state together with its checkpoints, unless the host keeps [Log.Heads] elsewhere and hands them to Verify. Without a Signer the chain finds accidents only.
package audit

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/record"
)

// Outcome says how a call ended.
type Outcome string

// The outcomes.
const (
	Success Outcome = "Success"
	Denied  Outcome = "Denied" // refused by the authorizer, or unauthenticated
	Failed  Outcome = "Failed"
)

// Entry is one call. The fields above the line are the caller's to fill; what is empty is filled from ctx and the clock.
type Entry struct {
	Time      time.Time         `json:"time"`                // zero: now
	Tenant    string            `json:"tenant"`              // empty: that of ctx's principal
	Principal string            `json:"principal,omitempty"` // empty: the name of ctx's principal; "" is the anonymous
	Action    string            `json:"action"`              // ssm:SendCommand
	Resource  string            `json:"resource,omitempty"`  // as given to access.Check
	Outcome   Outcome           `json:"outcome"`             // empty: by Code
	Code      fault.Code        `json:"code,omitempty"`      // empty for Success
	Digest    string            `json:"digest,omitempty"`    // of the request, by Log.Digest
	IDs       map[string]string `json:"ids,omitempty"`       // what was made or meant: "command", "node", "version"

	Writer  string `json:"writer"` // whose chain
	Segment uint64 `json:"segment"`
	N       uint64 `json:"n"` // place in the segment, from 1
	Hash    []byte `json:"hash"`
}

// Of returns an entry for a call of action on resource that ended with err.
func Of(action, resource string, err error) Entry {
	return Entry{Action: action, Resource: resource, Code: fault.CodeOf(err)}
}

// Limits of an entry. What is longer is cut, so that no caller can make its call unrecorded.
const (
	MaxField = 512 // bytes of each text
	MaxIDs   = 32
)

// Config of New. Store is required.
type Config struct {
	Store store.Store
	Codec *record.Codec // may be nil
	// Writer names this process's chains: one name for each control plane, the same after a restart. "" is "control-plane". Two processes of one
	// name share a chain correctly, at the price of waiting for each other.
	Writer string
	Now    func() time.Time // nil is time.Now
	// Beat is called at the beginning of each round of Run, with the time after which the next one begins; nil is nobody. It must not block.
	Beat func(period time.Duration)
	// Signer signs checkpoints, Verifier checks a signature of any writer's; both or none. They are never called within a transaction.
	Signer   func(msg []byte) ([]byte, error)
	Verifier func(writer string, msg, sig []byte) error
	// Durable makes Read wait until its entry is stored. Otherwise a crash loses the reads of the last Flush, at most Buffer of them.
	Durable bool
	Buffer  int           // entries that wait at most; when it is full, Read stores them itself. 0 is 1,024, the most is 4,096
	Flush   time.Duration // how often Run stores what waits; 0 is 1 s
	// Checkpoint is how often Run signs chains that grew; 0 is 1 min. Segment is the number of entries of a segment, the unit of Trim; 0 is 10,000.
	Checkpoint time.Duration
	Segment    int
	// DigestKey keys Digest, so that low-entropy requests cannot be guessed from the record. None: a random one for the life of the Log, so that digests
	// compare within one process only.
	DigestKey secret.Value
	Authorize access.Authorizer // asked by List; nil denies
	Log       *slog.Logger      // nil logs nothing
}

// Log records and reads. All methods are safe for concurrent use. A nil *Log records nothing and every recording method of it returns nil.
type Log struct {
	cfg Config
	t   tables

	mu      sync.Mutex
	queue   []Entry
	queued  int // how long the queue was, the last time that it grew
	dropped int // entries that found no room while the store took none
	lost    uint64
}

const maxBuffer = 4096

// New returns a log. It does no I/O and starts nothing.
func New(cfg Config) *Log {
	if cfg.Writer == "" {
		cfg.Writer = "control-plane"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Buffer <= 0 {
		cfg.Buffer = 1024
	}
	cfg.Buffer = min(cfg.Buffer, maxBuffer)
	if cfg.Flush <= 0 {
		cfg.Flush = time.Second
	}
	if cfg.Checkpoint <= 0 {
		cfg.Checkpoint = time.Minute
	}
	if cfg.Segment <= 0 {
		cfg.Segment = 10_000
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.DigestKey.IsZero() {
		b := make([]byte, 32)
		rand.Read(b) //nolint:errcheck // it never fails
		cfg.DigestKey = secret.New(b)
	}
	return &Log{cfg: cfg, t: newTables(cfg.Codec)}
}

// Digest returns a keyed digest of a request, which tells equal requests from different ones and nothing else. Values of type secret.Value do not
// enter it.
func (l *Log) Digest(request any) string {
	if l == nil {
		return ""
	}
	b, err := json.Marshal(request)
	if err != nil {
		return ""
	}
	h := hmac.New(sha256.New, l.cfg.DigestKey.Reveal())
	h.Write(b)
	return hex.EncodeToString(h.Sum(nil))
}

// Record writes the entry in the caller's transaction: it is there exactly if the effect is.
func (l *Log) Record(ctx context.Context, tx store.Tx, e Entry) error {
	if l == nil {
		return nil
	}
	e = l.fill(ctx, e)
	return fault.Wrap("audit.Record", l.append(ctx, tx, e.Tenant, []Entry{e}))
}

// Read records a call that changes nothing: a read, or a refusal. It returns at once unless Config.Durable is set or the buffer is full; then it returns once the entry is
// stored, or the store's error. It must not be called within a transaction.
func (l *Log) Read(ctx context.Context, e Entry) error {
	if l == nil {
		return nil
	}
	if l.cfg.Durable {
		return l.ReadDurable(ctx, e)
	}
	e = l.fill(ctx, e)
	l.mu.Lock()
	if l.queue == nil {
		l.queue = make([]Entry, 0, min(l.cfg.Buffer, 2*l.queued+8))
	}
	l.queue = append(l.queue, e)
	l.queued = len(l.queue)
	full := len(l.queue) >= l.cfg.Buffer
	l.mu.Unlock()
	if !full {
		return nil
	}
	return l.Flush(ctx)
}

// ReadDurable records a call that changes nothing and returns once the entry is stored: for reads that disclose secrets, before the answer leaves. Stores
// commit concurrent calls together.
func (l *Log) ReadDurable(ctx context.Context, e Entry) error {
	if l == nil {
		return nil
	}
	e = l.fill(ctx, e)
	err := l.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error { return l.append(ctx, tx, e.Tenant, []Entry{e}) })
	return fault.Wrap("audit.Read", err)
}

// fill completes an entry and makes it safe to store and to print.
func (l *Log) fill(ctx context.Context, e Entry) Entry {
	p := access.From(ctx)
	if e.Time.IsZero() {
		e.Time = l.cfg.Now()
	}
	e.Time = e.Time.UTC().Round(0)
	if e.Tenant == "" {
		e.Tenant = p.Tenant
	}
	if e.Principal == "" {
		e.Principal = p.Name
	}
	if e.Outcome == "" {
		switch e.Code.Kind() {
		case fault.OK:
			e.Outcome = Success
		case fault.Denied, fault.Unauthenticated:
			e.Outcome = Denied
		default:
			e.Outcome = Failed
		}
	}
	e.Principal, e.Action, e.Resource, e.Digest = clip(e.Principal), clip(e.Action), clip(e.Resource), clip(e.Digest)
	e.Code, e.Outcome = fault.Code(clip(string(e.Code))), Outcome(clip(string(e.Outcome)))
	if len(e.IDs) > 0 {
		ids := make(map[string]string, min(len(e.IDs), MaxIDs))
		for _, k := range sortedKeys(e.IDs) {
			if len(ids) == MaxIDs {
				break
			}
			ids[clip(k)] = clip(e.IDs[k])
		}
		e.IDs = ids
	}
	e.Writer, e.Segment, e.N, e.Hash = l.cfg.Writer, 0, 0, nil
	return e
}

func clip(s string) string {
	if len(s) <= MaxField && plain(s) {
		return s
	}
	s = fault.Clean(s)
	if len(s) <= MaxField {
		return s
	}
	cut := MaxField - len("…")
	for cut > 0 && s[cut]&0xc0 == 0x80 {
		cut--
	}
	return s[:cut] + "…"
}
