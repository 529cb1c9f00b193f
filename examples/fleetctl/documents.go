package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/library"
	"github.com/fleetwright/fleetwright/ssmops"
)

func documentFlags(fs *flag.FlagSet) {
	fs.String("type", "", "document `type` (default Command)")
	fs.String("format", "", "JSON or YAML (default: what the text is)")
	fs.String("version-name", "", "a `name` for the version")
	fs.String("tags", "", "as `Team=web,Env=prod`")
}

func updateFlags(fs *flag.FlagSet) {
	fs.String("format", "", "JSON or YAML (default: what the text is)")
	fs.String("version-name", "", "a `name` for the version")
	fs.Bool("keep-default", false, "leave the default version as it is, as the AWS CLI does")
}

func versionFlag(fs *flag.FlagSet) {
	fs.String("version", "", "a `version`: a number, $DEFAULT or $LATEST")
}

// text reads a file, or standard input for -.
func (a *app) text(file string) (string, error) {
	var b []byte
	var err error
	if file == "-" {
		b, err = io.ReadAll(io.LimitReader(a.stdin, ssmops.MaxRequest))
	} else {
		b, err = os.ReadFile(file)
	}
	if err != nil {
		return "", bad("FILE: %v", err)
	}
	return string(b), nil
}

// pairs reads NAME=VALUE,NAME=VALUE.
func pairs(flag, s string) (map[string]string, error) {
	if s == "" {
		return nil, nil
	}
	out := map[string]string{}
	for _, kv := range strings.Split(s, ",") {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return nil, bad("%s: %q is not NAME=VALUE", flag, fault.Clean(kv))
		}
		if _, twice := out[k]; twice {
			return nil, bad("%s: %s is given twice", flag, fault.Clean(k))
		}
		out[k] = v
	}
	return out, nil
}

func tagList(m map[string]string) (out []library.Tag) {
	for k, v := range m {
		out = append(out, library.Tag{Key: k, Value: v})
	}
	return out
}

func (a *app) showDocument(file string, r *ssmops.DocumentResult) error {
	if a.wantsJSON() {
		return a.json(r)
	}
	for _, f := range r.Findings {
		fmt.Fprintf(a.stderr, "%s:%d:%d: %s: %s\n", fault.Clean(file), f.Line, f.Column, fault.Clean(f.Severity), fault.Clean(f.Message))
	}
	d := r.DocumentDescription
	return a.say("%s version %s", fault.Clean(d.Name), fault.Clean(d.DocumentVersion))
}

func (a *app) createDocument(ctx context.Context, p *parsed) error {
	args, err := p.arg("NAME", "FILE")
	if err != nil {
		return err
	}
	text, err := a.text(args[1])
	if err != nil {
		return err
	}
	tags, err := pairs("-tags", p.str("tags"))
	if err != nil {
		return err
	}
	var out ssmops.DocumentResult
	err = a.call(ctx, "CreateDocument", library.CreateDocumentRequest{Name: args[0], Content: text, DocumentType: p.str("type"), DocumentFormat: p.str("format"),
		VersionName: p.str("version-name"), Tags: tagList(tags)}, &out)
	if err != nil {
		return err
	}
	return a.showDocument(args[1], &out)
}

func (a *app) updateDocument(ctx context.Context, p *parsed) error {
	args, err := p.arg("NAME", "FILE")
	if err != nil {
		return err
	}
	text, err := a.text(args[1])
	if err != nil {
		return err
	}
	var out ssmops.DocumentResult
	err = a.call(ctx, "UpdateDocument", library.UpdateDocumentRequest{Name: args[0], Content: text, DocumentFormat: p.str("format"), VersionName: p.str("version-name"),
		DocumentVersion: "$LATEST"}, &out)
	if err != nil {
		return err
	}
	if !p.on("keep-default") {
		if err := a.call(ctx, "UpdateDocumentDefaultVersion", library.UpdateDocumentDefaultVersionRequest{Name: args[0], DocumentVersion: out.DocumentDescription.DocumentVersion}, nil); err != nil {
			return err
		}
		out.DocumentDescription.DefaultVersion = out.DocumentDescription.DocumentVersion
	}
	return a.showDocument(args[1], &out)
}

func (a *app) getDocument(ctx context.Context, p *parsed) error {
	args, err := p.arg("NAME")
	if err != nil {
		return err
	}
	var out ssmops.GetDocumentResult
	if err := a.call(ctx, "GetDocument", library.GetDocumentRequest{Name: args[0], DocumentVersion: p.str("version")}, &out); err != nil {
		return err
	}
	if a.wantsJSON() {
		return a.json(out)
	}
	var to io.Writer = a.stdout
	if isTerminal(a.stdout) {
		to = printable{a.stdout}
	}
	if !strings.HasSuffix(out.Content, "\n") {
		out.Content += "\n"
	}
	_, err = io.WriteString(to, out.Content)
	return err
}

func (a *app) listDocuments(ctx context.Context, p *parsed) error {
	if _, err := p.arg(); err != nil {
		return err
	}
	r := library.ListDocumentsRequest{}
	if p.on("own") {
		r.Filters = []library.DocumentKeyValuesFilter{{Key: "Owner", Values: []string{"Self"}}}
	}
	all := []ssmops.DocumentIdentifier{}
	for {
		var out ssmops.ListDocumentsResult
		if err := a.call(ctx, "ListDocuments", r, &out); err != nil {
			return err
		}
		all = append(all, out.DocumentIdentifiers...)
		if r.NextToken = out.NextToken; r.NextToken == "" {
			break
		}
	}
	if a.wantsJSON() {
		return a.json(ssmops.ListDocumentsResult{DocumentIdentifiers: all})
	}
	t := a.table("DOCUMENT", "TYPE", "VERSION", "OWNER", "PLATFORMS")
	for _, d := range all {
		t.row(d.Name, d.DocumentType, d.DocumentVersion, d.Owner, strings.Join(d.PlatformTypes, ","))
	}
	return t.end()
}

func (a *app) documentVersions(ctx context.Context, p *parsed) error {
	args, err := p.arg("NAME")
	if err != nil {
		return err
	}
	r := library.ListDocumentVersionsRequest{Name: args[0]}
	all := []ssmops.DocumentVersionInfo{}
	for {
		var out ssmops.ListDocumentVersionsResult
		if err := a.call(ctx, "ListDocumentVersions", r, &out); err != nil {
			return err
		}
		all = append(all, out.DocumentVersions...)
		if r.NextToken = out.NextToken; r.NextToken == "" {
			break
		}
	}
	if a.wantsJSON() {
		return a.json(ssmops.ListDocumentVersionsResult{DocumentVersions: all})
	}
	t := a.table("VERSION", "DEFAULT", "NAME", "CREATED", "FORMAT")
	for _, v := range all {
		def := ""
		if v.IsDefaultVersion {
			def = "yes"
		}
		t.row(v.DocumentVersion, def, v.VersionName, v.CreatedDate, v.DocumentFormat)
	}
	return t.end()
}

func (a *app) defaultVersion(ctx context.Context, p *parsed) error {
	args, err := p.arg("NAME", "VERSION")
	if err != nil {
		return err
	}
	return a.call(ctx, "UpdateDocumentDefaultVersion", library.UpdateDocumentDefaultVersionRequest{Name: args[0], DocumentVersion: args[1]}, nil)
}

func (a *app) deleteDocument(ctx context.Context, p *parsed) error {
	args, err := p.arg("NAME")
	if err != nil {
		return err
	}
	return a.call(ctx, "DeleteDocument", library.DeleteDocumentRequest{Name: args[0], DocumentVersion: p.str("version")}, nil)
}
