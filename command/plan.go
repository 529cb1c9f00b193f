package command

import (
	"context"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/target"
)

// Plan is what a request would do: a dry run.
type Plan struct {
	DocumentName    string
	DocumentVersion string
	DocumentHash    string
	Findings        document.Findings // warnings and advice about the document
	Nodes           []PlannedNode     // in the order in which they would be offered the command
	Variants        []Variant         // what would run, once for each platform
	Waves           []target.Wave     // how nodes would be taken, as indexes into Nodes
	Concurrency     int               // most nodes at work at once
	ErrorLimit      int               // the command stops when more invocations than this failed
	WorstErrors     int               // most invocations that can fail (R15)
	ExpiresAfter    time.Duration     // from sending to the command's deadline
}

// PlannedNode is one target of a plan.
type PlannedNode struct {
	ID       string
	Name     string
	Platform string
	Matched  []string       // why it is a target: the parts of the request that it met
	Refused  message.Detail // InvalidPlatform or AccessDenied: it would end so without running anything
	Reason   string         // of Refused
	Absent   bool           // not connected at present: it would be Delayed
	Signed   bool           // its assurance is Signed: at most one start is promised
	Wave     int            // index into Waves; -1 when refused
	Variant  int            // index into Variants; -1 when refused
}

// Variant is what would run on the nodes of one platform, after substitution.
type Variant struct {
	Platform string
	Digest   string // of the steps; equal digests run equal things
	Steps    []document.Resolved
}

// Plan does everything that Send does, but for writing and sending: it says who is matched and why, what would run on each node after substitution, in which batch, and how
// many failures there can be at worst. It needs the rights of Send and has its errors.
func (s *Service) Plan(ctx context.Context, req SendRequest) (Plan, error) {
	const op = "command.Plan"
	p, err := s.prepare(ctx, op, req)
	if err != nil {
		s.denied(ctx, "ssm:SendCommand", documentResource(req.DocumentName), err)
		return Plan{}, err
	}
	n := len(p.ids)
	out := Plan{DocumentName: p.req.DocumentName, DocumentVersion: p.version, DocumentHash: p.doc.Hash(), Findings: p.doc.Check(),
		Concurrency: p.rate.concurrency.Concurrency(n), ErrorLimit: p.rate.errors.ErrorLimit(n), ExpiresAfter: seconds(p.req.TimeoutSeconds) + p.execution}
	tenant := access.Tenant(ctx)
	variants := map[string]int{}
	for ids := range slices.Chunk(p.ids, pageOfTargets) {
		nodes, err := s.cfg.Nodes.Nodes(ctx, tenant, ids)
		if err != nil {
			return Plan{}, wrap(op, err)
		}
		for i := range nodes {
			out.Nodes = append(out.Nodes, s.plan(ctx, p, &nodes[i], &out, variants))
		}
	}
	runs := 0
	for i := range out.Nodes {
		if out.Nodes[i].Refused == "" {
			runs++
		}
	}
	out.WorstErrors = min(runs, target.WorstErrors(n, p.rate.concurrency, p.rate.errors))
	out.Waves = waves(&out, p.rate.errors, !p.req.NoRamp)
	return out, nil
}

func (s *Service) plan(ctx context.Context, p *prepared, n *target.Node, out *Plan, variants map[string]int) PlannedNode {
	pn := PlannedNode{ID: n.ID, Name: n.Name, Platform: n.Platform, Signed: n.Assurance == target.Signed, Matched: matched(n, &p.req),
		Absent: !s.cfg.Sender.Connected(n.Tenant, n.ID), Wave: -1, Variant: -1}
	if why := p.unsuited(n); why != "" {
		pn.Refused, pn.Reason = message.DetailInvalidPlatform, why
		return pn
	}
	if access.Check(ctx, s.cfg.Authorizer, "ssm:SendCommand", "node/"+n.ID, n.Tags) != nil {
		pn.Refused, pn.Reason = message.DetailAccessDenied, "you may not run commands on this node"
		return pn
	}
	v, ok := variants[n.Platform]
	if !ok {
		steps := p.bound.Steps(n.Platform)
		v = len(out.Variants)
		variants[n.Platform] = v
		out.Variants = append(out.Variants, Variant{Platform: n.Platform, Digest: document.Digest(steps), Steps: steps})
	}
	pn.Variant = v
	return pn
}

// matched says by which parts of the request a node is a target.
func matched(n *target.Node, r *SendRequest) []string {
	if len(r.Targets) == 0 {
		return []string{"InstanceIds"}
	}
	why := make([]string, 0, len(r.Targets))
	for _, t := range r.Targets {
		if tag, ok := t.Tag(); ok {
			why = append(why, t.Key+" = "+n.Tags[tag])
			continue
		}
		why = append(why, t.String())
	}
	return why
}

// waves cuts the nodes that would run something into the batches in which they are taken.
func waves(p *Plan, errors target.Rate, ramp bool) []target.Wave {
	var run []int
	for i := range p.Nodes {
		if p.Nodes[i].Refused == "" {
			run = append(run, i)
		}
	}
	ws := target.Plan(len(run), target.Rate{N: p.Concurrency}, target.Rate{N: p.ErrorLimit}, ramp)
	for w, wave := range ws {
		for _, i := range run[wave.First : wave.First+wave.Size] {
			p.Nodes[i].Wave = w
		}
	}
	return ws
}
