package automation

import (
	"maps"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/target"
)

// Mode says who goes from step to step (A16, shape ExecutionMode).
type Mode string

// The modes.
const (
	Auto        Mode = "Auto"
	Interactive Mode = "Interactive" // every step waits for a StartStep signal
)

// System is what the system variables say of where an execution runs (A7).
type System struct {
	AccountID string `json:"accountId,omitempty"`
	Region    string `json:"region,omitempty"`
	Partition string `json:"partition,omitempty"` // "" is aws
}

// Execution is the whole state of one execution. Values in it are nil, bool, string, int64, json.Number, []any and map[string]any. Whoever steps it owns it;
// [Execution.Clone] makes an independent copy, [Execution.Encode] its durable form.
type Execution struct {
	ID              string            `json:"id"`
	Document        string            `json:"document"`
	DocumentVersion string            `json:"documentVersion,omitempty"`
	DocumentHash    string            `json:"documentHash,omitempty"`
	ClientToken     string            `json:"clientToken,omitempty"`
	Mode            Mode              `json:"mode"`
	StartedBy       string            `json:"startedBy,omitempty"`
	Attributes      map[string]string `json:"attributes,omitempty"` // of the starter's principal: calls and children are made with them
	Role            string            `json:"role,omitempty"`       // assumeRole, resolved; "" is the identity of the first starter (A24)
	System          System            `json:"system"`
	Tags            map[string]string `json:"tags,omitempty"`
	Parent          string            `json:"parent,omitempty"`     // the execution that started this one
	ParentStep      string            `json:"parentStep,omitempty"` // its step
	Depth           int               `json:"depth,omitempty"`      // how many executions are above this one
	Parameters      map[string]any    `json:"parameters"`
	Variables       map[string]any    `json:"variables,omitempty"`
	Limits          Limits            `json:"limits"`

	Status   Status         `json:"status"`
	Failure  *Failure       `json:"failure,omitempty"`
	Created  time.Time      `json:"created"`
	Start    time.Time      `json:"start,omitzero"`
	End      time.Time      `json:"end,omitzero"`
	Deadline time.Time      `json:"deadline,omitzero"` // of the whole execution
	Outputs  map[string]any `json:"outputs,omitempty"` // by "step.Output"; those of steps that did not give them are missing
	Steps    []Step         `json:"steps,omitempty"`   // in the order in which they were begun
	Fan      *Fan           `json:"fan,omitempty"`     // an execution with targets runs no steps but a child for each

	Current   int     `json:"current"`            // index of the step at work, -1 for none
	NextStep  string  `json:"nextStep,omitempty"` // what an interactive execution waits to start
	Loop      *Loop   `json:"loop,omitempty"`     // the loop at work
	Stop      *Halt   `json:"stop,omitempty"`     // a Stop was asked for
	Worst     Status  `json:"worst,omitempty"`    // of the first critical step that did not succeed
	Late      int     `json:"late,omitempty"`     // events that came for what had ended already
	Sequence  int     `json:"sequence"`           // events that were applied
	overrides *Signal // of the step that is being started

	last map[string]int // the latest step record by name
}

// Limits are AWS's figures, which a host may raise. A zero field is AWS's.
type Limits struct {
	Iterations int           `json:"iterations,omitempty"` // of a loop: 100
	Iterators  int           `json:"iterators,omitempty"`  // of a loop: 100
	Depth      int           `json:"depth,omitempty"`      // of executions in executions: 5
	Steps      int           `json:"steps,omitempty"`      // that one execution runs: 100,000
	Payload    int           `json:"payload,omitempty"`    // bytes of an answer of aws:executeScript: 102,400 (aws:invokeLambdaFunction: twice as much); more than 512 KiB are never kept
	Targets    int           `json:"targets,omitempty"`    // children of one step or execution: 10,000
	Poll       time.Duration `json:"poll,omitempty"`       // between two looks of aws:waitForAwsResourceProperty: 5 s at first, doubling up to 12 times as much
	Cancel     time.Duration `json:"cancel,omitempty"`     // of an onCancel workflow: 2 minutes (A2)

	// MissingOutputs lets a step succeed whose output selector finds nothing: the output has no value then, and what refers to it keeps the reference as text. AWS's guide calls it an error (A9), which is the
	// default; some of AWS's own runbooks, such as AWSSupport-EmptyS3Bucket, can only work so.
	MissingOutputs bool `json:"missingOutputs,omitempty"`
}

func (l Limits) withDefaults() Limits {
	def := func(n *int, v int) {
		if *n <= 0 {
			*n = v
		}
	}
	def(&l.Iterations, 100)
	def(&l.Iterators, 100)
	def(&l.Depth, 5)
	def(&l.Steps, 100_000)
	def(&l.Payload, 102_400)
	def(&l.Targets, 10_000)
	if l.Poll <= 0 {
		l.Poll = 5 * time.Second
	}
	if l.Cancel <= 0 {
		l.Cancel = 2 * time.Minute
	}
	return l
}

// Step is one run of a step (shape StepExecution): in a loop there is one for every iteration.
type Step struct {
	ID         string              `json:"id"` // StepExecutionId
	Name       string              `json:"name"`
	Action     string              `json:"action"`
	Status     Status              `json:"status"`
	Attempt    int                 `json:"attempt"` // from 1
	Start      time.Time           `json:"start,omitzero"`
	End        time.Time           `json:"end,omitzero"`
	Deadline   time.Time           `json:"deadline,omitzero"`    // of this attempt
	Inputs     map[string]any      `json:"inputs,omitempty"`     // fully resolved (A25)
	Outputs    map[string]any      `json:"outputs,omitempty"`    // typed
	Overridden map[string][]string `json:"overridden,omitempty"` // inputs that a StartStep signal replaced
	Failure    *Failure            `json:"failure,omitempty"`
	Parent     *ParentStep         `json:"parent,omitempty"`
	Next       string              `json:"next,omitempty"`  // the step that came after it; "" when it was the last
	Token      string              `json:"token,omitempty"` // idempotency token of this attempt

	Until     time.Time  `json:"until,omitzero"`      // aws:sleep ends then; aws:waitForAwsResourceProperty looks again
	Looking   bool       `json:"looking,omitempty"`   // a call is under way
	Looks     int        `json:"looks,omitempty"`     // calls that aws:waitForAwsResourceProperty made
	Decisions []Decision `json:"decisions,omitempty"` // aws:approve
	Fan       *Fan       `json:"fan,omitempty"`       // aws:executeAutomation
}

// ParentStep says in which iteration of which loop a step ran (A13, shape ParentStepDetails).
type ParentStep struct {
	StepExecutionID string `json:"stepExecutionId"`
	StepName        string `json:"stepName"`
	Action          string `json:"action"`
	Iteration       int    `json:"iteration"` // from 1
	IteratorValue   string `json:"iteratorValue,omitempty"`
}

// Decision is what an approver said.
type Decision struct {
	By      string    `json:"by"`
	Approve bool      `json:"approve"`
	Comment string    `json:"comment,omitempty"`
	At      time.Time `json:"at"`
	Seat    int       `json:"seat,omitempty"` // which of the approvers this is
}

// Loop is the loop at work.
type Loop struct {
	Step      int   `json:"step"` // its record
	Iteration int   `json:"iteration"`
	Items     []any `json:"items,omitempty"` // for each
	Most      int   `json:"most"`
}

// StopType says how an execution is to end (A17).
type StopType string

// The types.
const (
	Cancel   StopType = "Cancel"   // what is at work is cancelled, its onCancel workflow runs
	Complete StopType = "Complete" // the step at work may finish, no other begins
)

// Halt is a Stop that was asked for.
type Halt struct {
	Type     StopType  `json:"type"`
	By       string    `json:"by,omitempty"`
	Deadline time.Time `json:"deadline,omitzero"` // of the onCancel workflow
	Flow     bool      `json:"flow,omitempty"`    // the workflow is under way
	OnCancel string    `json:"onCancel,omitempty"`
}

// Start is a request to run a runbook, everything in it resolved and checked for who may.
type Start struct {
	ID              string
	Document        string // its name, for people and for children
	DocumentVersion string
	ClientToken     string
	Mode            Mode
	StartedBy       string
	Attributes      map[string]string // of the starter's principal
	Role            string            // what a child inherits; the document's assumeRole goes before it
	System          System
	Tags            map[string]string
	Parent          string
	ParentStep      string
	Depth           int
	Parameters      map[string][]string // as the API takes them
	Bound           *document.Bound     // the same, bound and its references to Parameter Store resolved; nil: they are bound without
	Values          map[string]any      // typed values that are taken as they are, unchecked: for tests
	Limits          Limits
	Timeout         time.Duration // of the whole execution; 0 is none (AWS: 12 hours when it runs as its starter, A21)
	Targets         *Spread
}

// Spread is how an execution is multiplied (A19, A20): at most one of Targets, TargetMaps and Locations with targets of their own.
type Spread struct {
	Parameter      string                `json:"TargetParameterName,omitempty"`
	Targets        []target.Target       `json:"Targets,omitempty"`
	TargetMaps     []map[string][]string `json:"TargetMaps,omitempty"`
	Locations      []Location            `json:"TargetLocations,omitempty"`
	MaxConcurrency string                `json:"MaxConcurrency,omitempty"`
	MaxErrors      string                `json:"MaxErrors,omitempty"`
}

// Location is a shape TargetLocation (A20).
type Location struct {
	Accounts           []string        `json:"Accounts,omitempty"`
	Regions            []string        `json:"Regions,omitempty"`
	MaxConcurrency     string          `json:"TargetLocationMaxConcurrency,omitempty"`
	MaxErrors          string          `json:"TargetLocationMaxErrors,omitempty"`
	Role               string          `json:"ExecutionRoleName,omitempty"`
	IncludeChildUnits  bool            `json:"IncludeChildOrganizationUnits,omitempty"`
	ExcludeAccounts    []string        `json:"ExcludeAccounts,omitempty"`
	Targets            []target.Target `json:"Targets,omitempty"`
	TargetsConcurrency string          `json:"TargetsMaxConcurrency,omitempty"`
	TargetsMaxErrors   string          `json:"TargetsMaxErrors,omitempty"`
}

// Clone returns a copy that shares nothing with x.
func (x *Execution) Clone() *Execution {
	c := *x
	c.Tags, c.Attributes = maps.Clone(x.Tags), maps.Clone(x.Attributes)
	c.Parameters, c.Variables, c.Outputs = cloneMap(x.Parameters), cloneMap(x.Variables), cloneMap(x.Outputs)
	c.Failure = x.Failure.clone()
	c.Steps = make([]Step, len(x.Steps))
	for i := range x.Steps {
		c.Steps[i] = x.Steps[i].clone()
	}
	c.Fan = x.Fan.clone()
	if x.Loop != nil {
		l := *x.Loop
		if l.Items != nil {
			l.Items, _ = clone(l.Items).([]any)
		}
		c.Loop = &l
	}
	if x.Stop != nil {
		h := *x.Stop
		c.Stop = &h
	}
	c.last, c.overrides = nil, nil
	return &c
}

func (s Step) clone() Step {
	s.Inputs, s.Outputs = cloneMap(s.Inputs), cloneMap(s.Outputs)
	if s.Overridden != nil {
		o := make(map[string][]string, len(s.Overridden))
		for k, v := range s.Overridden {
			o[k] = slices.Clone(v)
		}
		s.Overridden = o
	}
	s.Failure = s.Failure.clone()
	if s.Parent != nil {
		p := *s.Parent
		s.Parent = &p
	}
	s.Decisions = slices.Clone(s.Decisions)
	s.Fan = s.Fan.clone()
	return s
}

func (f *Failure) clone() *Failure {
	if f == nil {
		return nil
	}
	c := *f
	c.Details = maps.Clone(f.Details)
	return &c
}

// latest returns the newest record of a step, nil when it has none.
func (x *Execution) latest(name string) *Step {
	if x.last == nil {
		x.last = make(map[string]int, len(x.Steps))
		for i := range x.Steps {
			x.last[x.Steps[i].Name] = i
		}
	}
	if i, ok := x.last[name]; ok {
		return &x.Steps[i]
	}
	return nil
}

// StepExecutions returns the steps as AWS lists them: in the order of the runbook, those of a loop behind it by iteration, those that were never begun as Pending.
// The list is the caller's, what it points to is not.
func (rb *Runbook) StepExecutions(x *Execution) []Step {
	byName := make(map[string][]int, len(rb.steps))
	for i := range x.Steps {
		byName[x.Steps[i].Name] = append(byName[x.Steps[i].Name], i)
	}
	var out []Step
	if x.Fan != nil {
		return nil
	}
	for _, i := range rb.top {
		s := &rb.steps[i]
		recs := byName[s.Name]
		if len(recs) == 0 {
			out = append(out, Step{Name: s.Name, Action: s.Action, Status: Pending})
		}
		for _, r := range recs {
			out = append(out, x.Steps[r])
			if len(s.body) == 0 {
				continue
			}
			for j := range x.Steps {
				if p := x.Steps[j].Parent; p != nil && p.StepExecutionID == x.Steps[r].ID {
					out = append(out, x.Steps[j])
				}
			}
		}
	}
	return out
}
