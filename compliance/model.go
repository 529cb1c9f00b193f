package compliance

import "time"

// The types that AWS has; others are Custom:NAME (C1).
const (
	TypePatch       = "Patch"
	TypeAssociation = "Association"
	CustomPrefix    = "Custom:"
)

// ResourceType is the one type of resource that items are of.
const ResourceType = "ManagedInstance"

// The statuses of items, and of a node in a type.
const (
	Compliant    = "COMPLIANT"
	NonCompliant = "NON_COMPLIANT"
)

// The severities of items, the worst first.
const (
	Critical      = "CRITICAL"
	High          = "HIGH"
	Medium        = "MEDIUM"
	Low           = "LOW"
	Informational = "INFORMATIONAL"
	Unspecified   = "UNSPECIFIED"
)

// The kinds of upload.
const (
	Complete = "COMPLETE" // replaces all items of the type on the node; what an empty UploadType means
	Partial  = "PARTIAL"  // replaces the items of the execution that ExecutionSummary.ExecutionId names
)

// ExecutionSummary tells of the check that items come from (AWS: ComplianceExecutionSummary).
type ExecutionSummary struct {
	ExecutionTime time.Time `json:"ExecutionTime"`
	ExecutionID   string    `json:"ExecutionId,omitempty"`   // at most 100 characters
	ExecutionType string    `json:"ExecutionType,omitempty"` // Command, for example; at most 50 characters
}

// ItemEntry is an item as it is reported (AWS: ComplianceItemEntry).
type ItemEntry struct {
	ID       string            `json:"Id,omitempty"`    // a patch's or association's id; unique in a report
	Title    string            `json:"Title,omitempty"` // at most 500 characters
	Severity string            `json:"Severity"`
	Status   string            `json:"Status"`
	Details  map[string]string `json:"Details,omitempty"`
}

// PutComplianceItemsRequest is AWS's.
type PutComplianceItemsRequest struct {
	ResourceID       string           `json:"ResourceId"`
	ResourceType     string           `json:"ResourceType"` // ManagedInstance
	ComplianceType   string           `json:"ComplianceType"`
	ExecutionSummary ExecutionSummary `json:"ExecutionSummary"`
	Items            []ItemEntry      `json:"Items"`
	ItemContentHash  string           `json:"ItemContentHash,omitempty"` // at most 256 characters, the reporter's own
	UploadType       string           `json:"UploadType,omitempty"`
}

// PutComplianceItemsResult is AWS's: it says nothing.
type PutComplianceItemsResult struct{}

// Item is an item as it is listed (AWS: ComplianceItem).
type Item struct {
	ComplianceType   string            `json:"ComplianceType"`
	ResourceType     string            `json:"ResourceType"`
	ResourceID       string            `json:"ResourceId"`
	ID               string            `json:"Id"`
	Title            string            `json:"Title"`
	Status           string            `json:"Status"`
	Severity         string            `json:"Severity"`
	ExecutionSummary ExecutionSummary  `json:"ExecutionSummary"`
	Details          map[string]string `json:"Details,omitempty"`
}

// SeveritySummary counts items, or nodes, by severity.
type SeveritySummary struct {
	CriticalCount      int `json:"CriticalCount"`
	HighCount          int `json:"HighCount"`
	MediumCount        int `json:"MediumCount"`
	LowCount           int `json:"LowCount"`
	InformationalCount int `json:"InformationalCount"`
	UnspecifiedCount   int `json:"UnspecifiedCount"`
}

// CompliantSummary counts what is compliant.
type CompliantSummary struct {
	CompliantCount  int             `json:"CompliantCount"`
	SeveritySummary SeveritySummary `json:"SeveritySummary"`
}

// NonCompliantSummary counts what is not.
type NonCompliantSummary struct {
	NonCompliantCount int             `json:"NonCompliantCount"`
	SeveritySummary   SeveritySummary `json:"SeveritySummary"`
}

// SummaryItem sums a type up over all nodes (AWS: ComplianceSummaryItem). Nodes are counted, each under its worst severity among items of its status (C3).
type SummaryItem struct {
	ComplianceType      string              `json:"ComplianceType"`
	CompliantSummary    CompliantSummary    `json:"CompliantSummary"`
	NonCompliantSummary NonCompliantSummary `json:"NonCompliantSummary"`
}

// ResourceSummaryItem sums a type up on one node (AWS: ResourceComplianceSummaryItem). Items are counted.
type ResourceSummaryItem struct {
	ComplianceType      string              `json:"ComplianceType"`
	ResourceType        string              `json:"ResourceType"`
	ResourceID          string              `json:"ResourceId"`
	Status              string              `json:"Status"`          // NON_COMPLIANT if one item is
	OverallSeverity     string              `json:"OverallSeverity"` // the worst of the items that are not compliant; UNSPECIFIED when all are
	ExecutionSummary    ExecutionSummary    `json:"ExecutionSummary"`
	CompliantSummary    CompliantSummary    `json:"CompliantSummary"`
	NonCompliantSummary NonCompliantSummary `json:"NonCompliantSummary"`
}

// Filter keeps what compares as Type says with one of Values (AWS: ComplianceStringFilter). Keys are ComplianceType, ResourceId, ResourceType, Status, Severity or OverallSeverity,
// ExecutionId, ExecutionType, ExecutionTime (RFC 3339), and for items Id and Title.
type Filter struct {
	Key    string   `json:"Key"`
	Values []string `json:"Values"`
	Type   string   `json:"Type,omitempty"` // EQUAL (or empty), NOT_EQUAL, BEGIN_WITH, LESS_THAN, GREATER_THAN
}

// ListComplianceItemsRequest is AWS's. ResourceIds has one node id.
type ListComplianceItemsRequest struct {
	Filters       []Filter `json:"Filters,omitempty"`
	ResourceIDs   []string `json:"ResourceIds,omitempty"`
	ResourceTypes []string `json:"ResourceTypes,omitempty"`
	MaxResults    int      `json:"MaxResults,omitempty"` // 1 to 50; 0 is 50
	NextToken     string   `json:"NextToken,omitempty"`
}

// ListComplianceItemsResult is AWS's.
type ListComplianceItemsResult struct {
	ComplianceItems []Item `json:"ComplianceItems"`
	NextToken       string `json:"NextToken,omitempty"`
}

// ListRequest is that of both lists of summaries.
type ListRequest struct {
	Filters    []Filter `json:"Filters,omitempty"`
	MaxResults int      `json:"MaxResults,omitempty"` // 1 to 50; 0 is 50
	NextToken  string   `json:"NextToken,omitempty"`
}

// ListComplianceSummariesResult is AWS's.
type ListComplianceSummariesResult struct {
	ComplianceSummaryItems []SummaryItem `json:"ComplianceSummaryItems"`
	NextToken              string        `json:"NextToken,omitempty"`
}

// ListResourceComplianceSummariesResult is AWS's.
type ListResourceComplianceSummariesResult struct {
	ResourceComplianceSummaryItems []ResourceSummaryItem `json:"ResourceComplianceSummaryItems"`
	NextToken                      string                `json:"NextToken,omitempty"`
}
