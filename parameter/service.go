package parameter

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/feed"
	"github.com/fleetwright/fleetwright/lease"
	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/record"
)

// Config is what a Service is made of. Store and Authorizer are required; without an authorizer everything is refused.
type Config struct {
	Store      store.Store
	Codec      *record.Codec // may be nil
	Authorizer access.Authorizer
	Box        *seal.Box     // nil, or one without a key service: SecureStrings are refused
	Audit      *audit.Log    // nil records nothing
	Leases     *lease.Leases // with several control planes: one of them does the work of Run; nil: this one
	Limits     Limits

	Partition string // of ARNs; "" is aws
	Region    string // of ARNs; "" is local
	// DefaultTier is the tier of a new parameter whose request names none, as AWS's service setting; "" is Standard (S14).
	DefaultTier Tier
	// PathGrants makes the right to ssm:GetParametersByPath on a path cover all below it, as on AWS, even what is denied (S7). Without it each parameter is asked for.
	PathGrants bool

	DataTypes map[string]DataType // further data types, or other validators of known ones (S15)
	Public    Public              // the tree below /aws/service; nil has nothing (S32)
	Secrets   Secrets             // behind /aws/reference/secretsmanager; nil has nothing (S32)
	// Sharing decides by a resource policy (S33); nil knows Effect, Principal, Action and Resource, and refuses policies with more.
	Sharing PolicyDecider

	Now  func() time.Time // nil is time.Now
	Rand io.Reader        // for the ids of changes; nil is crypto/rand
	Log  *slog.Logger     // nil logs nothing
	// Beat is called at the beginning of each round of Run, with the time after which the next one begins; nil is nobody. It must not block.
	Beat func(period time.Duration)
}

// Service keeps parameters. All methods are safe for concurrent use, in as many processes as share the store.
type Service struct {
	cfg    Config
	place  place
	feed   *feed.Feed
	limits Limits
	rate   limiter

	roots sync.Map // tenant to headsKey, so that reading makes one key and not four

	mu   sync.Mutex
	hubs map[string]*hub // of tenants that are watched
}

var (
	_ Store  = (*Service)(nil)
	_ Sharer = (*Service)(nil)
)

// New returns a service. It does no I/O and starts nothing; see Run for what goes on by itself.
func New(cfg Config) *Service {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Box == nil {
		cfg.Box = seal.NewBox(nil, nil)
	}
	if cfg.Partition == "" {
		cfg.Partition = "aws"
	}
	if cfg.Region == "" {
		cfg.Region = "local"
	}
	if cfg.DefaultTier == "" {
		cfg.DefaultTier = Standard
	}
	s := &Service{cfg: cfg, place: place{cfg.Partition, cfg.Region}, feed: feed.New(cfg.Codec), limits: cfg.Limits.filled(), hubs: map[string]*hub{}}
	s.rate.perSecond = s.limits.Throughput
	return s
}

// resource is a parameter as the authorizer and the audit record name it.
func resource(canon string) string { return "parameter" + canon }

// anything is what the authorizer is asked about when a list found nothing.
const anything = "parameter/*"

func absent(op, name string) error {
	return fault.New(op, CodeNotFound, "parameter %s does not exist: create it, or check the name", clip(name)).About(name)
}

func (s *Service) check(ctx context.Context, action, canon string, tags map[string]string) error {
	return access.Check(ctx, s.cfg.Authorizer, action, resource(canon), tags)
}

func (s *Service) view(ctx context.Context, op string, fn func(ctx context.Context, r store.Reader) error) error {
	return storeFault(op, s.cfg.Store.View(ctx, fn))
}

// storeFault gives an error of the store a code; others keep theirs.
func storeFault(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrCommitUnknown):
		return fault.New(op, fault.OutcomeUnknown, "the store did not say whether the change was made; look before you repeat it: %w", err)
	case errors.Is(err, store.ErrReadOnly):
		return fault.New(op, fault.ServiceUnavailable, "the store takes no changes at present; free its disk, then try again: %w", err)
	case errors.Is(err, store.ErrConflict):
		return fault.New(op, CodeTooManyUpdates, "too many changes at once; try again: %w", err)
	case errors.Is(err, store.ErrTooLong), errors.Is(err, store.ErrClosed):
		return fault.New(op, fault.ServiceUnavailable, "the store could not do it now; try again: %w", err)
	}
	return fault.Wrap(op, err)
}

// audited records a call that changed nothing: a read, or one that failed. A refusal stands whether or not it could be recorded.
func (s *Service) audited(ctx context.Context, action, resource string, err error) {
	if s.cfg.Audit == nil {
		return
	}
	if err := s.cfg.Audit.Read(ctx, audit.Of(action, resource, err)); err != nil {
		s.cfg.Log.Warn("a call could not be recorded", "action", action, "error", err)
	}
}

// recorded records a read and fails when it must be stored and cannot: with a durable log no value is given away unrecorded.
func (s *Service) recorded(ctx context.Context, op, action, canon string) error {
	return s.recordedAs(ctx, op, action, resource(canon))
}

func (s *Service) recordedAs(ctx context.Context, op, action, resource string) error {
	if s.cfg.Audit == nil {
		return nil
	}
	return storeFault(op, s.cfg.Audit.Read(ctx, audit.Entry{Action: action, Resource: resource}))
}

// disclosed records the decryption of values before the answer leaves, all in one transaction.
func (s *Service) disclosed(ctx context.Context, op, action string, what []disclosure) error {
	if s.cfg.Audit == nil || len(what) == 0 {
		return nil
	}
	entry := func(d disclosure) audit.Entry {
		return audit.Entry{Action: action, Resource: resource(d.canon), IDs: map[string]string{"version": number(d.version), "decrypted": "true"}}
	}
	if len(what) == 1 {
		return storeFault(op, s.cfg.Audit.ReadDurable(ctx, entry(what[0])))
	}
	return storeFault(op, s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		for _, d := range what {
			if err := s.cfg.Audit.Record(ctx, tx, entry(d)); err != nil {
				return err
			}
		}
		return nil
	}))
}

type disclosure struct {
	canon   string
	version uint64
}

func (s *Service) now() time.Time { return s.cfg.Now().UTC().Round(0) }

func (s *Service) newID(op string) (string, error) {
	b := make([]byte, 12)
	if _, err := io.ReadFull(s.cfg.Rand, b); err != nil {
		return "", fault.New(op, fault.InternalServerError, "no random bytes: %w", err)
	}
	return hex.EncodeToString(b), nil
}

// head reads the newest version of a parameter; nil if there is none.
func (s *Service) head(ctx context.Context, r store.Reader, tenant, canon string) (*version, error) {
	k := s.headKey(tenant, canon)
	b, err := r.Get(ctx, k)
	if err != nil {
		if errors.Is(err, store.ErrNotFound) {
			err = nil
		}
		return nil, err
	}
	v, err := s.openVersion(k, b)
	if err != nil {
		return nil, err
	}
	return &v, nil
}

// headKey is the function of that name, from memory.
func (s *Service) headKey(tenant, canon string) key.K {
	if k, ok := s.roots.Load(tenant); ok {
		return k.(key.K).Str(canon)
	}
	k := headsKey(tenant)
	s.roots.Store(tenant, k)
	return k.Str(canon)
}

// heads reads many; nil for those that are not there.
func (s *Service) heads(ctx context.Context, r store.Reader, tenant string, canons []string) ([]*version, error) {
	if len(canons) == 0 {
		return nil, nil
	}
	keys := make([][]byte, len(canons))
	for i, c := range canons {
		keys[i] = headKey(tenant, c)
	}
	bs, err := r.GetMany(ctx, keys)
	if err != nil {
		return nil, err
	}
	out := make([]*version, len(bs))
	for i, b := range bs {
		if b == nil {
			continue
		}
		v, err := s.openVersion(keys[i], b)
		if err != nil {
			return nil, err
		}
		out[i] = &v
	}
	return out, nil
}

// past reads an older version; nil if it is not kept.
func (s *Service) past(ctx context.Context, r store.Reader, tenant, canon string, n uint64) (*version, error) {
	k := pastKey(tenant, canon, n)
	b, err := r.Get(ctx, k)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v, err := s.openVersion(k, b)
	if err != nil {
		return nil, err
	}
	return &v, nil
}

// putHead and putPast write versions.
func (s *Service) putHead(tx store.Tx, tenant, canon string, v *version) error {
	return s.mark(tx, headKey(tenant, canon), v.encode())
}

func (s *Service) putPast(tx store.Tx, tenant, canon string, v *version) error {
	p := *v
	p.Created, p.Oldest, p.Tags, p.Shared, p.Done = time.Time{}, 0, nil, false, nil
	return s.mark(tx, pastKey(tenant, canon, v.Version), p.encode())
}

// binding is what the ciphertext of a version belongs to.
func binding(tenant, canon string, n uint64) seal.Binding {
	return seal.Binding{Tenant: tenant, Kind: "parameter", Name: canon, Version: n, Type: string(SecureString)}
}

func tagList(tags map[string]string) []Tag {
	out := make([]Tag, 0, len(tags))
	for k, v := range tags {
		out = append(out, Tag{Key: k, Value: v})
	}
	slices.SortFunc(out, func(a, b Tag) int {
		if a.Key < b.Key {
			return -1
		}
		return 1
	})
	return out
}
