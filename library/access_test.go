package library_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/library"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/memstore"
)

// rule is an authorizer made of a function, which remembers what it was asked.
type rule struct {
	mu    sync.Mutex
	asked []string
	allow func(p access.Principal, action, resource string, attributes map[string]string) bool
}

func (r *rule) Authorize(_ context.Context, p access.Principal, action, resource string, attributes map[string]string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, action+" "+resource)
	if r.allow(p, action, resource, attributes) {
		return nil
	}
	return errors.New("no")
}

// calls has every operation, with a request that would work on document Say. The test fails when an operation is not here.
func calls(s *library.Service) map[string]func(ctx context.Context) error {
	return map[string]func(ctx context.Context) error{
		"CreateDocument": func(ctx context.Context) error {
			_, err := s.CreateDocument(ctx, library.CreateDocumentRequest{Name: "New", Content: text("x")})
			return err
		},
		"UpdateDocument": func(ctx context.Context) error {
			_, err := s.UpdateDocument(ctx, library.UpdateDocumentRequest{Name: "Say", DocumentVersion: "$LATEST", Content: text("next")})
			return err
		},
		"UpdateDocumentDefaultVersion": func(ctx context.Context) error {
			_, err := s.UpdateDocumentDefaultVersion(ctx, library.UpdateDocumentDefaultVersionRequest{Name: "Say", DocumentVersion: "1"})
			return err
		},
		"GetDocument": func(ctx context.Context) error {
			_, err := s.GetDocument(ctx, library.GetDocumentRequest{Name: "Say"})
			return err
		},
		"DescribeDocument": func(ctx context.Context) error {
			_, err := s.DescribeDocument(ctx, library.DescribeDocumentRequest{Name: "Say"})
			return err
		},
		"ListDocuments": func(ctx context.Context) error {
			_, err := s.ListDocuments(ctx, library.ListDocumentsRequest{})
			return err
		},
		"ListDocumentVersions": func(ctx context.Context) error {
			_, err := s.ListDocumentVersions(ctx, library.ListDocumentVersionsRequest{Name: "Say"})
			return err
		},
		"DeleteDocument": func(ctx context.Context) error {
			_, err := s.DeleteDocument(ctx, library.DeleteDocumentRequest{Name: "Say"})
			return err
		},
		"AddTagsToResource": func(ctx context.Context) error {
			_, err := s.AddTagsToResource(ctx, library.AddTagsToResourceRequest{ResourceType: "Document", ResourceID: "Say", Tags: []library.Tag{{Key: "k", Value: "v"}}})
			return err
		},
		"RemoveTagsFromResource": func(ctx context.Context) error {
			_, err := s.RemoveTagsFromResource(ctx, library.RemoveTagsFromResourceRequest{ResourceType: "Document", ResourceID: "Say", TagKeys: []string{"k"}})
			return err
		},
		"ListTagsForResource": func(ctx context.Context) error {
			_, err := s.ListTagsForResource(ctx, library.ListTagsForResourceRequest{ResourceType: "Document", ResourceID: "Say"})
			return err
		},
	}
}

// Rule R-01: every operation asks for AWS's action on the document, refuses who lacks it, whether or not the document exists, and records the refusal.
func TestEveryOperationAsks(t *testing.T) {
	st := memstore.New()
	log := audit.New(audit.Config{Store: st, Authorize: access.AllowAll{}})
	denied := &rule{allow: func(access.Principal, string, string, map[string]string) bool { return false }}
	open := service(func(c *library.Config) { c.Store = st })
	create(t, open, "Say", "x")
	s := service(func(c *library.Config) { c.Store, c.Authorizer, c.Audit = st, denied, log })
	unused := calls(s)

	typ := reflect.TypeFor[*library.Service]()
	for i := range typ.NumMethod() {
		name := typ.Method(i).Name
		if name == "Fetch" { // for services only, see its comment
			continue
		}
		do, ok := unused[name]
		require.True(t, ok, "operation %s is not in this table: add it", name)
		denied.asked = nil
		err := do(ann)
		require.Equal(t, fault.AccessDenied, fault.CodeOf(err), name)
		resource := map[string]string{"CreateDocument": "document/New", "ListDocuments": "document/*"}[name]
		if resource == "" {
			resource = "document/Say"
		}
		require.Contains(t, denied.asked, "ssm:"+name+" "+resource)

		none := library.New(library.Config{Store: memstore.New(), Authorizer: denied})
		require.Equal(t, err.Error(), calls(none)[name](ann).Error(), "absent and forbidden look alike")
	}
	nobody := library.New(library.Config{Store: st})
	for name, do := range calls(nobody) {
		require.Equal(t, fault.AccessDenied, fault.CodeOf(do(ann)), "%s without an authorizer", name)
	}
	require.NoError(t, log.Flush(ann))
	require.Equal(t, typ.NumMethod()-1, countEntries(t, log, audit.Denied))
}

func countEntries(t *testing.T, log *audit.Log, outcome audit.Outcome) int {
	t.Helper()
	n := 0
	for e, err := range entries(log) {
		require.NoError(t, err)
		if e.Outcome == outcome {
			n++
		}
	}
	return n
}

// A list leaves out what the caller may not see, and its pages stay full.
func TestListIsAuthorizedByItem(t *testing.T) {
	r := &rule{allow: func(p access.Principal, action, resource string, _ map[string]string) bool {
		return p.Name == "ann" || strings.HasPrefix(resource, "document/web-")
	}}
	s := service(func(c *library.Config) { c.Authorizer = r })
	for _, n := range []string{"db-1", "web-1", "db-2", "web-2", "web-3"} {
		create(t, s, n, "x")
	}
	bob := as("acme", "bob")
	page, err := s.ListDocuments(bob, library.ListDocumentsRequest{MaxResults: 2})
	require.NoError(t, err)
	require.Len(t, page.DocumentIdentifiers, 2)
	page, err = s.ListDocuments(bob, library.ListDocumentsRequest{MaxResults: 2, NextToken: page.NextToken})
	require.NoError(t, err)
	require.Len(t, page.DocumentIdentifiers, 1)
	require.Equal(t, "web-3", page.DocumentIdentifiers[0].Name)
	require.Empty(t, page.NextToken)
}

// Rights by tag hold for what is there when the change is made: a document that changes its tags between the question and the change is asked about again.
func TestRightsByTag(t *testing.T) {
	var s *library.Service
	retag := false
	r := &rule{}
	r.allow = func(p access.Principal, action, resource string, tags map[string]string) bool {
		if p.Name == "ann" {
			return true
		}
		ok := tags["team"] == "web"
		if ok && retag {
			retag = false
			r.mu.Unlock()
			_, err := s.AddTagsToResource(ann, library.AddTagsToResourceRequest{ResourceType: "Document", ResourceID: "Say", Tags: []library.Tag{{Key: "team", Value: "db"}}})
			r.mu.Lock()
			if err != nil {
				panic(err)
			}
		}
		return ok
	}
	s = service(func(c *library.Config) { c.Authorizer = r })
	bob := as("acme", "bob")
	_, err := s.CreateDocument(ann, library.CreateDocumentRequest{Name: "Say", Content: text("x"), Tags: []library.Tag{{Key: "team", Value: "web"}}})
	require.NoError(t, err)
	_, err = s.UpdateDocument(bob, library.UpdateDocumentRequest{Name: "Say", DocumentVersion: "1", Content: text("bob's")})
	require.NoError(t, err)
	_, err = s.CreateDocument(bob, library.CreateDocumentRequest{Name: "Other", Content: text("x"), Tags: []library.Tag{{Key: "team", Value: "db"}}})
	require.Equal(t, fault.AccessDenied, fault.CodeOf(err))

	retag = true
	_, err = s.DeleteDocument(bob, library.DeleteDocumentRequest{Name: "Say"})
	require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
	_, err = s.GetDocument(ann, library.GetDocumentRequest{Name: "Say"})
	require.NoError(t, err, "it is still there")
}

// A change and its audit record are made together; a failed call is recorded too; nothing of the content is.
func TestAudit(t *testing.T) {
	st := memstore.New()
	log := audit.New(audit.Config{Store: st, Authorize: access.AllowAll{}})
	s := service(func(c *library.Config) { c.Store, c.Audit = st, log })
	create(t, s, "Say", "canary-word")
	update(t, s, "Say", "canary-too")
	_, err := s.UpdateDocument(ann, library.UpdateDocumentRequest{Name: "Say", DocumentVersion: "1", Content: text("z")})
	require.Error(t, err)
	_, err = s.GetDocument(ann, library.GetDocumentRequest{Name: "Say"})
	require.NoError(t, err)
	require.NoError(t, log.Flush(ann))
	var got []string
	for e, err := range entries(log) {
		require.NoError(t, err)
		require.Equal(t, "ann", e.Principal)
		require.NotContains(t, e.IDs["version"]+e.Digest+e.Resource, "canary")
		got = append(got, strings.Join([]string{e.Action, e.Resource, string(e.Outcome), string(e.Code), e.IDs["version"]}, " "))
	}
	require.ElementsMatch(t, []string{
		"ssm:CreateDocument document/Say Success  1",
		"ssm:UpdateDocument document/Say Success  2",
		"ssm:UpdateDocument document/Say Failed InvalidDocumentVersion ",
		"ssm:GetDocument document/Say Success  ",
	}, got)
}

// unsure is a store that loses the answer of a commit, after it or instead of it.
type unsure struct {
	store.Store
	mode string // "", "made", "lost"
}

func (u *unsure) Update(ctx context.Context, fn func(context.Context, store.Tx) error) error {
	switch mode := u.mode; mode {
	case "made":
		u.mode = ""
		if err := u.Store.Update(ctx, fn); err != nil {
			return err
		}
		return store.ErrCommitUnknown
	case "lost":
		u.mode = ""
		err := u.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			if err := fn(ctx, tx); err != nil {
				return err
			}
			return errLost
		})
		if errors.Is(err, errLost) {
			return store.ErrCommitUnknown
		}
		return err
	}
	return u.Store.Update(ctx, fn)
}

var errLost = errors.New("lost")

// A commit whose answer was lost is settled by reading: the caller learns what happened.
func TestUnknownCommitIsSettled(t *testing.T) {
	u := &unsure{Store: memstore.New()}
	s := service(func(c *library.Config) { c.Store = u })
	order := []string{"CreateDocument", "UpdateDocument", "UpdateDocumentDefaultVersion", "AddTagsToResource", "RemoveTagsFromResource", "DeleteDocument"}
	create(t, s, "Say", "x")
	for _, name := range order {
		do := calls(s)[name]
		u.mode = "lost"
		err := do(ann)
		require.Equal(t, fault.ServiceUnavailable, fault.CodeOf(err), name)
		require.Contains(t, err.Error(), "nothing happened")
		u.mode = "made"
		require.NoError(t, do(ann), name)
	}
	_, err := s.GetDocument(ann, library.GetDocumentRequest{Name: "Say"})
	require.Equal(t, fault.InvalidDocument, fault.CodeOf(err))
}

// broken is a store that fails.
type broken struct {
	store.Store
	err error
}

func (b broken) View(context.Context, func(context.Context, store.Reader) error) error { return b.err }
func (b broken) Update(context.Context, func(context.Context, store.Tx) error) error   { return b.err }

// Errors of the store have codes that a caller can act on.
func TestStoreErrors(t *testing.T) {
	for err, code := range map[error]fault.Code{
		store.ErrReadOnly: fault.ServiceUnavailable, store.ErrConflict: fault.ServiceUnavailable, store.ErrClosed: fault.ServiceUnavailable,
		store.ErrTooLong: fault.ServiceUnavailable, store.ErrCommitUnknown: fault.OutcomeUnknown, context.Canceled: fault.RequestCanceled,
		errors.New("x"): fault.InternalServerError,
	} {
		s := service(func(c *library.Config) { c.Store = broken{err: err} })
		for name, do := range calls(s) {
			require.Equal(t, code, fault.CodeOf(do(ann)), "%s: %v", name, err)
		}
	}
}

// entries yields all that was recorded in ann's tenant.
func entries(log *audit.Log) func(yield func(audit.Entry, error) bool) {
	return func(yield func(audit.Entry, error) bool) {
		p := &audit.Page{}
		for {
			es, next, err := log.List(ann, audit.Filter{}, p)
			if err != nil {
				yield(audit.Entry{}, err)
				return
			}
			for _, e := range es {
				if !yield(e, nil) {
					return
				}
			}
			if p.NextToken = next; next == "" {
				return
			}
		}
	}
}
