package patchbaseline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch"
)

// job is one run of the action.
type job struct {
	a     *Action
	c     *action.Call
	order *order
	tools *tools
	sys   system
	pm    Manager

	started time.Time
	snap    *patch.Snapshot
	over    bool // a BaselineOverride decides
	alone   bool // the baseline's own repositories are in use
	boot    string
	track   *tracking
	damaged bool
	why     []reason // of steps that were not done
}

// Run implements action.Action.
func (a *Action) Run(ctx context.Context, c *action.Call) action.Result {
	r, err := a.run(ctx, c)
	if err != nil {
		c.Log.Warn("the patch operation failed", "command", c.Command, "error", err)
		return action.Failed(fault.MessageOf(err))
	}
	return r
}

func (a *Action) run(ctx context.Context, c *action.Call) (action.Result, error) {
	var none action.Result
	j := &job{a: a, c: c, started: a.o.Now().UTC()}
	var err error
	if j.order, err = a.read(ctx, c.Inputs); err != nil {
		return none, err
	}
	if c.Plane == nil {
		return none, fault.New("patchbaseline.Run", fault.UnsupportedOperation, "this agent has no way to ask its control plane for a baseline")
	}
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
	t, err := openTree(a.o.Root, a.o.Chroot)
	if err != nil {
		return none, err
	}
	defer t.done() //nolint:errcheck // read only
	j.tools = &tools{c: c, o: &a.o, tree: t}
	if j.sys.os = a.o.OperatingSystem; j.sys.os == "" {
		if j.sys, err = findSystem(t); err != nil {
			return none, err
		}
	}
	if a.o.Product != "" {
		j.sys.product = a.o.Product
	}
	if j.pm, err = a.manager(c, j.tools, j.sys); err != nil {
		return none, err
	}
	if err := j.remember(); err != nil {
		return none, err
	}
	if b := j.track.Run; c.Reboots > 0 && b != nil && b.Command == c.Command && b.Attempt == c.Attempt && b.Step == c.Step && b.Name == c.Name && b.Snapshot != nil && b.Plan != nil {
		return j.afterReboot(ctx, b)
	}
	if err := j.baseline(ctx); err != nil {
		return none, err
	}
	done, err := j.sources()
	if err != nil {
		return none, err
	}
	defer func() {
		if err := done(); err != nil {
			c.Log.Warn("the baseline's sources were not all removed", "error", err)
		}
	}()
	if err := j.refresh(ctx); err != nil {
		return none, err
	}
	before, m, err := j.evaluate(ctx)
	if err != nil {
		return none, err
	}
	// Behind a reboot that nobody remembers nothing is installed a second time.
	if j.order.Operation == patch.Scan || c.Reboots > 0 {
		return j.scanned(ctx, before)
	}
	return j.install(ctx, before, m)
}

func (j *job) say(format string, args ...any)  { fmt.Fprintf(j.c.Stdout, format+"\n", args...) } //nolint:errcheck // never fails
func (j *job) warn(format string, args ...any) { fmt.Fprintf(j.c.Stderr, format+"\n", args...) } //nolint:errcheck // never fails

// follows tells whether the machine is one whose starts are known.
func (j *job) follows() bool { return j.a.o.BootID != nil }

// remember reads the tracking file.
func (j *job) remember() (err error) {
	if j.follows() {
		j.boot = j.a.o.BootID()
	}
	j.track, err = loadTracking(j.a.o.State)
	if err == nil {
		return nil
	}
	if !errors.Is(err, errDamaged) {
		e := fault.New("patchbaseline.Track", fault.ServiceUnavailable, "the file that tells what waits for a reboot cannot be read")
		e.Err = err
		return e
	}
	j.damaged = true
	j.track = &tracking{Version: trackingVersion}
	if j.follows() {
		j.track.Open = &opened{j.boot, j.a.o.BootTime()}
		j.warn("The file that tells what waits for a reboot is damaged: what was installed since the machine started is taken to wait for one.")
	}
	return nil
}

// baseline asks for what the machine is to be patched by.
func (j *job) baseline(ctx context.Context) error {
	const op = "patchbaseline.Baseline"
	in, err := json.Marshal(patch.Request{SnapshotID: j.order.snapshot, OperatingSystem: j.sys.os, Product: j.sys.product})
	if err != nil {
		return fault.Wrap(op, err)
	}
	out, err := j.c.Plane.Ask(ctx, OpSnapshot, in)
	if err != nil {
		return fault.Wrap(op, err)
	}
	j.snap = &patch.Snapshot{}
	if err := json.Unmarshal(out, j.snap); err != nil {
		return fault.New(op, fault.InternalServerError, "the control plane's answer is no snapshot of a baseline")
	}
	if b := j.order.Override.For(j.sys.os); b != nil {
		j.snap.Baseline, j.over = *b, true
	}
	return nil
}

// sources has the baseline's own repositories take the place of the configured ones (B29). Where that cannot be done nothing is: deciding without them would decide something else.
func (j *job) sources() (done func() error, err error) {
	list := forProduct(j.snap.Baseline.Sources, j.sys.product)
	if len(list) == 0 {
		return func() error { return nil }, nil
	}
	alt, ok := j.pm.(Alternate)
	if !ok {
		return nil, fault.New("patchbaseline.Baseline", fault.UnsupportedOperation, "the baseline names sources of its own for this machine (%s), which its package manager cannot be switched to", fault.Clean(list[0].Name))
	}
	if j.a.o.Refresh == RefreshNever || !j.tools.privileged() {
		return nil, fault.New("patchbaseline.Baseline", fault.AccessDenied, "the baseline names sources of its own for this machine (%s), whose metadata the agent may not fetch: let it run as root", fault.Clean(list[0].Name))
	}
	if done, err = alt.Use(list); err == nil {
		j.alone = true
	}
	return done, err
}

func (j *job) refresh(ctx context.Context) error {
	if j.a.o.Refresh == RefreshNever || !j.tools.privileged() {
		if j.order.Operation == patch.Install && !j.tools.privileged() {
			return fault.New("patchbaseline.Install", fault.AccessDenied, "packages can be installed by root only: let the agent run as root")
		}
		return nil
	}
	err := j.pm.Refresh(ctx)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if fault.CodeOf(err) == fault.ServiceUnavailable || j.alone {
		return err // locked, or there is nothing older to go by
	}
	j.warn("The package metadata could not be fetched anew, so this goes by what was there: %s", fault.MessageOf(err))
	return nil
}

// evaluate reads the machine and decides.
func (j *job) evaluate(ctx context.Context) (*patch.Result, *Machine, error) {
	b := &j.snap.Baseline
	m, err := j.pm.Read(ctx, named(b))
	if err != nil {
		return nil, nil, err
	}
	for _, w := range m.Warnings {
		j.warn("%s", fault.Clean(w))
	}
	m.Warnings = nil
	m.Facts.OperatingSystem, m.Facts.Product = j.sys.os, j.sys.product
	j.track.mark(m.Installed, j.boot, j.follows())
	res, err := patch.Evaluate(b, m.Facts, m.Installed, m.Available, j.a.o.Now())
	return res, m, err
}

// named returns the packages that a baseline approves by name alone.
func named(b *patch.Baseline) (out []string) {
	for _, n := range b.ApprovedPatches {
		if !strings.Contains(n, "*") {
			out = append(out, n)
		}
	}
	return out
}

func (j *job) scanned(ctx context.Context, res *patch.Result) (action.Result, error) {
	rep := j.report(res)
	j.print(&rep, nil)
	if err := j.handIn(ctx, rep); err != nil {
		return action.Result{}, err
	}
	r := action.Succeeded()
	if n := res.Counts; j.order.skipRest && n.Missing+n.InstalledPendingReboot+n.Failed == 0 {
		j.say("There is nothing to install: the document ends here.")
		r.Flow = action.SkipRest
	}
	return r, nil
}

// install puts what is missing on the machine.
func (j *job) install(ctx context.Context, before *patch.Result, m *Machine) (action.Result, error) {
	const op = "patchbaseline.Install"
	var none action.Result
	plan := before.Plan(j.order.List)
	for _, s := range plan.LeftOut {
		j.why = append(j.why, reason{s.Key, s.Why})
	}
	changed := 0
	var failed error
	after := before
	if len(plan.Steps) > 0 {
		switch {
		case m.Broken != "":
			failed = fault.New(op, fault.InternalServerError, "nothing was installed: %s", fault.Clean(m.Broken))
		default:
			j.track.begin(plan.Steps, j.boot, j.a.o.Now().UTC())
			if err := j.track.save(j.a.o.State); err != nil {
				return none, err
			}
			j.say("Installing %d packages:", len(plan.Steps))
			for _, s := range plan.Steps {
				j.say("  %s %s -> %s", s.Key, s.From, s.To)
			}
			why, err := j.pm.Install(ctx, plan.Steps, j.refused(m))
			failed = err
			for _, s := range plan.Steps {
				if w := why[s.Key]; w != "" {
					j.why = append(j.why, reason{s.Key, w})
				}
			}
		}
		// What is there is read also when the step was stopped: the report is the truth, whatever happened.
		rctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), j.a.o.Query)
		defer cancel()
		wasInstalled := m.Installed
		var err error
		if after, m, err = j.evaluate(rctx); err != nil {
			return none, errors.Join(failed, err)
		}
		if m.Broken == "" {
			changed = j.track.end(wasInstalled, m.Installed, j.boot)
			if after, err = j.decide(m); err != nil {
				return none, err
			}
		}
	}
	if j.follows() && j.order.RebootOption == patch.NoReboot && changed > 0 {
		j.track.LastNoReboot = j.a.o.Now().UTC()
	}
	required := false
	if j.order.RebootOption == patch.RebootIfRequired && ctx.Err() == nil {
		var err error
		if required, err = j.pm.RebootRequired(ctx); err != nil {
			j.warn("Whether the machine needs a reboot could not be found out: %s", fault.MessageOf(err))
		}
	}
	reboot := j.follows() && failed == nil && j.c.Reboots == 0 && ctx.Err() == nil && plan.Reboot(j.order.RebootOption, changed > 0, required)
	j.track.Run = nil
	if reboot {
		j.track.Run = &begun{j.c.Command, j.c.Attempt, j.c.Step, j.c.Name, j.started, j.snap, j.over, plan, j.why}
	}
	if changed > 0 || reboot || len(plan.Steps) > 0 || j.damaged {
		if err := j.track.save(j.a.o.State); err != nil {
			return none, err
		}
	}
	res := after.Settle(plan)
	rep := j.report(res)
	j.print(&rep, plan)
	if failed != nil && ctx.Err() == nil {
		j.warn("%s", fault.MessageOf(failed))
	}
	rctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	err := j.handIn(rctx, rep)
	switch {
	case reboot:
		if err != nil {
			j.warn("The report before the reboot was not taken: %s", fault.MessageOf(err))
		}
		j.say("The machine is to restart now; the final report comes after that.")
		r := action.Succeeded()
		r.Flow = action.Reboot
		return r, nil
	case ctx.Err() != nil:
		return none, context.Cause(ctx)
	case failed != nil:
		return none, errors.Join(failed, err)
	case err != nil:
		return none, err
	}
	return j.verdict(res), nil
}

// decide evaluates what was read, with what is now known of it.
func (j *job) decide(m *Machine) (*patch.Result, error) {
	for i := range m.Installed {
		m.Installed[i].ByUs, m.Installed[i].SinceBoot = false, false
	}
	j.track.mark(m.Installed, j.boot, j.follows())
	return patch.Evaluate(&j.snap.Baseline, m.Facts, m.Installed, m.Available, j.a.o.Now())
}

// refused says of what comes along as a dependency whether the baseline blocks it (R2).
func (j *job) refused(m *Machine) func(patch.Available) bool {
	b := &j.snap.Baseline
	if b.RejectedAction != patch.Block || len(b.RejectedPatches) == 0 || j.order.List != nil {
		return nil
	}
	return func(p patch.Available) bool {
		rows, err := patch.Effective(b, m.Facts, []patch.Available{p}, j.a.o.Now())
		return err != nil || slices.ContainsFunc(rows, func(r patch.EffectivePatch) bool { return r.Status == patch.StatusExplicitRejected })
	}
}

// afterReboot is the rest of an Install behind the reboot that it asked for.
func (j *job) afterReboot(ctx context.Context, b *begun) (action.Result, error) {
	j.snap, j.over, j.started, j.why = b.Snapshot, b.Override, b.Started, b.Why
	done, err := j.sources()
	if err != nil {
		return action.Result{}, err
	}
	defer done() //nolint:errcheck // the folder goes with the command
	if j.alone {
		if err := j.refresh(ctx); err != nil {
			return action.Result{}, err
		}
	}
	after, _, err := j.evaluate(ctx)
	if err != nil {
		return action.Result{}, err
	}
	res := after.Settle(b.Plan)
	rep := j.report(res)
	j.print(&rep, b.Plan)
	if err := j.handIn(ctx, rep); err != nil {
		return action.Result{}, err
	}
	j.track.Run = nil
	j.track.forget(j.boot)
	if err := j.track.save(j.a.o.State); err != nil {
		j.c.Log.Warn("the tracking file was not written", "error", err)
	}
	return j.verdict(res), nil
}

// verdict is the result of an Install.
func (j *job) verdict(res *patch.Result) action.Result {
	if res.Counts.Failed == 0 {
		return action.Succeeded()
	}
	var names []string
	for i := range res.Patches {
		if p := &res.Patches[i]; p.State == patch.StateFailed {
			if len(names) == 5 {
				names = append(names, "…")
				break
			}
			names = append(names, p.Key.String())
		}
	}
	return action.Failed(fmt.Sprintf("%d patches were not installed: %s", res.Counts.Failed, strings.Join(names, ", ")))
}

func (j *job) report(res *patch.Result) patch.Report {
	rep := res.Report()
	rep.Operation, rep.RebootOption, rep.SnapshotID = j.order.Operation, j.order.RebootOption, j.snap.ID
	rep.BaselineID, rep.PatchGroup = j.snap.Baseline.ID, j.snap.Group
	rep.Override, rep.CommandID = j.over, j.c.Command
	if j.order.Operation == patch.Install {
		rep.OverrideList = j.order.listLocation
		if rep.RebootOption == "" {
			rep.RebootOption = patch.RebootIfNeeded
		}
	}
	rep.Started, rep.Ended = j.started, j.a.o.Now().UTC()
	if rep.Ended.Before(rep.Started) { // the clock was set back
		rep.Started = rep.Ended
	}
	rep.LastNoReboot = j.track.LastNoReboot
	if rep.OperatingSystem == "" {
		rep.OperatingSystem = j.sys.os
	}
	return rep
}

func (j *job) handIn(ctx context.Context, rep patch.Report) error {
	const op = "patchbaseline.Report"
	b, err := json.Marshal(rep)
	if err != nil {
		return fault.Wrap(op, err)
	}
	if _, err := j.c.Plane.Ask(ctx, OpReport, b); err != nil {
		return fault.New(op, fault.CodeOf(err), "the report was not taken by the control plane: %s", fault.MessageOf(err))
	}
	return nil
}
