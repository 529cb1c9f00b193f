package patchstore

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/paging"
	"github.com/fleetwright/fleetwright/store/record"
)

// Nodes tells which nodes there are.
type Nodes interface {
	// Registered returns the tags of a node; ok is false when there is none of that id.
	Registered(ctx context.Context, tenant, id string) (tags map[string]string, ok bool, err error)
	// Tagged returns the ids of the nodes whose tag has the value, in ascending order.
	Tagged(ctx context.Context, tenant, tag, value string) ([]string, error)
}

// Catalog is what could be installed, as far as the host knows of it: DescribeAvailablePatches and DescribeEffectivePatchesForPatchBaseline ask it. It is safe for concurrent use.
type Catalog interface {
	// Available returns the patches for an operating system. They are not changed.
	Available(ctx context.Context, tenant string, os patch.OperatingSystem) ([]patch.Available, error)
}

// Config is what a Service is made of. Store, Authorizer and Nodes are required.
type Config struct {
	Store      store.Store
	Codec      *record.Codec // may be nil
	Authorizer access.Authorizer
	Audit      *audit.Log // nil records nothing
	Nodes      Nodes
	Catalog    Catalog      // nil knows of no patch
	Limits     patch.Limits // of baselines; the zero value is patch.AWSLimits()
	Baselines  int          // of a tenant: 0 is 50, AWS's quota
	Groups     int          // of a baseline: 0 is 25, AWS's quota
	History    int          // operations that are kept of a node: 0 is 100
	Now        func() time.Time
	Rand       io.Reader    // of ids; nil is crypto/rand
	Log        *slog.Logger // nil logs nothing
}

// Service keeps baselines and states. All methods are safe for concurrent use, in as many processes as share the store.
type Service struct {
	cfg       Config
	baselines record.Table[baselineRecord]
	ids       record.Table[string]
	snapshots record.Table[patch.Snapshot]
	states    record.Table[state]
	chunks    record.Table[[]patch.Patch]
	tokens    record.Table[tokenRecord]
}

// New returns a service. It does no I/O and starts nothing. Errors are ValidationException.
func New(cfg Config) (*Service, error) {
	const op = "patchstore.New"
	switch {
	case cfg.Store == nil:
		return nil, fault.New(op, fault.Validation, "Config.Store is required")
	case cfg.Authorizer == nil:
		return nil, fault.New(op, fault.Validation, "Config.Authorizer is required: give access.AllowAll{} if everybody may do everything")
	case cfg.Nodes == nil:
		return nil, fault.New(op, fault.Validation, "Config.Nodes is required")
	}
	if cfg.Limits == (patch.Limits{}) {
		cfg.Limits = patch.AWSLimits()
	}
	for _, q := range []struct {
		n   *int
		aws int
	}{{&cfg.Baselines, 50}, {&cfg.Groups, 25}, {&cfg.History, 100}} {
		if *q.n <= 0 {
			*q.n = q.aws
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
	return &Service{cfg: cfg, baselines: record.NewTable[baselineRecord](cfg.Codec), ids: record.NewTable[string](cfg.Codec), snapshots: record.NewTable[patch.Snapshot](cfg.Codec),
		states: record.NewTable[state](cfg.Codec), chunks: record.NewTable[[]patch.Patch](cfg.Codec), tokens: record.NewTable[tokenRecord](cfg.Codec)}, nil
}

// baselineRecord is a stored baseline.
type baselineRecord struct {
	Baseline patch.Baseline    `json:"baseline"`
	Tags     map[string]string `json:"tags,omitempty"`
}

// tokenRecord is what a ClientToken made.
type tokenRecord struct {
	ID     string `json:"id"`
	Digest string `json:"digest"`
}

func root(tenant string) key.K             { return key.New(tenant).Str("patch") }
func baselinesKey(tenant string) key.K     { return root(tenant).Str("baseline") }
func baselineKey(tenant, id string) key.K  { return baselinesKey(tenant).Str(id) }
func tokenKey(tenant, token string) key.K  { return root(tenant).Str("token").Str(token) }
func defaultsKey(tenant string) key.K      { return root(tenant).Str("default") }
func groupsKey(tenant string) key.K        { return root(tenant).Str("group") }
func ofBaseline(tenant, id string) key.K   { return root(tenant).Str("of").Str(id) }
func stateKey(tenant, node string) key.K   { return root(tenant).Str("state").Str(node) }
func inGroup(tenant, group string) key.K   { return root(tenant).Str("ingroup").Str(group) }
func historyOf(tenant, node string) key.K  { return root(tenant).Str("history").Str(node) }
func patchesKey(tenant, node string) key.K { return root(tenant).Str("patches").Str(node) }
func snapshotsKey(tenant string) key.K     { return root(tenant).Str("snapshot") }
func defaultKey(tenant string, os patch.OperatingSystem) key.K {
	return defaultsKey(tenant).Str(string(os))
}
func groupKey(tenant, group string, os patch.OperatingSystem) key.K {
	return groupsKey(tenant).Str(group).Str(string(os))
}
func snapshotKey(tenant, group string, os patch.OperatingSystem, id string) key.K {
	return snapshotsKey(tenant).Str(group).Str(string(os)).Str(strings.ToLower(id))
}

// call is one operation: it asks for a right and leaves a record.
type call struct {
	s                    *Service
	op, action, resource string
	tenant               string
	digest               string
}

func (s *Service) begin(ctx context.Context, name, resource string, request any) *call {
	return &call{s: s, op: "patchstore." + name, action: "ssm:" + name, resource: resource, tenant: access.Tenant(ctx), digest: s.cfg.Audit.Digest(request)}
}

// may asks the authorizer for the call's action.
func (c *call) may(ctx context.Context, attributes map[string]string) error {
	return fault.Wrap(c.op, access.Check(ctx, c.s.cfg.Authorizer, c.action, c.resource, attributes))
}

// end records a read, or a call that changed nothing because it failed. A refusal stands whether or not it could be recorded.
func (c *call) end(ctx context.Context, write bool, err error) {
	if write && err == nil {
		return // recorded in its transaction
	}
	e := audit.Of(c.action, c.resource, err)
	e.Digest = c.digest
	if err := c.s.cfg.Audit.Read(ctx, e); err != nil {
		c.s.cfg.Log.Warn("a call could not be recorded", "action", c.action, "error", err)
	}
}

// record writes the audit entry of a change in its transaction.
func (c *call) record(ctx context.Context, tx store.Tx, ids map[string]string) error {
	e := audit.Of(c.action, c.resource, nil)
	e.Digest, e.IDs = c.digest, ids
	return c.s.cfg.Audit.Record(ctx, tx, e)
}

func (c *call) bad(format string, args ...any) error {
	return fault.New(c.op, fault.Validation, format, args...)
}

func (c *call) view(ctx context.Context, fn func(ctx context.Context, r store.Reader) error) error {
	return c.failed(c.s.cfg.Store.View(ctx, fn))
}

func (c *call) update(ctx context.Context, fn func(ctx context.Context, tx store.Tx) error) error {
	return c.failed(c.s.cfg.Store.Update(ctx, fn))
}

// failed gives an error of the store a code; others keep theirs.
func (c *call) failed(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrCommitUnknown):
		return fault.New(c.op, fault.OutcomeUnknown, "the store did not say whether the change was made; look before you repeat it: %w", err)
	case errors.Is(err, store.ErrReadOnly):
		return fault.New(c.op, fault.ServiceUnavailable, "the store takes no changes at present; free its disk, then try again: %w", err)
	case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrTooLong), errors.Is(err, store.ErrClosed):
		return fault.New(c.op, fault.ServiceUnavailable, "the store could not do it now; try again: %w", err)
	}
	return fault.Wrap(c.op, err)
}

func notFound(err error) bool { return errors.Is(err, store.ErrNotFound) }

func clip(s string) string {
	s = fault.Clean(s)
	if len(s) > 120 {
		s = s[:117] + "…"
	}
	return s
}

// page is where a list is.
type page struct {
	limit int
	mark  string
	after string
}

// page reads MaxResults and NextToken; request is what a token is bound to.
func (c *call) page(max, least, most int, token string, request any) (p page, err error) {
	switch {
	case max == 0:
		max = most
	case max < least || max > most:
		return p, c.bad("MaxResults is %d; it must be %d to %d", max, least, most)
	}
	p = page{limit: max, mark: paging.Mark(c.op, c.tenant, request)}
	p.after, err = paging.Open(c.op, p.mark, token)
	return p, err
}

func (p page) token(after string) string { return paging.Token(p.mark, after) }

// cut returns a page of what is sorted by name, and its token.
func cut[T any](p page, all []T, name func(T) string) (out []T, next string) {
	out = []T{}
	for _, x := range all {
		if name(x) <= p.after {
			continue
		}
		if len(out) == p.limit {
			return out, p.token(name(out[p.limit-1]))
		}
		out = append(out, x)
	}
	return out, ""
}

func (s *Service) newID() (string, error) {
	var b [9]byte
	if _, err := io.ReadFull(s.cfg.Rand, b[:]); err != nil {
		return "", err
	}
	return "pb-" + hex.EncodeToString(b[:])[:17], nil
}

var (
	idGrammar    = regexp.MustCompile(`^[a-zA-Z0-9_\-:/]{3,128}$`)
	tokenGrammar = regexp.MustCompile(`^[\x21-\x7e]{1,64}$`)
)

// short returns the id of a baseline that a request names by id or ARN; of a predefined one its name.
func (c *call) short(id string) (string, error) {
	if !idGrammar.MatchString(id) {
		return "", fault.New(c.op, fault.InvalidResourceID, "%q is no id of a patch baseline, such as pb-0123456789abcdef0", clip(id))
	}
	if i := strings.LastIndexByte(id, '/'); i >= 0 {
		id = id[i+1:]
	}
	return id, nil
}

// predefined returns the predefined baseline of the id, nil when there is none.
func predefined(id string) *patch.Baseline {
	all := patch.Predefined()
	i := slices.IndexFunc(all, func(b patch.Baseline) bool { return b.ID == id })
	if i < 0 {
		return nil
	}
	return &all[i]
}

// load returns a baseline, predefined or stored; store.ErrNotFound when there is none.
func (s *Service) load(ctx context.Context, r store.Reader, tenant, id string) (baselineRecord, error) {
	if b := predefined(id); b != nil {
		return baselineRecord{Baseline: *b}, nil
	}
	return s.baselines.Get(ctx, r, baselineKey(tenant, id))
}

func (c *call) absent(id string) error {
	return fault.New(c.op, fault.DoesNotExist, "there is no patch baseline %s: list them", clip(id)).About(clip(id))
}

// see finds a baseline and asks for the call's right on it. Who may not learns nothing else.
func (c *call) see(ctx context.Context, given string) (id string, b baselineRecord, err error) {
	if id, err = c.short(given); err != nil {
		return "", b, err
	}
	c.resource = "patchbaseline/" + id
	there := true
	err = c.view(ctx, func(ctx context.Context, r store.Reader) error {
		var err error
		if b, err = c.s.load(ctx, r, c.tenant, id); notFound(err) {
			there, err = false, nil
		}
		return err
	})
	if err == nil {
		err = c.may(ctx, b.Tags)
	}
	if err == nil && !there {
		err = c.absent(id)
	}
	return id, b, err
}

// findings gives those of package patch the operation's name.
func (c *call) findings(err error) error { return fault.Wrap(c.op, err) }

func (c *call) os(os patch.OperatingSystem) (patch.OperatingSystem, error) {
	if os == "" {
		return patch.Windows, nil
	}
	if !slices.Contains(patch.OperatingSystems(), os) {
		return "", c.bad("OperatingSystem %q is none: use WINDOWS, AMAZON_LINUX_2, DEBIAN, …", clip(string(os)))
	}
	return os, nil
}
