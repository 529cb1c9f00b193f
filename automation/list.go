package automation

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// Summary is what a list shows of an execution (shape AutomationExecutionMetadata).
type Summary struct {
	ID, Document, DocumentVersion string
	Status                        Status
	Mode                          Mode
	StartedBy, Parent             string
	Created, Start, End           time.Time
	CurrentStep, CurrentAction    string
	FailureMessage                string
	Targets                       bool
}

func (h *head) summary() Summary {
	return Summary{h.ID, h.Document, h.Version, h.Status, h.Mode, h.StartedBy, h.Parent, h.Created, h.Start, h.End, h.Step, h.Action, h.Failure, h.Fan}
}

// Filter says which executions are listed: those that meet every field that is set (shape AutomationExecutionFilterKey). The zero Filter is for all.
type Filter struct {
	DocumentPrefix string
	IDs            []string
	Statuses       []Status
	Parent         string    // the execution that started them
	Actions        []string  // that are at work
	TagKeys        []string  // one of them
	ResourceGroup  string    // that the execution has as its target
	CrossAccount   *bool     // with or without TargetLocations; nil is both
	After, Before  time.Time // of the creation
}

// Add adds a filter as the API has it: a key of shape AutomationExecutionFilterKey with its values. A key that is unknown, or a value that is none, is InvalidFilterKey or
// InvalidFilterValue. Change requests and OpsItems start no executions here: their keys find nothing.
func (f *Filter) Add(name string, values ...string) error {
	const op = "automation.Filter"
	if len(values) < 1 || len(values) > 10 || slices.ContainsFunc(values, func(v string) bool { return v == "" || len(v) > 150 }) {
		return fault.New(op, fault.InvalidFilterValue, "filter %q has 1 to 10 values of 1 to 150 characters", fault.Clean(clip(name)))
	}
	one := func() (string, error) {
		if len(values) > 1 {
			return "", fault.New(op, fault.InvalidFilterValue, "filter %s has one value", name)
		}
		return values[0], nil
	}
	at := func(t *time.Time) error {
		v, err := one()
		if err != nil {
			return err
		}
		for _, form := range []string{time.RFC3339Nano, "2006-01-02T15:04Z"} {
			if *t, err = time.Parse(form, v); err == nil {
				return nil
			}
		}
		return fault.New(op, fault.InvalidFilterValue, "filter %s: %q is no time as 2026-01-02T03:04:05Z", name, fault.Clean(clip(v)))
	}
	var err error
	switch name {
	case "DocumentNamePrefix":
		f.DocumentPrefix, err = one()
	case "ExecutionStatus":
		for _, v := range values {
			if !slices.Contains(Statuses(), Status(v)) {
				return fault.New(op, fault.InvalidFilterValue, "%q is no status of an execution", fault.Clean(clip(v)))
			}
			f.Statuses = append(f.Statuses, Status(v))
		}
	case "ExecutionId":
		f.IDs = append(f.IDs, values...)
	case "ParentExecutionId":
		f.Parent, err = one()
	case "CurrentAction":
		f.Actions = append(f.Actions, values...)
	case "StartTimeBefore":
		err = at(&f.Before)
	case "StartTimeAfter":
		err = at(&f.After)
	case "AutomationType":
		v, err := one()
		cross := v == "CrossAccount"
		if err == nil && !cross && v != "Local" {
			err = fault.New(op, fault.InvalidFilterValue, "AutomationType is CrossAccount or Local")
		}
		f.CrossAccount = &cross
		return err
	case "TagKey":
		f.TagKeys = append(f.TagKeys, values...)
	case "TargetResourceGroup":
		f.ResourceGroup, err = one()
	case "AutomationSubtype", "OpsItemId":
		if name == "AutomationSubtype" && !slices.ContainsFunc(values, func(v string) bool { return v != "ChangeRequest" && v != "AccessRequest" }) || name == "OpsItemId" {
			f.IDs = append(f.IDs, "\x00") // no execution has it
			return nil
		}
		err = fault.New(op, fault.InvalidFilterValue, "AutomationSubtype is ChangeRequest or AccessRequest")
	default:
		err = fault.New(op, fault.InvalidFilterKey, "%q is no filter of executions", fault.Clean(clip(name)))
	}
	return err
}

func (f *Filter) fits(h *head) bool {
	among := func(list []string, v string) bool { return len(list) == 0 || slices.Contains(list, v) }
	return strings.HasPrefix(h.Document, f.DocumentPrefix) && (f.Parent == "" || f.Parent == h.Parent) && (f.After.IsZero() || h.Created.After(f.After)) &&
		(f.Before.IsZero() || h.Created.Before(f.Before)) && (len(f.Statuses) == 0 || slices.Contains(f.Statuses, h.Status)) && among(f.IDs, h.ID) && among(f.Actions, h.Action) &&
		(len(f.TagKeys) == 0 || slices.ContainsFunc(h.Tags, func(k string) bool { return slices.Contains(f.TagKeys, k) })) &&
		(f.ResourceGroup == "" || f.ResourceGroup == h.Group) && (f.CrossAccount == nil || *f.CrossAccount == h.Cross)
}

// List returns executions, the newest first, at most limit (1 to 50, 0 is 50). next is "" at the end, else what the next call is to be given.
func (s *Service) List(ctx context.Context, f Filter, limit int, after string) (out []Summary, next string, err error) {
	const op = "automation.List"
	defer func() { s.audited(ctx, actionList, "*", err) }()
	if err := access.Check(ctx, s.cfg.Authorizer, actionList, "*", nil); err != nil {
		return nil, "", fault.Wrap(op, err)
	}
	if limit == 0 {
		limit = 50
	}
	if limit < 1 || limit > 50 {
		return nil, "", fault.New(op, fault.Validation, "MaxResults is 1 to 50")
	}
	tenant := access.Tenant(ctx)
	rng := timesKey(tenant).Range()
	rng.Reverse = true
	if after != "" {
		t, id, ok := strings.Cut(after, " ")
		at, err := time.Parse(time.RFC3339Nano, t)
		if !ok || err != nil {
			return nil, "", fault.New(op, fault.InvalidNextToken, "the token is none of this list: begin again without it")
		}
		rng.End = timesKey(tenant).Time(at).Str(id)
	}
	for {
		page, more, err := s.page(ctx, tenant, rng)
		if err != nil {
			return nil, "", storeFault(op, err)
		}
		for i := range page {
			h := &page[i]
			if !f.fits(h) || access.Check(ctx, s.cfg.Authorizer, actionGet, "automation-execution/"+h.ID, nil) != nil {
				continue
			}
			if len(out) == limit {
				last := out[limit-1]
				return out, last.Created.UTC().Format(time.RFC3339Nano) + " " + last.ID, nil
			}
			out = append(out, h.summary())
		}
		if !more {
			return out, "", nil
		}
		rng.End = timesKey(tenant).Time(page[len(page)-1].Created).Str(page[len(page)-1].ID)
	}
}

// page reads a page of a list.
func (s *Service) page(ctx context.Context, tenant string, rng store.Range) (page []head, more bool, err error) {
	const size = 200
	rng.Limit = size
	prefix := timesKey(tenant)
	err = s.cfg.Store.View(ctx, func(ctx context.Context, r store.Reader) error {
		page = page[:0]
		var keys [][]byte
		for it, err := range r.Scan(ctx, rng) {
			if err != nil {
				return err
			}
			k := key.Read(it.Key[len(prefix):])
			_, id := k.Time(), k.Str()
			if err := k.Err(); err != nil {
				return err
			}
			keys = append(keys, headKey(tenant, id))
		}
		heads, err := s.heads.GetMany(ctx, r, keys)
		if err != nil {
			return err
		}
		for _, h := range heads {
			if h != nil {
				page = append(page, *h)
			}
		}
		more = len(keys) == size && len(page) > 0
		return nil
	})
	return page, more, err
}

// StepFilter says which steps are listed: those that meet every field that is set (shape StepExecutionFilterKey). The zero StepFilter is for all.
type StepFilter struct {
	Names, Actions, IDs []string
	Statuses            []Status
	After, Before       time.Time // of the beginning
	ParentStep          string    // StepExecutionId of the loop that they stand in
	Iteration           int       // of that loop
	IteratorValue       string
	Reverse             bool // the newest first: in the reverse of the order in which they were begun, without those that were not
}

func (f *StepFilter) fits(s *Step) bool {
	among := func(list []string, v string) bool { return len(list) == 0 || slices.Contains(list, v) }
	if !among(f.Names, s.Name) || !among(f.Actions, s.Action) || !among(f.IDs, s.ID) || len(f.Statuses) > 0 && !slices.Contains(f.Statuses, s.Status) ||
		!f.After.IsZero() && !s.Start.After(f.After) || !f.Before.IsZero() && (s.Start.IsZero() || !s.Start.Before(f.Before)) {
		return false
	}
	if f.ParentStep == "" && f.Iteration == 0 && f.IteratorValue == "" {
		return true
	}
	p := s.Parent
	return p != nil && (f.ParentStep == "" || p.StepExecutionID == f.ParentStep) && (f.Iteration == 0 || p.Iteration == f.Iteration) && (f.IteratorValue == "" || p.IteratorValue == f.IteratorValue)
}

// Steps returns the steps of an execution, in AWS's order (see [Runbook.StepExecutions]), at most limit (1 to 50, 0 is 50). next is 0 at the end, else what the next call is
// to be given as after. It needs ssm:DescribeAutomationStepExecutions on the execution.
func (s *Service) Steps(ctx context.Context, id string, f StepFilter, limit, after int) (out []Step, next int, err error) {
	const op = "automation.Steps"
	if limit == 0 {
		limit = 50
	}
	if limit < 1 || limit > 50 || after < 0 {
		return nil, 0, fault.New(op, fault.Validation, "MaxResults is 1 to 50")
	}
	l, err := s.lookAs(ctx, op, "ssm:DescribeAutomationStepExecutions", id)
	if err != nil {
		return nil, 0, err
	}
	all := l.rb.StepExecutions(l.x)
	if f.Reverse {
		all = slices.Clone(l.x.Steps)
		slices.Reverse(all)
	}
	for i := after; i < len(all); i++ {
		if !f.fits(&all[i]) {
			continue
		}
		if len(out) == limit {
			return out, i, nil
		}
		out = append(out, all[i])
	}
	return out, 0, nil
}

// describe notes what lists find an execution by and what never changes.
func (h *head) describe(x *Execution) {
	for k := range x.Tags {
		h.Tags = append(h.Tags, k)
	}
	slices.Sort(h.Tags)
	if x.Fan == nil || x.Fan.Spread == nil {
		return
	}
	h.Cross = len(x.Fan.Spread.Locations) > 0
	for _, t := range x.Fan.Spread.Targets {
		if (t.Key == "ResourceGroup" || t.Key == "resource-groups:Name") && len(t.Values) > 0 {
			h.Group = t.Values[0]
		}
	}
}
