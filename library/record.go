package library

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// head is the record of a document: all that a list shows.
type head struct {
	Type    string            `json:"type"`
	Created time.Time         `json:"created"`
	Author  string            `json:"author,omitempty"`
	Latest  uint64            `json:"latest"`  // the highest number that exists
	Last    uint64            `json:"last"`    // the highest number ever given
	Count   int               `json:"count"`   // of versions
	Default uint64            `json:"default"` // number
	Shown   version           `json:"shown"`   // the default version
	Tags    map[string]string `json:"tags,omitempty"`
	Write   string            `json:"write"` // id of the change that wrote this record
}

// version is what is known of a version beside its content.
type version struct {
	Number      uint64    `json:"number"`
	Name        string    `json:"name,omitempty"`
	DisplayName string    `json:"displayName,omitempty"`
	TargetType  string    `json:"targetType,omitempty"`
	Format      string    `json:"format"`
	Schema      string    `json:"schema,omitempty"`
	Hash        string    `json:"hash"`
	Platforms   []string  `json:"platforms,omitempty"`
	Created     time.Time `json:"created"`
	Author      string    `json:"author,omitempty"`
}

func root(tenant string) key.K { return key.New(tenant).Str("library") }

func headsKey(tenant string) key.K      { return root(tenant).Str("document") }
func headKey(tenant, name string) key.K { return headsKey(tenant).Str(name) }
func versionsKey(tenant, name string) key.K {
	return root(tenant).Str("version").Str(name)
}
func versionKey(tenant, name string, n uint64) key.K { return versionsKey(tenant, name).Uint(n) }
func contentKey(tenant, name string, n uint64) key.K {
	return root(tenant).Str("content").Str(name).Uint(n)
}
func labelKey(tenant, name, label string) key.K {
	return root(tenant).Str("versionname").Str(name).Str(label)
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

// pick returns the number that a version selector means for a document: "" and $DEFAULT the default version, $LATEST the newest, or a number (V1), which may not exist.
func pick(op, name string, h *head, selector string) (uint64, error) {
	switch selector {
	case "", "$DEFAULT":
		return h.Default, nil
	case "$LATEST":
		return h.Latest, nil
	}
	n, err := strconv.ParseUint(selector, 10, 63)
	if err != nil || n == 0 || selector[0] == '0' || selector[0] == '+' {
		return 0, fault.New(op, fault.InvalidDocumentVersion, "%q is no document version: give a number from 1, $LATEST or $DEFAULT", fault.Clean(selector)).About(name)
	}
	if n > h.Latest {
		return 0, noVersion(op, name, selector)
	}
	return n, nil
}

func noVersion(op, name, selector string) error {
	return fault.New(op, fault.InvalidDocumentVersion, "document %s has no version %s: list its versions", name, fault.Clean(selector)).About(name)
}

// choose finds the version that selector and version name mean together: each alone, or both for the same version.
func (s *Service) choose(ctx context.Context, r store.Reader, op, tenant, name string, h *head, selector, label string) (version, error) {
	var v version
	var n uint64
	var err error
	if label != "" {
		if v, err = s.versionByName(ctx, r, op, tenant, name, label); err != nil {
			return v, err
		}
		n = v.Number
	}
	if selector != "" || label == "" {
		m, err := pick(op, name, h, selector)
		if err != nil {
			return v, err
		}
		if label != "" && m != n {
			return v, fault.New(op, fault.InvalidDocumentVersion, "version name %s of document %s means version %d, not %s", label, name, n, fault.Clean(selector)).About(name)
		}
		n = m
	}
	v, err = s.versions.Get(ctx, r, versionKey(tenant, name, n))
	if errors.Is(err, store.ErrNotFound) {
		return v, noVersion(op, name, number(n))
	}
	return v, err
}

func (s *Service) versionByName(ctx context.Context, r store.Reader, op, tenant, name, label string) (v version, err error) {
	if !versionNameGrammar.MatchString(label) {
		return v, badVersionName(op, label)
	}
	n, err := s.label(ctx, r, labelKey(tenant, name, label))
	if err == nil && n == 0 {
		err = fault.New(op, fault.InvalidDocumentVersion, "document %s has no version of the name %s: list its versions", name, label).About(name)
	}
	v.Number = n
	return v, err
}

// label returns the number under the key of a version name; 0 if there is none.
func (s *Service) label(ctx context.Context, r store.Reader, k key.K) (uint64, error) {
	framed, err := r.Get(ctx, k)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	text, err := s.cfg.Codec.Open(k, framed)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(string(text), 10, 64)
}

// load returns a version with its content. The content is the caller's.
func (s *Service) load(ctx context.Context, r store.Reader, op, tenant, name string, h *head, selector, label string) (version, []byte, error) {
	v, err := s.choose(ctx, r, op, tenant, name, h, selector, label)
	if err != nil {
		return v, nil, err
	}
	k := contentKey(tenant, name, v.Number)
	framed, err := r.Get(ctx, k)
	if err != nil {
		if errors.Is(err, store.ErrNotFound) {
			err = fault.New(op, fault.DataCorrupt, "the content of version %d of document %s is missing; restore it from a backup", v.Number, name).About(name)
		}
		return v, nil, err
	}
	text, err := s.cfg.Codec.Open(k, framed)
	if err != nil {
		return v, nil, err
	}
	return v, append([]byte(nil), text...), nil
}

// write puts a new version and its content.
func (s *Service) write(tx store.Tx, tenant, name string, v version, content []byte) error {
	if err := s.versions.Put(tx, versionKey(tenant, name, v.Number), v); err != nil {
		return err
	}
	k := contentKey(tenant, name, v.Number)
	if err := tx.Put(k, s.cfg.Codec.Seal(k, content)); err != nil {
		return err
	}
	if v.Name == "" {
		return nil
	}
	k = labelKey(tenant, name, v.Name)
	return tx.Put(k, s.cfg.Codec.Seal(k, []byte(number(v.Number))))
}

// erase removes a version and its content.
func (s *Service) erase(tx store.Tx, tenant, name string, v version) error {
	if err := tx.Delete(versionKey(tenant, name, v.Number)); err != nil {
		return err
	}
	if err := tx.Delete(contentKey(tenant, name, v.Number)); err != nil {
		return err
	}
	if v.Name == "" {
		return nil
	}
	return tx.Delete(labelKey(tenant, name, v.Name))
}
