package fleet

import (
	"regexp"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory"
)

// ResultAttribute names a type that a result shows.
type ResultAttribute struct{ TypeName string }

// GetInventoryRequest is the input of GetInventory.
type GetInventoryRequest struct {
	Filters          []inventory.Filter     `json:",omitempty"`
	Aggregators      []inventory.Aggregator `json:",omitempty"`
	ResultAttributes []ResultAttribute      `json:",omitempty"`
	MaxResults       int                    `json:",omitempty"` // 1 to 50; 0 is 50
	NextToken        string                 `json:",omitempty"`
}

// ResultItem is what a node has of a type (InventoryResultItem).
type ResultItem struct {
	TypeName      string            `json:",omitempty"`
	SchemaVersion string            `json:",omitempty"`
	CaptureTime   string            `json:",omitempty"`
	ContentHash   string            `json:",omitempty"`
	Content       []inventory.Entry // sorted by its attributes
}

// Entity is a node with inventory, or what aggregators counted, which has no Id (InventoryResultEntity).
type Entity struct {
	ID   string `json:"Id,omitempty"`
	Data map[string]ResultItem
}

// GetInventoryResult is the output of GetInventory.
type GetInventoryResult struct {
	Entities  []Entity
	NextToken string `json:",omitempty"`
}

// ListInventoryEntriesRequest is the input of ListInventoryEntries.
type ListInventoryEntriesRequest struct {
	InstanceID string `json:"InstanceId"`
	TypeName   string
	Filters    []inventory.Filter `json:",omitempty"` // keys are attributes of the type, with or without its name
	MaxResults int                `json:",omitempty"` // 1 to 50; 0 is 50
	NextToken  string             `json:",omitempty"`
}

// ListInventoryEntriesResult is the output of ListInventoryEntries.
type ListInventoryEntriesResult struct {
	TypeName      string
	InstanceID    string `json:"InstanceId"`
	SchemaVersion string `json:",omitempty"`
	CaptureTime   string `json:",omitempty"`
	Entries       []inventory.Entry
	NextToken     string `json:",omitempty"`
}

// GetInventorySchemaRequest is the input of GetInventorySchema.
type GetInventorySchemaRequest struct {
	TypeName   string `json:",omitempty"` // beginning of the names of types; empty is all
	Aggregator bool   `json:",omitempty"` // only types and attributes that AWS aggregates by
	SubType    bool   `json:",omitempty"`
	MaxResults int    `json:",omitempty"` // 50 to 200; 0 is 50
	NextToken  string `json:",omitempty"`
}

// GetInventorySchemaResult is the output of GetInventorySchema.
type GetInventorySchemaResult struct {
	Schemas   []inventory.Schema
	NextToken string `json:",omitempty"`
}

// DeleteInventoryRequest is the input of DeleteInventory.
type DeleteInventoryRequest struct {
	TypeName           string
	SchemaDeleteOption string `json:",omitempty"` // DeleteSchema, DisableSchema; empty keeps the schema
	DryRun             bool   `json:",omitempty"`
	ClientToken        string `json:",omitempty"`
}

// DeletionSummary counts the items of nodes that a deletion takes (InventoryDeletionSummary).
type DeletionSummary struct {
	TotalCount     int
	RemainingCount int
	SummaryItems   []DeletionSummaryItem
}

// DeletionSummaryItem counts those of one schema version.
type DeletionSummaryItem struct {
	Version        string
	Count          int
	RemainingCount int
}

// DeleteInventoryResult is the output of DeleteInventory. A dry run has no DeletionID.
type DeleteInventoryResult struct {
	DeletionID      string `json:"DeletionId,omitempty"`
	TypeName        string
	DeletionSummary DeletionSummary
}

// DescribeInventoryDeletionsRequest is the input of DescribeInventoryDeletions.
type DescribeInventoryDeletionsRequest struct {
	DeletionID string `json:"DeletionId,omitempty"`
	MaxResults int    `json:",omitempty"` // 1 to 50; 0 is 50
	NextToken  string `json:",omitempty"`
}

// DeletionStatus is the state of a deletion (InventoryDeletionStatusItem).
type DeletionStatus struct {
	DeletionID           string `json:"DeletionId"`
	TypeName             string
	DeletionStartTime    time.Time
	LastStatus           string // InProgress, Complete
	LastStatusMessage    string
	DeletionSummary      DeletionSummary
	LastStatusUpdateTime time.Time
}

// DescribeInventoryDeletionsResult is the output of DescribeInventoryDeletions.
type DescribeInventoryDeletionsResult struct {
	InventoryDeletions []DeletionStatus
	NextToken          string `json:",omitempty"`
}

const (
	mostEntry    = 200 << 10 // bytes of an entry's canonical form
	mostEntries  = 20_000    // of an item, so that a delta fits a record
	mostPage     = 50
	customPrefix = inventory.CustomPrefix
)

var nodeID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)

func validNode(id string) bool { return nodeID.MatchString(id) }

func isCustom(typ string) bool { return strings.HasPrefix(typ, customPrefix) }

func clip(s string) string {
	if s = fault.Clean(s); len(s) > 140 {
		s = s[:140]
	}
	return s
}
