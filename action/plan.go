package action

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
)

// Source is a document to be read into a Plan.
type Source struct {
	Name       string // for errors
	Document   []byte
	Format     string // JSON or YAML; empty: by content
	Hash       string // SHA-256, hex: the document must have it; empty: not checked
	Parameters map[string][]string
	SSM        map[string]string // what {{ssm:name}} references stand for, as the control plane looked them up
	RefuseRaw  bool
}

// Plan is a document made ready for a platform: its steps, and the rules of how they follow each other.
type Plan struct {
	Steps []document.Resolved
	Rules []Rule
}

// Read reads a Command document into a Plan. It is pure: the same source gives the same plan. known is what documents may name; nil is document.Builtin. A reference to Parameter Store that
// the source does not answer is an error: a node reads nothing there.
func Read(src *Source, platform string, known *document.Actions) (*Plan, error) {
	if src.Hash != "" {
		sum := sha256.Sum256(src.Document)
		if !strings.EqualFold(hex.EncodeToString(sum[:]), src.Hash) {
			return nil, errors.New("the document that arrived is not the one that was sent: its SHA-256 differs")
		}
	}
	doc, err := document.Parse(src.Document, &document.Options{File: src.Name, Format: document.Format(src.Format), MaxSize: -1, Actions: known})
	if err != nil {
		return nil, err
	}
	bound, err := doc.Bind(src.Parameters, &document.BindOptions{RefuseRaw: src.RefuseRaw, MaxSize: -1})
	if err != nil {
		return nil, err
	}
	if err := bound.ResolveSSM(context.Background(), parameters(src.SSM)); err != nil {
		return nil, err
	}
	p := &Plan{Steps: bound.Steps(platform)}
	for i := range p.Steps {
		r := &p.Steps[i]
		rule := Rule{Reason: r.Reason, OnFailure: r.OnFailure, OnSuccess: r.OnSuccess, Finally: r.Finally}
		switch r.Verdict {
		case document.Skip:
			rule.Do = DoSkip
		case document.Fail:
			rule.Do = DoFail
		}
		p.Rules = append(p.Rules, rule)
	}
	return p, nil
}

// parameters answers from what came with the document.
type parameters map[string]string

func (p parameters) Parameters(_ context.Context, names []string) (map[string]string, error) {
	for _, n := range names {
		if _, ok := p[n]; !ok {
			return nil, fault.New("action.Read", fault.InvalidParameters, "the document refers to %s in Parameter Store, which the control plane did not look up: a node cannot", fault.Clean(n))
		}
	}
	return p, nil
}
