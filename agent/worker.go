package agent

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/message"
)

// worker is a step that runs.
type worker struct {
	step, reboots int
	cancel        context.CancelCauseFunc
	out, err      *spool
}

// grew returns the state of the streams, and whether it is new.
func (w *worker) grew() (out, err Output, grew bool) {
	out, a := w.out.state()
	err, b := w.err.state()
	return out, err, a || b
}

const downloads = "files"

// start runs a step on a goroutine of its own.
func (l *loop) start(ctx context.Context, s StartStep) {
	dir, path, err := l.prepare(s.Ref)
	var w *worker
	if err == nil {
		w = &worker{step: s.Step, reboots: s.Reboots}
		if w.out, err = openSpool(dir, s.Step, 0, s.OutputLimit, l.room, l.spools.of(refHash(s.Ref))); err == nil {
			w.err, err = openSpool(dir, s.Step, 1, s.OutputLimit, l.room, l.spools.of(refHash(s.Ref)))
		}
	}
	end := StepEnded{Ref: s.Ref, Step: s.Step, Reboots: s.Reboots}
	if err != nil {
		if dir != nil {
			dir.Close() //nolint:errcheck // the first error counts
		}
		l.log.Error("a step could not be prepared", "command", s.Command, "error", err)
		end.Result = action.Failed("the node could not prepare the step: " + err.Error())
		l.steps.Go(func() { l.post(end) })
		return
	}
	var run context.Context
	run, w.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	c := l.call(s, path, w, dir)
	l.running[s.Ref] = w
	l.log.Info("step begins", "command", s.Command, "attempt", s.Attempt, "document", s.Run.DocumentName, "step", s.Resolved.Name, "action", s.Resolved.Action, "reboots", s.Reboots)
	l.steps.Go(func() {
		end.Result = action.Run(run, c)
		w.cancel(nil)
		end.Stdout, _ = w.out.state()
		end.Stderr, _ = w.err.state()
		if err := errors.Join(w.out.close(), w.err.close(), dir.Close()); err != nil {
			l.log.Warn("closing a step's output", "command", s.Command, "error", err)
		}
		l.log.Info("step ended", "command", s.Command, "attempt", s.Attempt, "step", s.Resolved.Name, "status", end.Result.Status, "exitCode", end.Result.ExitCode, "reason", end.Result.Reason)
		l.post(ended{end, w})
	})
}

// ended is StepEnded with the worker, which the loop takes out of its list before the engine hears of it.
type ended struct {
	StepEnded
	w *worker
}

// prepare makes a command's directories and opens the first.
func (l *loop) prepare(ref message.Ref) (*os.Root, string, error) {
	path, err := l.commandDir(ref)
	if err != nil {
		return nil, "", err
	}
	name := refHash(ref)
	if err := l.work.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, "", err
	}
	dir, err := l.work.OpenRoot(name)
	if err != nil {
		return nil, "", err
	}
	if err := dir.Mkdir(downloads, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return dir, "", err
	}
	return dir, path, nil
}

// call describes a step to its action.
func (l *loop) call(s StartStep, path string, w *worker, dir *os.Root) *action.Call {
	r := s.Resolved
	return &action.Call{
		Tenant: l.cfg.Node.Tenant, Node: l.cfg.Node.ID, Command: s.Command, Attempt: s.Attempt,
		Step: s.Step, Name: r.Name, Action: r.Action, Reboots: s.Reboots,
		Inputs: r.Inputs, Env: maps.Clone(r.Env), Timeout: r.Timeout,
		Stdout: w.out, Stderr: w.err,
		Dir: path, Downloads: filepath.Join(path, downloads), Marker: l.marker(s.Ref, s.Step, s.Reboots),
		Documents: s.Run.Documents, RefuseRaw: s.Run.RefuseRaw, Depth: 1,
		Facts: l.engine.cfg.Facts, Platform: l.engine.cfg.Platform, Known: l.engine.cfg.Actions,
		Region: l.cfg.Region, Actions: l.cfg.Actions, Spawner: l.cfg.Spawner, Plane: l.Agent,
		Log: l.log.With("command", s.Command),
		Started: func(c action.Child) {
			note := childNote{Step: s.Step, Reboots: s.Reboots, Boot: l.cfg.BootID(), Child: c}
			if err := writeNote(dir, &note); err != nil {
				l.log.Warn("a process could not be noted down", "command", s.Command, "error", err)
			}
		},
	}
}

// marker names a run of a step, differently for each node of a machine.
func (l *loop) marker(ref message.Ref, step, reboots int) string {
	sum := sha256.Sum256([]byte(l.cfg.Node.Tenant + "\x00" + l.cfg.Node.ID + "\x00" + ref.Command + "\x00" + strconv.Itoa(ref.Attempt) + "\x00" + strconv.Itoa(step) + "\x00" + strconv.Itoa(reboots)))
	return hex.EncodeToString(sum[:16])
}

// kill stops a step, or what an earlier life of the agent left of one.
func (l *loop) kill(k KillStep) {
	if !k.Orphan {
		if w := l.running[k.Ref]; w != nil && w.step == k.Step {
			l.log.Info("stopping a step", "command", k.Command, "attempt", k.Attempt, "step", k.Step, "cause", k.Cause)
			w.cancel(k.Cause)
		}
		return
	}
	if leader := l.orphans[k.Ref]; leader > 0 {
		l.log.Warn("stopping what an earlier agent left running", "command", k.Command, "attempt", k.Attempt, "pid", leader)
		l.steps.Go(func() { action.Stop(leader, action.DefaultGrace) })
	}
}

// childNote is what a command's directory says of the process that was started last. It need not outlive a power cut: no process does.
type childNote struct {
	Step    int          `json:"step"`
	Reboots int          `json:"reboots"`
	Boot    string       `json:"boot"`
	Child   action.Child `json:"child"`
}

const noteFile = "process"

func writeNote(dir *os.Root, n *childNote) error {
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	f, err := openFile(dir, noteFile, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}

// orphan returns the leader of the session of an interrupted step's process if any of it lives, else 0.
func (l *loop) orphan(ref message.Ref, step, reboots int) int {
	var n childNote
	if dir, err := l.work.OpenRoot(refHash(ref)); err == nil {
		d := &dirDisk{dir}
		if b, err := d.Read(noteFile); err == nil && json.Unmarshal(b, &n) != nil {
			n = childNote{}
		}
		dir.Close() //nolint:errcheck // read only
	}
	if n.Step != step || n.Reboots != reboots || n.Boot != l.cfg.BootID() {
		n = childNote{}
	}
	return action.Alive(l.marker(ref, step, reboots), n.Child)
}

// booted looks at what an earlier life of the agent left, and tidies up.
func (l *loop) booted(entries []Entry) Booted {
	ev := Booted{BootID: l.cfg.BootID()}
	keep := map[string]bool{}
	for i := range entries {
		e := &entries[i]
		if e.Run == nil && e.Final {
			continue
		}
		keep[refHash(e.Ref)] = true
		dir, err := l.work.OpenRoot(refHash(e.Ref))
		if err != nil {
			continue
		}
		for s := range e.Steps {
			if e.Steps[s].Status == message.Pending || e.Steps[s].Status == message.Skipped {
				continue
			}
			o := OutputOnDisk{Ref: e.Ref, Step: s, Stdout: spooled(dir, s, 0), Stderr: spooled(dir, s, 1)}
			l.spools.add(refHash(e.Ref), o.Stdout.Size+o.Stderr.Size)
			ev.Outputs = append(ev.Outputs, o)
			if e.Steps[s].Status == message.InProgress && !e.Reboot {
				if leader := l.orphan(e.Ref, s, e.Steps[s].Reboots); leader > 0 {
					l.orphans[e.Ref] = leader
					ev.Alive = append(ev.Alive, Child{Ref: e.Ref, Step: s})
				}
			}
		}
		dir.Close() //nolint:errcheck // read only
	}
	d := &dirDisk{l.work}
	names, err := d.Names()
	if err != nil {
		l.log.Warn("the directory of commands cannot be read", "error", err)
	}
	for _, name := range names {
		if !keep[name] {
			if err := l.work.RemoveAll(name); err != nil {
				l.log.Warn("what an old command left could not be removed", "error", err)
			}
		}
	}
	return ev
}

func sameFacts(a, b message.Facts) bool {
	caps := slices.Equal(a.Capabilities, b.Capabilities)
	a.Capabilities, b.Capabilities = nil, nil
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return caps && err1 == nil && err2 == nil && cmp.Compare(string(x), string(y)) == 0
}
