package automation

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
)

// New returns an execution that is Pending: the [Event] Begin starts it. Bad parameters, targets and the like are refused before anything exists.
func (rb *Runbook) New(req Start, now time.Time) (*Execution, error) {
	const op = "automation.New"
	x := &Execution{ID: req.ID, Document: req.Document, DocumentVersion: req.DocumentVersion, DocumentHash: rb.doc.Hash(), ClientToken: req.ClientToken, Mode: req.Mode,
		StartedBy: req.StartedBy, Attributes: maps.Clone(req.Attributes), Role: req.Role, System: req.System, Tags: req.Tags, Parent: req.Parent, ParentStep: req.ParentStep, Depth: req.Depth, Limits: req.Limits,
		Status: Pending, Created: now, Current: -1, Variables: map[string]any{}, Parameters: map[string]any{}}
	switch {
	case req.ID == "":
		return nil, fault.New(op, fault.Validation, "the execution has no id")
	case x.Mode == "":
		x.Mode = Auto
	case x.Mode != Auto && x.Mode != Interactive:
		return nil, fault.New(op, fault.Validation, "mode %q: it is Auto or Interactive", fault.Clean(clip(string(x.Mode))))
	}
	if x.System.Partition == "" {
		x.System.Partition = "aws"
	}
	if d := x.Limits.withDefaults().Depth; x.Depth > d {
		return nil, fault.New(op, ExecutionLimitExceeded, "an execution can be %d levels below the first one, this would be level %d", d, x.Depth)
	}
	if req.Targets != nil {
		return x, rb.spread(x, req)
	}
	b := req.Bound
	if req.Values != nil {
		for k, v := range req.Values {
			p, err := plain(v)
			if err != nil {
				return nil, fault.New(op, InvalidExecutionParams, "parameter %s: %s", k, err)
			}
			x.Parameters[k] = p
		}
		return x, rb.settle(x, req)
	}
	if b == nil {
		var err error
		if b, err = rb.doc.Bind(req.Parameters, &document.BindOptions{MaxSize: -1}); err != nil {
			return nil, fault.New(op, InvalidExecutionParams, "%s", fault.MessageOf(err))
		}
	}
	for k, v := range b.Values() {
		p, err := plain(v)
		if err != nil {
			return nil, fault.New(op, InvalidExecutionParams, "parameter %s: %s", k, err)
		}
		x.Parameters[k] = p
	}
	rb.defaults(x, req.Parameters)
	return x, rb.settle(x, req)
}

// defaults fills in what the defaults of parameters that were not given refer to: system variables and other parameters, as AWS's own runbooks do (a stack named after
// {{automation:EXECUTION_ID}}). What a default refers to and nobody knows stays as it is.
func (rb *Runbook) defaults(x *Execution, given map[string][]string) {
	r := &run{rb: rb, x: x, now: x.Created, next: -1}
	for range 2 { // a default may refer to one that is declared later
		for i := range rb.doc.Parameters {
			p := &rb.doc.Parameters[i]
			if _, ok := given[p.Name]; ok || p.Default == nil {
				continue
			}
			n := compile(p.Default)
			if n.shape == 0 {
				continue
			}
			was, err := plain(p.Default.Go())
			if err != nil || !reflect.DeepEqual(was, x.Parameters[p.Name]) {
				continue
			}
			if v, err := n.resolve(r.get); err == nil {
				if v, err = plain(v); err == nil && reflect.TypeOf(v) == reflect.TypeOf(was) {
					x.Parameters[p.Name] = v
				}
			}
		}
	}
}

// settle gives a new execution its variables and its role.
func (rb *Runbook) settle(x *Execution, req Start) error {
	const op = "automation.New"
	now := x.Created
	r := &run{rb: rb, x: x, now: now, next: -1}
	for i := range rb.doc.Variables {
		v := &rb.doc.Variables[i]
		if v.Default == nil {
			continue
		}
		n := compile(v.Default)
		val, err := n.resolve(r.get)
		if err == nil {
			val, err = typed(val, v.Type)
		}
		if err != nil {
			return fault.New(op, fault.InvalidDocumentContent, "the default of variable %s: %s", clip(v.Name), err)
		}
		x.Variables[v.Name] = val
	}
	role, err := rb.role.resolve(r.get)
	if err != nil {
		return fault.New(op, InvalidExecutionParams, "assumeRole: %s", err)
	}
	if s, _ := role.(string); s != "" {
		x.Role = s
	}
	if req.Timeout > 0 {
		x.Deadline = now.Add(req.Timeout)
	}
	return nil
}

// Step applies an event at a time, which must not be before the one of the step before. It changes x and returns what is to be done, in order. It is pure: the
// same execution, event and time give the same result.
//
// An error says that the event was refused ([InvalidSignal], [StepNotFound], [InvalidStatusUpdate], AccessDenied) and only time has passed: what that led to is
// returned beside the error and stands. Answers that come too late are no errors: they are counted in x.Late.
func (rb *Runbook) Step(x *Execution, ev Event, now time.Time) ([]Effect, error) {
	r := &run{rb: rb, x: x, now: now, next: -1}
	x.Sequence++
	r.due()
	err := r.apply(ev)
	r.flow()
	return r.out, err
}

// Next returns when time alone changes the execution: Step it with an empty Event then. ok is false when it waits for an event.
func (x *Execution) Next() (t time.Time, ok bool) {
	if x.Status.Done() || x.Status == Pending {
		return t, false
	}
	add := func(d time.Time) {
		if !d.IsZero() && (!ok || d.Before(t)) {
			t, ok = d, true
		}
	}
	add(x.Deadline)
	if x.Stop != nil {
		add(x.Stop.Deadline)
	}
	if x.Loop != nil {
		add(x.Steps[x.Loop.Step].Deadline)
	}
	if x.Current >= 0 {
		s := &x.Steps[x.Current]
		add(s.Deadline)
		if !s.Looking {
			add(s.Until)
		}
	}
	return t, ok
}

// run is one application of an event.
type run struct {
	rb   *Runbook
	x    *Execution
	now  time.Time
	out  []Effect
	next int // the step to begin, -1 for none
	sig  *Signal

	explore bool // outcomes are given, not computed
	cut     int  // when so many steps have been begun the next one is not; 0 for no cut
}

// due lets everything happen that was due by now.
func (r *run) due() {
	for {
		t, ok := r.x.Next()
		if !ok || t.After(r.now) {
			return
		}
		r.fire(t)
		r.flow()
	}
}

// fire does what is due at t.
func (r *run) fire(t time.Time) {
	x := r.x
	at := func(d time.Time) bool { return !d.IsZero() && !d.After(t) }
	switch {
	case at(x.Deadline):
		x.Deadline = time.Time{}
		f := &Failure{Stage: Invocation, Type: ActionFailure, Message: "the execution took longer than it may"}
		r.halt(TimedOut, f)
		x.Worst, x.Failure = TimedOut, f
		r.end()
	case x.Stop != nil && at(x.Stop.Deadline):
		x.Stop.Deadline = time.Time{}
		r.halt(Cancelled, &Failure{Stage: Invocation, Type: ActionFailure, Message: "the cancellation took longer than it may"})
		r.end()
	case x.Loop != nil && at(x.Steps[x.Loop.Step].Deadline):
		i, f := x.Loop.Step, &Failure{Stage: Invocation, Type: ActionFailure, Message: "the loop took longer than its timeoutSeconds"}
		if x.Current >= 0 {
			r.drop(x.Current)
			x.Steps[x.Current].close(Cancelled, f, r.now)
		}
		x.Loop = nil
		r.finish(i, TimedOut, f)
	case at(x.Steps[x.Current].Deadline):
		r.drop(x.Current)
		r.failed(x.Current, TimedOut, &Failure{Stage: Invocation, Type: ActionFailure, Message: "the step took longer than its timeoutSeconds"}, true)
	default:
		r.woken(x.Current)
	}
}

// apply applies an event.
func (r *run) apply(ev Event) error {
	x := r.x
	switch {
	case ev.Begin:
		if x.Status == Pending {
			r.begin()
		}
	case ev.Result != nil:
		r.result(ev.Result)
	case ev.Resolved != nil:
		r.resolved(ev.Resolved)
	case ev.Child != nil:
		r.childEnded(ev.Child)
	case ev.Signal != nil:
		return r.signal(ev.Signal)
	case ev.Stop != nil:
		return r.stop(ev.Stop)
	}
	return nil
}

// begin starts the execution.
func (r *run) begin() {
	r.x.Status, r.x.Start = InProgress, r.now
	if !r.x.Deadline.IsZero() {
		r.x.Deadline = r.now.Add(r.x.Deadline.Sub(r.x.Created))
	}
	if r.x.Fan != nil {
		r.fanOut(r.x.Fan, "")
		return
	}
	r.next = r.rb.top[0]
}

// flow begins steps for as long as one leads to another.
func (r *run) flow() {
	for r.next >= 0 && !r.x.Status.Done() {
		i := r.next
		r.next = -1
		r.start(i)
	}
	r.next = -1
}

// start begins a step, or waits for the signal that does.
func (r *run) start(i int) {
	x, s := r.x, &r.rb.steps[i]
	if r.cut > 0 && len(x.Steps) >= r.cut-1 {
		x.NextStep = s.Name
		return
	}
	cancelling := x.Stop != nil && x.Stop.Flow
	if x.Mode == Interactive && r.sig == nil && !cancelling {
		x.NextStep, x.Status = s.Name, Waiting
		return
	}
	sig := r.sig
	r.sig, x.NextStep = nil, ""
	if !cancelling {
		x.Status = InProgress
	}
	rec := Step{ID: r.id(len(x.Steps)), Name: s.Name, Action: s.Action, Status: InProgress, Attempt: 1, Start: r.now}
	if x.Loop != nil && s.loop >= 0 {
		l := &x.Steps[x.Loop.Step]
		rec.Parent = &ParentStep{StepExecutionID: l.ID, StepName: l.Name, Action: l.Action, Iteration: x.Loop.Iteration}
		if x.Loop.Items != nil {
			rec.Parent.IteratorValue = text(x.Loop.Items[x.Loop.Iteration-1])
		}
	}
	x.latest("")
	x.last[s.Name] = len(x.Steps)
	x.Current = len(x.Steps)
	x.Steps = append(x.Steps, rec)
	at := x.Current
	if len(x.Steps) > x.Limits.withDefaults().Steps {
		r.failed(at, Failed, &Failure{Stage: InputValidation, Type: InternalFailure, Message: fmt.Sprintf("the execution ran more than %d steps", x.Limits.withDefaults().Steps)}, false)
		return
	}
	if cancelling && s.Spec() != nil && s.Spec().NoCancel {
		r.failed(at, Failed, invalid("%s cannot run in a cancellation", s.Action), false)
		return
	}
	if r.explore {
		r.imagine(at)
		return
	}
	in, err := r.inputs(s)
	if err != nil {
		r.failed(at, Failed, invalid("an input could not be resolved: %s", err), false)
		return
	}
	if sig != nil && len(sig.Overrides) > 0 {
		override(in, s, sig.Overrides)
		x.Steps[at].Overridden = sig.Overrides
	}
	x.Steps[at].Inputs = in
	r.dispatch(at)
}

// override replaces inputs of a step by what a person gave: a list where it was one or where there are several values.
func override(in map[string]any, s *step, by map[string][]string) {
	for name, values := range by {
		for k := range in {
			if strings.EqualFold(k, name) {
				name = k
			}
		}
		_, list := in[name].([]any)
		switch {
		case list || len(values) != 1:
			l := make([]any, len(values))
			for i := range values {
				l[i] = values[i]
			}
			in[name] = l
		default:
			in[name] = values[0]
		}
	}
}

// inputs resolves the inputs of a step (A7, A25).
func (r *run) inputs(s *step) (map[string]any, error) {
	in := make(map[string]any, len(s.in))
	for i := range s.in {
		v, err := s.in[i].node.resolve(r.get)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", clip(s.in[i].name), err)
		}
		in[s.in[i].name] = v
	}
	return in, nil
}

// dispatch runs an attempt of a step whose inputs are resolved.
func (r *run) dispatch(i int) {
	rec := &r.x.Steps[i]
	s := r.step(rec)
	rec.Status, rec.Until, rec.Looking, rec.Looks = InProgress, time.Time{}, false, 0
	rec.Token = uuid(rec.ID, strconv.Itoa(rec.Attempt))
	rec.Deadline = time.Time{}
	if d := r.timeout(s); d > 0 {
		rec.Deadline = r.now.Add(d)
	}
	switch rec.Action {
	case "aws:branch":
		r.branch(i)
	case "aws:loop":
		r.loop(i)
	case "aws:updateVariable":
		r.updateVariable(i)
	case "aws:sleep":
		r.sleep(i)
	case "aws:pause":
		rec.Status = Waiting
		r.wait()
	case "aws:approve":
		r.approve(i)
	case "aws:executeAutomation":
		r.children(i)
	case "aws:assertAwsResourceProperty", "aws:waitForAwsResourceProperty":
		r.look(i)
	default:
		r.invoke(i)
	}
}

// wait makes the execution Waiting, which a person ends.
func (r *run) wait() {
	if r.x.Stop == nil || r.x.Stop.Type == Complete {
		r.x.Status = Waiting
	}
}

// invoke asks for an action to be run.
func (r *run) invoke(i int) {
	r.out = append(r.out, r.x.call(i))
}

// call is the effect of the attempt at work.
func (x *Execution) call(i int) Effect {
	rec := &x.Steps[i]
	return Effect{Kind: Invoke, StepID: rec.ID, Step: rec.Name, Action: rec.Action, Attempt: rec.Attempt, Look: rec.Looks, Inputs: rec.Inputs, Deadline: rec.Deadline, Token: rec.Token, Role: x.Role}
}

// step is what the runbook says of a record.
func (r *run) step(rec *Step) *step { return &r.rb.steps[r.rb.byName[rec.Name]] }

// longest keeps a timeout from overflowing.
const longest = 10 * 365 * 24 * 3600

// timeout is how long an attempt may take: timeoutSeconds, else what the action says; never more than the action's most.
func (r *run) timeout(s *step) time.Duration {
	n := s.a.TimeoutSeconds
	if n <= 0 && s.timeout.shape != 0 {
		n, _ = r.number(&s.timeout)
	}
	if spec := s.Spec(); spec != nil {
		if n <= 0 {
			n = spec.Timeout
		}
		if spec.Cap > 0 && (n <= 0 || n > spec.Cap) {
			n = spec.Cap
		}
	}
	return time.Duration(min(max(n, 0), longest)) * time.Second
}

func (r *run) attempts(s *step) int {
	n := s.a.MaxAttempts
	if n <= 0 && s.attempts.shape != 0 {
		n, _ = r.number(&s.attempts)
	}
	return int(min(max(n, 1), 1<<20))
}

func (r *run) number(n *node) (int64, bool) {
	v, err := n.resolve(r.get)
	if err != nil {
		return 0, false
	}
	return whole(v)
}

// whole reads a whole number, also from its text.
func whole(v any) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case string:
		n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		return n, err == nil
	}
	return 0, false
}

// failed ends an attempt that did not succeed: another one follows while there are some left (A1) and it can help.
func (r *run) failed(i int, st Status, f *Failure, again bool) {
	rec := &r.x.Steps[i]
	if again && rec.Attempt < r.attempts(r.step(rec)) && (r.x.Stop == nil || r.x.Stop.Flow || r.x.Stop.Type == Complete) {
		rec.Attempt++
		rec.Fan, rec.Decisions, rec.Outputs = nil, nil, nil
		r.dispatch(i)
		return
	}
	r.finish(i, st, f)
}

// drop gives up what is under way for a step.
func (r *run) drop(i int) {
	rec := &r.x.Steps[i]
	switch {
	case rec.Fan != nil:
		r.stopChildren(rec.Fan, rec.ID)
	case rec.calling():
		r.out = append(r.out, Effect{Kind: Abandon, StepID: rec.ID, Step: rec.Name, Action: rec.Action, Attempt: rec.Attempt, Look: rec.Looks, Token: rec.Token})
	}
}

// calling reports whether a call of the step is under way.
func (s *Step) calling() bool {
	if s.Status != InProgress {
		return false
	}
	switch s.Action {
	case "aws:branch", "aws:loop", "aws:updateVariable", "aws:sleep", "aws:pause", "aws:approve", "aws:executeAutomation":
		return false
	case "aws:assertAwsResourceProperty", "aws:waitForAwsResourceProperty":
		return s.Looking
	}
	return true
}

// close ends a record.
func (s *Step) close(st Status, f *Failure, now time.Time) {
	s.Status, s.End, s.Failure = st, now, f
	s.Deadline, s.Until, s.Looking = time.Time{}, time.Time{}, false
}

// invalid is a failure of inputs.
func invalid(format string, args ...any) *Failure {
	return &Failure{Stage: InputValidation, Type: VerificationFailure, Message: fmt.Sprintf(format, args...)}
}

// id names the n-th step of the execution.
func (r *run) id(n int) string { return uuid(r.x.ID, "step", strconv.Itoa(n)) }

// uuid makes an id out of what it stands for, in the form of a UUID.
func uuid(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	b := h.Sum(nil)[:16]
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
	s := hex.EncodeToString(b)
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}
