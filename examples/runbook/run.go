package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
)

// readRunbook reads a file and makes it ready.
func readRunbook(file string) (*automation.Runbook, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return automation.ParseRunbook(text, &document.Options{File: file, Kind: document.Automation, MaxSize: -1})
}

func readParameters(p *parsed) (map[string][]string, error) {
	if p.str("parameters") == "" {
		return nil, nil
	}
	params, err := command.ParseParameters(p.str("parameters"))
	if err != nil {
		return nil, bad("-parameters: %s", fault.MessageOf(err))
	}
	return params, nil
}

func (a *app) runFile(ctx context.Context, p *parsed) error {
	if err := p.arg("FILE"); err != nil {
		return err
	}
	params, err := readParameters(p)
	if err != nil {
		return err
	}
	rb, err := readRunbook(p.args[0])
	if err != nil {
		return err
	}
	if _, err := rb.Preview(automation.Start{Parameters: params}, a.now()); err != nil {
		return bad("%s", fault.MessageOf(err)) // nothing is begun with parameters that are wrong
	}
	file, err := filepath.Abs(p.args[0])
	if err != nil {
		return err
	}
	name := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
	n := note{Document: name, File: file, Folder: filepath.Dir(file), Fleet: p.on("fleet"), Created: a.now().UTC()}
	if f := p.str("fake"); f != "" {
		if _, err := readFakes(f); err != nil {
			return err
		}
		if n.Fake, err = filepath.Abs(f); err != nil {
			return err
		}
	}
	mode := automation.Auto
	if p.on("interactive") {
		mode = automation.Interactive
	}
	return a.start(ctx, p, n, automation.Request{DocumentName: name, Parameters: params, Mode: mode})
}

// start starts a runbook in a folder of its own, and follows it.
func (a *app) start(ctx context.Context, p *parsed, n note, req automation.Request) error {
	id, source, err := newID()
	if err != nil {
		return err
	}
	if err := n.make(p.dir, id); err != nil {
		return err
	}
	d, err := open(ctx, p.dir, id, source, 0)
	if err != nil {
		return err
	}
	defer d.close()
	if _, err := d.Start(as(ctx, ""), req); err != nil {
		os.RemoveAll(d.home) //nolint:errcheck // there is nothing in it
		return err
	}
	fmt.Fprintf(a.stdout, "Execution %s of %s, kept in %s\n", id, n.Document, shorten(d.home))
	return a.follow(ctx, p, d, id, time.Time{}, nil)
}

// open opens an execution by the beginning of its id, and lets it run.
func (a *app) open(ctx context.Context, p *parsed) (*desk, string, error) {
	id, err := find(p.dir, p.args[0])
	if err != nil {
		return nil, "", err
	}
	d, err := open(ctx, p.dir, id, nil, 0)
	return d, id, err
}

func (a *app) resume(ctx context.Context, p *parsed) error {
	if err := p.arg("ID", "[STEP]"); err != nil {
		return err
	}
	d, id, err := a.open(ctx, p)
	if err != nil {
		return err
	}
	defer d.close()
	if len(p.args) < 2 {
		return a.follow(ctx, p, d, id, a.now(), nil)
	}
	return a.follow(ctx, p, d, id, a.now(), func(x *automation.Execution) error {
		sig := automation.Signal{Type: automation.Resume, Step: p.args[1]}
		if x.NextStep != "" {
			sig.Type = automation.StartStep
		}
		return d.Signal(as(ctx, ""), id, sig)
	})
}

func (a *app) approve(ctx context.Context, p *parsed) error {
	return a.decideAs(ctx, p, automation.Approve)
}
func (a *app) reject(ctx context.Context, p *parsed) error {
	return a.decideAs(ctx, p, automation.Reject)
}

func (a *app) decideAs(ctx context.Context, p *parsed, typ automation.SignalType) error {
	if err := p.arg("ID", "STEP"); err != nil {
		return err
	}
	d, id, err := a.open(ctx, p)
	if err != nil {
		return err
	}
	defer d.close()
	return a.follow(ctx, p, d, id, a.now(), func(x *automation.Execution) error {
		who := p.str("as")
		if x.Current >= 0 && who == "" {
			who = nextApprover(&x.Steps[x.Current])
		}
		return d.Signal(as(ctx, who), id, automation.Signal{Type: typ, Step: p.args[1], Comment: p.str("comment")})
	})
}

func (a *app) stop(ctx context.Context, p *parsed) error {
	if err := p.arg("ID"); err != nil {
		return err
	}
	d, id, err := a.open(ctx, p)
	if err != nil {
		return err
	}
	defer d.close()
	typ := automation.Cancel
	if p.on("complete") {
		typ = automation.Complete
	}
	err = a.follow(ctx, p, d, id, a.now(), func(*automation.Execution) error { return d.Stop(as(ctx, ""), id, typ) })
	if x, _, gerr := d.Get(as(ctx, ""), id); gerr == nil && x.Status.Done() && errors.Is(err, errNot) {
		return nil // it was to end, and it did
	}
	return err
}

func (a *app) fork(ctx context.Context, p *parsed) error {
	if err := p.arg("ID"); err != nil {
		return err
	}
	if p.str("from") == "" {
		return bad("-from STEP is missing")
	}
	from, err := find(p.dir, p.args[0])
	if err != nil {
		return err
	}
	n, at, err := forkPoint(ctx, p, from)
	if err != nil {
		return err
	}
	sets := map[string][]string{}
	pp, _ := p.fs.Lookup("set").Value.(*pairs)
	for _, s := range pp.of {
		k, v, _ := strings.Cut(s, "=")
		sets[k] = append(sets[k], v)
	}
	id, source, err := newID()
	if err != nil {
		return err
	}
	n.Created, n.ForkedFrom = a.now().UTC(), from
	if err := n.make(p.dir, id); err != nil {
		return err
	}
	home := filepath.Join(p.dir, "executions", id)
	if err := copyFile(filepath.Join(home, "store.db"), filepath.Join(p.dir, "executions", from, "store.db")); err != nil {
		return err
	}
	d, err := open(ctx, p.dir, id, source, 0)
	if err != nil {
		return err
	}
	defer d.close()
	if _, err := d.Fork(as(ctx, ""), from, at, sets); err != nil {
		os.RemoveAll(home) //nolint:errcheck // there is nothing in it
		return err
	}
	fmt.Fprintf(a.stdout, "Execution %s of %s, forked from %s at step %d, kept in %s\n", id, n.Document, short(from), at, shorten(d.home))
	return a.follow(ctx, p, d, id, time.Time{}, nil)
}

// forkPoint finds the step of an execution that has ended.
func forkPoint(ctx context.Context, p *parsed, id string) (note, int, error) {
	d, err := open(ctx, p.dir, id, nil, 0)
	if err != nil {
		return note{}, 0, err
	}
	defer d.close()
	x, _, err := d.Get(as(ctx, ""), id)
	if err != nil {
		return note{}, 0, err
	}
	if !x.Status.Done() {
		return note{}, 0, fault.New("runbook", automation.InvalidStatusUpdate, "execution %s has not ended: resume or stop it first", short(id))
	}
	if n, err := strconv.Atoi(p.str("from")); err == nil {
		return d.note, n, nil
	}
	for i := len(x.Steps) - 1; i >= 0; i-- {
		if x.Steps[i].Name == p.str("from") {
			return d.note, i + 1, nil
		}
	}
	return note{}, 0, fault.New("runbook", automation.StepNotFound, "execution %s never began a step %q", short(id), fault.Clean(p.str("from")))
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // read only
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err = io.Copy(out, in); err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

// nextApprover is the first of a step's approvers who has not decided.
func nextApprover(s *automation.Step) string {
	var all []string
	if e, ok := s.Inputs["EnhancedApprovals"].(map[string]any); ok {
		list, _ := e["Approvers"].([]any)
		for _, it := range list {
			if m, ok := it.(map[string]any); ok {
				all = append(all, automation.Strings(m["approver"])...)
			}
		}
	} else {
		all = automation.Strings(s.Inputs["Approvers"])
	}
	for _, who := range all {
		if !slices.ContainsFunc(s.Decisions, func(d automation.Decision) bool { return d.By == who }) {
			return who
		}
	}
	return ""
}

// shorten shows the home directory as ~.
func shorten(path string) string {
	if home, err := os.UserHomeDir(); err == nil && home != "/" && strings.HasPrefix(path, home+string(filepath.Separator)) {
		return "~" + path[len(home):]
	}
	return path
}
