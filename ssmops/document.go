package ssmops

import (
	"context"

	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/library"
)

// The requests of documents are those of package library: they have AWS's members.

// DocumentDescription is library.DocumentDescription with its time as on the wire.
type DocumentDescription struct {
	library.DocumentDescription
	CreatedDate Time `json:"CreatedDate,omitzero"`
}

// DocumentResult is the answer of CreateDocument and UpdateDocument. Findings are own: warnings and advice for the author.
type DocumentResult struct {
	DocumentDescription DocumentDescription `json:"DocumentDescription"`
	Findings            []Finding           `json:"Findings,omitempty"`
}

// DescribeDocumentResult is the answer of DescribeDocument.
type DescribeDocumentResult struct {
	Document DocumentDescription `json:"Document"`
}

// GetDocumentResult is library.GetDocumentResult with its time as on the wire.
type GetDocumentResult struct {
	library.GetDocumentResult
	CreatedDate Time `json:"CreatedDate,omitzero"`
}

// DocumentIdentifier is library.DocumentIdentifier with its time as on the wire.
type DocumentIdentifier struct {
	library.DocumentIdentifier
	CreatedDate Time `json:"CreatedDate,omitzero"`
}

// ListDocumentsResult is the answer of ListDocuments.
type ListDocumentsResult struct {
	DocumentIdentifiers []DocumentIdentifier `json:"DocumentIdentifiers"`
	NextToken           string               `json:"NextToken,omitempty"`
}

// DocumentVersionInfo is library.DocumentVersionInfo with its time as on the wire.
type DocumentVersionInfo struct {
	library.DocumentVersionInfo
	CreatedDate Time `json:"CreatedDate,omitzero"`
}

// ListDocumentVersionsResult is the answer of ListDocumentVersions.
type ListDocumentVersionsResult struct {
	DocumentVersions []DocumentVersionInfo `json:"DocumentVersions"`
	NextToken        string                `json:"NextToken,omitempty"`
}

func (a *API) createDocument(ctx context.Context, in *library.CreateDocumentRequest) (any, error) {
	r, err := a.Documents.CreateDocument(ctx, *in)
	return DocumentResult{DocumentDescription{r.DocumentDescription, Time{r.DocumentDescription.CreatedDate}}, findings(r.Findings)}, err
}

func (a *API) updateDocument(ctx context.Context, in *library.UpdateDocumentRequest) (any, error) {
	r, err := a.Documents.UpdateDocument(ctx, *in)
	return DocumentResult{DocumentDescription{r.DocumentDescription, Time{r.DocumentDescription.CreatedDate}}, findings(r.Findings)}, err
}

func (a *API) updateDocumentDefaultVersion(ctx context.Context, in *library.UpdateDocumentDefaultVersionRequest) (any, error) {
	return a.Documents.UpdateDocumentDefaultVersion(ctx, *in)
}

func (a *API) describeDocument(ctx context.Context, in *library.DescribeDocumentRequest) (any, error) {
	r, err := a.Documents.DescribeDocument(ctx, *in)
	return DescribeDocumentResult{DocumentDescription{r.Document, Time{r.Document.CreatedDate}}}, err
}

func (a *API) getDocument(ctx context.Context, in *library.GetDocumentRequest) (any, error) {
	r, err := a.Documents.GetDocument(ctx, *in)
	return GetDocumentResult{r, Time{r.CreatedDate}}, err
}

func (a *API) deleteDocument(ctx context.Context, in *library.DeleteDocumentRequest) (any, error) {
	_, err := a.Documents.DeleteDocument(ctx, *in)
	return nil, err
}

func (a *API) listDocuments(ctx context.Context, in *library.ListDocumentsRequest) (any, error) {
	r, err := a.Documents.ListDocuments(ctx, *in)
	out := ListDocumentsResult{DocumentIdentifiers: []DocumentIdentifier{}, NextToken: r.NextToken}
	for _, d := range r.DocumentIdentifiers {
		out.DocumentIdentifiers = append(out.DocumentIdentifiers, DocumentIdentifier{d, Time{d.CreatedDate}})
	}
	return out, err
}

func (a *API) listDocumentVersions(ctx context.Context, in *library.ListDocumentVersionsRequest) (any, error) {
	r, err := a.Documents.ListDocumentVersions(ctx, *in)
	out := ListDocumentVersionsResult{DocumentVersions: []DocumentVersionInfo{}, NextToken: r.NextToken}
	for _, v := range r.DocumentVersions {
		out.DocumentVersions = append(out.DocumentVersions, DocumentVersionInfo{v, Time{v.CreatedDate}})
	}
	return out, err
}

// Finding is document.Finding with its severity as a word: error, warning or advice. Own.
type Finding struct {
	Code     string `json:"Code"`
	Severity string `json:"Severity"`
	Line     int    `json:"Line,omitempty"` // from 1; 0 when it has no place in the text
	Column   int    `json:"Column,omitempty"`
	Path     string `json:"Path,omitempty"`
	Message  string `json:"Message"`
	Fix      string `json:"Fix,omitempty"`
}

func findings(fs document.Findings) []Finding {
	out := []Finding{}
	for _, f := range fs {
		out = append(out, Finding{f.Code, f.Severity.String(), f.Line, f.Column, f.Path, f.Message, f.Fix})
	}
	return out
}
