package library_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/library"
)

// modelVersion and modelDoc are the simplest library that obeys the rules.
type modelVersion struct {
	n                 int
	label, word, show string
}

type modelDoc struct {
	versions   []modelVersion // in order
	last, base int            // highest number ever, default
}

func (d *modelDoc) find(n int) int {
	return slices.IndexFunc(d.versions, func(v modelVersion) bool { return v.n == n })
}

func (d *modelDoc) latest() modelVersion { return d.versions[len(d.versions)-1] }

// number resolves a selector; 0 if it means nothing.
func (d *modelDoc) number(selector string) int {
	switch selector {
	case "", "$DEFAULT":
		return d.base
	case "$LATEST":
		return d.latest().n
	}
	n := 0
	fmt.Sscan(selector, &n) //nolint:errcheck // selectors here are numbers
	if d.find(n) < 0 {
		return 0
	}
	return n
}

// TestModel drives the service and the model with the same random calls and compares every answer.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := service(func(c *library.Config) { c.Limits = library.Limits{Documents: 2, Versions: 3} })
		docs := map[string]*modelDoc{}
		name := rapid.SampledFrom([]string{"doc-a", "doc-a", "doc-b", "doc-c"})
		word := rapid.SampledFrom([]string{"v", "w", "x", "y", "z"})
		label := rapid.SampledFrom([]string{"", "", "p", "q"})
		selector := rapid.SampledFrom([]string{"", "$DEFAULT", "$LATEST", "$LATEST", "$LATEST", "$LATEST", "1", "2", "3", "5"})

		check := func(t *rapid.T, want fault.Code, err error) bool {
			require.Equal(t, want, fault.CodeOf(err), "%v", err)
			return err == nil
		}
		update := func(t *rapid.T) {
			n, w, l, sel := name.Draw(t, "name"), word.Draw(t, "word"), label.Draw(t, "label"), selector.Draw(t, "selector")
			d := docs[n]
			want := fault.Code("")
			switch {
			case d == nil:
				want = fault.InvalidDocument
			case d.number(sel) != d.latest().n:
				want = fault.InvalidDocumentVersion
			case d.latest().word == w:
				want = fault.DuplicateDocumentContent
			case len(d.versions) == 3:
				want = fault.DocumentVersionLimitExceeded
			case l != "" && slices.ContainsFunc(d.versions, func(v modelVersion) bool { return v.label == l }):
				want = fault.DuplicateDocumentVersionName
			}
			out, err := s.UpdateDocument(ann, library.UpdateDocumentRequest{Name: n, Content: text(w), VersionName: l, DocumentVersion: sel})
			if check(t, want, err) {
				d.last++
				d.versions = append(d.versions, modelVersion{d.last, l, w, ""})
				require.Equal(t, fmt.Sprint(d.last), out.DocumentDescription.DocumentVersion)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"create": func(t *rapid.T) {
				n, w, l := name.Draw(t, "name"), word.Draw(t, "word"), label.Draw(t, "label")
				want := fault.Code("")
				if docs[n] != nil {
					want = fault.DocumentAlreadyExists
				} else if len(docs) == 2 {
					want = fault.DocumentLimitExceeded
				}
				_, err := s.CreateDocument(ann, library.CreateDocumentRequest{Name: n, Content: text(w), VersionName: l})
				if check(t, want, err) {
					docs[n] = &modelDoc{versions: []modelVersion{{1, l, w, ""}}, last: 1, base: 1}
				}
			},
			"update":           update,
			"update again":     update, // more often than the others
			"update once more": update,
			"default": func(t *rapid.T) {
				n, v := name.Draw(t, "name"), rapid.IntRange(1, 4).Draw(t, "version")
				d := docs[n]
				want := fault.Code("")
				switch {
				case d == nil:
					want = fault.InvalidDocument
				case d.find(v) < 0:
					want = fault.InvalidDocumentVersion
				}
				_, err := s.UpdateDocumentDefaultVersion(ann, library.UpdateDocumentDefaultVersionRequest{Name: n, DocumentVersion: fmt.Sprint(v)})
				if check(t, want, err) {
					d.base = v
				}
			},
			"delete version": func(t *rapid.T) {
				n, sel := name.Draw(t, "name"), selector.Filter(func(s string) bool { return s != "" }).Draw(t, "selector")
				d := docs[n]
				want := fault.Code("")
				switch {
				case d == nil:
					want = fault.InvalidDocument
				case d.number(sel) == 0:
					want = fault.InvalidDocumentVersion
				case d.number(sel) == d.base:
					want = fault.InvalidDocumentOperation
				}
				_, err := s.DeleteDocument(ann, library.DeleteDocumentRequest{Name: n, DocumentVersion: sel})
				if check(t, want, err) {
					i := d.find(d.number(sel))
					d.versions = slices.Delete(d.versions, i, i+1)
				}
			},
			"delete": func(t *rapid.T) {
				n := name.Draw(t, "name")
				if !rapid.SampledFrom([]bool{true, false, false, false}).Draw(t, "really") {
					t.Skip("so that documents live for a while")
				}
				want := fault.Code("")
				if docs[n] == nil {
					want = fault.InvalidDocument
				}
				_, err := s.DeleteDocument(ann, library.DeleteDocumentRequest{Name: n})
				check(t, want, err)
				delete(docs, n)
			},
			"": func(t *rapid.T) {
				list, err := s.ListDocuments(ann, library.ListDocumentsRequest{Filters: []library.DocumentKeyValuesFilter{{Key: "Owner", Values: []string{"Self"}}}})
				require.NoError(t, err)
				require.Len(t, list.DocumentIdentifiers, len(docs))
				for _, id := range list.DocumentIdentifiers {
					d := docs[id.Name]
					require.NotNil(t, d)
					base := d.versions[d.find(d.base)]
					require.Equal(t, fmt.Sprint(d.base, base.label), fmt.Sprint(id.DocumentVersion, id.VersionName))
					versions, err := s.ListDocumentVersions(ann, library.ListDocumentVersionsRequest{Name: id.Name})
					require.NoError(t, err)
					require.Len(t, versions.DocumentVersions, len(d.versions))
					for i, v := range d.versions {
						got := versions.DocumentVersions[len(d.versions)-1-i]
						require.Equal(t, fmt.Sprint(v.n, v.label, v.n == d.base), fmt.Sprint(got.DocumentVersion, got.VersionName, got.IsDefaultVersion))
						content, _, _, _, err := s.Fetch(context.Background(), "acme", id.Name, fmt.Sprint(v.n))
						require.NoError(t, err)
						require.Equal(t, text(v.word), string(content))
					}
				}
			},
		})
	})
}
