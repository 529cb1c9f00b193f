package ssmops

import (
	"cmp"
	"context"
	"strconv"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store/paging"
	"github.com/fleetwright/fleetwright/target"
)

// StartAutomationExecutionRequest is the request of StartAutomationExecution. Targets, TargetMaps and TargetLocations make it one execution for each target (A19, A20).
type StartAutomationExecutionRequest struct {
	DocumentName        string                `json:"DocumentName"`
	DocumentVersion     string                `json:"DocumentVersion,omitempty"`
	Parameters          map[string][]string   `json:"Parameters,omitempty"`
	ClientToken         string                `json:"ClientToken,omitempty"` // a UUID (A18)
	Mode                automation.Mode       `json:"Mode,omitempty"`        // Auto, also when empty, or Interactive
	TargetParameterName string                `json:"TargetParameterName,omitempty"`
	Targets             []target.Target       `json:"Targets,omitempty"`
	TargetMaps          []map[string][]string `json:"TargetMaps,omitempty"`
	TargetLocations     []automation.Location `json:"TargetLocations,omitempty"`
	MaxConcurrency      string                `json:"MaxConcurrency,omitempty"` // "10" by default
	MaxErrors           string                `json:"MaxErrors,omitempty"`      // "0" by default
	Tags                []Tag                 `json:"Tags,omitempty"`           // at most five
	AlarmConfiguration  map[string]any        `json:"AlarmConfiguration,omitempty"`
}

func (r *StartAutomationExecutionRequest) resource() string {
	return "automation-definition/" + clip(r.DocumentName)
}

// StartAutomationExecutionResult is the answer of StartAutomationExecution.
type StartAutomationExecutionResult struct {
	AutomationExecutionID string `json:"AutomationExecutionId"`
}

// request is what the service is asked for.
func (r *StartAutomationExecutionRequest) request(op string) (req automation.Request, err error) {
	switch r.Mode {
	case "", automation.Auto, automation.Interactive:
	default:
		return req, fault.New(op, fault.Validation, "Mode is Auto or Interactive")
	}
	if len(r.AlarmConfiguration) > 0 {
		return req, fault.New(op, fault.UnsupportedOperation, "AlarmConfiguration is not supported here: nothing would stop the execution when the alarm goes off")
	}
	req = automation.Request{DocumentName: r.DocumentName, DocumentVersion: r.DocumentVersion, Parameters: r.Parameters, ClientToken: r.ClientToken, Mode: r.Mode}
	if len(r.Tags) > 0 {
		req.Tags = map[string]string{}
		for _, t := range r.Tags {
			req.Tags[t.Key] = t.Value
		}
	}
	switch {
	case len(r.Targets) > 0 || len(r.TargetMaps) > 0 || len(r.TargetLocations) > 0:
		req.Spread = &automation.Spread{Parameter: r.TargetParameterName, Targets: r.Targets, TargetMaps: r.TargetMaps, Locations: r.TargetLocations, MaxConcurrency: r.MaxConcurrency, MaxErrors: r.MaxErrors}
	case r.TargetParameterName != "":
		return req, fault.New(op, automation.InvalidExecutionParams, "TargetParameterName needs Targets")
	}
	return req, nil
}

func (a *API) startAutomationExecution(ctx context.Context, in *StartAutomationExecutionRequest) (any, error) {
	req, err := in.request("ssmops.StartAutomationExecution")
	if err != nil {
		return nil, err
	}
	id, err := a.Automations.Start(ctx, req)
	if err != nil {
		return nil, err
	}
	return StartAutomationExecutionResult{id}, nil
}

// StopAutomationExecutionRequest is the request of StopAutomationExecution (A17).
type StopAutomationExecutionRequest struct {
	AutomationExecutionID string              `json:"AutomationExecutionId"`
	Type                  automation.StopType `json:"Type,omitempty"` // Cancel, also when empty, or Complete
}

func (r *StopAutomationExecutionRequest) resource() string {
	return executionResource(r.AutomationExecutionID)
}

func executionResource(id string) string { return "automation-execution/" + clip(id) }

func (a *API) stopAutomationExecution(ctx context.Context, in *StopAutomationExecutionRequest) (any, error) {
	typ := cmp.Or(in.Type, automation.Cancel)
	if typ != automation.Cancel && typ != automation.Complete {
		return nil, fault.New("ssmops.StopAutomationExecution", automation.InvalidStatusUpdate, "Type is Cancel or Complete")
	}
	return nil, a.Automations.Stop(ctx, in.AutomationExecutionID, typ)
}

// SendAutomationSignalRequest is the request of SendAutomationSignal (A16). Payload has Comment for Approve and Reject, StepName for StartStep and Resume, StepExecutionId for StopStep.
type SendAutomationSignalRequest struct {
	AutomationExecutionID string                `json:"AutomationExecutionId"`
	SignalType            automation.SignalType `json:"SignalType"`
	Payload               map[string][]string   `json:"Payload,omitempty"`
}

func (r *SendAutomationSignalRequest) resource() string {
	return executionResource(r.AutomationExecutionID)
}

func (a *API) sendAutomationSignal(ctx context.Context, in *SendAutomationSignalRequest) (any, error) {
	sig := automation.Signal{Type: in.SignalType}
	for name, to := range map[string]*string{"Comment": &sig.Comment, "StepName": &sig.Step, "StepExecutionId": &sig.StepID} {
		switch v := in.Payload[name]; len(v) {
		case 0:
		case 1:
			*to = v[0]
		default:
			return nil, fault.New("ssmops.SendAutomationSignal", automation.InvalidSignal, "the payload %s takes one value", name)
		}
	}
	return nil, a.Automations.Signal(ctx, in.AutomationExecutionID, sig)
}

// AutomationExecutionRequest is the request of GetAutomationExecution.
type AutomationExecutionRequest struct {
	AutomationExecutionID string `json:"AutomationExecutionId"`
}

func (r *AutomationExecutionRequest) resource() string {
	return executionResource(r.AutomationExecutionID)
}

// AutomationExecutionResult is the answer of GetAutomationExecution.
type AutomationExecutionResult struct {
	AutomationExecution AutomationExecution `json:"AutomationExecution"`
}

// AutomationExecution is the shape of AWS of the name.
type AutomationExecution struct {
	AutomationExecutionID       string                `json:"AutomationExecutionId"`
	DocumentName                string                `json:"DocumentName"`
	DocumentVersion             string                `json:"DocumentVersion"`
	ExecutionStartTime          Time                  `json:"ExecutionStartTime,omitzero"`
	ExecutionEndTime            Time                  `json:"ExecutionEndTime,omitzero"`
	AutomationExecutionStatus   automation.Status     `json:"AutomationExecutionStatus"`
	StepExecutions              []StepExecution       `json:"StepExecutions"`
	StepExecutionsTruncated     bool                  `json:"StepExecutionsTruncated"`
	Parameters                  map[string][]string   `json:"Parameters"`
	Outputs                     map[string][]string   `json:"Outputs"`
	Variables                   map[string][]string   `json:"Variables,omitempty"`
	FailureMessage              string                `json:"FailureMessage,omitempty"`
	Mode                        automation.Mode       `json:"Mode"`
	ParentAutomationExecutionID string                `json:"ParentAutomationExecutionId,omitempty"`
	ExecutedBy                  string                `json:"ExecutedBy,omitempty"`
	CurrentStepName             string                `json:"CurrentStepName,omitempty"`
	CurrentAction               string                `json:"CurrentAction,omitempty"`
	TargetParameterName         string                `json:"TargetParameterName,omitempty"`
	Targets                     []target.Target       `json:"Targets"`
	TargetMaps                  []map[string][]string `json:"TargetMaps,omitempty"`
	TargetLocations             []automation.Location `json:"TargetLocations,omitempty"`
	ResolvedTargets             ResolvedTargets       `json:"ResolvedTargets"`
	MaxConcurrency              string                `json:"MaxConcurrency,omitempty"`
	MaxErrors                   string                `json:"MaxErrors,omitempty"`
	ProgressCounters            *ProgressCounters     `json:"ProgressCounters,omitempty"`
}

// ResolvedTargets is the shape of AWS of the name.
type ResolvedTargets struct {
	ParameterValues []string `json:"ParameterValues"`
	Truncated       bool     `json:"Truncated"`
}

// ProgressCounters counts the children of an execution with targets (shape ProgressCounters).
type ProgressCounters struct {
	TotalSteps     int `json:"TotalSteps"`
	SuccessSteps   int `json:"SuccessSteps"`
	FailedSteps    int `json:"FailedSteps"`
	CancelledSteps int `json:"CancelledSteps"`
	TimedOutSteps  int `json:"TimedOutSteps"`
}

// StepExecution is the shape of AWS of the name. Inputs are as JSON.
type StepExecution struct {
	StepName             string              `json:"StepName"`
	Action               string              `json:"Action"`
	TimeoutSeconds       int64               `json:"TimeoutSeconds,omitempty"`
	OnFailure            string              `json:"OnFailure,omitempty"`
	MaxAttempts          int64               `json:"MaxAttempts,omitempty"`
	ExecutionStartTime   Time                `json:"ExecutionStartTime,omitzero"`
	ExecutionEndTime     Time                `json:"ExecutionEndTime,omitzero"`
	StepStatus           automation.Status   `json:"StepStatus"`
	Inputs               map[string]string   `json:"Inputs"`
	Outputs              map[string][]string `json:"Outputs,omitempty"`
	FailureMessage       string              `json:"FailureMessage,omitempty"`
	FailureDetails       *FailureDetails     `json:"FailureDetails,omitempty"`
	StepExecutionID      string              `json:"StepExecutionId,omitempty"`
	OverriddenParameters map[string][]string `json:"OverriddenParameters"`
	IsEnd                bool                `json:"IsEnd"`
	NextStep             string              `json:"NextStep,omitempty"`
	IsCritical           bool                `json:"IsCritical"`
	ParentStepDetails    *ParentStepDetails  `json:"ParentStepDetails,omitempty"`
}

// FailureDetails is the shape of AWS of the name (A15).
type FailureDetails struct {
	FailureStage automation.Stage       `json:"FailureStage"`
	FailureType  automation.FailureType `json:"FailureType"`
	Details      map[string][]string    `json:"Details"`
}

// ParentStepDetails is the shape of AWS of the name (A13).
type ParentStepDetails struct {
	StepExecutionID string `json:"StepExecutionId"`
	StepName        string `json:"StepName"`
	Action          string `json:"Action"`
	Iteration       int    `json:"Iteration"`
	IteratorValue   string `json:"IteratorValue,omitempty"`
}

// mostSteps is how many step executions an answer has; more are left out, and it says so (A25).
const mostSteps = 100

func (a *API) getAutomationExecution(ctx context.Context, in *AutomationExecutionRequest) (any, error) {
	x, rb, err := a.Automations.Get(ctx, in.AutomationExecutionID)
	if err != nil {
		return nil, err
	}
	return AutomationExecutionResult{executionShape(x, rb)}, nil
}

func executionShape(x *automation.Execution, rb *automation.Runbook) AutomationExecution {
	out := AutomationExecution{AutomationExecutionID: x.ID, DocumentName: x.Document, DocumentVersion: x.DocumentVersion, ExecutionStartTime: Time{x.Start}, ExecutionEndTime: Time{x.End},
		AutomationExecutionStatus: x.Status, Parameters: listsOf(x.Parameters), Outputs: listsOf(x.Outputs), Mode: x.Mode, ParentAutomationExecutionID: x.Parent, ExecutedBy: x.StartedBy,
		CurrentStepName: x.NextStep, Targets: []target.Target{}, ResolvedTargets: ResolvedTargets{ParameterValues: []string{}}, StepExecutions: []StepExecution{}}
	if len(x.Variables) > 0 {
		out.Variables = listsOf(x.Variables)
	}
	if x.Failure != nil {
		out.FailureMessage = x.Failure.Message
	}
	if x.Current >= 0 && x.Current < len(x.Steps) {
		out.CurrentStepName, out.CurrentAction = x.Steps[x.Current].Name, x.Steps[x.Current].Action
	}
	steps := rb.StepExecutions(x)
	if len(steps) > mostSteps {
		steps, out.StepExecutionsTruncated = steps[:mostSteps], true
	}
	said := map[string]*document.Step{}
	named(rb.Document().Steps, said)
	for i := range steps {
		out.StepExecutions = append(out.StepExecutions, stepShape(&steps[i], said[steps[i].Name]))
	}
	if x.Fan != nil {
		fanShape(x.Fan, &out)
	}
	return out
}

// named finds the steps of a runbook by name, those of loops, too.
func named(steps []document.Step, out map[string]*document.Step) {
	for i := range steps {
		out[steps[i].Name] = &steps[i]
		if steps[i].Automation != nil {
			named(steps[i].Automation.Steps, out)
		}
	}
}

func fanShape(f *automation.Fan, out *AutomationExecution) {
	if s := f.Spread; s != nil {
		out.TargetParameterName, out.TargetMaps, out.TargetLocations, out.MaxConcurrency, out.MaxErrors = s.Parameter, s.TargetMaps, s.Locations, s.MaxConcurrency, s.MaxErrors
		if s.Targets != nil {
			out.Targets = s.Targets
		}
	}
	n := &ProgressCounters{}
	for g := range f.Groups {
		for i := range f.Groups[g].Items {
			it := &f.Groups[g].Items[i]
			n.TotalSteps++
			switch it.Status {
			case automation.Success, automation.CompletedWithSuccess:
				n.SuccessSteps++
			case automation.TimedOut:
				n.TimedOutSteps++
			case automation.Cancelled:
				n.CancelledSteps++
			default:
				if it.Status.Done() {
					n.FailedSteps++
				}
			}
			if v := it.Parameters[out.TargetParameterName]; out.TargetParameterName != "" && len(v) > 0 {
				out.ResolvedTargets.ParameterValues = append(out.ResolvedTargets.ParameterValues, v...)
			}
		}
	}
	if v := out.ResolvedTargets.ParameterValues; len(v) > mostSteps {
		out.ResolvedTargets = ResolvedTargets{v[:mostSteps], true}
	}
	out.ProgressCounters = n
}

func stepShape(s *automation.Step, said *document.Step) StepExecution {
	out := StepExecution{StepName: s.Name, Action: s.Action, ExecutionStartTime: Time{s.Start}, ExecutionEndTime: Time{s.End}, StepStatus: s.Status, Inputs: jsonOf(s.Inputs),
		StepExecutionID: s.ID, OverriddenParameters: map[string][]string{}, NextStep: s.Next}
	if len(s.Outputs) > 0 {
		out.Outputs = listsOf(s.Outputs)
	}
	if s.Overridden != nil {
		out.OverriddenParameters = s.Overridden
	}
	if f := s.Failure; f != nil {
		out.FailureMessage = f.Message
		out.FailureDetails = &FailureDetails{f.Stage, f.Type, f.Details}
		if f.Details == nil {
			out.FailureDetails.Details = map[string][]string{}
		}
	}
	if p := s.Parent; p != nil {
		out.ParentStepDetails = &ParentStepDetails{p.StepExecutionID, p.StepName, p.Action, p.Iteration, p.IteratorValue}
	}
	if said != nil && said.Automation != nil {
		a := said.Automation
		out.TimeoutSeconds, out.OnFailure, out.MaxAttempts, out.IsEnd, out.IsCritical = a.TimeoutSeconds, a.OnFailure, a.MaxAttempts, a.End, a.Critical
	}
	return out
}

// jsonOf shows the inputs of a step as AWS does.
func jsonOf(m map[string]any) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		if b, err := encode(v); err == nil {
			out[k] = string(b)
		}
	}
	return out
}

// listsOf shows values as the API does.
func listsOf(m map[string]any) map[string][]string {
	out := make(map[string][]string, len(m))
	for k, v := range m {
		out[k] = automation.Strings(v)
	}
	return out
}

// AutomationFilter selects executions (shape AutomationExecutionFilter); its keys are AWS's.
type AutomationFilter struct {
	Key    string   `json:"Key"`
	Values []string `json:"Values"`
}

// DescribeAutomationExecutionsRequest is the request of DescribeAutomationExecutions. MaxResults is 1 to 50, 50 by default.
type DescribeAutomationExecutionsRequest struct {
	Filters    []AutomationFilter `json:"Filters,omitempty"`
	MaxResults int                `json:"MaxResults,omitempty"`
	NextToken  string             `json:"NextToken,omitempty"`
}

// DescribeAutomationExecutionsResult is the answer of DescribeAutomationExecutions, the newest execution first.
type DescribeAutomationExecutionsResult struct {
	AutomationExecutionMetadataList []AutomationExecutionMetadata `json:"AutomationExecutionMetadataList"`
	NextToken                       string                        `json:"NextToken,omitempty"`
}

// AutomationExecutionMetadata is the shape of AWS of the name.
type AutomationExecutionMetadata struct {
	AutomationExecutionID       string            `json:"AutomationExecutionId"`
	DocumentName                string            `json:"DocumentName"`
	DocumentVersion             string            `json:"DocumentVersion"`
	AutomationExecutionStatus   automation.Status `json:"AutomationExecutionStatus"`
	ExecutionStartTime          Time              `json:"ExecutionStartTime,omitzero"`
	ExecutionEndTime            Time              `json:"ExecutionEndTime,omitzero"`
	ExecutedBy                  string            `json:"ExecutedBy,omitempty"`
	Mode                        automation.Mode   `json:"Mode"`
	ParentAutomationExecutionID string            `json:"ParentAutomationExecutionId,omitempty"`
	CurrentStepName             string            `json:"CurrentStepName,omitempty"`
	CurrentAction               string            `json:"CurrentAction,omitempty"`
	FailureMessage              string            `json:"FailureMessage,omitempty"`
	AutomationType              string            `json:"AutomationType"`
}

func (a *API) describeAutomationExecutions(ctx context.Context, in *DescribeAutomationExecutionsRequest) (any, error) {
	f, err := executionFilter(in.Filters)
	if err != nil {
		return nil, err
	}
	list, next, err := a.Automations.List(ctx, f, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}
	out := DescribeAutomationExecutionsResult{AutomationExecutionMetadataList: []AutomationExecutionMetadata{}, NextToken: next}
	for i := range list {
		s := &list[i]
		out.AutomationExecutionMetadataList = append(out.AutomationExecutionMetadataList, AutomationExecutionMetadata{AutomationExecutionID: s.ID, DocumentName: s.Document, DocumentVersion: s.DocumentVersion,
			AutomationExecutionStatus: s.Status, ExecutionStartTime: Time{s.Start}, ExecutionEndTime: Time{s.End}, ExecutedBy: s.StartedBy, Mode: s.Mode,
			ParentAutomationExecutionID: s.Parent, CurrentStepName: s.CurrentStep, CurrentAction: s.CurrentAction, FailureMessage: s.FailureMessage, AutomationType: "Local"})
	}
	return out, nil
}

func executionFilter(filters []AutomationFilter) (f automation.Filter, err error) {
	const op = "ssmops.DescribeAutomationExecutions"
	if len(filters) > mostExecutionFilters {
		return f, fault.New(op, fault.InvalidFilterValue, "%d filters are given; at most %d are allowed", len(filters), mostExecutionFilters)
	}
	seen := map[string]bool{}
	for _, in := range filters {
		if seen[in.Key] {
			return f, fault.New(op, fault.InvalidFilterValue, "filter %s is given twice", clip(in.Key))
		}
		seen[in.Key] = true
		if err := f.Add(in.Key, in.Values...); err != nil {
			return f, err
		}
	}
	return f, nil
}

const mostExecutionFilters = 10

// PreviewAutomationExecutionRequest is the request of PreviewAutomationExecution: that of StartAutomationExecution, which it would start.
type PreviewAutomationExecutionRequest struct {
	StartAutomationExecutionRequest
}

// PreviewAutomationExecutionResult is its answer (A22): how many steps change something, and each step with its effect.
type PreviewAutomationExecutionResult struct {
	StepPreviews map[automation.Impact]int `json:"StepPreviews"` // as the shape AutomationExecutionPreview has it
	Steps        []StepPreview             `json:"Steps"`
	TargetCount  int                       `json:"TargetCount"` // executions that would be started for targets; -1: nobody knows before
}

// StepPreview is what a step would do.
type StepPreview struct {
	StepName string            `json:"StepName"`
	Action   string            `json:"Action"`
	Impact   automation.Impact `json:"ImpactType"`
	Inputs   map[string]string `json:"Inputs"` // as JSON, as far as they are known
	Next     []string          `json:"ValidNextSteps"`
	Likely   bool              `json:"Likely"` // it runs when all goes well
}

func (a *API) previewAutomationExecution(ctx context.Context, in *PreviewAutomationExecutionRequest) (any, error) {
	req, err := in.request("ssmops.PreviewAutomationExecution")
	if err != nil {
		return nil, err
	}
	p, err := a.Automations.Preview(ctx, req)
	if err != nil {
		return nil, err
	}
	out := PreviewAutomationExecutionResult{StepPreviews: p.Impacts, Steps: []StepPreview{}, TargetCount: p.Targets}
	for i := range p.Steps {
		s := &p.Steps[i]
		next := s.Next
		if next == nil {
			next = []string{}
		}
		out.Steps = append(out.Steps, StepPreview{StepName: s.Name, Action: s.Action, Impact: s.Impact, Inputs: jsonOf(s.Inputs), Next: next, Likely: s.Likely})
	}
	return out, nil
}

// DescribeAutomationStepExecutionsRequest is the request of DescribeAutomationStepExecutions. Filters are those of AWS: StepName, Action, StepExecutionId, StepExecutionStatus, StartTimeAfter, StartTimeBefore,
// ParentStepExecutionId, ParentStepIteration, ParentStepIteratorValue. MaxResults is 1 to 50, 50 by default.
type DescribeAutomationStepExecutionsRequest struct {
	AutomationExecutionID string             `json:"AutomationExecutionId"`
	Filters               []AutomationFilter `json:"Filters,omitempty"`
	NextToken             string             `json:"NextToken,omitempty"`
	MaxResults            int                `json:"MaxResults,omitempty"`
	ReverseOrder          bool               `json:"ReverseOrder,omitempty"`
}

func (r *DescribeAutomationStepExecutionsRequest) resource() string {
	return "automation-execution/" + clip(r.AutomationExecutionID)
}

// DescribeAutomationStepExecutionsResult is its answer.
type DescribeAutomationStepExecutionsResult struct {
	StepExecutions []StepExecution `json:"StepExecutions"`
	NextToken      string          `json:"NextToken,omitempty"`
}

func (a *API) describeAutomationStepExecutions(ctx context.Context, in *DescribeAutomationStepExecutionsRequest) (any, error) {
	const op = "ssmops.DescribeAutomationStepExecutions"
	f, err := stepFilter(op, in.Filters)
	if err != nil {
		return nil, err
	}
	f.Reverse = in.ReverseOrder
	mark := paging.Mark(op, access.Tenant(ctx), []any{in.AutomationExecutionID, in.Filters, in.ReverseOrder})
	at, err := paging.Open(op, mark, in.NextToken)
	if err != nil {
		return nil, err
	}
	after := 0
	if at != "" {
		if after, err = strconv.Atoi(at); err != nil || after <= 0 {
			return nil, paging.Bad(op)
		}
	}
	steps, next, err := a.Automations.Steps(ctx, in.AutomationExecutionID, f, in.MaxResults, after)
	if err != nil {
		return nil, err
	}
	out := DescribeAutomationStepExecutionsResult{StepExecutions: []StepExecution{}}
	for i := range steps {
		out.StepExecutions = append(out.StepExecutions, stepShape(&steps[i], nil))
	}
	if next > 0 {
		out.NextToken = paging.Token(mark, strconv.Itoa(next))
	}
	return out, nil
}

func stepFilter(op string, filters []AutomationFilter) (f automation.StepFilter, err error) {
	if len(filters) > 6 {
		return f, fault.New(op, fault.InvalidFilterValue, "%d filters are given; at most 6 are allowed", len(filters))
	}
	for _, in := range filters {
		if len(in.Values) == 0 || len(in.Values) > 10 {
			return f, fault.New(op, fault.InvalidFilterValue, "filter %s has %d values; give 1 to 10", clip(in.Key), len(in.Values))
		}
		first := in.Values[0]
		switch in.Key {
		case "StepName":
			f.Names = append(f.Names, in.Values...)
		case "Action":
			f.Actions = append(f.Actions, in.Values...)
		case "StepExecutionId":
			f.IDs = append(f.IDs, in.Values...)
		case "StepExecutionStatus":
			for _, v := range in.Values {
				f.Statuses = append(f.Statuses, automation.Status(v))
			}
		case "StartTimeAfter":
			f.After, err = time.Parse(time.RFC3339, first)
		case "StartTimeBefore":
			f.Before, err = time.Parse(time.RFC3339, first)
		case "ParentStepExecutionId":
			f.ParentStep = first
		case "ParentStepIteration":
			f.Iteration, err = strconv.Atoi(first)
		case "ParentStepIteratorValue":
			f.IteratorValue = first
		default:
			return f, fault.New(op, fault.InvalidFilterKey, "%q is no filter of steps: use StepName, Action, StepExecutionId, StepExecutionStatus, StartTimeAfter, StartTimeBefore or ParentStep…", clip(in.Key))
		}
		if err != nil {
			return f, fault.New(op, fault.InvalidFilterValue, "filter %s has the value %q: give a time as 2026-03-01T00:00:00Z, or a number", in.Key, clip(first))
		}
	}
	return f, nil
}
