// Package rundocument holds the action aws:runDocument, which runs another document as one step.
//
// The document is one that the control plane sent along, pinned by its hash when the command was sent (documentType SSMDocument), or a file that an earlier
// step put on the node (LocalPath, below the command's files). Its steps follow the same rules as a command's own; their output goes to the step's streams one after another,
// and the document's status becomes the step's. At most three documents may be nested, the command's own counted, and a nested one may not ask for a reboot (spec P11).
//
//	set, err := action.NewSet(shell.New(nil), rundocument.New(nil))
package rundocument

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/message"
)

// Name is the action's name.
const Name = "aws:runDocument"

// MaxDepth is how many documents may run each other, the command's own counted (P11).
const MaxDepth = 3

// maxFile is the largest document that is read from a file.
const maxFile = 1 << 20

// Options are a host's choices; nil is the zero value.
type Options struct {
	// AnyPath lets LocalPath name an absolute path; otherwise it must lead to a file below the command's own.
	AnyPath bool
}

// Action is aws:runDocument. It is safe for concurrent use.
type Action struct{ o Options }

// New returns the action.
func New(o *Options) *Action {
	a := &Action{}
	if o != nil {
		a.o = *o
	}
	return a
}

// Name implements action.Action.
func (*Action) Name() string { return Name }

// Run implements action.Action.
func (a *Action) Run(ctx context.Context, c *action.Call) action.Result {
	if c.Depth >= MaxDepth {
		return action.Failed(fmt.Sprintf("documents run each other more than %d deep", MaxDepth))
	}
	src, err := a.source(c)
	if err != nil {
		return action.Failed(err.Error())
	}
	plan, err := action.Read(src, c.Platform, c.Known)
	if err != nil {
		return action.Failed("document " + src.Name + ": " + err.Error())
	}
	var done []action.Outcome
	for {
		d := action.Next(plan.Rules, done)
		if d.Do == action.DoEnd {
			break
		}
		o := action.Unrun(plan.Rules[d.Step], d)
		if d.Do == action.DoRun {
			o = action.Finish(plan.Rules[d.Step], step(ctx, c, &plan.Steps[d.Step]))
		}
		if o.Status == message.Failed && o.Reason != "" {
			fmt.Fprintf(c.Stderr, "step %s: %s\n", plan.Steps[d.Step].Name, o.Reason) //nolint:errcheck // a spool never fails
		}
		done = append(done, o)
		if s, over := action.Cause(ctx); over && len(done) < len(plan.Steps) {
			done = append(done, action.Outcome{Status: s, ExitCode: -1})
			break
		}
	}
	return result(done)
}

// result makes the nested document's end the step's.
func result(done []action.Outcome) action.Result {
	detail, code := action.Status(done)
	r := action.Result{Status: detail.Status(), ExitCode: code}
	for _, o := range done {
		if r.Status != message.Success && o.Status == r.Status && o.Reason != "" {
			r.Reason = o.Reason
			break
		}
	}
	return r
}

// step runs one step of the nested document.
func step(ctx context.Context, c *action.Call, r *document.Resolved) action.Result {
	if r.Action == "aws:updateSsmAgent" {
		return action.Failed("a document that another one runs may not update the agent (aws:updateSsmAgent)")
	}
	child := *c
	child.Name, child.Action, child.Inputs, child.Env, child.Timeout = r.Name, r.Action, r.Inputs, r.Env, r.Timeout
	child.Depth = c.Depth + 1
	if r.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, r.Timeout, action.ErrTimeout)
		defer cancel()
	}
	res := action.Run(ctx, &child)
	if res.Flow == action.Reboot {
		return action.Failed("a document that another one runs may not ask for a reboot: ask for it in the command's own document")
	}
	return res
}

// source finds the document.
func (a *Action) source(c *action.Call) (*action.Source, error) {
	kind, err := action.Word(c.Inputs, "documentType", "SSMDocument", "LocalPath")
	if err != nil {
		return nil, err
	}
	path, err := action.Text(c.Inputs, "documentPath")
	if err != nil {
		return nil, err
	}
	if path == "" {
		return nil, errors.New("the step has no documentPath")
	}
	params, err := parameters(c.Inputs)
	if err != nil {
		return nil, err
	}
	src := &action.Source{Name: path, Parameters: params, RefuseRaw: c.RefuseRaw}
	switch kind {
	case "SSMDocument":
		in, ok := c.Documents[path]
		if !ok || in.Hash == "" {
			return nil, fmt.Errorf("the document %q was not sent along with the command: name it without parameters, or check that it exists", path)
		}
		src.Document, src.Format, src.Hash = in.Document, in.Format, in.Hash
	case "LocalPath":
		if src.Document, err = a.file(c, path); err != nil {
			return nil, err
		}
	default:
		return nil, errors.New("the step has no documentType: SSMDocument or LocalPath")
	}
	return src, nil
}

// file reads a document below the command's files, without following a link out of them.
func (a *Action) file(c *action.Call, path string) ([]byte, error) {
	dir := c.Downloads
	if filepath.IsAbs(path) {
		below, err := filepath.Rel(dir, path)
		switch {
		case err == nil && filepath.IsLocal(below):
			path = below
		case a.o.AnyPath:
			dir, path = filepath.Dir(path), filepath.Base(path)
		default:
			return nil, fmt.Errorf("documentPath %q is not below the command's own files: give a path relative to where aws:downloadContent put it", path)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("the command's files cannot be read: %w", errors.Unwrap(err))
	}
	defer root.Close() //nolint:errcheck // read only
	f, err := root.Open(path)
	if err != nil {
		return nil, fmt.Errorf("the document %q cannot be read on this node: %w", path, errors.Unwrap(err))
	}
	defer f.Close() //nolint:errcheck // read only
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("the document %q cannot be read on this node: %w", path, err)
	case len(b) > maxFile:
		return nil, fmt.Errorf("the document %q has more than %d bytes", path, maxFile)
	}
	return b, nil
}

// parameters reads documentParameters: a map, or a JSON object in a string; values are texts, numbers, booleans, lists of them, or objects (D19).
func parameters(inputs map[string]any) (map[string][]string, error) {
	m, err := action.Map(inputs, "documentParameters")
	if err != nil {
		return nil, err
	}
	out := make(map[string][]string, len(m))
	for k, v := range m {
		switch v := v.(type) {
		case nil:
		case []any:
			list := []string{}
			for _, e := range v {
				s, err := text(e)
				if err != nil {
					return nil, fmt.Errorf("documentParameters: %s: %w", k, err)
				}
				list = append(list, s)
			}
			out[k] = list
		default:
			s, err := text(v)
			if err != nil {
				return nil, fmt.Errorf("documentParameters: %s: %w", k, err)
			}
			out[k] = []string{s}
		}
	}
	return out, nil
}

func text(v any) (string, error) {
	if s, ok := v.(string); ok {
		return s, nil
	}
	b, err := json.Marshal(v)
	return strings.TrimSpace(string(b)), err
}
