package library_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/library"
)

var allBuiltin = []string{"AWS-GatherSoftwareInventory", "AWS-Noop", "AWS-RunDocument", "AWS-RunPatchBaseline", "AWS-RunPatchBaselineAssociation", "AWS-RunPatchBaselineWithHooks",
	"AWS-RunPowerShellScript", "AWS-RunRemoteScript", "AWS-RunShellScript"}

func names(t *testing.T, s *library.Service, limit int, filters ...library.DocumentKeyValuesFilter) (out []string) {
	t.Helper()
	req := library.ListDocumentsRequest{Filters: filters, MaxResults: limit}
	for {
		page, err := s.ListDocuments(ann, req)
		require.NoError(t, err)
		for _, d := range page.DocumentIdentifiers {
			out = append(out, d.Name)
		}
		if page.NextToken == "" {
			return out
		}
		require.Len(t, page.DocumentIdentifiers, limit, "every page but the last is full")
		req.NextToken = page.NextToken
	}
}

func by(key string, values ...string) library.DocumentKeyValuesFilter {
	return library.DocumentKeyValuesFilter{Key: key, Values: values}
}

// Rule V12: filters of different keys must all hold, of the values of one key any.
func TestFilters(t *testing.T) {
	s := service(nil)
	add := func(name, kind, content, target string, tags ...library.Tag) {
		_, err := s.CreateDocument(ann, library.CreateDocumentRequest{Name: name, Content: content, DocumentType: kind, TargetType: target, Tags: tags})
		require.NoError(t, err)
	}
	power := strings.ReplaceAll(text("p"), "aws:runShellScript", "aws:runPowerShellScript")
	add("Web-Restart", "Command", text("a"), "/", library.Tag{Key: "team", Value: "web"})
	add("Web-Stop", "Command", power, "/AWS::EC2::Instance", library.Tag{Key: "team", Value: "web"}, library.Tag{Key: "env", Value: ""})
	add("DB-Policy", "Policy", text("b"), "", library.Tag{Key: "team", Value: "db"})
	own := []string{"DB-Policy", "Web-Restart", "Web-Stop"}
	for _, c := range []struct {
		name    string
		filters []library.DocumentKeyValuesFilter
		want    []string
	}{
		{"none", nil, append(slices.Clone(allBuiltin), own...)},
		{"name", []library.DocumentKeyValuesFilter{by("Name", "Web-")}, own[1:]},
		{"whole name", []library.DocumentKeyValuesFilter{by("Name", "Web-Stop")}, []string{"Web-Stop"}},
		{"names", []library.DocumentKeyValuesFilter{by("Name", "Web-S", "DB", "AWS-RunS")}, []string{"AWS-RunShellScript", "DB-Policy", "Web-Stop"}},
		{"two names at once", []library.DocumentKeyValuesFilter{by("Name", "Web-"), by("Name", "Web-S")}, []string{"Web-Stop"}},
		{"names apart", []library.DocumentKeyValuesFilter{by("Name", "Web-"), by("Name", "DB")}, nil},
		{"self", []library.DocumentKeyValuesFilter{by("Owner", "Self")}, own},
		{"private", []library.DocumentKeyValuesFilter{by("Owner", "Private")}, own},
		{"Amazon", []library.DocumentKeyValuesFilter{by("Owner", "Amazon")}, allBuiltin},
		{"public", []library.DocumentKeyValuesFilter{by("Owner", "Public")}, allBuiltin},
		{"third party", []library.DocumentKeyValuesFilter{by("Owner", "ThirdParty")}, nil},
		{"Windows", []library.DocumentKeyValuesFilter{by("PlatformTypes", "Windows"), by("Owner", "Self")}, []string{"Web-Stop"}},
		{"any platform", []library.DocumentKeyValuesFilter{by("PlatformTypes", "Windows", "MacOS"), by("Owner", "Self")}, own},
		{"type", []library.DocumentKeyValuesFilter{by("DocumentType", "Policy")}, []string{"DB-Policy"}},
		{"target", []library.DocumentKeyValuesFilter{by("TargetType", "/AWS::EC2::Instance")}, []string{"Web-Stop"}},
		{"tag", []library.DocumentKeyValuesFilter{by("tag:team", "web")}, own[1:]},
		{"tag or tag", []library.DocumentKeyValuesFilter{by("tag:team", "web", "db")}, own},
		{"tag and tag", []library.DocumentKeyValuesFilter{by("tag:team", "web"), by("tag:env", "")}, []string{"Web-Stop"}},
		{"no such tag", []library.DocumentKeyValuesFilter{by("tag:x", "")}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, limit := range []int{1, 2, 50} {
				require.Equal(t, c.want, names(t, s, limit, c.filters...))
			}
		})
	}
	old, err := s.ListDocuments(ann, library.ListDocumentsRequest{DocumentFilterList: []library.DocumentFilter{{Key: "DocumentType", Value: "Policy"}}})
	require.NoError(t, err)
	require.Equal(t, library.DocumentIdentifier{Name: "DB-Policy", CreatedDate: moment, Owner: "acme", PlatformTypes: []string{"Linux", "MacOS"}, DocumentVersion: "1",
		DocumentType: "Policy", SchemaVersion: "2.2", DocumentFormat: "JSON", Tags: []library.Tag{{Key: "team", Value: "db"}}, Author: "ann"}, old.DocumentIdentifiers[0])
}

// Pages join to the whole list whatever their size, with more documents than one View reads, and built-in ones in their places.
func TestListPages(t *testing.T) {
	s := service(nil)
	want := slices.Clone(allBuiltin)
	for i := range 430 {
		name := fmt.Sprintf("%c-%03d", "0ABZaz"[i%6], i)
		create(t, s, name, "x")
		want = append(want, name)
	}
	slices.Sort(want)
	for _, limit := range []int{7, 50} {
		require.Equal(t, want, names(t, s, limit))
	}
	require.Len(t, names(t, s, 9, by("Name", "B-", "a-")), 143)
	require.Len(t, names(t, s, 9, by("Name", "0", "z")), 143, "beginnings that lie far apart")

	page, err := s.ListDocuments(ann, library.ListDocumentsRequest{MaxResults: 5})
	require.NoError(t, err)
	for _, req := range []library.ListDocumentsRequest{
		{MaxResults: 5, NextToken: page.NextToken, Filters: []library.DocumentKeyValuesFilter{by("Name", "B")}},
		{MaxResults: 5, NextToken: page.NextToken + "AAAA!"},
		{MaxResults: 5, NextToken: page.NextToken[:8]},
	} {
		_, err = s.ListDocuments(ann, req)
		require.Equal(t, fault.InvalidNextToken, fault.CodeOf(err), "a token is for the request that gave it")
	}
	_, err = s.ListDocuments(as("other", "bob"), library.ListDocumentsRequest{MaxResults: 5, NextToken: page.NextToken})
	require.Equal(t, fault.InvalidNextToken, fault.CodeOf(err), "and for its tenant")
}

// Versions page from the newest to the oldest, with gaps where some were deleted.
func TestListVersionPages(t *testing.T) {
	s := service(nil)
	create(t, s, "Say", "0")
	want := []string{"1"}
	for i := 2; i <= 61; i++ {
		update(t, s, "Say", fmt.Sprint(i))
		if i%7 == 0 {
			_, err := s.DeleteDocument(ann, library.DeleteDocumentRequest{Name: "Say", DocumentVersion: fmt.Sprint(i)})
			require.NoError(t, err)
			continue
		}
		want = append(want, fmt.Sprint(i))
	}
	slices.Reverse(want)
	for _, limit := range []int{1, 8, 50} {
		var got []string
		req := library.ListDocumentVersionsRequest{Name: "Say", MaxResults: limit}
		for {
			page, err := s.ListDocumentVersions(ann, req)
			require.NoError(t, err)
			for _, v := range page.DocumentVersions {
				got = append(got, v.DocumentVersion)
			}
			if req.NextToken = page.NextToken; req.NextToken == "" {
				break
			}
		}
		require.Equal(t, want, got)
	}
}

func TestTags(t *testing.T) {
	s := service(nil)
	create(t, s, "Say", "x")
	list := func() []library.Tag {
		out, err := s.ListTagsForResource(ann, library.ListTagsForResourceRequest{ResourceType: "Document", ResourceID: "Say"})
		require.NoError(t, err)
		return out.TagList
	}
	require.Empty(t, list())
	for range 2 { // doing it again changes nothing
		_, err := s.AddTagsToResource(ann, library.AddTagsToResourceRequest{ResourceType: "Document", ResourceID: "Say", Tags: []library.Tag{{Key: "b", Value: "1"}, {Key: "a", Value: "2"}}})
		require.NoError(t, err)
		require.Equal(t, []library.Tag{{Key: "a", Value: "2"}, {Key: "b", Value: "1"}}, list())
	}
	_, err := s.AddTagsToResource(ann, library.AddTagsToResourceRequest{ResourceType: "Document", ResourceID: "Say", Tags: []library.Tag{{Key: "b", Value: "3"}}})
	require.NoError(t, err)
	update(t, s, "Say", "y")
	for range 2 {
		_, err := s.RemoveTagsFromResource(ann, library.RemoveTagsFromResourceRequest{ResourceType: "Document", ResourceID: "Say", TagKeys: []string{"a", "zz"}})
		require.NoError(t, err)
		require.Equal(t, []library.Tag{{Key: "b", Value: "3"}}, list())
	}
}

// What the host makes built in hides what a tenant kept under the name before.
func TestHostBuiltin(t *testing.T) {
	b, err := library.NewBuiltin("Acme-Hello", "acme-ops", []byte(text("built in")), nil)
	require.NoError(t, err)
	first := service(nil)
	create(t, first, "Acme-Hello", "kept")
	var cfg library.Config
	s := service(func(c *library.Config) {
		all, err := library.Builtins()
		require.NoError(t, err)
		c.Builtin = append(all, b)
		cfg = *c
	})
	_, err = s.CreateDocument(ann, library.CreateDocumentRequest{Name: "Acme-Hello", Content: text("mine")})
	require.Equal(t, fault.DocumentAlreadyExists, fault.CodeOf(err))
	later := library.New(library.Config{Store: cfg.Store, Authorizer: access.AllowAll{}, Builtin: []library.Builtin{}})
	create(t, later, "Acme-Hello", "kept")
	require.Equal(t, append(slices.Clone(allBuiltin), "Acme-Hello"), names(t, s, 50))
	got, err := s.GetDocument(ann, library.GetDocumentRequest{Name: "Acme-Hello"})
	require.NoError(t, err)
	require.Equal(t, text("built in"), got.Content)
	require.Equal(t, []string{"Acme-Hello"}, names(t, s, 50, by("Owner", "ThirdParty")))

	_, err = library.NewBuiltin("x", "", []byte(text("x")), nil)
	require.Equal(t, fault.Validation, fault.CodeOf(err))
	_, err = library.NewBuiltin("Acme-Bad", "", []byte("{"), nil)
	require.Equal(t, fault.InvalidDocumentContent, fault.CodeOf(err))
}
