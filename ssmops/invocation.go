package ssmops

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
)

// detail is the StatusDetails that AWS would show.
func detail(d message.Detail) message.Detail {
	if d == message.DetailInterrupted {
		return message.DetailFailed
	}
	return d
}

// stepStatus is a step's status as AWS would show it: it knows no Skipped.
func stepStatus(s message.Status) message.Status {
	if s == message.Skipped {
		return message.Success
	}
	return s
}

// GetCommandInvocationRequest is the request of GetCommandInvocation. PluginName is the name of a step; it is needed when there are several (R27).
type GetCommandInvocationRequest struct {
	CommandID  string `json:"CommandId"`
	InstanceID string `json:"InstanceId"`
	PluginName string `json:"PluginName,omitempty"`
}

func (r *GetCommandInvocationRequest) resource() string { return commandResource(r.CommandID) }

// GetCommandInvocationResult is the answer of GetCommandInvocation. Output is empty until the step ended, then at most 24,000 characters of stdout and 8,000 of
// stderr (R25): cuts are marked and never split a character; GetCommandOutput has everything.
type GetCommandInvocationResult struct {
	CommandID              string         `json:"CommandId"`
	InstanceID             string         `json:"InstanceId"`
	Comment                string         `json:"Comment"`
	DocumentName           string         `json:"DocumentName"`
	DocumentVersion        string         `json:"DocumentVersion"`
	PluginName             string         `json:"PluginName"`
	ResponseCode           int            `json:"ResponseCode"` // -1 before it ended
	ExecutionStartDateTime string         `json:"ExecutionStartDateTime"`
	ExecutionElapsedTime   string         `json:"ExecutionElapsedTime"`
	ExecutionEndDateTime   string         `json:"ExecutionEndDateTime"`
	Status                 message.Status `json:"Status"`
	StatusDetails          message.Detail `json:"StatusDetails"`
	StandardOutputContent  string         `json:"StandardOutputContent"`
	StandardOutputURL      string         `json:"StandardOutputUrl"`
	StandardErrorContent   string         `json:"StandardErrorContent"`
	StandardErrorURL       string         `json:"StandardErrorUrl"`
	CloudWatchOutputConfig cloudWatch     `json:"CloudWatchOutputConfig"`
	Reason                 string         `json:"Reason,omitempty"` // own: why it did not run, or not to its end
}

func (a *API) getCommandInvocation(ctx context.Context, in *GetCommandInvocationRequest) (any, error) {
	const op = "ssmops.GetCommandInvocation"
	r, err := a.Commands.Invocation(ctx, in.CommandID, in.InstanceID)
	if err != nil {
		return nil, err
	}
	i, err := stepOf(op, &r, in.PluginName)
	if err != nil {
		return nil, err
	}
	c := a.about(ctx, in.CommandID)
	out := GetCommandInvocationResult{CommandID: r.CommandID, InstanceID: r.Node, Comment: c.Comment, DocumentName: r.DocumentName, DocumentVersion: c.DocumentVersion,
		PluginName: in.PluginName, ResponseCode: r.ExitCode, ExecutionStartDateTime: stringTime(r.Started), ExecutionEndDateTime: stringTime(r.Ended),
		Status: r.Status, StatusDetails: detail(r.Detail), Reason: r.Reason}
	if !r.Started.IsZero() {
		out.ExecutionElapsedTime = duration(r.Elapsed(a.now()))
	}
	if i < 0 {
		return out, nil
	}
	s := &r.Steps[i]
	out.PluginName = s.Name
	if len(r.Steps) > 1 {
		out.Status, out.StatusDetails, out.ResponseCode = stepStatus(s.Status), message.Detail(stepStatus(s.Status)), s.ExitCode
		out.ExecutionStartDateTime, out.ExecutionEndDateTime, out.ExecutionElapsedTime = stringTime(s.Started), stringTime(s.Ended), ""
		if !s.Started.IsZero() {
			out.ExecutionElapsedTime = duration((&command.Result{Started: s.Started, Ended: s.Ended}).Elapsed(a.now()))
		}
	}
	if !s.Status.Terminal() && !r.Status.Terminal() {
		return out, nil
	}
	out.StandardOutputContent = capped(s.Stdout, command.MaxStandardOutput)
	out.StandardErrorContent = capped(s.Stderr, command.MaxStandardError)
	if s.Status == message.Skipped && out.StandardOutputContent == "" {
		out.StandardOutputContent = capped(message.Stream{Head: s.Reason}, command.MaxStandardOutput)
	}
	return out, nil
}

// about returns what the service tells of a command besides its invocations; nothing when the caller may not list commands.
func (a *API) about(ctx context.Context, id string) command.Command {
	c, err := a.Commands.Get(ctx, id)
	if err != nil {
		return command.Command{ID: id}
	}
	return c
}

// stepOf finds a step by its name (R27). -1 means that the node has not reported any yet.
func stepOf(op string, r *command.Result, name string) (int, error) {
	switch {
	case len(r.Steps) == 0:
		return -1, nil
	case name == "" && len(r.Steps) == 1:
		return 0, nil
	case name == "":
		return 0, fault.New(op, fault.InvalidPluginName, "the document has %d steps: name one in PluginName", len(r.Steps))
	}
	for i := range r.Steps {
		if r.Steps[i].Name == name {
			return i, nil
		}
	}
	return 0, fault.New(op, fault.InvalidPluginName, "the document has no step %q", clip(name))
}

// cutMark ends an output that was cut, as AWS's agent has it.
const cutMark = "\n--output truncated--"

// capped returns a stream's text in at most n bytes, marked when there was more.
func capped(s message.Stream, n int) string {
	if len(s.Head) <= n && s.Size <= int64(len(s.Head)) && s.Dropped == 0 {
		return s.Head
	}
	return cut(s.Head, n-len(cutMark)) + cutMark
}

// cut returns at most n bytes without splitting a character (R26).
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// ListCommandInvocationsRequest is the request of ListCommandInvocations. MaxResults is 1 to 50, 50 by default.
type ListCommandInvocationsRequest struct {
	CommandID  string          `json:"CommandId,omitempty"`
	InstanceID string          `json:"InstanceId,omitempty"`
	Filters    []CommandFilter `json:"Filters,omitempty"`
	Details    bool            `json:"Details,omitempty"` // CommandPlugins too
	MaxResults int             `json:"MaxResults,omitempty"`
	NextToken  string          `json:"NextToken,omitempty"`
}

func (r *ListCommandInvocationsRequest) resource() string { return commandResource(r.CommandID) }

// CommandInvocation is one invocation of a list (shape CommandInvocation).
type CommandInvocation struct {
	CommandID         string          `json:"CommandId"`
	InstanceID        string          `json:"InstanceId"`
	InstanceName      string          `json:"InstanceName"`
	Comment           string          `json:"Comment"`
	DocumentName      string          `json:"DocumentName"`
	DocumentVersion   string          `json:"DocumentVersion"`
	RequestedDateTime Time            `json:"RequestedDateTime,omitzero"`
	Status            message.Status  `json:"Status"`
	StatusDetails     message.Detail  `json:"StatusDetails"`
	StandardOutputURL string          `json:"StandardOutputUrl"`
	StandardErrorURL  string          `json:"StandardErrorUrl"`
	CommandPlugins    []CommandPlugin `json:"CommandPlugins"`

	ResponseCode           int     `json:"ResponseCode"` // own, like what follows
	Reason                 string  `json:"Reason,omitempty"`
	ExecutionStartDateTime Time    `json:"ExecutionStartDateTime,omitzero"` // by the node's clock
	ExecutionEndDateTime   Time    `json:"ExecutionEndDateTime,omitzero"`
	ElapsedSeconds         float64 `json:"ElapsedSeconds,omitempty"`
	FirstLine              string  `json:"FirstLine,omitempty"` // of the output
}

// CommandPlugin is one step of an invocation (shape CommandPlugin). Output is stdout and stderr in at most 2,500 bytes, cut as AWS's agent does (R24).
type CommandPlugin struct {
	Name                   string         `json:"Name"`
	Status                 message.Status `json:"Status"`
	StatusDetails          message.Detail `json:"StatusDetails"`
	ResponseCode           int            `json:"ResponseCode"`
	ResponseStartDateTime  Time           `json:"ResponseStartDateTime,omitzero"`
	ResponseFinishDateTime Time           `json:"ResponseFinishDateTime,omitzero"`
	Output                 string         `json:"Output"`
	StandardOutputURL      string         `json:"StandardOutputUrl"`
	StandardErrorURL       string         `json:"StandardErrorUrl"`
	OutputS3BucketName     string         `json:"OutputS3BucketName"`
	OutputS3KeyPrefix      string         `json:"OutputS3KeyPrefix"`
}

// ListCommandInvocationsResult is the answer of ListCommandInvocations. A page may be short, even empty, and have a NextToken.
type ListCommandInvocationsResult struct {
	CommandInvocations []CommandInvocation `json:"CommandInvocations"`
	NextToken          string              `json:"NextToken,omitempty"`
}

// invocationsToken says where a list over several commands goes on: within Command at At, then with the commands after Commands.
type invocationsToken struct {
	Command  string `json:"c,omitempty"`
	At       string `json:"a,omitempty"`
	Commands string `json:"n,omitempty"`
}

// mostCommands is how many commands one page of a list over all commands looks at.
const mostCommands = 50

func (a *API) listCommandInvocations(ctx context.Context, in *ListCommandInvocationsRequest) (any, error) {
	const op = "ssmops.ListCommandInvocations"
	q, err := selection(op, in.Filters, false)
	if err != nil {
		return nil, err
	}
	limit := in.MaxResults
	switch {
	case limit == 0:
		limit = 50
	case limit < 0 || limit > 50:
		return nil, fault.New(op, fault.Validation, "MaxResults is %d; it must be 1 to 50", limit)
	}
	out := ListCommandInvocationsResult{CommandInvocations: []CommandInvocation{}}
	add := func(id, at string, n int) (next string, err error) {
		rs, next, err := a.Commands.Invocations(ctx, command.ListRequest{Command: id, Node: in.InstanceID, Status: q.Status, Detail: q.Detail, Limit: n, NextToken: at})
		if err != nil {
			return "", err
		}
		if len(rs) == 0 {
			return next, nil
		}
		c := a.about(ctx, id)
		for i := range rs {
			out.CommandInvocations = append(out.CommandInvocations, a.invocationShape(ctx, &c, &rs[i], in.Details))
		}
		return next, nil
	}
	if in.CommandID != "" {
		out.NextToken, err = add(in.CommandID, in.NextToken, limit)
		return out, err
	}
	tok, err := readToken(op, in.NextToken)
	if err != nil {
		return nil, err
	}
	first := in.NextToken == ""
	for seen := 0; ; seen++ {
		if tok.Command == "" {
			if !first && tok.Commands == "" {
				return out, nil
			}
			if seen >= mostCommands {
				break
			}
			list := command.ListRequest{Node: in.InstanceID, DocumentName: q.DocumentName, InvokedAfter: q.InvokedAfter, InvokedBefore: q.InvokedBefore, Limit: 1, NextToken: tok.Commands}
			cs, next, err := a.Commands.List(ctx, list)
			if err != nil {
				return nil, err
			}
			first = false
			tok = invocationsToken{Commands: next}
			if len(cs) == 0 {
				continue
			}
			tok.Command = cs[0].ID
		}
		if tok.At, err = add(tok.Command, tok.At, limit-len(out.CommandInvocations)); err != nil {
			return nil, err
		}
		if tok.At == "" {
			tok.Command = ""
		}
		if len(out.CommandInvocations) == limit {
			break
		}
	}
	if tok != (invocationsToken{}) {
		b, err := json.Marshal(tok)
		if err != nil {
			return nil, err
		}
		out.NextToken = base64.RawURLEncoding.EncodeToString(b)
	}
	return out, nil
}

func readToken(op, s string) (t invocationsToken, err error) {
	if s == "" {
		return t, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(s) > 4096 || json.Unmarshal(b, &t) != nil || t == (invocationsToken{}) {
		return t, fault.New(op, fault.InvalidNextToken, "NextToken is not one that this list gave: begin again without it")
	}
	return t, nil
}

// firstLine is the first line of what steps wrote, or else of why one of them failed or did not run.
func firstLine(steps []message.StepReport) (line string) {
	if line = command.Line(steps); line != "" {
		return line
	}
	for _, s := range steps {
		failed := s.Status == message.Failed || s.Status == message.TimedOut
		if s.Reason != "" && (failed || line == "") {
			line, _, _ = strings.Cut(s.Reason, "\n")
		}
		if failed {
			break
		}
	}
	return line
}

func (a *API) invocationShape(ctx context.Context, c *command.Command, r *command.Result, plugins bool) CommandInvocation {
	out := CommandInvocation{CommandID: r.CommandID, InstanceID: r.Node, InstanceName: r.Name, Comment: c.Comment, DocumentName: r.DocumentName, DocumentVersion: c.DocumentVersion,
		RequestedDateTime: Time{c.RequestedDateTime}, Status: r.Status, StatusDetails: detail(r.Detail), CommandPlugins: []CommandPlugin{}, ResponseCode: r.ExitCode, Reason: r.Reason,
		ExecutionStartDateTime: Time{r.Started}, ExecutionEndDateTime: Time{r.Ended}, ElapsedSeconds: r.Elapsed(a.now()).Seconds(), FirstLine: firstLine(r.Steps)}
	if !plugins {
		return out
	}
	if short(r.Steps) {
		if full, err := a.Commands.Invocation(ctx, r.CommandID, r.Node); err == nil {
			r = &full
		}
	}
	for i := range r.Steps {
		s := &r.Steps[i]
		p := CommandPlugin{Name: s.Name, Status: stepStatus(s.Status), StatusDetails: message.Detail(stepStatus(s.Status)), ResponseCode: s.ExitCode,
			ResponseStartDateTime: Time{s.Started}, ResponseFinishDateTime: Time{s.Ended}}
		p.Output = command.Truncate(whole(s.Stdout, "\n---Output truncated---"), whole(s.Stderr, "\n---Error truncated----"), command.MaxPluginOutput)
		if p.Output == "" {
			p.Output = command.Truncate(s.Reason, "", command.MaxPluginOutput)
		}
		out.CommandPlugins = append(out.CommandPlugins, p)
	}
	return out
}

// whole returns the text of a stream; one whose end is not at hand is marked.
func whole(s message.Stream, mark string) string {
	if s.Size > int64(len(s.Head)) && len(s.Head) <= command.MaxPluginOutput || s.Dropped > 0 && len(s.Head) <= command.MaxPluginOutput {
		return cut(s.Head, command.MaxPluginOutput/2-len(mark)) + mark
	}
	return s.Head
}

// short reports whether the list left out output that the invocation itself has.
func short(steps []message.StepReport) bool {
	return slices.ContainsFunc(steps, func(s message.StepReport) bool {
		return s.Stdout.Size > int64(len(s.Stdout.Head)) || s.Stderr.Size > int64(len(s.Stderr.Head))
	})
}
