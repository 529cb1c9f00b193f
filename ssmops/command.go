package ssmops

import (
	"context"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
)

// SendCommandRequest is the request of SendCommand and of PlanCommand: command.SendRequest, and what AWS knows and is not kept here.
type SendCommandRequest struct {
	command.SendRequest
	Unkept
}

// Unkept are members of AWS's requests that have no effect here: a request that sets one is refused, so that nobody waits for what never comes.
type Unkept struct {
	OutputS3BucketName     string         `json:"OutputS3BucketName,omitempty"`
	OutputS3KeyPrefix      string         `json:"OutputS3KeyPrefix,omitempty"`
	ServiceRoleArn         string         `json:"ServiceRoleArn,omitempty"`
	NotificationConfig     map[string]any `json:"NotificationConfig,omitempty"`
	CloudWatchOutputConfig map[string]any `json:"CloudWatchOutputConfig,omitempty"`
	AlarmConfiguration     map[string]any `json:"AlarmConfiguration,omitempty"`
}

func (u *Unkept) check(op string) error {
	refuse := func(member, instead string) error {
		return fault.New(op, fault.UnsupportedOperation, "%s is not supported here: %s", member, instead)
	}
	switch on, _ := u.CloudWatchOutputConfig["CloudWatchOutputEnabled"].(bool); {
	case u.OutputS3BucketName != "" || u.OutputS3KeyPrefix != "":
		return refuse("OutputS3BucketName", "output is kept whole by the control plane; read it with GetCommandOutput")
	case on:
		return refuse("CloudWatchOutputConfig", "output is kept whole by the control plane; read it with GetCommandOutput")
	case u.ServiceRoleArn != "":
		return refuse("ServiceRoleArn", "leave it out")
	case len(u.NotificationConfig) > 0 && u.NotificationConfig["NotificationArn"] != "":
		return refuse("NotificationConfig", "follow the command with WatchCommand")
	case len(u.AlarmConfiguration) > 0:
		return refuse("AlarmConfiguration", "nothing would stop the command when the alarm goes off")
	}
	return nil
}

func (r *SendCommandRequest) resource() string { return "document/" + clip(r.DocumentName) }

// Command is a command of an answer (shape Command); the members of command.Command that AWS does not have are own.
type Command struct {
	command.Command
	RequestedDateTime Time `json:"RequestedDateTime"`
	ExpiresAfter      Time `json:"ExpiresAfter"`
	EndedDateTime     Time `json:"EndedDateTime,omitzero"`
	empty
}

// empty are members that AWS always sends and that are always empty here, as it sends them (recorded defaults of SendCommand).
type empty struct {
	OutputS3BucketName     string       `json:"OutputS3BucketName"`
	OutputS3KeyPrefix      string       `json:"OutputS3KeyPrefix"`
	ServiceRole            string       `json:"ServiceRole"`
	NotificationConfig     notification `json:"NotificationConfig"`
	CloudWatchOutputConfig cloudWatch   `json:"CloudWatchOutputConfig"`
}

type notification struct {
	NotificationArn    string   `json:"NotificationArn"`
	NotificationEvents []string `json:"NotificationEvents"`
	NotificationType   string   `json:"NotificationType"`
}

type cloudWatch struct {
	CloudWatchLogGroupName  string `json:"CloudWatchLogGroupName"`
	CloudWatchOutputEnabled bool   `json:"CloudWatchOutputEnabled"`
}

func nothingKept() empty {
	return empty{NotificationConfig: notification{NotificationEvents: []string{}}}
}

func commandShape(c command.Command) Command {
	if c.Parameters == nil {
		c.Parameters = map[string][]string{}
	}
	return Command{Command: c, RequestedDateTime: Time{c.RequestedDateTime}, ExpiresAfter: Time{c.ExpiresAfter}, EndedDateTime: Time{c.EndedDateTime}, empty: nothingKept()}
}

// SendCommandResult is the answer of SendCommand.
type SendCommandResult struct {
	Command Command `json:"Command"`
}

func (a *API) sendCommand(ctx context.Context, in *SendCommandRequest) (any, error) {
	if err := in.check("ssmops.SendCommand"); err != nil {
		return nil, err
	}
	c, err := a.Commands.Send(ctx, in.SendRequest)
	if err != nil {
		return nil, err
	}
	return SendCommandResult{commandShape(c)}, nil
}

// CancelCommandRequest is the request of CancelCommand.
type CancelCommandRequest struct {
	CommandID   string   `json:"CommandId"`
	InstanceIDs []string `json:"InstanceIds,omitempty"`
}

func (r *CancelCommandRequest) resource() string { return "command/" + clip(r.CommandID) }

func (a *API) cancelCommand(ctx context.Context, in *CancelCommandRequest) (any, error) {
	return nil, a.Commands.Cancel(ctx, in.CommandID, in.InstanceIDs...)
}

// CommandFilter selects commands or invocations (shape CommandFilter; its members begin in lower case). Keys: InvokedAfter, InvokedBefore, Status, ExecutionStage
// (commands only), DocumentName (R20).
type CommandFilter struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// ListCommandsRequest is the request of ListCommands. MaxResults is 1 to 50, 50 by default.
type ListCommandsRequest struct {
	CommandID  string          `json:"CommandId,omitempty"`
	InstanceID string          `json:"InstanceId,omitempty"`
	Filters    []CommandFilter `json:"Filters,omitempty"`
	MaxResults int             `json:"MaxResults,omitempty"`
	NextToken  string          `json:"NextToken,omitempty"`
}

func (r *ListCommandsRequest) resource() string { return commandResource(r.CommandID) }

func commandResource(id string) string {
	if id == "" {
		return "*"
	}
	return "command/" + clip(id)
}

// ListCommandsResult is the answer of ListCommands, the newest command first. A page may hold fewer than MaxResults, even none, and have a NextToken.
type ListCommandsResult struct {
	Commands  []Command `json:"Commands"`
	NextToken string    `json:"NextToken,omitempty"`
}

func (a *API) listCommands(ctx context.Context, in *ListCommandsRequest) (any, error) {
	q, err := selection("ssmops.ListCommands", in.Filters, true)
	if err != nil {
		return nil, err
	}
	q.Command, q.Node, q.Limit, q.NextToken = in.CommandID, in.InstanceID, in.MaxResults, in.NextToken
	cs, next, err := a.Commands.List(ctx, q)
	if err != nil {
		return nil, err
	}
	out := ListCommandsResult{Commands: []Command{}, NextToken: next}
	for _, c := range cs {
		out.Commands = append(out.Commands, commandShape(c))
	}
	return out, nil
}

const (
	mostFilters = 5
	mostValue   = 128 // characters of a filter's value
)

// selection turns AWS's filters into the service's. Two of one key are refused: AWS does not say what they would mean.
func selection(op string, filters []CommandFilter, commands bool) (q command.ListRequest, err error) {
	if len(filters) > mostFilters {
		return q, fault.New(op, fault.Validation, "%d filters are given; at most %d are allowed", len(filters), mostFilters)
	}
	seen := map[string]bool{}
	for _, f := range filters {
		if seen[f.Key] {
			return q, fault.New(op, fault.Validation, "filter %s is given twice", clip(f.Key))
		}
		seen[f.Key] = true
		if f.Value == "" || len(f.Value) > mostValue {
			return q, fault.New(op, fault.Validation, "filter %s has a value of %d characters; give 1 to %d", clip(f.Key), len(f.Value), mostValue)
		}
		bad := func(want string) error {
			return fault.New(op, fault.Validation, "filter %s cannot be %q; it is %s", f.Key, clip(f.Value), want)
		}
		switch f.Key {
		case "InvokedAfter", "InvokedBefore":
			t, err := time.Parse(time.RFC3339, f.Value)
			if err != nil {
				return q, bad("a time as 2026-01-31T18:00:00Z")
			}
			if f.Key == "InvokedAfter" {
				q.InvokedAfter = t
			} else {
				q.InvokedBefore = t
			}
		case "Status":
			switch s, d := message.Status(f.Value), message.Detail(f.Value); {
			case slices.Contains(statuses(), s):
				q.Status = s
			case slices.Contains(details(), d):
				q.Detail = d
			default:
				return q, bad("a status such as Pending, InProgress, Success, Cancelled, Failed or TimedOut")
			}
		case "DocumentName":
			q.DocumentName = f.Value
		case "ExecutionStage":
			switch {
			case !commands:
				return q, fault.New(op, fault.InvalidFilterKey, "ExecutionStage is a filter of ListCommands only")
			case f.Value == "Executing":
				q.Executing = true
			case f.Value == "Complete":
				q.Complete = true
			default:
				return q, bad("Executing or Complete")
			}
		default:
			return q, fault.New(op, fault.InvalidFilterKey, "%q is no filter of commands: use InvokedAfter, InvokedBefore, Status, ExecutionStage or DocumentName", clip(f.Key))
		}
	}
	return q, nil
}

func statuses() []message.Status {
	return []message.Status{message.Pending, message.InProgress, message.Delayed, message.Success, message.Cancelled, message.TimedOut, message.Failed, message.Cancelling}
}

func details() []message.Detail {
	return []message.Detail{message.DetailDeliveryTimedOut, message.DetailExecutionTimedOut, message.DetailUndeliverable, message.DetailTerminated, message.DetailInvalidPlatform,
		message.DetailAccessDenied, message.DetailInterrupted, message.DetailNoInstancesInTag, message.DetailIncomplete, message.DetailRateExceeded}
}
