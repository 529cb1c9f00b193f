package ssmops

import (
	"context"
	"fmt"

	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/message"
)

// PlanCommandResult is the answer of PlanCommand (own), which takes the request of SendCommand and does everything but sending it.
type PlanCommandResult struct {
	DocumentName    string           `json:"DocumentName"`
	DocumentVersion string           `json:"DocumentVersion"`
	DocumentHash    string           `json:"DocumentHash"`
	Findings        []Finding        `json:"Findings"`
	Nodes           []PlannedNode    `json:"Nodes"`
	Variants        []PlannedVariant `json:"Variants"`
	Waves           []PlannedWave    `json:"Waves"`
	MaxConcurrency  int              `json:"MaxConcurrency"` // nodes at work at once
	ErrorLimit      int              `json:"ErrorLimit"`     // it stops when more failed
	WorstErrors     int              `json:"WorstErrors"`    // most that can fail (R15)
	ExpiresAfter    float64          `json:"ExpiresAfterSeconds"`
}

// PlannedNode is one node of a plan, see command.PlannedNode.
type PlannedNode struct {
	InstanceID string         `json:"InstanceId"`
	Name       string         `json:"Name,omitempty"`
	Platform   string         `json:"PlatformType,omitempty"`
	Matched    []string       `json:"Matched"`
	Refused    message.Detail `json:"Refused,omitempty"`
	Reason     string         `json:"Reason,omitempty"`
	Connected  bool           `json:"Connected"`
	Signed     bool           `json:"Signed"`
	Wave       int            `json:"Wave"`    // -1 when refused
	Variant    int            `json:"Variant"` // -1 when refused
}

// PlannedVariant is what would run on the nodes of one platform.
type PlannedVariant struct {
	Platform string        `json:"PlatformType"`
	Digest   string        `json:"Digest"`
	Steps    []PlannedStep `json:"Steps"`
}

// PlannedStep is a step with everything interpolated, see document.Resolved.
type PlannedStep struct {
	Name    string            `json:"Name"`
	Action  string            `json:"Action"`
	Inputs  map[string]any    `json:"Inputs"`
	Env     map[string]string `json:"Env,omitempty"`
	Verdict string            `json:"Verdict"`
	Reason  string            `json:"Reason,omitempty"`
	Timeout float64           `json:"TimeoutSeconds"`
}

// PlannedWave is a batch of nodes: Size of those that are not refused, from index First on.
type PlannedWave struct {
	First       int `json:"First"`
	Size        int `json:"Size"`
	WorstErrors int `json:"WorstErrors"`
}

func (a *API) planCommand(ctx context.Context, in *SendCommandRequest) (any, error) {
	if err := in.check("ssmops.PlanCommand"); err != nil {
		return nil, err
	}
	p, err := a.Commands.Plan(ctx, in.SendRequest)
	if err != nil {
		return nil, err
	}
	return planShape(p), nil
}

func planShape(p command.Plan) PlanCommandResult {
	out := PlanCommandResult{DocumentName: p.DocumentName, DocumentVersion: p.DocumentVersion, DocumentHash: p.DocumentHash, Findings: findings(p.Findings),
		Nodes: make([]PlannedNode, 0, len(p.Nodes)), Variants: []PlannedVariant{}, Waves: []PlannedWave{}, MaxConcurrency: p.Concurrency, ErrorLimit: p.ErrorLimit,
		WorstErrors: p.WorstErrors, ExpiresAfter: p.ExpiresAfter.Seconds()}
	for _, n := range p.Nodes {
		out.Nodes = append(out.Nodes, PlannedNode{InstanceID: n.ID, Name: n.Name, Platform: n.Platform, Matched: n.Matched, Refused: n.Refused, Reason: n.Reason,
			Connected: !n.Absent, Signed: n.Signed, Wave: n.Wave, Variant: n.Variant})
	}
	for _, v := range p.Variants {
		pv := PlannedVariant{Platform: v.Platform, Digest: v.Digest, Steps: []PlannedStep{}}
		for _, s := range v.Steps {
			pv.Steps = append(pv.Steps, PlannedStep{s.Name, s.Action, s.Inputs, s.Env, fmt.Sprint(s.Verdict), s.Reason, s.Timeout.Seconds()})
		}
		out.Variants = append(out.Variants, pv)
	}
	for _, w := range p.Waves {
		out.Waves = append(out.Waves, PlannedWave{First: w.First, Size: w.Size, WorstErrors: w.Worst})
	}
	return out
}
