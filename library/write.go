package library

import (
	"context"
	"strings"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
)

// CreateDocument makes a document with version 1, which is its default. It needs ssm:CreateDocument on it, with its tags as attributes.
//
// Errors: DocumentAlreadyExists, DocumentLimitExceeded, InvalidDocumentContent with all findings, InvalidDocumentSchemaVersion, MaxDocumentSizeExceeded,
// TooManyTagsError, ValidationException, UnsupportedOperationException for attachments and requirements.
func (s *Service) CreateDocument(ctx context.Context, req CreateDocumentRequest) (CreateDocumentResult, error) {
	const op, action = "library.CreateDocument", "ssm:CreateDocument"
	var out CreateDocumentResult
	kind := req.DocumentType
	if kind == "" {
		kind = string(document.Command)
	}
	c := &change{op: op, action: action, name: req.Name, request: req, ids: map[string]string{"version": "1"}, fresh: true}
	doc, err := func() (*document.Document, error) {
		if err := newName(op, req.Name); err != nil {
			return nil, err
		}
		tags, err := s.checkTags(op, req.Tags)
		if err != nil {
			return nil, err
		}
		c.attributes = tags
		if err := access.Check(ctx, s.cfg.Authorizer, action, "document/"+req.Name, tags); err != nil {
			return nil, fault.Wrap(op, err)
		}
		if err := unkept(op, req.Attachments, req.Requires); err != nil {
			return nil, err
		}
		if err := attributes(op, req.VersionName, req.DisplayName, req.TargetType); err != nil {
			return nil, err
		}
		return s.parse(op, req.Name, kind, req.DocumentFormat, req.Content)
	}()
	if err != nil {
		s.audited(ctx, action, "document/"+req.Name, err)
		return out, err
	}
	tenant, now := access.Tenant(ctx), s.cfg.Now().UTC()
	var made head
	err = s.apply(ctx, c, func(ctx context.Context, tx store.Tx, h *head) error {
		if err := s.room(ctx, tx, op, tenant); err != nil {
			return err
		}
		v := newVersion(doc, 1, req.VersionName, req.DisplayName, req.TargetType)
		v.Created, v.Author = now, access.From(ctx).Name
		h.Type, h.Created, h.Author = kind, now, v.Author
		h.Latest, h.Last, h.Count, h.Default, h.Shown = 1, 1, 1, 1, v
		made = *h
		return s.write(tx, tenant, req.Name, v, doc.Source)
	})
	if err != nil {
		return out, err
	}
	out.DocumentDescription = describe(req.Name, tenant, &made, &made.Shown, doc)
	out.Findings = doc.Check()
	return out, nil
}

// room refuses a document more than the quota (D6).
func (s *Service) room(ctx context.Context, r store.Reader, op, tenant string) error {
	most := s.cfg.Limits.Documents
	if most == 1<<31-1 {
		return nil
	}
	rng := headsKey(tenant).Range()
	rng.Limit = most
	n := 0
	for _, err := range r.Scan(ctx, rng) {
		if err != nil {
			return err
		}
		n++
	}
	if n >= most {
		return fault.New(op, fault.DocumentLimitExceeded, "there are %d documents, as many as the quota allows: delete some, or raise it", n)
	}
	return nil
}

// newVersion describes a version of a document that was read.
func newVersion(doc *document.Document, n uint64, label, display, targetType string) version {
	return version{Number: n, Name: label, DisplayName: display, TargetType: targetType, Format: string(doc.Format), Schema: doc.SchemaVersion,
		Hash: doc.Hash(), Platforms: doc.PlatformTypes()}
}

// UpdateDocument makes version n+1 from the newest version n. The default version stays (V1). It needs ssm:UpdateDocument.
//
// Errors: InvalidDocument, InvalidDocumentVersion when DocumentVersion is not the newest (V2), DuplicateDocumentContent when nothing changed,
// DuplicateDocumentVersionName, DocumentVersionLimitExceeded, InvalidDocumentSchemaVersion also for documents of schema 1.2, which AWS does not let change,
// InvalidDocumentOperation for built-in ones, and those of content as CreateDocument has.
func (s *Service) UpdateDocument(ctx context.Context, req UpdateDocumentRequest) (UpdateDocumentResult, error) {
	const op, action = "library.UpdateDocument", "ssm:UpdateDocument"
	var out UpdateDocumentResult
	tenant, now := access.Tenant(ctx), s.cfg.Now().UTC()
	var doc *document.Document
	name, err := func() (string, error) {
		name, err := given(op, tenant, req.Name)
		if err != nil {
			return "", err
		}
		sub, err := s.look(ctx, op, action, name)
		if err != nil || sub.builtin != nil {
			return name, err // apply refuses the built-in ones
		}
		if err := unkept(op, req.Attachments, nil); err != nil {
			return "", err
		}
		if err := attributes(op, req.VersionName, req.DisplayName, req.TargetType); err != nil {
			return "", err
		}
		doc, err = s.parse(op, name, sub.head.Type, req.DocumentFormat, req.Content)
		return name, err
	}()
	if err != nil {
		s.audited(ctx, action, "document/"+clip(req.Name), err)
		return out, err
	}
	var made head
	var v version
	ids := map[string]string{}
	err = s.apply(ctx, &change{op: op, action: action, name: name, request: req, ids: ids}, func(ctx context.Context, tx store.Tx, h *head) error {
		if doc == nil || doc.Kind != document.Kind(h.Type) {
			return fault.New(op, fault.ServiceUnavailable, "document %s was deleted and made anew meanwhile; try again", name).About(name)
		}
		newest, err := s.versions.Get(ctx, tx, versionKey(tenant, name, h.Latest))
		if err != nil {
			return err
		}
		if err := s.mayFollow(ctx, tx, op, tenant, name, h, &newest, doc, &req); err != nil {
			return err
		}
		display, targetType := req.DisplayName, req.TargetType
		if display == "" {
			display = newest.DisplayName
		}
		if targetType == "" {
			targetType = newest.TargetType
		}
		v = newVersion(doc, h.Last+1, req.VersionName, display, targetType)
		v.Created, v.Author = now, access.From(ctx).Name
		h.Latest, h.Last, h.Count = v.Number, v.Number, h.Count+1
		made = *h
		ids["version"] = number(v.Number)
		return s.write(tx, tenant, name, v, doc.Source)
	})
	if err != nil {
		return out, err
	}
	out.DocumentDescription = describe(name, tenant, &made, &v, doc)
	out.Findings = doc.Check()
	return out, nil
}

// mayFollow decides whether doc may become the version after newest.
func (s *Service) mayFollow(ctx context.Context, r store.Reader, op, tenant, name string, h *head, newest *version, doc *document.Document, req *UpdateDocumentRequest) error {
	n, err := pick(op, name, h, req.DocumentVersion)
	if err != nil {
		return err
	}
	switch {
	case n != h.Latest:
		return fault.New(op, fault.InvalidDocumentVersion, "only the newest version of document %s can be updated, which is %d: look at it, then give that number or $LATEST as DocumentVersion", name, h.Latest).About(name)
	case strings.HasPrefix(newest.Schema, "1.") && h.Type == string(document.Command), strings.HasPrefix(doc.SchemaVersion, "1.") && h.Type == string(document.Command):
		return fault.New(op, fault.InvalidDocumentSchemaVersion, "a document of schema 1.2 cannot be changed, nor one changed into it: write it in schema 2.2 under a new name").About(name)
	case newest.Hash == doc.Hash() && newest.Format == string(doc.Format):
		return fault.New(op, fault.DuplicateDocumentContent, "version %d of document %s has this content already", newest.Number, name).About(name)
	case h.Count >= s.cfg.Limits.Versions:
		return fault.New(op, fault.DocumentVersionLimitExceeded, "document %s has %d versions, as many as the quota allows: delete some", name, h.Count).About(name)
	case req.VersionName == "":
		return nil
	}
	used, err := s.label(ctx, r, labelKey(tenant, name, req.VersionName))
	if err == nil && used != 0 {
		err = fault.New(op, fault.DuplicateDocumentVersionName, "version %d of document %s has the name %s already: choose another", used, name, req.VersionName).About(name)
	}
	return err
}

// UpdateDocumentDefaultVersion moves the default version. It needs ssm:UpdateDocumentDefaultVersion. Errors: InvalidDocument, InvalidDocumentVersion,
// InvalidDocumentOperation for built-in ones.
func (s *Service) UpdateDocumentDefaultVersion(ctx context.Context, req UpdateDocumentDefaultVersionRequest) (UpdateDocumentDefaultVersionResult, error) {
	const op, action = "library.UpdateDocumentDefaultVersion", "ssm:UpdateDocumentDefaultVersion"
	var out UpdateDocumentDefaultVersionResult
	tenant := access.Tenant(ctx)
	name, err := given(op, tenant, req.Name)
	if err == nil && (req.DocumentVersion == "" || strings.HasPrefix(req.DocumentVersion, "$")) {
		err = fault.New(op, fault.Validation, "DocumentVersion is %q; it must be the number of a version", clip(req.DocumentVersion))
	}
	if err != nil {
		s.audited(ctx, action, "document/"+clip(req.Name), err)
		return out, err
	}
	err = s.apply(ctx, &change{op: op, action: action, name: name, request: req, ids: map[string]string{"version": clip(req.DocumentVersion)}},
		func(ctx context.Context, tx store.Tx, h *head) error {
			v, err := s.choose(ctx, tx, op, tenant, name, h, req.DocumentVersion, "")
			if err != nil {
				return err
			}
			h.Default, h.Shown = v.Number, v
			out.Description = DocumentDefaultVersionDescription{Name: name, DefaultVersion: number(v.Number), DefaultVersionName: v.Name}
			return nil
		})
	if err != nil {
		return UpdateDocumentDefaultVersionResult{}, err
	}
	return out, nil
}

// DeleteDocument deletes a version, or the whole document (V5). The default version can only go with the whole document. It needs ssm:DeleteDocument.
// Errors: InvalidDocument, InvalidDocumentVersion, InvalidDocumentOperation for the default version and built-in ones.
func (s *Service) DeleteDocument(ctx context.Context, req DeleteDocumentRequest) (DeleteDocumentResult, error) {
	const op, action = "library.DeleteDocument", "ssm:DeleteDocument"
	var out DeleteDocumentResult
	tenant := access.Tenant(ctx)
	name, err := given(op, tenant, req.Name)
	if err != nil {
		s.audited(ctx, action, "document/"+clip(req.Name), err)
		return out, err
	}
	c := &change{op: op, action: action, name: name, request: req, ids: map[string]string{"version": clip(req.DocumentVersion), "versionName": clip(req.VersionName)}}
	return out, s.apply(ctx, c, func(ctx context.Context, tx store.Tx, h *head) error {
		if req.DocumentVersion == "" && req.VersionName == "" {
			c.gone = true
			return s.eraseAll(ctx, tx, tenant, name)
		}
		v, err := s.choose(ctx, tx, op, tenant, name, h, req.DocumentVersion, req.VersionName)
		if err != nil {
			return err
		}
		if v.Number == h.Default {
			return fault.New(op, fault.InvalidDocumentOperation, "version %d is the default of document %s: make another version the default, or delete the whole document", v.Number, name).About(name)
		}
		if err := s.erase(tx, tenant, name, v); err != nil {
			return err
		}
		h.Count--
		if v.Number != h.Latest {
			return nil
		}
		rng := versionsKey(tenant, name).Range()
		rng.Reverse, rng.Limit = true, 1
		for e, err := range s.versions.Scan(ctx, tx, rng) {
			if err != nil {
				return err
			}
			h.Latest = e.Value.Number
		}
		return nil
	})
}

func (s *Service) eraseAll(ctx context.Context, tx store.Tx, tenant, name string) error {
	var all []version
	for e, err := range s.versions.Scan(ctx, tx, versionsKey(tenant, name).Range()) {
		if err != nil {
			return err
		}
		all = append(all, e.Value)
	}
	for _, v := range all {
		if err := s.erase(tx, tenant, name, v); err != nil {
			return err
		}
	}
	return nil
}

// given returns the name of a document from a request: a name or an ARN of the tenant's.
func given(op, tenant, name string) (string, error) {
	short, ok := localName(tenant, name)
	if !ok && strings.HasPrefix(name, "arn:") {
		return "", absent(op, clip(name))
	}
	if !ok {
		return "", oldName(op, name)
	}
	return short, nil
}
