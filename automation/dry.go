package automation

import (
	"context"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
)

// fetch gets the document of a start, makes it ready, and binds the parameters: st has its version and what it is bound to then.
func (s *Service) fetch(ctx context.Context, op string, st *Start) (rb *Runbook, text []byte, hash string, err error) {
	text, format, version, hash, err := s.cfg.Documents.Fetch(ctx, access.Tenant(ctx), st.Document, st.DocumentVersion)
	if err != nil {
		if fault.KindOf(err) == fault.NotFound {
			return nil, nil, "", fault.New(op, DefinitionNotFound, "there is no runbook %s in version %q", fault.Clean(clip(st.Document)), fault.Clean(clip(st.DocumentVersion)))
		}
		return nil, nil, "", fault.Wrap(op, err)
	}
	rb, err = ParseRunbook(text, &document.Options{MaxSize: -1, Actions: s.cfg.Known, Kind: document.Automation, Format: document.Format(format)})
	if err != nil {
		return nil, nil, "", fault.Wrap(op, err)
	}
	st.DocumentVersion = version
	if st.Targets == nil {
		b, err := rb.doc.Bind(st.Parameters, &document.BindOptions{MaxSize: -1})
		if err == nil && s.cfg.Parameters != nil {
			err = b.ResolveSSM(ctx, s.cfg.Parameters)
		}
		if err != nil {
			return nil, nil, "", fault.New(op, InvalidExecutionParams, "%s", fault.MessageOf(err))
		}
		st.Bound = b
	}
	return rb, text, hash, nil
}

// Preview tells what a Start of the same request would do, without doing it (A22): the steps with their effects, and how many children its targets give. It refuses what Start
// would refuse. It asks for ssm:StartExecutionPreview.
func (s *Service) Preview(ctx context.Context, req Request) (p *Preview, err error) {
	const op = "automation.Preview"
	resource := "automation-definition/" + clip(fault.Clean(req.DocumentName))
	defer func() { s.audited(ctx, actionPreview, resource, err) }()
	if err := access.Check(ctx, s.cfg.Authorizer, actionPreview, resource, nil); err != nil {
		return nil, fault.Wrap(op, err)
	}
	st := Start{ID: "preview", Mode: req.Mode, StartedBy: access.From(ctx).Name, System: s.cfg.System, Tags: req.Tags, Limits: s.cfg.Limits, Timeout: req.Timeout, Targets: req.Spread,
		Parameters: req.Parameters, Document: req.DocumentName, DocumentVersion: req.DocumentVersion}
	rb, _, _, err := s.fetch(ctx, op, &st)
	if err != nil {
		return nil, err
	}
	if p, err = rb.Preview(st, s.cfg.Now()); err != nil {
		return nil, err
	}
	if p.Targets >= 0 || s.cfg.Targets == nil || len(req.Spread.Targets) == 0 {
		return p, nil
	}
	values, err := s.cfg.Targets.Values(ctx, access.Tenant(ctx), known(req.Spread.Targets))
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	p.Targets = len(values)
	return p, nil
}

// Explore tries every outcome of every step of a runbook to a bound; see [Runbook.Explore]. It asks for ssm:StartExecutionPreview, as Preview does.
func (s *Service) Explore(ctx context.Context, name, version string, o *ExploreOptions) (e *Exploration, err error) {
	const op = "automation.Explore"
	resource := "automation-definition/" + clip(fault.Clean(name))
	defer func() { s.audited(ctx, actionPreview, resource, err) }()
	if err := access.Check(ctx, s.cfg.Authorizer, actionPreview, resource, nil); err != nil {
		return nil, fault.Wrap(op, err)
	}
	rb, _, _, err := s.fetch(ctx, op, &Start{Document: name, DocumentVersion: version, Targets: &Spread{}})
	if err != nil {
		return nil, err
	}
	return rb.Explore(o)
}
