package library_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/library"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/memstore"
	"github.com/fleetwright/fleetwright/store/storetest"
)

var moment = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

// text returns a small Command document that prints a word.
func text(word string) string {
	return `{"schemaVersion":"2.2","description":"says ` + word + `","parameters":{"who":{"type":"String","default":"you","description":"to whom"},` +
		`"list":{"type":"StringList"}},"mainSteps":[{"action":"aws:runShellScript","name":"say","inputs":{"runCommand":["echo ` + word + ` {{ who }}"]}}]}`
}

func service(change func(*library.Config)) *library.Service {
	cfg := library.Config{Store: storetest.Harsh(memstore.New()), Authorizer: access.AllowAll{}, Now: func() time.Time { return moment }}
	if change != nil {
		change(&cfg)
	}
	return library.New(cfg)
}

func as(tenant, name string) context.Context {
	return access.With(context.Background(), access.Principal{Tenant: tenant, Name: name})
}

var ann = as("acme", "ann")

func create(t testing.TB, s *library.Service, name, word string) library.DocumentDescription {
	t.Helper()
	out, err := s.CreateDocument(ann, library.CreateDocumentRequest{Name: name, Content: text(word)})
	require.NoError(t, err)
	return out.DocumentDescription
}

func update(t testing.TB, s *library.Service, name, word string) library.DocumentDescription {
	t.Helper()
	out, err := s.UpdateDocument(ann, library.UpdateDocumentRequest{Name: name, DocumentVersion: "$LATEST", Content: text(word)})
	require.NoError(t, err)
	return out.DocumentDescription
}

func TestCreateDescribesWhatItKeeps(t *testing.T) {
	s := service(nil)
	out, err := s.CreateDocument(ann, library.CreateDocumentRequest{Name: "Say-Hello", Content: text("hello"), DisplayName: "Says hello", VersionName: "v1",
		TargetType: "/AWS::EC2::Instance", Tags: []library.Tag{{Key: "team", Value: "web"}, {Key: "env", Value: ""}}})
	require.NoError(t, err)
	want := library.DocumentDescription{
		Hash: out.DocumentDescription.Hash, HashType: "Sha256", Name: "Say-Hello", DisplayName: "Says hello", VersionName: "v1", Owner: "acme",
		CreatedDate: moment, Status: "Active", DocumentVersion: "1", Description: "says hello",
		Parameters:    []library.DocumentParameter{{Name: "who", Type: "String", Description: "to whom", DefaultValue: "you"}, {Name: "list", Type: "StringList", Required: true}},
		PlatformTypes: []string{"Linux", "MacOS"}, DocumentType: "Command", SchemaVersion: "2.2", LatestVersion: "1", DefaultVersion: "1", DocumentFormat: "JSON",
		TargetType: "/AWS::EC2::Instance", Tags: []library.Tag{{Key: "env"}, {Key: "team", Value: "web"}}, Author: "ann",
	}
	require.Len(t, want.Hash, 64)
	require.Equal(t, want, out.DocumentDescription)
	require.NotEmpty(t, out.Findings, "the author is told of the parameter that is pasted into a script")

	got, err := s.DescribeDocument(ann, library.DescribeDocumentRequest{Name: "Say-Hello"})
	require.NoError(t, err)
	require.Equal(t, want, got.Document)

	full, err := s.GetDocument(ann, library.GetDocumentRequest{Name: "Say-Hello"})
	require.NoError(t, err)
	require.Equal(t, library.GetDocumentResult{Name: "Say-Hello", CreatedDate: moment, DisplayName: "Says hello", VersionName: "v1", DocumentVersion: "1",
		Status: "Active", Content: text("hello"), DocumentType: "Command", DocumentFormat: "JSON"}, full)
}

// Rule V1: content changes make versions, the default version moves only when told, and selectors mean what they say.
func TestVersionsAndDefault(t *testing.T) {
	s := service(nil)
	create(t, s, "Say", "one")
	two := update(t, s, "Say", "two")
	require.Equal(t, "2", two.DocumentVersion)
	require.Equal(t, "2", two.LatestVersion)
	require.Equal(t, "1", two.DefaultVersion)
	update(t, s, "Say", "three")

	for selector, want := range map[string]string{"": "one", "$DEFAULT": "one", "$LATEST": "three", "2": "two"} {
		got, err := s.GetDocument(ann, library.GetDocumentRequest{Name: "Say", DocumentVersion: selector})
		require.NoError(t, err)
		require.Equal(t, text(want), got.Content, selector)
		content, format, resolved, hash, err := s.Fetch(context.Background(), "acme", "Say", selector)
		require.NoError(t, err)
		require.Equal(t, text(want), string(content))
		require.Equal(t, []string{"JSON", got.DocumentVersion}, []string{format, resolved})
		desc, err := s.DescribeDocument(ann, library.DescribeDocumentRequest{Name: "Say", DocumentVersion: selector})
		require.NoError(t, err)
		require.Equal(t, hash, desc.Document.Hash)
	}

	moved, err := s.UpdateDocumentDefaultVersion(ann, library.UpdateDocumentDefaultVersionRequest{Name: "Say", DocumentVersion: "2"})
	require.NoError(t, err)
	require.Equal(t, library.DocumentDefaultVersionDescription{Name: "Say", DefaultVersion: "2"}, moved.Description)
	shown, err := s.ListDocuments(ann, library.ListDocumentsRequest{Filters: []library.DocumentKeyValuesFilter{{Key: "Name", Values: []string{"Say"}}}})
	require.NoError(t, err)
	require.Equal(t, "2", shown.DocumentIdentifiers[0].DocumentVersion, "a list shows the default version")
	_, _, resolved, _, err := s.Fetch(context.Background(), "acme", "Say", "")
	require.NoError(t, err)
	require.Equal(t, "2", resolved)

	list, err := s.ListDocumentVersions(ann, library.ListDocumentVersionsRequest{Name: "Say"})
	require.NoError(t, err)
	var got []string
	for _, v := range list.DocumentVersions {
		got = append(got, fmt.Sprint(v.DocumentVersion, v.IsDefaultVersion))
	}
	require.Equal(t, []string{"3false", "2true", "1false"}, got)
}

// Rule V3: version names find a version, alone or together with its number, and are never used twice.
func TestVersionNames(t *testing.T) {
	s := service(nil)
	_, err := s.CreateDocument(ann, library.CreateDocumentRequest{Name: "Say", Content: text("a"), VersionName: "first"})
	require.NoError(t, err)
	_, err = s.UpdateDocument(ann, library.UpdateDocumentRequest{Name: "Say", Content: text("b"), VersionName: "second", DocumentVersion: "1"})
	require.NoError(t, err)
	got, err := s.GetDocument(ann, library.GetDocumentRequest{Name: "Say", VersionName: "second"})
	require.NoError(t, err)
	require.Equal(t, "2", got.DocumentVersion)
	got, err = s.GetDocument(ann, library.GetDocumentRequest{Name: "Say", VersionName: "second", DocumentVersion: "$LATEST"})
	require.NoError(t, err)
	require.Equal(t, text("b"), got.Content)
	_, err = s.UpdateDocument(ann, library.UpdateDocumentRequest{Name: "Say", Content: text("c"), VersionName: "first", DocumentVersion: "2"})
	require.Equal(t, fault.DuplicateDocumentVersionName, fault.CodeOf(err))
	// A deleted version gives its name back.
	_, err = s.DeleteDocument(ann, library.DeleteDocumentRequest{Name: "Say", VersionName: "second"})
	require.NoError(t, err)
	out, err := s.UpdateDocument(ann, library.UpdateDocumentRequest{Name: "Say", Content: text("c"), VersionName: "second", DocumentVersion: "$LATEST"})
	require.NoError(t, err)
	require.Equal(t, "3", out.DocumentDescription.DocumentVersion, "numbers are never used again")
}

// Rule V4: what an update does not say of a version's display name and target stays.
func TestUpdateKeepsWhatItDoesNotSay(t *testing.T) {
	s := service(nil)
	_, err := s.CreateDocument(ann, library.CreateDocumentRequest{Name: "Say", Content: text("a"), DisplayName: "A", TargetType: "/"})
	require.NoError(t, err)
	require.Equal(t, "A", update(t, s, "Say", "b").DisplayName)
	out, err := s.UpdateDocument(ann, library.UpdateDocumentRequest{Name: "Say", DocumentVersion: "2", Content: text("c"), DisplayName: "C", TargetType: "/x"})
	require.NoError(t, err)
	require.Equal(t, []string{"C", "/x"}, []string{out.DocumentDescription.DisplayName, out.DocumentDescription.TargetType})
}

// Rule V5: one version goes, or all; the default only with all.
func TestDelete(t *testing.T) {
	s := service(nil)
	create(t, s, "Say", "one")
	update(t, s, "Say", "two")
	update(t, s, "Say", "three")
	_, err := s.DeleteDocument(ann, library.DeleteDocumentRequest{Name: "Say", DocumentVersion: "$LATEST"})
	require.NoError(t, err)
	d, err := s.DescribeDocument(ann, library.DescribeDocumentRequest{Name: "Say", DocumentVersion: "$LATEST"})
	require.NoError(t, err)
	require.Equal(t, "2", d.Document.DocumentVersion)
	_, err = s.DeleteDocument(ann, library.DeleteDocumentRequest{Name: "Say", DocumentVersion: "1"})
	require.Equal(t, fault.InvalidDocumentOperation, fault.CodeOf(err))
	_, err = s.DeleteDocument(ann, library.DeleteDocumentRequest{Name: "Say"})
	require.NoError(t, err)
	_, err = s.GetDocument(ann, library.GetDocumentRequest{Name: "Say", DocumentVersion: "2"})
	require.Equal(t, fault.InvalidDocument, fault.CodeOf(err))
	require.Equal(t, "1", create(t, s, "Say", "anew").LatestVersion, "a new document of the name has nothing of the old one")
	list, err := s.ListDocumentVersions(ann, library.ListDocumentVersionsRequest{Name: "Say"})
	require.NoError(t, err)
	require.Len(t, list.DocumentVersions, 1)
}

// A deleted document leaves no record behind.
func TestDeleteLeavesNothing(t *testing.T) {
	st := memstore.New()
	s := service(func(c *library.Config) { c.Store = st })
	_, err := s.CreateDocument(ann, library.CreateDocumentRequest{Name: "Say", Content: text("a"), VersionName: "v"})
	require.NoError(t, err)
	update(t, s, "Say", "b")
	_, err = s.DeleteDocument(ann, library.DeleteDocumentRequest{Name: "Say"})
	require.NoError(t, err)
	require.NoError(t, st.View(context.Background(), func(ctx context.Context, r store.Reader) error {
		for it, err := range r.Scan(ctx, store.Range{}) {
			require.NoError(t, err)
			t.Errorf("left behind: %q", it.Key)
		}
		return nil
	}))
}

// Every refusal has AWS's code and says what to do.
func TestErrors(t *testing.T) {
	s := service(func(c *library.Config) { c.Limits = library.Limits{Versions: 2, Content: 2000} })
	create(t, s, "Have", "one")
	update(t, s, "Have", "two")
	_, err := s.CreateDocument(ann, library.CreateDocumentRequest{Name: "Old", Content: `{"schemaVersion":"1.2","runtimeConfig":{"aws:runShellScript":{"properties":[{"id":"a","runCommand":["ls"]}]}}}`})
	require.NoError(t, err)
	made := func(change func(*library.CreateDocumentRequest)) func() error {
		return func() error {
			r := library.CreateDocumentRequest{Name: "New", Content: text("x")}
			change(&r)
			_, err := s.CreateDocument(ann, r)
			return err
		}
	}
	edit := func(r library.UpdateDocumentRequest) func() error {
		return func() error { _, err := s.UpdateDocument(ann, r); return err }
	}
	get := func(r library.GetDocumentRequest) func() error {
		return func() error { _, err := s.GetDocument(ann, r); return err }
	}
	list := func(r library.ListDocumentsRequest) func() error {
		return func() error { _, err := s.ListDocuments(ann, r); return err }
	}
	tag := func(r library.AddTagsToResourceRequest) func() error {
		return func() error { _, err := s.AddTagsToResource(ann, r); return err }
	}
	var fifty []library.Tag
	for i := range 51 {
		fifty = append(fifty, library.Tag{Key: fmt.Sprint("k", i)})
	}
	for _, c := range []struct {
		name string
		do   func() error
		code fault.Code
		says string
	}{
		{"D3 short name", made(func(r *library.CreateDocumentRequest) { r.Name = "ab" }), fault.Validation, "3 to 128"},
		{"D3 bad name", made(func(r *library.CreateDocumentRequest) { r.Name = "a/b/c\x1b" }), fault.Validation, "3 to 128"},
		{"D3 aws", made(func(r *library.CreateDocumentRequest) { r.Name = "awsome" }), fault.Validation, "reserved"},
		{"D3 AWSSupport", made(func(r *library.CreateDocumentRequest) { r.Name = "AWSSupport-X" }), fault.Validation, "reserved"},
		{"D3 Amazon", made(func(r *library.CreateDocumentRequest) { r.Name = "Amazon-X" }), fault.Validation, "reserved"},
		{"D3 amzn", made(func(r *library.CreateDocumentRequest) { r.Name = "AMZN-X" }), fault.Validation, "reserved"},
		{"D1 type", made(func(r *library.CreateDocumentRequest) { r.DocumentType = "Cmd" }), fault.Validation, "document type"},
		{"a type that cannot be read", made(func(r *library.CreateDocumentRequest) { r.DocumentType = "Session" }), fault.InvalidDocumentSchemaVersion, "Session"},
		{"D2 format", made(func(r *library.CreateDocumentRequest) { r.DocumentFormat = "XML" }), fault.Validation, "JSON, YAML or TEXT"},
		{"D2 the format that is not the content's", made(func(r *library.CreateDocumentRequest) { r.DocumentFormat, r.Content = "JSON", "schemaVersion: '2.2'" }), fault.InvalidDocumentContent, ""},
		{"D4 size", made(func(r *library.CreateDocumentRequest) { r.Content = strings.Repeat(" ", 2001) }), fault.MaxDocumentSizeExceeded, "2000"},
		{"D5 no content", made(func(r *library.CreateDocumentRequest) { r.Content = "" }), fault.Validation, "Content is empty"},
		{"D5 content", made(func(r *library.CreateDocumentRequest) { r.Content = `{"schemaVersion":"2.2"}` }), fault.InvalidDocumentContent, "mainSteps"},
		{"D5 schema", made(func(r *library.CreateDocumentRequest) { r.Content = `{"schemaVersion":"9"}` }), fault.InvalidDocumentSchemaVersion, ""},
		{"D5 exists", made(func(r *library.CreateDocumentRequest) { r.Name = "Have" }), fault.DocumentAlreadyExists, "exists"},
		{"D7 target type", made(func(r *library.CreateDocumentRequest) { r.TargetType = "Instance" }), fault.Validation, "TargetType"},
		{"V3 version name", made(func(r *library.CreateDocumentRequest) { r.VersionName = "a b" }), fault.Validation, "version name"},
		{"V4 display name", made(func(r *library.CreateDocumentRequest) { r.DisplayName = strings.Repeat("x", 1025) }), fault.Validation, "1,024"},
		{"V4 display name with escapes", made(func(r *library.CreateDocumentRequest) { r.DisplayName = "\x1b[31m" }), fault.Validation, "control"},
		{"V9 attachments", made(func(r *library.CreateDocumentRequest) {
			r.Attachments = []library.AttachmentsSource{{Key: "SourceUrl"}}
		}), fault.UnsupportedOperation, "aws:downloadContent"},
		{"V10 requires", made(func(r *library.CreateDocumentRequest) { r.Requires = []library.DocumentRequires{{Name: "X"}} }), fault.UnsupportedOperation, "Requires"},
		{"tag key", made(func(r *library.CreateDocumentRequest) { r.Tags = []library.Tag{{Key: "a\n"}} }), fault.Validation, "tag key"},
		{"tag of aws", made(func(r *library.CreateDocumentRequest) { r.Tags = []library.Tag{{Key: "AWS:x"}} }), fault.Validation, "reserved"},
		{"tag value", made(func(r *library.CreateDocumentRequest) {
			r.Tags = []library.Tag{{Key: "a", Value: strings.Repeat("x", 257)}}
		}), fault.Validation, "256"},
		{"tag twice", made(func(r *library.CreateDocumentRequest) { r.Tags = []library.Tag{{Key: "a"}, {Key: "a"}} }), fault.Validation, "twice"},
		{"too many tags", made(func(r *library.CreateDocumentRequest) { r.Tags = fifty }), fault.TooManyTags, "51"},

		{"update of none", edit(library.UpdateDocumentRequest{Name: "None", Content: text("x")}), fault.InvalidDocument, "does not exist"},
		{"V2 old version", edit(library.UpdateDocumentRequest{Name: "Have", DocumentVersion: "1", Content: text("x")}), fault.InvalidDocumentVersion, "newest"},
		{"V2 no version is the default one", edit(library.UpdateDocumentRequest{Name: "Have", Content: text("x")}), fault.InvalidDocumentVersion, "newest"},
		{"V2 no version at all", edit(library.UpdateDocumentRequest{Name: "Have", DocumentVersion: "7", Content: text("x")}), fault.InvalidDocumentVersion, "no version 7"},
		{"V2 same content", edit(library.UpdateDocumentRequest{Name: "Have", DocumentVersion: "2", Content: text("two")}), fault.DuplicateDocumentContent, "already"},
		{"D6 versions", edit(library.UpdateDocumentRequest{Name: "Have", DocumentVersion: "2", Content: text("x")}), fault.DocumentVersionLimitExceeded, "2 versions"},
		{"schema 1.2 is not edited", edit(library.UpdateDocumentRequest{Name: "Old", DocumentVersion: "1", Content: text("x")}), fault.InvalidDocumentSchemaVersion, "new name"},
		{"update of a built-in one", edit(library.UpdateDocumentRequest{Name: "AWS-RunShellScript", Content: text("x")}), fault.InvalidDocumentOperation, "built in"},
		{"update with attachments", edit(library.UpdateDocumentRequest{Name: "Have", DocumentVersion: "2", Attachments: []library.AttachmentsSource{{}}}), fault.UnsupportedOperation, ""},
		{"update of bad content", edit(library.UpdateDocumentRequest{Name: "Have", DocumentVersion: "2", Content: "{"}), fault.InvalidDocumentContent, ""},

		{"get none", get(library.GetDocumentRequest{Name: "None"}), fault.InvalidDocument, "does not exist"},
		{"get another account's", get(library.GetDocumentRequest{Name: "arn:aws:ssm:us-east-1:123456789012:document/Have"}), fault.InvalidDocument, "does not exist"},
		{"get nonsense", get(library.GetDocumentRequest{Name: "../../etc/passwd"}), fault.Validation, "3 to 128"},
		{"V1 selector", get(library.GetDocumentRequest{Name: "Have", DocumentVersion: "latest"}), fault.InvalidDocumentVersion, "$LATEST"},
		{"V1 zero", get(library.GetDocumentRequest{Name: "Have", DocumentVersion: "0"}), fault.InvalidDocumentVersion, "from 1"},
		{"V1 leading zero", get(library.GetDocumentRequest{Name: "Have", DocumentVersion: "01"}), fault.InvalidDocumentVersion, "from 1"},
		{"V1 sign", get(library.GetDocumentRequest{Name: "Have", DocumentVersion: "+1"}), fault.InvalidDocumentVersion, "from 1"},
		{"V1 too big", get(library.GetDocumentRequest{Name: "Have", DocumentVersion: "99999999999999999999"}), fault.InvalidDocumentVersion, "from 1"},
		{"get no such version", get(library.GetDocumentRequest{Name: "Have", DocumentVersion: "3"}), fault.InvalidDocumentVersion, "no version 3"},
		{"get no such version name", get(library.GetDocumentRequest{Name: "Have", VersionName: "v"}), fault.InvalidDocumentVersion, "name v"},
		{"get a built-in version name", get(library.GetDocumentRequest{Name: "AWS-RunShellScript", VersionName: "v"}), fault.InvalidDocumentVersion, ""},
		{"get a built-in version", get(library.GetDocumentRequest{Name: "AWS-RunShellScript", DocumentVersion: "2"}), fault.InvalidDocumentVersion, ""},
		{"get as text", get(library.GetDocumentRequest{Name: "Have", DocumentFormat: "TEXT"}), fault.Validation, "invalid document format TEXT"},

		{"default to a selector", func() error {
			_, err := s.UpdateDocumentDefaultVersion(ann, library.UpdateDocumentDefaultVersionRequest{Name: "Have", DocumentVersion: "$LATEST"})
			return err
		}, fault.Validation, "number"},
		{"default to none", func() error {
			_, err := s.UpdateDocumentDefaultVersion(ann, library.UpdateDocumentDefaultVersionRequest{Name: "Have", DocumentVersion: "9"})
			return err
		}, fault.InvalidDocumentVersion, "no version 9"},
		{"delete none", func() error {
			_, err := s.DeleteDocument(ann, library.DeleteDocumentRequest{Name: "None"})
			return err
		}, fault.InvalidDocument, "does not exist"},
		{"delete a built-in one", func() error {
			_, err := s.DeleteDocument(ann, library.DeleteDocumentRequest{Name: "AWS-RunShellScript"})
			return err
		}, fault.InvalidDocumentOperation, "built in"},
		{"versions of none", func() error {
			_, err := s.ListDocumentVersions(ann, library.ListDocumentVersionsRequest{Name: "None"})
			return err
		}, fault.InvalidDocument, "does not exist"},
		{"versions with a made-up token", func() error {
			_, err := s.ListDocumentVersions(ann, library.ListDocumentVersionsRequest{Name: "Have", NextToken: "MTIz"})
			return err
		}, fault.InvalidNextToken, "begin again"},

		{"V12 key", list(library.ListDocumentsRequest{Filters: []library.DocumentKeyValuesFilter{{Key: "Colour", Values: []string{"x"}}}}), fault.InvalidFilterKey, "tag:KEY"},
		{"V12 seven", list(library.ListDocumentsRequest{Filters: seven()}), fault.Validation, "at most 6"},
		{"V12 owner", list(library.ListDocumentsRequest{Filters: []library.DocumentKeyValuesFilter{{Key: "Owner", Values: []string{"Me"}}}}), fault.Validation, "Amazon, Private"},
		{"V12 no value", list(library.ListDocumentsRequest{Filters: []library.DocumentKeyValuesFilter{{Key: "Owner"}}}), fault.Validation, "0 values"},
		{"V12 old form", list(library.ListDocumentsRequest{DocumentFilterList: []library.DocumentFilter{{Key: "PlatformTypes", Value: "BeOS"}}}), fault.Validation, "Windows, Linux, MacOS"},
		{"list too many", list(library.ListDocumentsRequest{MaxResults: 51}), fault.Validation, "1 to 50"},
		{"list with a made-up token", list(library.ListDocumentsRequest{NextToken: "!"}), fault.InvalidNextToken, "begin again"},

		{"tag another kind", tag(library.AddTagsToResourceRequest{ResourceType: "Parameter", ResourceID: "Have"}), fault.InvalidResourceType, ""},
		{"tag none", tag(library.AddTagsToResourceRequest{ResourceType: "Document", ResourceID: "None", Tags: []library.Tag{{Key: "a"}}}), fault.InvalidResourceID, ""},
		{"tag nonsense", tag(library.AddTagsToResourceRequest{ResourceType: "Document", ResourceID: "\x00", Tags: []library.Tag{{Key: "a"}}}), fault.InvalidResourceID, ""},
		{"tag with nothing", tag(library.AddTagsToResourceRequest{ResourceType: "Document", ResourceID: "Have"}), fault.Validation, "at least one"},
		{"tag too much", tag(library.AddTagsToResourceRequest{ResourceType: "Document", ResourceID: "Have", Tags: fifty}), fault.TooManyTags, ""},
		{"tag a built-in one", tag(library.AddTagsToResourceRequest{ResourceType: "Document", ResourceID: "AWS-RunShellScript", Tags: []library.Tag{{Key: "a"}}}), fault.InvalidDocumentOperation, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.do()
			require.Error(t, err)
			require.Equal(t, c.code, fault.CodeOf(err), "%v", err)
			require.Contains(t, err.Error(), c.says)
			require.Equal(t, fault.Clean(strings.ReplaceAll(err.Error(), "\n", " ")), strings.ReplaceAll(err.Error(), "\n", " "), "no raw bytes of a stranger")
		})
	}
	_, err = s.DescribeDocument(ann, library.DescribeDocumentRequest{Name: "New"})
	require.Equal(t, fault.InvalidDocument, fault.CodeOf(err), "no refused request has half an effect")
}

func seven() (out []library.DocumentKeyValuesFilter) {
	for range 7 {
		out = append(out, library.DocumentKeyValuesFilter{Key: "Name", Values: []string{"x"}})
	}
	return out
}

// Rule D6: the quota of documents counts a tenant's own.
func TestDocumentQuota(t *testing.T) {
	s := service(func(c *library.Config) { c.Limits.Documents = 2 })
	create(t, s, "One", "a")
	create(t, s, "Two", "a")
	_, err := s.CreateDocument(ann, library.CreateDocumentRequest{Name: "Three", Content: text("a")})
	require.Equal(t, fault.DocumentLimitExceeded, fault.CodeOf(err))
	_, err = s.CreateDocument(as("other", "bob"), library.CreateDocumentRequest{Name: "Three", Content: text("a")})
	require.NoError(t, err)
	_, err = s.DeleteDocument(ann, library.DeleteDocumentRequest{Name: "One"})
	require.NoError(t, err)
	create(t, s, "Three", "a")

	lifted := service(func(c *library.Config) { c.Limits.Documents = -1 })
	for i := range 510 {
		create(t, lifted, fmt.Sprint("doc-", i), "a")
	}
}

// Rule D6: the quota of versions counts those that exist.
func TestVersionQuota(t *testing.T) {
	s := service(func(c *library.Config) { c.Limits.Versions = 3 })
	create(t, s, "Say", "1")
	update(t, s, "Say", "2")
	update(t, s, "Say", "3")
	_, err := s.UpdateDocument(ann, library.UpdateDocumentRequest{Name: "Say", DocumentVersion: "$LATEST", Content: text("4")})
	require.Equal(t, fault.DocumentVersionLimitExceeded, fault.CodeOf(err))
	_, err = s.DeleteDocument(ann, library.DeleteDocumentRequest{Name: "Say", DocumentVersion: "2"})
	require.NoError(t, err)
	require.Equal(t, "4", update(t, s, "Say", "4").DocumentVersion)
	_, err = s.UpdateDocument(ann, library.UpdateDocumentRequest{Name: "Say", DocumentVersion: "$LATEST", Content: text("5")})
	require.Equal(t, fault.DocumentVersionLimitExceeded, fault.CodeOf(err))
}

// Tenants do not see each other, and an ARN means the caller's own.
func TestTenants(t *testing.T) {
	s := service(nil)
	create(t, s, "Say", "acme")
	bob := as("other", "bob")
	_, err := s.GetDocument(bob, library.GetDocumentRequest{Name: "Say"})
	require.Equal(t, fault.InvalidDocument, fault.CodeOf(err))
	_, err = s.GetDocument(bob, library.GetDocumentRequest{Name: "arn:aws:ssm:eu-west-1:acme:document/Say"})
	require.Equal(t, fault.InvalidDocument, fault.CodeOf(err))
	_, _, _, _, err = s.Fetch(context.Background(), "other", "Say", "")
	require.Equal(t, fault.InvalidDocument, fault.CodeOf(err))
	got, err := s.GetDocument(ann, library.GetDocumentRequest{Name: "arn:aws:ssm:eu-west-1:acme:document/Say"})
	require.NoError(t, err)
	require.Equal(t, "Say", got.Name)
	list, err := s.ListDocuments(bob, library.ListDocumentsRequest{Filters: []library.DocumentKeyValuesFilter{{Key: "Owner", Values: []string{"Self"}}}})
	require.NoError(t, err)
	require.Empty(t, list.DocumentIdentifiers)
	_, err = s.CreateDocument(bob, library.CreateDocumentRequest{Name: "Say", Content: text("other")})
	require.NoError(t, err)
}

// Of writers that all saw the newest version, each gets a number of its own, without a gap; of writers that saw the same version by number, one wins (V2).
func TestConcurrentUpdates(t *testing.T) {
	s := service(nil)
	create(t, s, "Say", "start")
	const writers = 64
	got := make([]string, writers)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			out, err := s.UpdateDocument(ann, library.UpdateDocumentRequest{Name: "Say", DocumentVersion: "$LATEST", Content: text(fmt.Sprint("w", i))})
			if err == nil {
				got[i] = out.DocumentDescription.DocumentVersion
			}
		})
	}
	wg.Wait()
	seen := map[string]int{}
	for i, v := range got {
		seen[v] = i
	}
	for n := 2; n <= writers+1; n++ {
		i, ok := seen[fmt.Sprint(n)]
		require.True(t, ok, "version %d is missing", n)
		content, _, _, _, err := s.Fetch(context.Background(), "acme", "Say", fmt.Sprint(n))
		require.NoError(t, err)
		require.Equal(t, text(fmt.Sprint("w", i)), string(content))
	}

	var won, lost sync.Map
	for i := range writers {
		wg.Go(func() {
			_, err := s.UpdateDocument(ann, library.UpdateDocumentRequest{Name: "Say", DocumentVersion: fmt.Sprint(writers + 1), Content: text(fmt.Sprint("x", i))})
			if err == nil {
				won.Store(i, true)
			} else {
				lost.Store(i, fault.CodeOf(err))
			}
		})
	}
	wg.Wait()
	n := 0
	won.Range(func(any, any) bool { n++; return true })
	require.Equal(t, 1, n)
	lost.Range(func(_, code any) bool { require.Equal(t, fault.InvalidDocumentVersion, code); return true })
}

// JSON as AWS's clients send it decodes into the requests, and answers have AWS's members.
func TestJSONIsAWS(t *testing.T) {
	s := service(nil)
	var req library.CreateDocumentRequest
	content, err := json.Marshal(text("x"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal([]byte(`{"Content":`+string(content)+`,"Name":"Say","DocumentType":"Command","DocumentFormat":"JSON","Tags":[{"Key":"a","Value":"b"}]}`), &req))
	out, err := s.CreateDocument(ann, req)
	require.NoError(t, err)
	var members map[string]map[string]any
	b, err := json.Marshal(out)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &members))
	require.Equal(t, "1", members["DocumentDescription"]["DefaultVersion"])
	require.NotContains(t, string(b), "Findings")
	require.NotContains(t, string(b), "VersionName", "what is not set is not sent")
}
