// Package realworld runs runbooks that AWS publishes from end to end: on the durable service, with scripts in real processes that are kept apart, over a small AWS that
// remembers what was done to it. It holds tests only.
//
// The runbooks are not part of the project: they are read from a folder beside it (FLEETWRIGHT_CORPUS), and without it one of the project's own runs.
package realworld

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/automation/api"
	"github.com/fleetwright/fleetwright/automation/script"
)

type (
	m = map[string]any
	l = []any
)

// awsError is an error as those of AWS's SDK.
type awsError struct{ code, message string }

func (e *awsError) Error() string        { return "api error " + e.code + ": " + e.message }
func (e *awsError) ErrorCode() string    { return e.code }
func (e *awsError) ErrorMessage() string { return e.message }

func no(code, message string) error { return &awsError{code, message} }

// op is an operation of a service.
type op func(in m) (m, error)

// command is what aws:runCommand was asked for.
type command struct {
	document  string
	instances []string
	in        m
}

// thing is something in the cloud. Its state changes by itself when its time comes.
type thing struct {
	state string
	next  string
	at    time.Time
	more  m
}

// aws is a small AWS. Calls come from actions and, through a socket, from scripts; whoever calls, it is the same world. Time is the test's, plus what scripts slept.
type aws struct {
	mu       sync.Mutex
	ops      map[string]op // by "service:operation" in small letters
	things   map[string]map[string]*thing
	calls    []string // of actions
	scripted []string // of scripts
	all      []string // both, in order
	commands []command
	answer   func(c command) (status, output string, code int) // what a command comes to; nil is Success
	roles    map[string]bool
	look     func(id string) // takes over what the service says of its executions
	scripts  int
	now      time.Time
	made     int
}

func newAWS() *aws {
	a := &aws{ops: map[string]op{}, things: map[string]map[string]*thing{}, roles: map[string]bool{}, look: func(string) {}}
	a.on("clock:Sleep", func(in m) (m, error) {
		n, _ := in["Seconds"].(json.Number).Float64() //nolint:errcheck // a number
		a.now = a.now.Add(time.Duration(n * float64(time.Second)))
		return m{}, nil
	})
	a.on("sts:GetCallerIdentity", func(m) (m, error) {
		return m{"Account": "123456789012", "Arn": "arn:aws:sts::123456789012:assumed-role/runbooks/x", "UserId": "x"}, nil
	})
	a.ec2()
	a.cloudformation()
	a.s3()
	a.ssm()
	return a
}

// on says how an operation is answered.
func (a *aws) on(name string, f op) *aws { a.ops[strings.ToLower(name)] = f; return a }

// says answers an operation always alike.
func (a *aws) says(name, text string) *aws {
	return a.on(name, func(m) (out m, err error) { return out, json.Unmarshal([]byte(text), &out) })
}

// put makes a thing.
func (a *aws) put(kind, id, state string, more m) *thing {
	if a.things[kind] == nil {
		a.things[kind] = map[string]*thing{}
	}
	if more == nil {
		more = m{}
	}
	x := &thing{state: state, more: more}
	a.things[kind][id] = x
	return x
}

// get finds a thing.
func (a *aws) get(kind, id, code string) (*thing, error) {
	x := a.things[kind][id]
	if x == nil {
		return nil, no(code, "The "+kind+" '"+id+"' does not exist")
	}
	if x.next != "" && !a.now.Before(x.at) {
		x.state, x.next = x.next, ""
	}
	return x, nil
}

// becomes changes a thing's state now, and again after a time.
func (a *aws) becomes(x *thing, state string, after time.Duration, then string) {
	x.state, x.next, x.at = state, then, a.now.Add(after)
}

func (a *aws) id(prefix string) string {
	a.made++
	return fmt.Sprintf("%s-%017x", prefix, a.made)
}

// tick takes the time over from the test.
func (a *aws) tick() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now := time.Now(); now.After(a.now) {
		a.now = now
	}
}

// Call implements api.Caller for actions.
func (a *aws) Call(ctx context.Context, service, op string, in m) (m, error) {
	a.tick()
	if c, ok := api.CallOf(ctx); ok && service == "ssm" {
		a.look(c.Execution)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	name := service + ":" + op
	a.calls, a.all = append(a.calls, name), append(a.all, name)
	if c, ok := api.CallOf(ctx); ok {
		a.roles[c.Role] = true
	}
	b, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	return a.do(name, b)
}

// do does a call, whose inputs are JSON.
func (a *aws) do(name string, inputs []byte) (m, error) {
	f := a.ops[strings.ToLower(name)]
	if f == nil {
		return nil, no("UnknownOperationException", "this AWS has no "+name)
	}
	in := m{}
	d := json.NewDecoder(strings.NewReader(string(inputs)))
	d.UseNumber()
	if err := d.Decode(&in); err != nil {
		return nil, err
	}
	out, err := f(in)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(out) // so that nobody holds what the world is made of
	if err != nil {
		return nil, err
	}
	out = nil
	return out, json.Unmarshal(b, &out)
}

// listen plays AWS for scripts, at a socket, until the test ends. It runs outside of the test's bubble: it does not wait for its time.
func (a *aws) listen(t *testing.T, at string) {
	s, err := net.Listen("unix", at)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() }) //nolint:errcheck // it ends with the test
	require.NoError(t, open(at))
	go func() {
		for {
			c, err := s.Accept()
			if err != nil {
				return
			}
			go a.serve(c)
		}
	}()
}

func (a *aws) serve(c net.Conn) {
	defer c.Close() //nolint:errcheck // one call
	line, err := bufio.NewReaderSize(c, 1<<16).ReadBytes('\n')
	var req struct {
		Service, Op string
		In          json.RawMessage
	}
	if err != nil || json.Unmarshal(line, &req) != nil {
		return
	}
	a.mu.Lock()
	name := req.Service + ":" + req.Op
	if req.Service != "clock" {
		a.scripted, a.all = append(a.scripted, name), append(a.all, name)
	}
	out, err := a.do(name, req.In)
	a.mu.Unlock()
	answer := m{"out": out}
	if err != nil {
		answer = m{"error": m{"code": api.CodeOf(err), "message": strings.TrimPrefix(err.Error(), "api error "+api.CodeOf(err)+": ")}}
	}
	json.NewEncoder(c).Encode(answer) //nolint:errcheck // the script may have ended
}

// runtime is the real runtime of scripts. It counts them, and takes over the test's time and what there is of executions before one begins.
type runtime struct {
	script.Runtime
	a *aws
}

func (r runtime) Run(ctx context.Context, j script.Job) (script.Outcome, error) {
	r.a.tick()
	var of map[string]any
	if err := json.Unmarshal(j.Context, &of); err != nil {
		return script.Outcome{}, err
	}
	r.a.look(str(of, "automation:EXECUTION_ID"))
	r.a.mu.Lock()
	r.a.scripts++
	r.a.mu.Unlock()
	return r.Runtime.Run(ctx, j)
}

// runCommand is aws:runCommand over a fleet that answers as the test says, after half a minute.
func (a *aws) runCommand(ctx context.Context, c automation.Call) (any, error) {
	cmd := command{in: c.Inputs, instances: automation.Strings(c.Inputs["InstanceIds"])}
	cmd.document, _ = c.Inputs["DocumentName"].(string)
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(30 * time.Second):
	}
	a.tick()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.commands, a.all = append(a.commands, cmd), append(a.all, "run:"+cmd.document)
	status, output, code := "Success", "", 0
	if a.answer != nil {
		status, output, code = a.answer(cmd)
	}
	if status != "Success" {
		return nil, &automation.CallError{Failure: automation.Failure{Stage: automation.PostVerification, Type: automation.VerificationFailure, Message: "the command ended " + status}}
	}
	return m{"CommandId": a.id("cmd"), "Status": status, "ResponseCode": code, "Output": output}, nil
}

// order is the calls that changed something, whoever made them.
func (a *aws) order() string {
	return strings.Join(slices.DeleteFunc(slices.Clone(a.all), func(s string) bool {
		_, op, _ := strings.Cut(s, ":")
		for _, prefix := range []string{"Describe", "Get", "List", "Head", "Wait", "BatchGet", "Lookup", "Simulate"} {
			if strings.HasPrefix(op, prefix) {
				return true
			}
		}
		return false
	}), " ")
}

func texts(v any) (out []string) {
	for _, x := range items(v) {
		out = append(out, fmt.Sprint(x))
	}
	return out
}

func items(v any) []any { x, _ := v.([]any); return x }

func str(in m, name string) string { s, _ := in[name].(string); return s }

func sub(in m, name string) m { x, _ := in[name].(m); return x }
