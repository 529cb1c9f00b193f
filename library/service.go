package library

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/record"
)

// Config is what a Service is made of. Store and Authorizer are required; without an authorizer everything is refused.
type Config struct {
	Store      store.Store
	Codec      *record.Codec // may be nil
	Authorizer access.Authorizer
	Audit      *audit.Log        // nil records nothing
	Actions    *document.Actions // what may stand in a step; nil is document.Builtin()
	Builtin    []Builtin         // nil: Builtins(); an empty list that is not nil: none
	Limits     Limits
	Now        func() time.Time // nil is time.Now
	Rand       io.Reader        // for the ids of changes; nil is crypto/rand
	Log        *slog.Logger     // nil logs nothing
}

// Limits are quotas. Zero is AWS's value; -1 lifts a quota as far as the store allows.
type Limits struct {
	Documents int // of a tenant, built-in ones apart: 500 (D6)
	Versions  int // of a document: 1,000 (D6); never more than 3,000
	Content   int // bytes of a version: 64 KiB (D4); never more than 240 KiB
	Tags      int // of a document: 50; never more than 200
}

const (
	mostVersions = 3000 // all of a document are deleted in one transaction, three records a version
	mostContent  = 240 << 10
	mostTags     = 200
)

func quota(n, aws, most int) int {
	switch {
	case n == 0:
		return aws
	case n < 0 || n > most:
		return most
	}
	return n
}

// Service keeps documents. All methods are safe for concurrent use, in as many processes as share the store.
type Service struct {
	cfg      Config
	heads    record.Table[head]
	versions record.Table[version]
	builtin  map[string]Builtin
	order    []string // names of builtin, sorted
}

// New returns a service. It does no I/O and starts nothing.
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
	if cfg.Builtin == nil {
		var err error
		if cfg.Builtin, err = Builtins(); err != nil {
			cfg.Log.Error("the built-in documents cannot be read", "error", err)
		}
	}
	cfg.Limits.Documents = quota(cfg.Limits.Documents, 500, 1<<31-1)
	cfg.Limits.Versions = quota(cfg.Limits.Versions, 1000, mostVersions)
	cfg.Limits.Content = quota(cfg.Limits.Content, 64<<10, mostContent)
	cfg.Limits.Tags = quota(cfg.Limits.Tags, 50, mostTags)
	s := &Service{cfg: cfg, heads: record.NewTable[head](cfg.Codec), versions: record.NewTable[version](cfg.Codec), builtin: map[string]Builtin{}}
	for _, b := range cfg.Builtin {
		s.builtin[b.name] = b
	}
	s.order = slices.Sorted(maps.Keys(s.builtin))
	return s
}

// subject is a document that an operation speaks of: one of the two is there.
type subject struct {
	name    string
	head    *head
	builtin *Builtin
}

func (s *subject) tags() map[string]string {
	if s.head == nil {
		return nil
	}
	return s.head.Tags
}

// look finds a document and asks whether the caller may do the action on it. Who may not learns nothing else: absent and forbidden look alike.
func (s *Service) look(ctx context.Context, op, action, name string) (subject, error) {
	sub := subject{name: name}
	if b, ok := s.builtin[name]; ok {
		sub.builtin = &b
	} else if err := s.view(ctx, op, func(ctx context.Context, r store.Reader) error {
		h, err := s.heads.Get(ctx, r, headKey(access.Tenant(ctx), name))
		switch {
		case errors.Is(err, store.ErrNotFound):
			sub.head = nil
		case err != nil:
			return err
		default:
			sub.head = &h
		}
		return nil
	}); err != nil {
		return sub, err
	}
	if err := access.Check(ctx, s.cfg.Authorizer, action, "document/"+name, sub.tags()); err != nil {
		return sub, fault.Wrap(op, err)
	}
	if sub.builtin == nil && sub.head == nil {
		return sub, absent(op, name)
	}
	return sub, nil
}

func absent(op, name string) error {
	return fault.New(op, fault.InvalidDocument, "document with name %s does not exist: create it, or check the name", fault.Clean(name)).About(name)
}

// orAbsent makes a missing head the error that callers know.
func orAbsent(err error, op, name string) error {
	if errors.Is(err, store.ErrNotFound) {
		return absent(op, name)
	}
	return err
}

// view runs fn in a View and gives its error an operation and a code.
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
	case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrTooLong), errors.Is(err, store.ErrClosed):
		return fault.New(op, fault.ServiceUnavailable, "the store could not do it now; try again: %w", err)
	}
	return fault.Wrap(op, err)
}

// audited records a call that changed nothing: a read, or one that failed. A refusal stands whether or not it could be recorded.
func (s *Service) audited(ctx context.Context, action, resource string, err error) {
	if err := s.cfg.Audit.Read(ctx, audit.Of(action, resource, err)); err != nil {
		s.cfg.Log.Warn("a call could not be recorded", "action", action, "error", err)
	}
}

// errMoved says that the document is not the one that the authorizer was asked about.
var errMoved = errors.New("library: the document's tags changed meanwhile")

// change is one change of one document.
type change struct {
	op, action string
	name       string
	request    any // for the digest in the audit record
	ids        map[string]string
	fresh      bool              // the document is made: it must not exist
	attributes map[string]string // of a fresh one
	gone       bool              // set by apply: the document is no more
}

// apply authorizes the change and runs fn in one transaction with the audit record. fn gets the document's head and may change it; apply writes it. fn may run many
// times and sets captured variables by plain assignment only.
func (s *Service) apply(ctx context.Context, c *change, fn func(ctx context.Context, tx store.Tx, h *head) error) (err error) {
	resource := "document/" + c.name
	defer func() {
		if err != nil {
			s.audited(ctx, c.action, resource, err)
		}
	}()
	id, err := s.newID()
	if err != nil {
		return fault.Wrap(c.op, err)
	}
	digest := s.cfg.Audit.Digest(c.request)
	tenant := access.Tenant(ctx)
	k := headKey(tenant, c.name)
	for tries := 0; ; tries++ {
		var sub subject
		if c.fresh {
			if err := access.Check(ctx, s.cfg.Authorizer, c.action, resource, c.attributes); err != nil {
				return fault.Wrap(c.op, err)
			}
			if _, ok := s.builtin[c.name]; ok {
				return exists(c.op, c.name)
			}
		} else if sub, err = s.look(ctx, c.op, c.action, c.name); err != nil {
			return err
		} else if sub.builtin != nil {
			return fault.New(c.op, fault.InvalidDocumentOperation, "document %s is built in and cannot be changed: make one of your own from its content", c.name).About(c.name)
		}
		err = s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			c.gone = false
			h, err := s.heads.Get(ctx, tx, k)
			switch {
			case c.fresh && err == nil:
				return exists(c.op, c.name)
			case c.fresh && errors.Is(err, store.ErrNotFound):
				h = head{Tags: c.attributes}
			case errors.Is(err, store.ErrNotFound):
				return absent(c.op, c.name)
			case err != nil:
				return err
			case !maps.Equal(h.Tags, sub.tags()):
				return errMoved
			}
			h.Write = id
			if err := fn(ctx, tx, &h); err != nil {
				return err
			}
			if c.gone {
				err = tx.Delete(k)
			} else {
				err = s.heads.Put(tx, k, h)
			}
			if err != nil {
				return err
			}
			ids := maps.Clone(c.ids)
			if ids == nil {
				ids = map[string]string{}
			}
			ids["document"] = c.name
			return s.cfg.Audit.Record(ctx, tx, audit.Entry{Action: c.action, Resource: resource, Digest: digest, IDs: ids})
		})
		switch {
		case errors.Is(err, errMoved) && tries < 8:
			continue
		case errors.Is(err, errMoved):
			return fault.New(c.op, fault.ServiceUnavailable, "the tags of document %s change all the time; try again", c.name).About(c.name)
		case errors.Is(err, store.ErrCommitUnknown):
			return s.settle(ctx, c, id, sub.head, err)
		}
		return storeFault(c.op, err)
	}
}

// settle finds out by reading whether a change was made whose commit was not answered: the head carries the id of the change that wrote it.
func (s *Service) settle(ctx context.Context, c *change, id string, before *head, unknown error) error {
	var now *head
	if err := s.view(ctx, c.op, func(ctx context.Context, r store.Reader) error {
		h, err := s.heads.Get(ctx, r, headKey(access.Tenant(ctx), c.name))
		if errors.Is(err, store.ErrNotFound) {
			now = nil
			return nil
		}
		now = &h
		return err
	}); err != nil {
		return storeFault(c.op, unknown)
	}
	switch {
	case now == nil && c.gone, now != nil && now.Write == id:
		return nil
	case now == nil && before == nil, now != nil && before != nil && now.Write == before.Write:
		return fault.New(c.op, fault.ServiceUnavailable, "the store lost the change; nothing happened; try again").About(c.name)
	}
	return storeFault(c.op, unknown)
}

func exists(op, name string) error {
	return fault.New(op, fault.DocumentAlreadyExists, "a document of the name %s exists: update it, or choose another name", name).About(name)
}

func (s *Service) newID() (string, error) {
	b := make([]byte, 16)
	if _, err := io.ReadFull(s.cfg.Rand, b); err != nil {
		return "", fault.New("library", fault.InternalServerError, "no random bytes: %w", err)
	}
	return hex.EncodeToString(b), nil
}

// Fetch returns the content of a version of a document, for a service that runs it: command sends it, after it asked for the right to ssm:SendCommand on it. It asks for no
// right itself and is not audited, so it must not be offered to callers from outside. The version is "" or $DEFAULT, $LATEST, or a number; resolved is its number. The
// name may be an ARN. Errors: InvalidDocument, InvalidDocumentVersion.
func (s *Service) Fetch(ctx context.Context, tenant, name, version string) (content []byte, format, resolved, hash string, err error) {
	const op = "library.Fetch"
	if tenant == "" {
		tenant = access.DefaultTenant
	}
	short, ok := localName(tenant, name)
	if !ok {
		return nil, "", "", "", absent(op, name)
	}
	if b, ok := s.builtin[short]; ok {
		if _, err := pick(op, short, b.head(), version); err != nil {
			return nil, "", "", "", err
		}
		return slices.Clone(b.doc.Source), string(b.doc.Format), "1", b.doc.Hash(), nil
	}
	err = s.view(ctx, op, func(ctx context.Context, r store.Reader) error {
		h, err := s.heads.Get(ctx, r, headKey(tenant, short))
		if err != nil {
			return orAbsent(err, op, name)
		}
		v, text, err := s.load(ctx, r, op, tenant, short, &h, version, "")
		if err != nil {
			return err
		}
		content, format, resolved, hash = text, v.Format, number(v.Number), v.Hash
		return nil
	})
	if err != nil {
		return nil, "", "", "", err
	}
	return content, format, resolved, hash, nil
}

// localName returns the name of a document of the tenant, taken from a name or an ARN; false if it can be none.
func localName(tenant, name string) (string, bool) {
	if rest, ok := strings.CutPrefix(name, "arn:"); ok {
		// partition:ssm:region:account:document/name
		parts := strings.SplitN(rest, ":", 5)
		if len(parts) != 5 || parts[1] != "ssm" || parts[3] != "" && parts[3] != tenant {
			return "", false
		}
		if name, ok = strings.CutPrefix(parts[4], "document/"); !ok {
			return "", false
		}
	}
	return name, nameGrammar.MatchString(name)
}
