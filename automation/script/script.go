package script

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/fault"
)

// Job is a script that is to run.
type Job struct {
	Language string // Python or PowerShell
	Version  string // as the runbook names it: "3.11", "7.0"
	Script   []byte // the text; nil when the code lies in Files
	Handler  string // Python: the function, behind a dot where its module is named: "module.function"
	Files    []File // of the attachment, beside the script
	Input    json.RawMessage
	Context  json.RawMessage
	Env      map[string]string // what the script is granted, such as credentials
	Limits   Limits
	Token    string // the same whenever the same attempt is made again
	Tenant   string
	By       string // who started the execution
}

// The languages.
const (
	Python     = "python"
	PowerShell = "powershell"
)

// File is a file of an attachment: its path has / between names, and neither leads anywhere else nor is absolute.
type File struct {
	Path string
	Data []byte
}

// Limits of a script. The zero value is the defaults.
type Limits struct {
	Time    time.Duration // 0 is 600 s, AWS's; a step's timeoutSeconds may end it earlier
	Memory  int64         // bytes of memory of each process: its address space, of PowerShell, which reserves much that it never uses, its data; 0 is 512 MiB
	Payload int           // bytes of the returned value as JSON; 0 is 100 KB, AWS's
	Output  int           // bytes kept of each of stdout and stderr, the last ones; 0 is 24,000
	Disk    int64         // bytes that a script may write: into all its files with Namespace, into each with User; 0 is 64 MiB
	Tasks   int           // processes and threads; 0 is 256
}

func (l Limits) withDefaults() Limits {
	def(&l.Time, 600*time.Second)
	def(&l.Memory, 512<<20)
	def(&l.Payload, 100<<10)
	def(&l.Output, 24_000)
	def(&l.Disk, 64<<20)
	def(&l.Tasks, 256)
	return l
}

func def[T int | int64 | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// Outcome is how a script ended.
type Outcome struct {
	Payload        json.RawMessage // what it returned
	Stdout, Stderr string          // the last of what it printed
	Failure        string          // why it failed, one line; "" when it succeeded
	Traceback      string          // of an exception
}

// Runtime runs scripts. Implementations are safe for concurrent use. An error means that the script could not be run at all, or that nobody knows how it ended; what a
// script did wrong is in the outcome. When ctx ends the script is killed, and Run returns after that.
type Runtime interface {
	Run(ctx context.Context, j Job) (Outcome, error)
}

// Attachments finds the attachments of runbooks.
type Attachments interface {
	// Attachment returns an attachment by the name that the step gives. It is asked as who started the execution.
	Attachment(ctx context.Context, c automation.Call, name string) ([]byte, error)
}

// Options of New; nil is the zero value.
type Options struct {
	Attachments Attachments // nil: steps with an Attachment fail and say so
	Limits      Limits
	System      automation.System // what context says beside the execution's id
	// Env returns variables to grant to a script, such as credentials of the execution's role; nil grants none.
	Env func(ctx context.Context, c automation.Call) (map[string]string, error)
}

// New returns the action aws:executeScript on a runtime. With a nil runtime every step fails and says so.
func New(rt Runtime, o *Options) automation.Action {
	if o == nil {
		o = &Options{}
	}
	return automation.Action{Run: func(ctx context.Context, c automation.Call) (any, error) {
		if rt == nil {
			return nil, failure(automation.PreVerification, automation.InternalFailure, "this control plane runs no scripts: its host was not given a runtime for them")
		}
		j, err := o.job(ctx, c)
		if err != nil {
			return nil, err
		}
		ctx, stop := context.WithTimeout(ctx, j.Limits.Time)
		defer stop()
		out, err := rt.Run(ctx, j)
		switch {
		case err != nil && ctx.Err() != nil:
			return nil, failure(automation.Invocation, automation.ActionFailure, "the script was ended: it ran longer than it may, or was no longer wanted")
		case err != nil:
			var typed *automation.CallError
			if errors.As(err, &typed) {
				return nil, err
			}
			return nil, failure(automation.PreVerification, automation.InternalFailure, "%s", fault.MessageOf(err))
		}
		return answer(&out, j.Limits)
	}}
}

// answer makes of an outcome what the step answers.
func answer(out *Outcome, l Limits) (any, error) {
	details := map[string][]string{}
	for name, v := range map[string]string{"Stdout": out.Stdout, "Stderr": out.Stderr, "Traceback": out.Traceback} {
		if v != "" {
			details[name] = []string{v}
		}
	}
	if out.Failure != "" {
		e := failure(automation.Invocation, automation.ActionFailure, "%s", fault.Clean(clip(out.Failure, 2000)))
		e.Failure.Details = details
		return nil, e
	}
	if len(out.Payload) > l.Payload {
		e := failure(automation.PostVerification, automation.VerificationFailure, "the script returned %d bytes, at most %d are allowed", len(out.Payload), l.Payload)
		e.Failure.Details = details
		return nil, e
	}
	var payload any
	if len(out.Payload) > 0 {
		d := json.NewDecoder(bytes.NewReader(out.Payload))
		d.UseNumber()
		if err := d.Decode(&payload); err != nil {
			return nil, failure(automation.PostVerification, automation.VerificationFailure, "what the script returned cannot be read as JSON")
		}
	}
	m := map[string]any{"Payload": payload}
	if out.Stdout != "" {
		m["Stdout"] = out.Stdout
	}
	if out.Stderr != "" {
		m["Stderr"] = out.Stderr
	}
	return m, nil
}

var (
	pythons     = regexp.MustCompile(`^(?i:python)\s*(3\.\d{1,2})$`)
	powershells = regexp.MustCompile(`^(?i:powershell)(?: (?i:core))? (\d{1,2}\.\d{1,2})$`)
	functions   = regexp.MustCompile(`^[\pL_][\pL\pN_]*(?:[./][\pL_][\pL\pN_]*)*$`)
)

// job reads the inputs of a step.
func (o *Options) job(ctx context.Context, c automation.Call) (j Job, err error) {
	invalid := func(format string, a ...any) (Job, error) {
		return Job{}, failure(automation.InputValidation, automation.ActionFailure, format, a...)
	}
	j = Job{Limits: o.Limits.withDefaults(), Token: c.Token, Tenant: c.Tenant, By: c.StartedBy}
	name, _ := c.Inputs["Runtime"].(string)
	name = strings.TrimSpace(name)
	if m := pythons.FindStringSubmatch(name); m != nil {
		j.Language, j.Version = Python, m[1]
	} else if m := powershells.FindStringSubmatch(name); m != nil {
		j.Language, j.Version = PowerShell, m[1]
	} else {
		return invalid("there is no Runtime %q: give python3.11, or another Python 3, or PowerShell 7.4", fault.Clean(clip(name, 60)))
	}
	j.Handler, _ = c.Inputs["Handler"].(string)
	j.Handler = strings.TrimSpace(j.Handler)
	if j.Language == Python && !functions.MatchString(j.Handler) {
		return invalid("Handler must name a function of the script")
	}
	text, _ := c.Inputs["Script"].(string)
	attached, _ := c.Inputs["Attachment"].(string)
	switch {
	case text == "" && attached == "":
		return invalid("there is neither a Script nor an Attachment")
	case text != "":
		j.Script = []byte(text)
	}
	if attached != "" {
		if err := o.attach(ctx, c, attached, &j); err != nil {
			return Job{}, err
		}
	}
	in, ok := c.Inputs["InputPayload"]
	if !ok || in == nil {
		in = map[string]any{}
	}
	if s, ok := in.(string); ok { // as AWS takes it: a map written as JSON
		var m map[string]any
		if json.Unmarshal([]byte(s), &m) == nil && m != nil {
			in = json.RawMessage(s)
		}
	}
	if j.Input, err = json.Marshal(in); err != nil {
		return invalid("InputPayload cannot be written as JSON")
	}
	partition := o.System.Partition
	if partition == "" {
		partition = "aws"
	}
	if j.Context, err = json.Marshal(map[string]any{"automation:EXECUTION_ID": c.Execution, "global:ACCOUNT_ID": o.System.AccountID, "global:REGION": o.System.Region,
		"global:AWS_PARTITION": partition, "stepName": c.Step, "attempt": c.Attempt}); err != nil {
		return invalid("the context cannot be written as JSON")
	}
	j.Env = map[string]string{}
	if o.System.Region != "" {
		j.Env["AWS_REGION"], j.Env["AWS_DEFAULT_REGION"] = o.System.Region, o.System.Region
	}
	if o.Env != nil {
		granted, err := o.Env(ctx, c)
		if err != nil {
			return Job{}, failure(automation.PreVerification, automation.PermissionFailure, "what the script is to be granted cannot be had: %s", fault.MessageOf(err))
		}
		for k, v := range granted {
			if !validVar(k, v) {
				return Job{}, failure(automation.PreVerification, automation.InternalFailure, "a variable that the script is granted has no valid name or value")
			}
			j.Env[k] = v
		}
	}
	return j, nil
}

// validVar reports whether a variable can be given to a process.
func validVar(name, value string) bool {
	for i, c := range []byte(name) {
		letter := c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != "" && !strings.Contains(value, "\x00")
}

func failure(stage automation.Stage, typ automation.FailureType, format string, a ...any) *automation.CallError {
	return &automation.CallError{Failure: automation.Failure{Stage: stage, Type: typ, Message: fmt.Sprintf(format, a...)}}
}

func clip(s string, n int) string {
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "") + "…"
	}
	return s
}
