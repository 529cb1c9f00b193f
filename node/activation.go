package node

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/store"
)

// Limits of activations (spec H1).
const (
	MaxRegistrations  = 1000
	DefaultActivation = 24 * time.Hour
	MaxActivation     = 30 * 24 * time.Hour
)

// ActivationRequest of CreateActivation. The zero request is valid: one registration within 24 hours.
type ActivationRequest struct {
	Description       string            // for people, at most 256 characters
	DefaultName       string            // the name that nodes get, at most 256 characters
	IamRole           string            // kept and shown, at most 64 characters
	RegistrationLimit int               // 1 to 1,000; 0 is 1
	Expires           time.Time         // at most 30 days ahead; zero is 24 hours
	Tags              map[string]string // what nodes inherit
}

// NewActivation is what a machine needs to register. The code cannot be had again.
type NewActivation struct {
	ID   string
	Code secret.Value // 26 characters
}

// Activation is what is known of an activation.
type Activation struct {
	ID, Description, DefaultName, IamRole string
	RegistrationLimit, Registrations      int
	Created, Expires                      time.Time
	Expired                               bool
	Tags                                  map[string]string
}

// codeLetters has 32 letters that nobody confuses.
const codeLetters = "abcdefghjkmnpqrstuvwxyz23456789A"

// codeHash is what is kept of a code: codes are random and long, so one hash without stretching is enough.
func codeHash(activation, code string) []byte {
	h := sha256.New()
	h.Write([]byte("fleetwright activation code v1"))
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(activation))))
	h.Write([]byte(activation))
	h.Write([]byte(code))
	return h.Sum(nil)
}

// CreateActivation makes an activation. It asks for ssm:CreateActivation. Errors: Validation, TooManyTagsError.
func (s *Service) CreateActivation(ctx context.Context, req ActivationRequest) (out NewActivation, err error) {
	c, err := s.begin(ctx, "node.CreateActivation", "ssm:CreateActivation", "activation/*", nil)
	defer func() { err = c.end(ctx, true, err) }()
	if err != nil {
		return out, err
	}
	now := s.now()
	rec, err := req.record(c.op, now)
	if err != nil {
		return out, err
	}
	var b [26]byte
	if err := s.random(b[:]); err != nil {
		return out, err
	}
	for i := range b {
		b[i] = codeLetters[b[i]&31]
	}
	var idb [16]byte
	if err := s.random(idb[:]); err != nil {
		return out, err
	}
	rec.ID = message.NewID(bytesReader(idb[:]))
	rec.Code = codeHash(rec.ID, string(b[:]))
	tenant := access.Tenant(ctx)
	err = s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := s.activations.Put(tx, activationKey(tenant, rec.ID), rec); err != nil {
			return err
		}
		if err := s.owners.Put(tx, ownerKey(rec.ID), ownerRecord{Tenant: tenant}); err != nil {
			return err
		}
		return c.record(ctx, tx, map[string]string{"activation": rec.ID})
	})
	if err != nil {
		return out, err
	}
	return NewActivation{rec.ID, secret.New(b[:])}, nil
}

func (req ActivationRequest) record(op string, now time.Time) (rec activationRecord, err error) {
	for _, p := range [...]struct {
		name, value string
		most        int
	}{{"Description", req.Description, MaxDescription}, {"DefaultInstanceName", req.DefaultName, MaxName}, {"IamRole", req.IamRole, MaxRole}} {
		if err := checkText(op, p.name, p.value, p.most); err != nil {
			return rec, err
		}
	}
	if err := checkTags(op, req.Tags); err != nil {
		return rec, err
	}
	limit := req.RegistrationLimit
	if limit == 0 {
		limit = 1
	}
	if limit < 1 || limit > MaxRegistrations {
		return rec, fault.New(op, fault.Validation, "RegistrationLimit is %d: give 1 to %d", limit, MaxRegistrations)
	}
	expires := req.Expires.UTC().Round(0)
	if req.Expires.IsZero() {
		expires = now.Add(DefaultActivation)
	}
	if !expires.After(now) || expires.After(now.Add(MaxActivation)) {
		return rec, fault.New(op, fault.Validation, "the expiration must lie ahead, by at most 30 days")
	}
	return activationRecord{Description: req.Description, Name: req.DefaultName, Role: req.IamRole, Limit: limit, Created: now, Expires: expires, Tags: req.Tags}, nil
}

// ActivationFilter selects activations whose field of that key has one of the values. Keys: ActivationIds, DefaultInstanceName, IamRole.
type ActivationFilter struct {
	Key    string
	Values []string
}

// DescribeActivations lists activations, without their codes. It asks for ssm:DescribeActivations. Errors: InvalidFilterKey, InvalidNextToken.
func (s *Service) DescribeActivations(ctx context.Context, filters []ActivationFilter, p *Page) (out []Activation, next string, err error) {
	c, err := s.begin(ctx, "node.DescribeActivations", "ssm:DescribeActivations", "*", nil)
	defer func() { err = c.end(ctx, false, err) }()
	if err != nil {
		return nil, "", err
	}
	for _, f := range filters {
		if !slices.Contains([]string{"ActivationIds", "DefaultInstanceName", "IamRole"}, f.Key) {
			return nil, "", fault.New(c.op, fault.InvalidFilterKey, "unknown filter %q: use ActivationIds, DefaultInstanceName or IamRole", shown(f.Key))
		}
	}
	limit, after, err := p.open(c.op, filters)
	if err != nil {
		return nil, "", err
	}
	tenant, now, last, examined := access.Tenant(ctx), s.now(), after, 0
	err = s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		out, next, last, examined = nil, "", after, 0
		rng := activations(tenant).Range()
		if after != "" {
			rng = activations(tenant).After(activationKey(tenant, after))
		}
		for e, err := range s.activations.Scan(ctx, r, rng) {
			if err != nil {
				return err
			}
			if len(out) == limit || examined == budget {
				next = token(filters, last)
				return nil
			}
			last, examined = e.Value.ID, examined+1
			if a := e.Value.public(now); a.match(filters) {
				out = append(out, a)
			}
		}
		return nil
	})
	return out, next, err
}

func (r activationRecord) public(now time.Time) Activation {
	return Activation{r.ID, r.Description, r.Name, r.Role, r.Limit, r.Count, r.Created, r.Expires, !now.Before(r.Expires), r.Tags}
}

func (a Activation) match(filters []ActivationFilter) bool {
	for _, f := range filters {
		v := map[string]string{"ActivationIds": a.ID, "DefaultInstanceName": a.DefaultName, "IamRole": a.IamRole}[f.Key]
		if !slices.Contains(f.Values, v) {
			return false
		}
	}
	return true
}

// DeleteActivation deletes an activation: nobody can register with it any more, and nodes that did stay (spec H2). It asks for ssm:DeleteActivation. Errors: InvalidActivationId.
func (s *Service) DeleteActivation(ctx context.Context, id string) (err error) {
	c, err := s.begin(ctx, "node.DeleteActivation", "ssm:DeleteActivation", "activation/"+shown(id), nil)
	defer func() { err = c.end(ctx, true, err) }()
	if err != nil {
		return err
	}
	tenant := access.Tenant(ctx)
	if len(id) > MaxToken {
		return c.noActivation(id)
	}
	return s.cfg.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		if _, err := s.activations.Get(ctx, tx, activationKey(tenant, id)); isNotFound(err) {
			return c.noActivation(id)
		} else if err != nil {
			return err
		}
		if err := tx.Delete(activationKey(tenant, id)); err != nil {
			return err
		}
		if err := tx.Delete(ownerKey(id)); err != nil {
			return err
		}
		return c.record(ctx, tx, map[string]string{"activation": id})
	})
}

func (c call) noActivation(id string) error {
	return fault.New(c.op, fault.InvalidActivationID, "activation %s does not exist", shown(id))
}
