package library

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"slices"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
)

const (
	active   = "Active" // D8; the other states are of documents that are made in the background
	hashType = "Sha256" // D9
)

// describe puts a version's description together. doc may be nil: then what only the content tells is missing.
func describe(name, owner string, h *head, v *version, doc *document.Document) DocumentDescription {
	d := DocumentDescription{Hash: v.Hash, HashType: hashType, Name: name, DisplayName: v.DisplayName, VersionName: v.Name, Owner: owner, CreatedDate: h.Created,
		Status: active, DocumentVersion: number(v.Number), PlatformTypes: slices.Clone(v.Platforms), DocumentType: h.Type, SchemaVersion: v.Schema,
		LatestVersion: number(h.Latest), DefaultVersion: number(h.Default), DocumentFormat: v.Format, TargetType: v.TargetType, Tags: tagList(h.Tags), Author: v.Author}
	if doc == nil {
		return d
	}
	d.Description = doc.Description
	for i := range doc.Parameters {
		p := &doc.Parameters[i]
		dp := DocumentParameter{Name: p.Name, Type: "String", Description: p.Description, DefaultValue: defaultText(p.Default), Required: p.Required()}
		if p.Type == document.TypeStringList || p.Type == document.TypeMapList {
			dp.Type = "StringList"
		}
		d.Parameters = append(d.Parameters, dp)
	}
	return d
}

// defaultText returns a default as text: a string as it is, anything else as JSON.
func defaultText(v *document.Value) string {
	switch v.Kind() {
	case document.Null:
		return ""
	case document.List, document.Map:
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if e.Encode(v.Go()) != nil {
			return ""
		}
		return string(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
	}
	return v.Text()
}

func tagList(tags map[string]string) []Tag {
	var out []Tag
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, Tag{Key: k, Value: tags[k]})
	}
	return out
}

// found is a version with its content, a user's or a built-in one.
type found struct {
	name, owner string
	head        *head
	version     version
	content     []byte
}

// find returns a version for a caller who may do the action.
func (s *Service) find(ctx context.Context, op, action, name, selector, label string) (f found, err error) {
	defer func() { s.audited(ctx, action, "document/"+clip(name), err) }()
	tenant := access.Tenant(ctx)
	short, err := given(op, tenant, name)
	if err != nil {
		return f, err
	}
	sub, err := s.look(ctx, op, action, short)
	if err != nil {
		return f, err
	}
	if b := sub.builtin; b != nil {
		f = found{short, b.owner, b.head(), b.head().Shown, b.doc.Source}
		if label != "" {
			return f, fault.New(op, fault.InvalidDocumentVersion, "document %s is built in; its version has no name", short).About(short)
		}
		_, err := pick(op, short, f.head, selector)
		return f, err
	}
	err = s.view(ctx, op, func(ctx context.Context, r store.Reader) error {
		h, err := s.heads.Get(ctx, r, headKey(tenant, short))
		if err != nil {
			return orAbsent(err, op, short)
		}
		v, text, err := s.load(ctx, r, op, tenant, short, &h, selector, label)
		f = found{short, tenant, &h, v, text}
		return err
	})
	return f, err
}

// GetDocument returns a document's content. It needs ssm:GetDocument. Errors: InvalidDocument, InvalidDocumentVersion, ValidationException.
func (s *Service) GetDocument(ctx context.Context, req GetDocumentRequest) (GetDocumentResult, error) {
	const op = "library.GetDocument"
	f, err := s.find(ctx, op, "ssm:GetDocument", req.Name, req.DocumentVersion, req.VersionName)
	if err != nil {
		return GetDocumentResult{}, err
	}
	text, format, err := s.convert(op, &f, req.DocumentFormat)
	if err != nil {
		return GetDocumentResult{}, err
	}
	v := &f.version
	return GetDocumentResult{Name: f.name, CreatedDate: f.head.Created, DisplayName: v.DisplayName, VersionName: v.Name, DocumentVersion: number(v.Number),
		Status: active, Content: text, DocumentType: f.head.Type, DocumentFormat: format}, nil
}

// convert renders content in the format that was asked for.
func (s *Service) convert(op string, f *found, format string) (text, as string, err error) {
	if format == "" || format == f.version.Format {
		return string(f.content), f.version.Format, nil
	}
	if !slices.Contains(formats, document.Format(format)) || format == string(document.TEXT) || f.version.Format == string(document.TEXT) {
		return "", "", fault.New(op, fault.Validation, "invalid document format %s: document %s is written in %s", clip(format), f.name, f.version.Format).About(f.name)
	}
	doc, err := document.Parse(f.content, &document.Options{File: f.name, Kind: document.Kind(f.head.Type), Format: document.Format(f.version.Format), MaxSize: -1, Actions: s.cfg.Actions})
	if err != nil {
		return "", "", fault.Wrap(op, err)
	}
	if format == string(document.YAML) {
		return string(doc.YAML()), format, nil
	}
	var b bytes.Buffer
	if err := json.Indent(&b, doc.JSON(), "", "  "); err != nil {
		return "", "", fault.New(op, fault.InternalServerError, "document %s cannot be rendered: %w", f.name, err)
	}
	return b.String(), format, nil
}

// DescribeDocument returns everything but the content. It needs ssm:DescribeDocument. Errors: InvalidDocument, InvalidDocumentVersion.
func (s *Service) DescribeDocument(ctx context.Context, req DescribeDocumentRequest) (DescribeDocumentResult, error) {
	const op = "library.DescribeDocument"
	f, err := s.find(ctx, op, "ssm:DescribeDocument", req.Name, req.DocumentVersion, req.VersionName)
	if err != nil {
		return DescribeDocumentResult{}, err
	}
	// A document that another release kept and this one cannot read is still described, as far as its records go.
	doc, err := document.Parse(f.content, &document.Options{File: f.name, Kind: document.Kind(f.head.Type), Format: document.Format(f.version.Format), MaxSize: -1, Actions: s.cfg.Actions})
	if err != nil {
		doc = nil
	}
	return DescribeDocumentResult{Document: describe(f.name, f.owner, f.head, &f.version, doc)}, nil
}
