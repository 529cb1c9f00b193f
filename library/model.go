package library

import (
	"time"

	"github.com/fleetwright/fleetwright/document"
)

// Tag is a tag of a document (shape Tag).
type Tag struct {
	Key   string `json:"Key"`
	Value string `json:"Value"`
}

// AttachmentsSource stands in requests so that one with attachments is refused and not silently cut (shape AttachmentsSource).
type AttachmentsSource struct {
	Key    string   `json:"Key,omitempty"`
	Values []string `json:"Values,omitempty"`
	Name   string   `json:"Name,omitempty"`
}

// DocumentRequires stands in requests so that one with requirements is refused and not silently cut (shape DocumentRequires).
type DocumentRequires struct {
	Name        string `json:"Name"`
	Version     string `json:"Version,omitempty"`
	RequireType string `json:"RequireType,omitempty"`
	VersionName string `json:"VersionName,omitempty"`
}

// DocumentParameter describes a parameter of a document (shape DocumentParameter). Type is String or StringList (D13).
type DocumentParameter struct {
	Name         string `json:"Name"`
	Type         string `json:"Type"`
	Description  string `json:"Description,omitempty"`
	DefaultValue string `json:"DefaultValue,omitempty"` // text; of what is no string, JSON
	Required     bool   `json:"-"`                      // own: there is no default, so a value must be given (D15)
}

// DocumentDescription describes one version of a document (shape DocumentDescription).
type DocumentDescription struct {
	Hash            string              `json:"Hash,omitempty"`     // SHA-256 of the content in lower-case hexadecimal (D9)
	HashType        string              `json:"HashType,omitempty"` // Sha256
	Name            string              `json:"Name"`
	DisplayName     string              `json:"DisplayName,omitempty"`
	VersionName     string              `json:"VersionName,omitempty"`
	Owner           string              `json:"Owner"` // the tenant; "Amazon" for documents that AWS owns there
	CreatedDate     time.Time           `json:"CreatedDate,omitzero"`
	Status          string              `json:"Status"` // Active: nothing here is made in the background (D8)
	DocumentVersion string              `json:"DocumentVersion"`
	Description     string              `json:"Description,omitempty"`
	Parameters      []DocumentParameter `json:"Parameters,omitempty"`
	PlatformTypes   []string            `json:"PlatformTypes,omitempty"`
	DocumentType    string              `json:"DocumentType"`
	SchemaVersion   string              `json:"SchemaVersion,omitempty"`
	LatestVersion   string              `json:"LatestVersion"`
	DefaultVersion  string              `json:"DefaultVersion"`
	DocumentFormat  string              `json:"DocumentFormat"`
	TargetType      string              `json:"TargetType,omitempty"`
	Tags            []Tag               `json:"Tags,omitempty"` // sorted by key
	Author          string              `json:"Author,omitempty"`
}

// CreateDocumentRequest makes a document (shape CreateDocumentRequest). Name and Content are required. DocumentType "" is Command. DocumentFormat "" is found from the
// content: AWS takes it for JSON.
type CreateDocumentRequest struct {
	Content        string              `json:"Content"`
	Requires       []DocumentRequires  `json:"Requires,omitempty"`    // refused
	Attachments    []AttachmentsSource `json:"Attachments,omitempty"` // refused
	Name           string              `json:"Name"`
	DisplayName    string              `json:"DisplayName,omitempty"`
	VersionName    string              `json:"VersionName,omitempty"`
	DocumentType   string              `json:"DocumentType,omitempty"`
	DocumentFormat string              `json:"DocumentFormat,omitempty"`
	TargetType     string              `json:"TargetType,omitempty"`
	Tags           []Tag               `json:"Tags,omitempty"`
}

// CreateDocumentResult is the answer to CreateDocument.
type CreateDocumentResult struct {
	DocumentDescription DocumentDescription `json:"DocumentDescription"`
	Findings            document.Findings   `json:"-"` // own: warnings and advice for the author
}

// UpdateDocumentRequest makes a new version (shape UpdateDocumentRequest). DocumentVersion names the version that the author saw, which must be the newest: $LATEST or its
// number; "" is the default version, as on AWS, and so works only while that is the newest (V2). DisplayName and TargetType "" keep what the newest version has.
type UpdateDocumentRequest struct {
	Content         string              `json:"Content"`
	Attachments     []AttachmentsSource `json:"Attachments,omitempty"` // refused
	Name            string              `json:"Name"`
	DisplayName     string              `json:"DisplayName,omitempty"`
	VersionName     string              `json:"VersionName,omitempty"`
	DocumentVersion string              `json:"DocumentVersion,omitempty"`
	DocumentFormat  string              `json:"DocumentFormat,omitempty"`
	TargetType      string              `json:"TargetType,omitempty"`
}

// UpdateDocumentResult is the answer to UpdateDocument.
type UpdateDocumentResult struct {
	DocumentDescription DocumentDescription `json:"DocumentDescription"`
	Findings            document.Findings   `json:"-"` // own: warnings and advice for the author
}

// UpdateDocumentDefaultVersionRequest moves the default version to DocumentVersion, a number (V1).
type UpdateDocumentDefaultVersionRequest struct {
	Name            string `json:"Name"`
	DocumentVersion string `json:"DocumentVersion"`
}

// DocumentDefaultVersionDescription says which version is the default (shape of that name).
type DocumentDefaultVersionDescription struct {
	Name               string `json:"Name"`
	DefaultVersion     string `json:"DefaultVersion"`
	DefaultVersionName string `json:"DefaultVersionName,omitempty"`
}

// UpdateDocumentDefaultVersionResult is the answer to UpdateDocumentDefaultVersion.
type UpdateDocumentDefaultVersionResult struct {
	Description DocumentDefaultVersionDescription `json:"Description"`
}

// GetDocumentRequest asks for a document's content. DocumentVersion is a number, $LATEST, or $DEFAULT, which is the default. DocumentFormat "" is the format that the
// version was written in; JSON and YAML are made from each other.
type GetDocumentRequest struct {
	Name            string `json:"Name"`
	VersionName     string `json:"VersionName,omitempty"`
	DocumentVersion string `json:"DocumentVersion,omitempty"`
	DocumentFormat  string `json:"DocumentFormat,omitempty"`
}

// GetDocumentResult is the answer to GetDocument. In the format it was written in, Content is what was given, byte for byte.
type GetDocumentResult struct {
	Name            string    `json:"Name"`
	CreatedDate     time.Time `json:"CreatedDate,omitzero"`
	DisplayName     string    `json:"DisplayName,omitempty"`
	VersionName     string    `json:"VersionName,omitempty"`
	DocumentVersion string    `json:"DocumentVersion"`
	Status          string    `json:"Status"`
	Content         string    `json:"Content"`
	DocumentType    string    `json:"DocumentType"`
	DocumentFormat  string    `json:"DocumentFormat"`
}

// DescribeDocumentRequest asks for everything but the content; "" is the default version.
type DescribeDocumentRequest struct {
	Name            string `json:"Name"`
	DocumentVersion string `json:"DocumentVersion,omitempty"`
	VersionName     string `json:"VersionName,omitempty"`
}

// DescribeDocumentResult is the answer to DescribeDocument.
type DescribeDocumentResult struct {
	Document DocumentDescription `json:"Document"`
}

// DeleteDocumentRequest deletes one version, or without DocumentVersion and VersionName the whole document (V5).
type DeleteDocumentRequest struct {
	Name            string `json:"Name"`
	DocumentVersion string `json:"DocumentVersion,omitempty"`
	VersionName     string `json:"VersionName,omitempty"`
	Force           bool   `json:"Force,omitempty"` // of no effect on the types that are kept here
}

// DeleteDocumentResult is the empty answer to DeleteDocument.
type DeleteDocumentResult struct{}

// DocumentKeyValuesFilter selects documents (shape of that name). Filters of different keys must all hold; of the values of one, any (V12). Keys: Name (values are beginnings of
// names), Owner (Amazon, Private, Public, Self, ThirdParty), PlatformTypes, DocumentType, TargetType, tag:KEY.
type DocumentKeyValuesFilter struct {
	Key    string   `json:"Key"`
	Values []string `json:"Values,omitempty"`
}

// DocumentFilter is AWS's older form of a filter, with one value (shape DocumentFilter; its members begin in lower case).
type DocumentFilter struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// ListDocumentsRequest selects documents, at most six filters of both forms. MaxResults is 1 to 50, 50 by default.
type ListDocumentsRequest struct {
	DocumentFilterList []DocumentFilter          `json:"DocumentFilterList,omitempty"`
	Filters            []DocumentKeyValuesFilter `json:"Filters,omitempty"`
	MaxResults         int                       `json:"MaxResults,omitempty"`
	NextToken          string                    `json:"NextToken,omitempty"`
}

// DocumentIdentifier is one document of a list, as its default version is (shape DocumentIdentifier).
type DocumentIdentifier struct {
	Name            string    `json:"Name"`
	CreatedDate     time.Time `json:"CreatedDate,omitzero"`
	DisplayName     string    `json:"DisplayName,omitempty"`
	Owner           string    `json:"Owner"`
	VersionName     string    `json:"VersionName,omitempty"`
	PlatformTypes   []string  `json:"PlatformTypes,omitempty"`
	DocumentVersion string    `json:"DocumentVersion"`
	DocumentType    string    `json:"DocumentType"`
	SchemaVersion   string    `json:"SchemaVersion,omitempty"`
	DocumentFormat  string    `json:"DocumentFormat"`
	TargetType      string    `json:"TargetType,omitempty"`
	Tags            []Tag     `json:"Tags,omitempty"`
	Author          string    `json:"Author,omitempty"`
}

// ListDocumentsResult is one page, sorted by name; the last one has no NextToken.
type ListDocumentsResult struct {
	DocumentIdentifiers []DocumentIdentifier `json:"DocumentIdentifiers"`
	NextToken           string               `json:"NextToken,omitempty"`
}

// ListDocumentVersionsRequest lists a document's versions. MaxResults is 1 to 50, 50 by default.
type ListDocumentVersionsRequest struct {
	Name       string `json:"Name"`
	MaxResults int    `json:"MaxResults,omitempty"`
	NextToken  string `json:"NextToken,omitempty"`
}

// DocumentVersionInfo is one version of a list (shape of that name).
type DocumentVersionInfo struct {
	Name             string    `json:"Name"`
	DisplayName      string    `json:"DisplayName,omitempty"`
	DocumentVersion  string    `json:"DocumentVersion"`
	VersionName      string    `json:"VersionName,omitempty"`
	CreatedDate      time.Time `json:"CreatedDate,omitzero"`
	IsDefaultVersion bool      `json:"IsDefaultVersion"`
	DocumentFormat   string    `json:"DocumentFormat"`
	Status           string    `json:"Status"`
}

// ListDocumentVersionsResult is one page, newest version first; the last one has no NextToken.
type ListDocumentVersionsResult struct {
	DocumentVersions []DocumentVersionInfo `json:"DocumentVersions"`
	NextToken        string                `json:"NextToken,omitempty"`
}

// AddTagsToResourceRequest gives a document tags; a tag of the same key is replaced. ResourceType is Document, ResourceId its name.
type AddTagsToResourceRequest struct {
	ResourceType string `json:"ResourceType"`
	ResourceID   string `json:"ResourceId"`
	Tags         []Tag  `json:"Tags"`
}

// AddTagsToResourceResult is the empty answer to AddTagsToResource.
type AddTagsToResourceResult struct{}

// RemoveTagsFromResourceRequest takes tags from a document; one that it has not is no error.
type RemoveTagsFromResourceRequest struct {
	ResourceType string   `json:"ResourceType"`
	ResourceID   string   `json:"ResourceId"`
	TagKeys      []string `json:"TagKeys"`
}

// RemoveTagsFromResourceResult is the empty answer to RemoveTagsFromResource.
type RemoveTagsFromResourceResult struct{}

// ListTagsForResourceRequest asks for a document's tags.
type ListTagsForResourceRequest struct {
	ResourceType string `json:"ResourceType"`
	ResourceID   string `json:"ResourceId"`
}

// ListTagsForResourceResult has the tags, sorted by key.
type ListTagsForResourceResult struct {
	TagList []Tag `json:"TagList"`
}
