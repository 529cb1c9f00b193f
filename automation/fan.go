package automation

import (
	"slices"
	"strconv"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/target"
)

// Fan is the children of a step or of an execution with targets, and how many of them may run and fail (A19, A20).
type Fan struct {
	Document        string              `json:"document"`
	DocumentVersion string              `json:"documentVersion,omitempty"`
	Parameters      map[string][]string `json:"parameters,omitempty"` // of every child
	Tags            map[string]string   `json:"tags,omitempty"`
	Spread          *Spread             `json:"spread,omitempty"`    // nil: one child
	Resolving       bool                `json:"resolving,omitempty"` // the targets are being found out
	Stopped         bool                `json:"stopped,omitempty"`   // no more children start
	Groups          []Group             `json:"groups,omitempty"`    // one a location; one where there are none
}

// Group is the children of one location: its own limits, its own errors.
type Group struct {
	Concurrency int    `json:"concurrency"`
	ErrorLimit  int    `json:"errorLimit"`
	Next        int    `json:"next"` // the next item to start
	Running     int    `json:"running"`
	Errors      int    `json:"errors"`
	Items       []Item `json:"items"`
}

// Item is one child.
type Item struct {
	Parameters map[string][]string `json:"parameters,omitempty"` // those that are its own
	Account    string              `json:"account,omitempty"`
	Region     string              `json:"region,omitempty"`
	Location   int                 `json:"location,omitempty"`
	ID         string              `json:"id,omitempty"` // "" until it starts
	Status     Status              `json:"status,omitempty"`
	Outputs    []string            `json:"outputs,omitempty"`
}

func (f *Fan) clone() *Fan {
	if f == nil {
		return nil
	}
	c := *f
	c.Groups = slices.Clone(f.Groups)
	for i := range c.Groups {
		c.Groups[i].Items = slices.Clone(c.Groups[i].Items) // what items refer to is never changed in place
	}
	return &c
}

func (f *Fan) running() (n int) {
	for i := range f.Groups {
		n += f.Groups[i].Running
	}
	return n
}

// done reports whether nothing runs and nothing more starts.
func (f *Fan) done() bool {
	if f.Resolving {
		return f.Stopped
	}
	for i := range f.Groups {
		g := &f.Groups[i]
		if g.Running > 0 || !f.Stopped && g.Next < len(g.Items) && g.Errors <= g.ErrorLimit {
			return false
		}
	}
	return true
}

// exceeded reports whether some location has more errors than it may (T1, T2: one more than the limit).
func (f *Fan) exceeded() bool {
	return slices.ContainsFunc(f.Groups, func(g Group) bool { return g.Errors > g.ErrorLimit })
}

// The limits of AWS (A19, A20).
const (
	mostMaps      = 300
	mostMapKeys   = 20
	mostMapValues = 25
	mostLocations = 100
	mostAccounts  = 50
	mostRegions   = 50
	mostExcluded  = 5000
	mostTags      = 5
)

// ParameterValues is the key of targets that are values of the target parameter themselves.
const ParameterValues = "ParameterValues"

// check looks at what is said about targets.
func (s *Spread) check() *Failure {
	kinds := 0
	for _, is := range []bool{len(s.Targets) > 0, len(s.TargetMaps) > 0} {
		if is {
			kinds++
		}
	}
	switch {
	case kinds > 1:
		return invalid("Targets and TargetMaps exclude each other")
	case kinds == 0 && len(s.Locations) == 0:
		return invalid("there are no Targets, TargetMaps or TargetLocations")
	case len(s.Targets) > 1:
		return invalid("there are %d Targets, one is allowed", len(s.Targets))
	case len(s.Targets) == 1 && s.Parameter == "":
		return invalid("Targets need a TargetParameterName")
	case len(s.TargetMaps) > mostMaps:
		return invalid("there are %d TargetMaps, at most %d are allowed", len(s.TargetMaps), mostMaps)
	case len(s.Locations) > mostLocations:
		return invalid("there are %d TargetLocations, at most %d are allowed", len(s.Locations), mostLocations)
	}
	for _, t := range s.Targets {
		if f := checkTarget(t); f != nil {
			return f
		}
	}
	for i, m := range s.TargetMaps {
		if len(m) == 0 || len(m) > mostMapKeys {
			return invalid("TargetMaps[%d] has %d keys: 1 to %d are allowed", i, len(m), mostMapKeys)
		}
		for _, v := range m {
			if len(v) > mostMapValues {
				return invalid("TargetMaps[%d] has a key with %d values, at most %d are allowed", i, len(v), mostMapValues)
			}
		}
	}
	for i := range s.Locations {
		if f := s.Locations[i].check(i); f != nil {
			return f
		}
	}
	if _, _, f := rates(s.MaxConcurrency, s.MaxErrors, target.AutomationConcurrency, target.AutomationErrors); f != nil {
		return f
	}
	return nil
}

func checkTarget(t target.Target) *Failure {
	if t.Key == ParameterValues {
		if len(t.Values) == 0 || len(t.Values) > target.MaxValues {
			return invalid("ParameterValues has %d values: 1 to %d are allowed", len(t.Values), target.MaxValues)
		}
		return nil
	}
	if err := target.Validate(known([]target.Target{t}), nil); err != nil {
		return invalid("%s", fault.MessageOf(err))
	}
	return nil
}

// known writes targets as package target knows them: automations have ResourceGroup (guide, running automations at scale) where all else has resource-groups:Name.
func known(ts []target.Target) []target.Target {
	out := slices.Clone(ts)
	for i := range out {
		if out[i].Key == "ResourceGroup" {
			out[i].Key = "resource-groups:Name"
		}
	}
	return out
}

func (l *Location) check(i int) *Failure {
	switch {
	case len(l.Accounts) == 0 || len(l.Accounts) > mostAccounts:
		return invalid("TargetLocations[%d] has %d Accounts: 1 to %d are allowed", i, len(l.Accounts), mostAccounts)
	case len(l.Regions) == 0 || len(l.Regions) > mostRegions:
		return invalid("TargetLocations[%d] has %d Regions: 1 to %d are allowed", i, len(l.Regions), mostRegions)
	case len(l.ExcludeAccounts) > mostExcluded:
		return invalid("TargetLocations[%d] has %d ExcludeAccounts, at most %d are allowed", i, len(l.ExcludeAccounts), mostExcluded)
	case len(l.Targets) > 1:
		return invalid("TargetLocations[%d] has %d Targets, one is allowed", i, len(l.Targets))
	}
	for _, t := range l.Targets {
		if f := checkTarget(t); f != nil {
			return f
		}
	}
	if _, _, f := rates(l.TargetsConcurrency, l.TargetsMaxErrors, "1", "0"); f != nil {
		return f
	}
	_, _, f := rates(l.MaxConcurrency, l.MaxErrors, target.LocationConcurrency, target.LocationErrors)
	return f
}

func rates(concurrency, errors, c, e string) (target.Rate, target.Rate, *Failure) {
	if concurrency == "" {
		concurrency = c
	}
	if errors == "" {
		errors = e
	}
	rc, err := target.ParseConcurrency(concurrency)
	if err != nil {
		return rc, rc, invalid("%s", fault.MessageOf(err))
	}
	re, err := target.ParseErrors(errors)
	if err != nil {
		return rc, re, invalid("%s", fault.MessageOf(err))
	}
	return rc, re, nil
}

// known gives the values of the target parameter where nobody need be asked.
func (s *Spread) known() (values []string, ok bool) {
	if len(s.Targets) == 0 {
		return nil, len(s.TargetMaps) > 0 || len(s.Locations) > 0
	}
	t := s.Targets[0]
	if t.Key == ParameterValues || t.Key == target.InstanceIDs && !slices.Contains(t.Values, target.All) {
		return t.Values, true
	}
	return nil, false
}

// units reports whether a location names organizational units, which somebody must look up.
func (s *Spread) units() bool {
	return slices.ContainsFunc(s.Locations, func(l Location) bool {
		return slices.ContainsFunc(l.Accounts, func(a string) bool { return strings.HasPrefix(a, "ou-") || strings.HasPrefix(a, "r-") })
	})
}

// begin fills the fan, or says that its targets must be found out first. With locations the targets are found out there, by the children.
func (f *Fan) begin(most int) (ask bool, bad *Failure) {
	switch s := f.Spread; {
	case s == nil:
		f.Groups = []Group{{Concurrency: 1, Items: []Item{{}}}}
		return false, nil
	case len(s.Locations) > 0:
		if s.units() {
			f.Resolving = true
			return true, nil
		}
		accounts := make([][]string, len(s.Locations))
		for i := range accounts {
			accounts[i] = s.Locations[i].Accounts
		}
		return false, f.fill(nil, accounts, most)
	default:
		values, ok := s.known()
		if !ok {
			f.Resolving = true
			return true, nil
		}
		return false, f.fill(values, nil, most)
	}
}

// fill makes the items: one a value, a map, or an account and Region of a location.
func (f *Fan) fill(values []string, accounts [][]string, most int) *Failure {
	f.Resolving = false
	s := f.Spread
	n := 0
	add := func(items []Item, concurrency, errors, c, e string) *Failure {
		rc, re, bad := rates(concurrency, errors, c, e)
		if n += len(items); bad == nil && n > most {
			bad = invalid("there are %d targets, at most %d are allowed", n, most)
		}
		f.Groups = append(f.Groups, Group{Concurrency: rc.Concurrency(len(items)), ErrorLimit: re.ErrorLimit(len(items)), Items: items})
		return bad
	}
	if len(s.Locations) > 0 {
		for i := range s.Locations {
			l := &s.Locations[i]
			var items []Item
			if i < len(accounts) {
				for _, a := range accounts[i] {
					if slices.Contains(l.ExcludeAccounts, a) {
						continue
					}
					for _, region := range l.Regions {
						items = append(items, Item{Account: a, Region: region, Location: i})
					}
				}
			}
			if bad := add(items, l.MaxConcurrency, l.MaxErrors, target.LocationConcurrency, target.LocationErrors); bad != nil {
				return bad
			}
		}
		return nil
	}
	var items []Item
	for _, v := range values {
		items = append(items, Item{Parameters: map[string][]string{s.Parameter: {v}}})
	}
	for _, m := range s.TargetMaps {
		items = append(items, Item{Parameters: m})
	}
	return add(items, s.MaxConcurrency, s.MaxErrors, target.AutomationConcurrency, target.AutomationErrors)
}

// child describes an item as an execution to start.
func (f *Fan) child(it *Item, role string, depth int, tags map[string]string) *Child {
	c := &Child{ID: it.ID, Document: f.Document, DocumentVersion: f.DocumentVersion, Tags: tags, Depth: depth, Account: it.Account, Region: it.Region, Role: role,
		Parameters: make(map[string][]string, len(f.Parameters)+1)}
	for k, v := range f.Parameters {
		c.Parameters[k] = v
	}
	for k, v := range it.Parameters {
		c.Parameters[k] = v
	}
	if it.Account == "" {
		return c
	}
	l := &f.Spread.Locations[it.Location]
	if l.Role != "" {
		c.Role = l.Role
	} else {
		c.Role = "AWS-SystemsManager-AutomationExecutionRole"
	}
	s := &Spread{Parameter: f.Spread.Parameter, Targets: f.Spread.Targets, TargetMaps: f.Spread.TargetMaps, MaxConcurrency: f.Spread.MaxConcurrency, MaxErrors: f.Spread.MaxErrors}
	if len(l.Targets) > 0 {
		s.Targets, s.TargetMaps = l.Targets, nil
	}
	if l.TargetsConcurrency != "" {
		s.MaxConcurrency = l.TargetsConcurrency
	}
	if l.TargetsMaxErrors != "" {
		s.MaxErrors = l.TargetsMaxErrors
	}
	if len(s.Targets) > 0 || len(s.TargetMaps) > 0 {
		c.Spread = s
	}
	return c
}

// start starts as many children as may run.
func (r *run) startChildren(f *Fan, stepID, step string) {
	for g := range f.Groups {
		gr := &f.Groups[g]
		for !f.Stopped && gr.Next < len(gr.Items) && gr.Running < gr.Concurrency && gr.Errors <= gr.ErrorLimit {
			it := &gr.Items[gr.Next]
			it.ID = uuid(r.x.ID, stepID, r.attemptOf(stepID), strconv.Itoa(g), strconv.Itoa(gr.Next))
			it.Status = InProgress
			gr.Next++
			gr.Running++
			r.out = append(r.out, r.x.startOf(f, it, stepID, step))
		}
	}
}

func (r *run) attemptOf(stepID string) string {
	if stepID == "" {
		return ""
	}
	return strconv.Itoa(r.x.Steps[r.x.Current].Attempt)
}

func (x *Execution) startOf(f *Fan, it *Item, stepID, step string) Effect {
	return Effect{Kind: StartChild, StepID: stepID, Step: step, Token: it.ID, Role: x.Role, Child: f.child(it, x.Role, x.Depth+1, f.Tags)}
}

// stopChildren stops those that run, and starts no more.
func (r *run) stopChildren(f *Fan, stepID string) {
	if f.Stopped {
		return
	}
	f.Stopped = true
	for g := range f.Groups {
		for i := range f.Groups[g].Items {
			if it := &f.Groups[g].Items[i]; it.Status == InProgress {
				r.out = append(r.out, Effect{Kind: StopChild, StepID: stepID, Child: &Child{ID: it.ID, Account: it.Account, Region: it.Region}})
			}
		}
	}
}

// take notes the end of a child; ok is false when it is not awaited.
func (f *Fan) take(ev *ChildEnd) (ok bool) {
	for g := range f.Groups {
		gr := &f.Groups[g]
		for i := range gr.Items {
			it := &gr.Items[i]
			if it.ID != ev.ID || it.Status != InProgress {
				continue
			}
			it.Status, it.Outputs = ev.Status, ev.Outputs
			if gr.Running--; ev.Status != Success && ev.Status != CompletedWithSuccess {
				gr.Errors++
			}
			return true
		}
	}
	return false
}

// childEnded takes the end of a child.
func (r *run) childEnded(ev *ChildEnd) {
	x := r.x
	f, step := x.Fan, ""
	if ev.StepID != "" {
		f = nil
		if x.Current >= 0 && x.Steps[x.Current].ID == ev.StepID {
			f, step = x.Steps[x.Current].Fan, x.Steps[x.Current].Name
		}
	}
	if x.Status.Done() || f == nil || !ev.Status.Done() || !f.take(ev) {
		x.Late++
		return
	}
	r.startChildren(f, ev.StepID, step)
	if ev.StepID == "" {
		r.fanEnded()
		return
	}
	r.childrenEnded(ev.Failure)
}

// resolved takes what targets are.
func (r *run) resolved(ev *Resolved) {
	x := r.x
	f, step := x.Fan, ""
	if ev.StepID != "" {
		f = nil
		if x.Current >= 0 && x.Steps[x.Current].ID == ev.StepID {
			f, step = x.Steps[x.Current].Fan, x.Steps[x.Current].Name
		}
	}
	if x.Status.Done() || f == nil || !f.Resolving || f.Stopped {
		x.Late++
		return
	}
	bad := ev.Failure
	if bad == nil {
		bad = f.fill(ev.Values, ev.Accounts, x.Limits.withDefaults().Targets)
	}
	if bad != nil {
		if ev.StepID != "" {
			r.failed(x.Current, Failed, bad, true)
			return
		}
		f.Resolving = false
		x.Worst, x.Failure = Failed, bad
		r.end()
		return
	}
	r.startChildren(f, ev.StepID, step)
	if ev.StepID == "" {
		r.fanEnded()
		return
	}
	r.childrenEnded(nil)
}

// fanOut begins the children of an execution with targets.
func (r *run) fanOut(f *Fan, stepID string) {
	ask, bad := f.begin(r.x.Limits.withDefaults().Targets)
	switch {
	case bad != nil:
		r.x.Worst, r.x.Failure = Failed, bad
		r.end()
	case ask:
		r.out = append(r.out, Effect{Kind: Resolve, Role: r.x.Role, Spread: f.Spread})
	default:
		r.startChildren(f, stepID, "")
		r.fanEnded()
	}
}

// fanEnded ends an execution with targets when all its children are final (A19).
func (r *run) fanEnded() {
	f := r.x.Fan
	if !f.done() {
		return
	}
	if f.exceeded() && (r.x.Stop == nil || r.x.Stop.Type != Cancel) {
		r.x.Worst = Failed
		r.x.Failure = &Failure{Stage: Invocation, Type: ActionFailure, Message: "more children failed than MaxErrors allows"}
	}
	r.end()
}

// spread makes the execution one with targets.
func (rb *Runbook) spread(x *Execution, req Start) error {
	const op = "automation.New"
	if bad := req.Targets.check(); bad != nil {
		return fault.New(op, fault.InvalidTarget, "%s", bad.Message)
	}
	names := []string{req.Targets.Parameter}
	for _, m := range req.Targets.TargetMaps {
		for k := range m {
			names = append(names, k)
		}
	}
	for k := range req.Parameters {
		names = append(names, k)
	}
	for _, n := range names {
		if _, ok := rb.doc.Parameter(n); n != "" && !ok {
			return fault.New(op, InvalidExecutionParams, "the runbook has no parameter %q: names are case-sensitive", fault.Clean(clip(n)))
		}
	}
	x.Fan = &Fan{Document: req.Document, DocumentVersion: req.DocumentVersion, Parameters: req.Parameters, Spread: req.Targets}
	if req.Timeout > 0 {
		x.Deadline = x.Created.Add(req.Timeout)
	}
	return nil
}
