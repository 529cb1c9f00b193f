package ssmops

import (
	"context"
	"time"

	"github.com/fleetwright/fleetwright/compliance"
)

// ComplianceAtRequest is that of GetComplianceAt, which AWS does not have: it asks what was known of a type on a node at a time.
type ComplianceAtRequest struct {
	ResourceID     string    `json:"ResourceId"`
	ComplianceType string    `json:"ComplianceType"`
	At             time.Time `json:"At"`
}

// ComplianceHistoryRequest is that of ListComplianceHistory, which AWS does not have. Times that are left out do not bound it.
type ComplianceHistoryRequest struct {
	ResourceID     string    `json:"ResourceId"`
	ComplianceType string    `json:"ComplianceType"`
	From           time.Time `json:"From,omitzero"`
	To             time.Time `json:"To,omitzero"`
}

// ComplianceHistoryResult is its answer, the oldest report first.
type ComplianceHistoryResult struct {
	Reports []compliance.Report `json:"Reports"`
}

func complianceAt(s *compliance.Service, ctx context.Context, in ComplianceAtRequest) (compliance.Was, error) {
	return s.At(ctx, in.ResourceID, in.ComplianceType, in.At)
}

func complianceHistory(s *compliance.Service, ctx context.Context, in ComplianceHistoryRequest) (ComplianceHistoryResult, error) {
	list, err := s.History(ctx, in.ResourceID, in.ComplianceType, in.From, in.To)
	if list == nil {
		list = []compliance.Report{}
	}
	return ComplianceHistoryResult{list}, err
}
