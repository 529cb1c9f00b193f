package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/automation/api"
	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
)

// fakes answer for services that are not there.
type fakes struct {
	expected bool // what nothing is said about succeeds with what the runbook's selectors look for
	answers  map[string][]any

	mu   sync.Mutex
	used map[string]int
}

// readFakes reads a file of answers, by "service:Operation", "aws:action" or "step:name".
func readFakes(file string) (*fakes, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var all map[string]any
	if err := d.Decode(&all); err != nil {
		return nil, bad("%s is no JSON object of answers: %v", file, err)
	}
	f := &fakes{answers: map[string][]any{}, used: map[string]int{}}
	for k, v := range all {
		if k == "*" {
			if v != "expected" {
				return nil, bad(`%s: "*" can only be "expected"`, file)
			}
			f.expected = true
			continue
		}
		if !strings.Contains(k, ":") {
			return nil, bad(`%s: %q is neither "service:Operation" nor "aws:action" nor "step:name"`, file, fault.Clean(k))
		}
		list, ok := v.([]any)
		if !ok {
			list = []any{v}
		}
		if len(list) == 0 {
			return nil, bad("%s: %q has no answer", file, fault.Clean(k))
		}
		f.answers[strings.ToLower(k)] = list
	}
	return f, nil
}

// knows reports whether something is said of an operation.
func (f *fakes) knows(key string) bool { return len(f.answers[strings.ToLower(key)]) > 0 }

// next is the next answer of a kind; the last one is for all further calls.
func (f *fakes) next(key string) (answer any, ok bool, err error) {
	key = strings.ToLower(key)
	list := f.answers[key]
	if len(list) == 0 {
		return nil, false, nil
	}
	f.mu.Lock()
	n := f.used[key]
	f.used[key]++
	f.mu.Unlock()
	answer = whole(list[min(n, len(list)-1)])
	if m, is := answer.(map[string]any); is {
		if text, is := m["$error"].(string); is {
			code, msg, ok := strings.Cut(text, ": ")
			if !ok {
				code, msg = "InternalFailure", text
			}
			return nil, true, fault.New("fake", fault.Code(code), "%s", msg)
		}
	}
	return answer, true, nil
}

// whole makes whole numbers of those that are, as actions return them.
func whole(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = whole(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k := range v {
			out[k] = whole(v[k])
		}
		return out
	}
	return v
}

// missing is put into a context and learns which operation had no answer.
type missing struct{ op string }

type missingKey struct{}

// Call implements api.Caller.
func (f *fakes) Call(ctx context.Context, service, operation string, _ map[string]any) (map[string]any, error) {
	key := service + ":" + operation
	v, ok, err := f.next(key)
	if err != nil {
		return nil, err
	}
	if m, is := v.(map[string]any); ok && is {
		return m, nil
	}
	if ok {
		return nil, fault.New("fake", fault.Validation, "the answer of %s is no object", fault.Clean(key))
	}
	if m, is := ctx.Value(missingKey{}).(*missing); is {
		m.op = key
	}
	return nil, fault.New("fake", fault.UnsupportedOperation, "nothing is said of what %s answers", fault.Clean(key))
}

// noCalls is the caller without fakes.
func noCalls(_ context.Context, service, operation string, _ map[string]any) (map[string]any, error) {
	return nil, fault.New("runbook", fault.UnsupportedOperation, "%s:%s is not called: this program calls no AWS; say with -fake FILE what it answers", fault.Clean(service), fault.Clean(operation))
}

// action is an action that is asked for answers first.
func (f *fakes) action(name string, real automation.Action, d *desk) automation.Action {
	repeat := name != "aws:executeScript" || real.Repeat // fakes change nothing: they may be repeated
	return automation.Action{Repeat: repeat, Run: func(ctx context.Context, c automation.Call) (any, error) {
		for _, key := range []string{"step:" + c.Step, name} {
			if v, ok, err := f.next(key); ok && v == "expected" {
				return d.expected(ctx, c)
			} else if ok {
				return v, err
			}
		}
		gone := &missing{}
		var out any
		err := error(fault.New("fake", fault.UnsupportedOperation, "nothing is said of what %s answers", name))
		if real.Run != nil {
			out, err = real.Run(context.WithValue(ctx, missingKey{}, gone), c)
		}
		if err == nil || real.Run != nil && gone.op == "" {
			return out, err
		}
		if !f.expected {
			key := gone.op
			if key == "" {
				key = name
			}
			return nil, fault.New("fake", fault.UnsupportedOperation, `the file of -fake says nothing of %s: add it, or "*": "expected"`, fault.Clean(key))
		}
		return d.expected(ctx, c)
	}}
}

// expected is an answer with which a step succeeds.
func (d *desk) expected(ctx context.Context, c automation.Call) (any, error) {
	_, rb, err := d.Get(as(ctx, ""), c.Execution)
	if err != nil {
		return nil, err
	}
	return rb.Expected(c.Step, c.Inputs), nil
}

// resume counts the answers that were used before, so that a resumed execution goes on behind them.
func (f *fakes) resume(x *automation.Execution, history []automation.Entry) {
	byID := map[string]*automation.Step{}
	for i := range x.Steps {
		byID[x.Steps[i].ID] = &x.Steps[i]
	}
	for i := range history {
		r := history[i].Event.Result
		if r == nil || byID[r.StepID] == nil {
			continue
		}
		s := byID[r.StepID]
		for _, key := range []string{"step:" + s.Name, s.Action, fmt.Sprint(s.Inputs["Service"], ":", s.Inputs["Api"])} {
			if k := strings.ToLower(key); f.answers[k] != nil {
				f.used[k]++
				break
			}
		}
	}
}

// actions are what steps may do: scripts kept apart, commands on the small fleet if there is one, and answers of -fake for the rest.
func (d *desk) actions(scripts automation.Action) map[string]automation.Action {
	caller := api.Caller(api.CallerFunc(noCalls))
	opts := &api.Options{}
	if d.fakes != nil {
		caller, opts.Poll, opts.PollMost = d.fakes, 50*time.Millisecond, time.Second
	}
	if d.note.Fleet {
		caller = api.Mux{Services: map[string]api.Caller{"ssm": api.CallerFunc(d.callFleet)}, Other: caller}
	}
	out := api.Actions(caller, opts)
	out["aws:executeScript"] = scripts
	if d.note.Fleet {
		out["aws:runCommand"] = automation.Action{Repeat: true, Run: d.runCommand}
	}
	if d.fakes != nil {
		for _, name := range document.Builtin().Names() {
			out[name] = d.fakes.action(name, out[name], d)
		}
	}
	return out
}
