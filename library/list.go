package library

import (
	"context"
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/paging"
)

const (
	mostResults = 50
	readAtOnce  = 200 // heads that a list reads in one View
)

// ListDocuments returns a page of the documents that the filters select and the caller may see, sorted by name, built-in ones among them. It needs
// ssm:ListDocuments, on each document; others are left out. Who sees nothing and may not list "document/*" is refused. A page is full unless it is the last. Errors: InvalidFilterKey,
// InvalidNextToken, ValidationException.
func (s *Service) ListDocuments(ctx context.Context, req ListDocumentsRequest) (out ListDocumentsResult, err error) {
	const op, action = "library.ListDocuments", "ssm:ListDocuments"
	defer func() { s.audited(ctx, action, "document/*", err) }()
	limit, err := results(op, req.MaxResults)
	if err != nil {
		return out, err
	}
	want, err := newSelection(op, req.Filters, req.DocumentFilterList)
	if err != nil {
		return out, err
	}
	mark := paging.Mark(op, access.Tenant(ctx), want)
	after, err := paging.Open(op, mark, req.NextToken)
	if err != nil {
		return out, err
	}
	out.DocumentIdentifiers = []DocumentIdentifier{}
	for more, n := true, min(limit+1, readAtOnce); more; n = readAtOnce {
		var page []candidate
		if page, after, more, err = s.candidates(ctx, op, want, after, n); err != nil {
			return ListDocumentsResult{}, err
		}
		for _, c := range page {
			if !want.selects(&c) || access.Check(ctx, s.cfg.Authorizer, action, "document/"+c.name, c.head.Tags) != nil {
				continue
			}
			if len(out.DocumentIdentifiers) == limit {
				out.NextToken = paging.Token(mark, out.DocumentIdentifiers[limit-1].Name)
				return out, nil
			}
			out.DocumentIdentifiers = append(out.DocumentIdentifiers, c.identifier())
		}
	}
	if len(out.DocumentIdentifiers) == 0 && req.NextToken == "" {
		if err := access.Check(ctx, s.cfg.Authorizer, action, "document/*", nil); err != nil {
			return ListDocumentsResult{}, fault.Wrap(op, err)
		}
	}
	return out, nil
}

func results(op string, n int) (int, error) {
	switch {
	case n == 0:
		return mostResults, nil
	case n < 0 || n > mostResults:
		return 0, fault.New(op, fault.Validation, "MaxResults is %d; it must be 1 to %d", n, mostResults)
	}
	return n, nil
}

// candidate is a document that a list looks at.
type candidate struct {
	name, owner string
	builtin     bool
	head        *head
}

func (c *candidate) identifier() DocumentIdentifier {
	v := &c.head.Shown
	return DocumentIdentifier{Name: c.name, CreatedDate: c.head.Created, DisplayName: v.DisplayName, Owner: c.owner, VersionName: v.Name,
		PlatformTypes: slices.Clone(v.Platforms), DocumentVersion: number(v.Number), DocumentType: c.head.Type, SchemaVersion: v.Schema,
		DocumentFormat: v.Format, TargetType: v.TargetType, Tags: tagList(c.head.Tags), Author: c.head.Author}
}

// candidates returns the documents after a name, at most that many kept ones, in order, where to go on, and whether there are more.
func (s *Service) candidates(ctx context.Context, op string, want *selection, after string, most int) (page []candidate, last string, more bool, err error) {
	tenant := access.Tenant(ctx)
	start, n := want.start(), 0
	rng := headsKey(tenant).Range()
	if after >= start {
		rng = headsKey(tenant).After(headKey(tenant, after))
	} else {
		rng.Start = headKey(tenant, start)
	}
	rng.Limit = most
	err = s.view(ctx, op, func(ctx context.Context, r store.Reader) error {
		page, n = nil, 0
		for e, err := range s.heads.Scan(ctx, r, rng) {
			if err != nil {
				return err
			}
			k := key.Read(e.Key)
			k.Str()
			k.Str()
			k.Str()
			name := k.Str()
			if err := k.Err(); err != nil {
				return err
			}
			if last = name; s.builtin[name].shown == nil { // what the host made built in since hides a kept one
				page = append(page, candidate{name: name, owner: tenant, head: &e.Value})
			}
			n++
		}
		return nil
	})
	if err != nil {
		return nil, "", false, err
	}
	end := ""
	if n == most {
		end = last
	}
	for _, name := range s.order {
		if name > after && (end == "" || name <= end) {
			b := s.builtin[name]
			page = append(page, candidate{name: name, owner: b.owner, builtin: true, head: b.head()})
		}
	}
	slices.SortFunc(page, func(a, b candidate) int { return strings.Compare(a.name, b.name) })
	return page, end, end != "" && !want.past(end), nil
}

// ListDocumentVersions returns a page of a document's versions, newest first. It needs ssm:ListDocumentVersions. Errors: InvalidDocument, InvalidNextToken, ValidationException.
func (s *Service) ListDocumentVersions(ctx context.Context, req ListDocumentVersionsRequest) (out ListDocumentVersionsResult, err error) {
	const op, action = "library.ListDocumentVersions", "ssm:ListDocumentVersions"
	defer func() { s.audited(ctx, action, "document/"+clip(req.Name), err) }()
	tenant := access.Tenant(ctx)
	limit, err := results(op, req.MaxResults)
	if err != nil {
		return out, err
	}
	name, err := given(op, tenant, req.Name)
	if err != nil {
		return out, err
	}
	sub, err := s.look(ctx, op, action, name)
	if err != nil {
		return out, err
	}
	mark := paging.Mark(op, tenant, name)
	before, err := paging.Open(op, mark, req.NextToken)
	if err != nil {
		return out, err
	}
	info := func(h *head, v *version) DocumentVersionInfo {
		return DocumentVersionInfo{Name: name, DisplayName: v.DisplayName, DocumentVersion: number(v.Number), VersionName: v.Name, CreatedDate: v.Created,
			IsDefaultVersion: v.Number == h.Default, DocumentFormat: v.Format, Status: active}
	}
	if b := sub.builtin; b != nil {
		return ListDocumentVersionsResult{DocumentVersions: []DocumentVersionInfo{info(b.head(), &b.head().Shown)}}, nil
	}
	rng := versionsKey(tenant, name).Range()
	rng.Reverse, rng.Limit = true, limit+1
	if before != "" {
		rng.End = []byte(before)
	}
	err = s.view(ctx, op, func(ctx context.Context, r store.Reader) error {
		out = ListDocumentVersionsResult{DocumentVersions: []DocumentVersionInfo{}}
		h, err := s.heads.Get(ctx, r, headKey(tenant, name))
		if err != nil {
			return orAbsent(err, op, name)
		}
		var last []byte
		for e, err := range s.versions.Scan(ctx, r, rng) {
			if err != nil {
				return err
			}
			if len(out.DocumentVersions) == limit {
				out.NextToken = paging.Token(mark, string(last))
				return nil
			}
			last = e.Key
			out.DocumentVersions = append(out.DocumentVersions, info(&h, &e.Value))
		}
		return nil
	})
	if err != nil {
		return ListDocumentVersionsResult{}, err
	}
	return out, nil
}
