package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
)

// plan is a Run made ready: its steps and the rules of their flow.
type plan struct {
	steps []document.Resolved
	rules []action.Rule
}

// makePlan checks and reads a Run's document. It is pure: after a restart the same Run gives the same plan.
func makePlan(run *message.Run, platform string, known *document.Actions) (*plan, error) {
	sum := sha256.Sum256(run.Document)
	if !strings.EqualFold(hex.EncodeToString(sum[:]), run.DocumentHash) {
		return nil, errors.New("the document that arrived is not the one that was sent: its SHA-256 differs")
	}
	doc, err := document.Parse(run.Document, &document.Options{File: run.DocumentName, Format: document.Format(run.Format), MaxSize: -1, Actions: known})
	if err != nil {
		return nil, err
	}
	bound, err := doc.Bind(run.Parameters, &document.BindOptions{RefuseRaw: run.RefuseRaw, MaxSize: -1})
	if err != nil {
		return nil, err
	}
	if err := bound.ResolveSSM(context.Background(), noParameters{}); err != nil {
		return nil, err
	}
	p := &plan{steps: bound.Steps(platform)}
	for i := range p.steps {
		p.rules = append(p.rules, rule(&p.steps[i]))
	}
	return p, nil
}

func rule(r *document.Resolved) action.Rule {
	out := action.Rule{Reason: r.Reason, OnFailure: r.OnFailure, OnSuccess: r.OnSuccess, Finally: r.Finally}
	switch r.Verdict {
	case document.Skip:
		out.Do = action.DoSkip
	case document.Fail:
		out.Do = action.DoFail
	}
	return out
}

// noParameters refuses: a node reads nothing from Parameter Store. The control plane replaces such references before it sends.
type noParameters struct{}

func (noParameters) Parameters(_ context.Context, names []string) (map[string]string, error) {
	return nil, fault.New("agent.Run", fault.InvalidParameters, "the document still has a reference to Parameter Store (%s), which a node cannot read: the control plane must replace it", fault.Clean(names[0]))
}

// shorten makes a reason safe to print and short enough to travel.
func shorten(reason string) string {
	const most = 1000
	reason = fault.Clean(reason)
	if len(reason) > most {
		reason = strings.ToValidUTF8(reason[:most], "") + "…"
	}
	return reason
}
