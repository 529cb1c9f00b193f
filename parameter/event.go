package parameter

import (
	"context"
	"encoding/json"
	"time"

	"github.com/fleetwright/fleetwright/feed"
	"github.com/fleetwright/fleetwright/store"
)

// The kinds of events: AWS's detail types (S31).
const (
	EventChange = "Parameter Store Change"
	EventPolicy = "Parameter Store Policy Action"
)

// The operations of events of the kind EventChange.
const (
	OpCreate = "Create"
	OpUpdate = "Update"
	OpDelete = "Delete"
	OpLabel  = "LabelParameterVersion"
)

// Event is the data of an event: the members of AWS's detail, with version, tags and ARN beside them. It never holds a value.
type Event struct {
	Operation   string            `json:"operation,omitempty"` // of EventChange
	Name        string            `json:"name"`
	Type        Type              `json:"type"`
	Description string            `json:"description,omitempty"`
	DataType    string            `json:"dataType,omitempty"`
	Exception   string            `json:"exception,omitempty"` // why a write that had been taken was discarded (S15)
	Labels      []string          `json:"labels,omitempty"`    // of OpLabel: those attached or removed
	Version     int64             `json:"version,omitempty"`
	ARN         string            `json:"arn,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"` // by which the authorizer decides who sees the event

	PolicyType    string `json:"policy-type,omitempty"` // of EventPolicy
	PolicyContent string `json:"policy-content,omitempty"`
	ActionStatus  string `json:"action-status,omitempty"`
	ActionReason  string `json:"action-reason,omitempty"`
}

// tell writes events in the transaction of what they tell of.
func (s *Service) tell(ctx context.Context, tx store.Tx, tenant string, now time.Time, kind string, events ...Event) error {
	fs := make([]feed.Event, 0, len(events))
	for _, e := range events {
		data, err := json.Marshal(e)
		if err != nil {
			return err
		}
		fs = append(fs, feed.Event{Time: now, Kind: kind, Data: data})
	}
	_, err := s.feed.Append(ctx, tx, topicKey(tenant), fs...)
	return err
}

func (s *Service) change(tenant, canon, operation string, v *version) Event {
	return Event{Operation: operation, Name: v.Name, Type: v.Type, Description: v.Desc, DataType: v.DataType, Version: int64(v.Version), ARN: s.place.arn(tenant, canon), Tags: v.Tags}
}
