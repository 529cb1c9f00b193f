package ssmops

import (
	"context"
	"encoding/hex"

	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
)

// ListAuditRequest is the request of ListAudit (own). Empty members select everything. MaxResults is 1 to 1,000, 50 by default.
type ListAuditRequest struct {
	After      Time          `json:"After,omitzero"`  // inclusive
	Before     Time          `json:"Before,omitzero"` // exclusive
	Principal  string        `json:"Principal,omitempty"`
	Action     string        `json:"Action,omitempty"` // ssm:SendCommand
	Resource   string        `json:"Resource,omitempty"`
	Outcome    audit.Outcome `json:"Outcome,omitempty"` // Success, Denied, Failed
	ID         string        `json:"Id,omitempty"`      // of anything that the call made or meant
	MaxResults int           `json:"MaxResults,omitempty"`
	NextToken  string        `json:"NextToken,omitempty"`
}

// AuditEntry is one call (audit.Entry).
type AuditEntry struct {
	Time      Time              `json:"Time"`
	Principal string            `json:"Principal,omitempty"`
	Action    string            `json:"Action"`
	Resource  string            `json:"Resource,omitempty"`
	Outcome   audit.Outcome     `json:"Outcome"`
	Code      fault.Code        `json:"Code,omitempty"`
	Digest    string            `json:"Digest,omitempty"`
	IDs       map[string]string `json:"Ids,omitempty"`
	Writer    string            `json:"Writer"`
	Segment   uint64            `json:"Segment"`
	N         uint64            `json:"N"`
	Hash      string            `json:"Hash"` // in hexadecimal
}

// ListAuditResult is the answer of ListAudit, the newest entry first.
type ListAuditResult struct {
	Entries   []AuditEntry `json:"Entries"`
	NextToken string       `json:"NextToken,omitempty"`
}

func (a *API) listAudit(ctx context.Context, in *ListAuditRequest) (any, error) {
	switch in.Outcome {
	case "", audit.Success, audit.Denied, audit.Failed:
	default:
		return nil, fault.New("ssmops.ListAudit", fault.Validation, "Outcome is %q; it is Success, Denied or Failed", clip(string(in.Outcome)))
	}
	es, next, err := a.Audit.List(ctx, audit.Filter{After: in.After.Time, Before: in.Before.Time, Principal: in.Principal, Action: in.Action, Resource: in.Resource,
		Outcome: in.Outcome, ID: in.ID}, &audit.Page{MaxResults: in.MaxResults, NextToken: in.NextToken})
	if err != nil {
		return nil, err
	}
	out := ListAuditResult{Entries: []AuditEntry{}, NextToken: next}
	for _, e := range es {
		out.Entries = append(out.Entries, AuditEntry{Time{e.Time}, e.Principal, e.Action, e.Resource, e.Outcome, e.Code, e.Digest, e.IDs, e.Writer, e.Segment, e.N, hex.EncodeToString(e.Hash)})
	}
	return out, nil
}
